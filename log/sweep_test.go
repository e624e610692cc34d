package log

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// TestEveryOperationMayFail runs a workload again and again and lets the i-th operation of the disk fail, for every i, reads included: every failure is
// reported, a log that has met one takes no more appends, and what was acknowledged is there after a power loss.
func TestEveryOperationMayFail(t *testing.T) {
	const steps = 25
	for seed := range uint64(3) {
		for i := int64(1); ; i += int64(few(1, 5)) {
			f := newLife(t, 1000+seed)
			f.openMax = int(seed % 2)
			f.blind = true
			disk := vfs.NewMem()
			var n int64
			var failed vfs.Op
			disk.SetFault(func(op vfs.Op) error {
				if n++; n == i {
					failed = op
					return syscall.EIO
				}
				return nil
			})
			err := f.open(disk)
			opened := err == nil
			for step := 0; step < steps && err == nil; step++ {
				err = f.step()
			}
			if err == nil {
				require.Less(t, n, i, "seed %d: operation %d, %v, failed and nobody said so", seed, i, failed)
				disk.SetFault(nil)
				require.NoError(t, f.d.Close(1))
				break
			}
			require.ErrorIs(t, err, syscall.EIO, "operation %d", i)
			if opened && f.l != nil && f.l.Err() != nil {
				_, again := f.l.Append(batchOf(t, "x"), AppendOptions{Now: testTime})
				_, isStorage := errors.AsType[*StorageError](again)
				assert.True(t, isStorage || errors.Is(again, ErrClosed), "%v", again)
			}
			for _, mode := range []vfs.CrashMode{vfs.KeepAll, vfs.DropAll} {
				t.Run(fmt.Sprintf("seed=%d/op=%d/crash=%d", seed, i, mode), func(t *testing.T) {
					g := *f
					g.t = t
					g.sequence, g.inTxn = map[int64]int32{}, map[int64]bool{}
					d := disk.Clone()
					require.NoError(t, g.open(d.Crash(mode, nil)))
					defer g.d.Abandon()
					g.verify()
				})
			}
			if f.d != nil {
				f.d.Abandon()
			}
		}
	}
}

// TestFullDisk fills the disk under a log: the append that does not fit is refused, and a log goes on behind what was acknowledged when there is space, opened again or
// not.
func TestFullDisk(t *testing.T) {
	disk := vfs.NewMem()
	f := newLife(t, 5)
	f.config.SegmentBytes, f.config.WriteAhead = 1<<20, 64<<10
	require.NoError(t, f.open(disk))
	disk.SetCapacity(200 << 10)
	var err error
	for err == nil {
		if err = f.append(); err == nil {
			_, err = f.l.Sync()
			f.synced = f.end
		}
	}
	require.True(t, vfs.IsNoSpace(err), "%v", err)
	require.Greater(t, f.synced, int64(100))
	_, isFull := errors.AsType[*FullError](err)
	require.True(t, isFull)
	require.NoError(t, f.l.Err())
	disk.SetCapacity(0)
	require.NoError(t, f.append())
	_, err = f.l.Sync()
	require.NoError(t, err)
	f.synced = f.end
	f.verify()
	f.d.Abandon()
	require.NoError(t, f.open(disk))
	f.synced = min(f.synced, f.end)
	f.verify()
	require.NoError(t, f.append())
	require.NoError(t, f.d.Close(1))
}
