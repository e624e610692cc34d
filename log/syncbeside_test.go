package log

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// TestSyncBesideOthers has many append, roll and sync beside each other, on a disk that takes its time. Whenever a sync returns, or the log says that it is synced up to somewhere, the power fails in a copy of the disk, and all of it is there.
func TestSyncBesideOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dice sync.Mutex
		rng := rand.New(rand.NewPCG(11, 26))
		roll := func(n int) int {
			dice.Lock()
			defer dice.Unlock()
			return rng.IntN(n)
		}
		var syncs atomic.Int64
		m := vfs.NewMem()
		m.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync && strings.HasSuffix(op.Name, ".log") {
				syncs.Add(1)
				time.Sleep(time.Duration(1+roll(4)) * time.Millisecond)
			}
			return nil
		})
		l, err := Open("/data/t-0", Config{FS: m, SegmentBytes: 3000})
		require.NoError(t, err)
		survives := func(end int64) {
			left, err := Open("/data/t-0", Config{FS: m.Clone().Crash(vfs.DropAll, nil)})
			if assert.NoError(t, err) {
				assert.GreaterOrEqual(t, left.Offsets().LogEndOffset, end)
				assert.NoError(t, left.Close())
			}
		}
		var owner sync.Mutex
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 40 {
					time.Sleep(time.Duration(roll(3000)) * time.Microsecond)
					owner.Lock()
					a, err := l.Append(batchOf(t, strings.Repeat("x", roll(200))), AppendOptions{Now: testTime})
					owner.Unlock()
					assert.NoError(t, err)
					synced, err := l.Sync()
					assert.NoError(t, err)
					assert.GreaterOrEqual(t, synced, a.EndOffset)
					survives(synced)
				}
			})
		}
		stop := make(chan struct{})
		var watcher sync.WaitGroup
		watcher.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(roll(1000)) * time.Microsecond):
					survives(l.Offsets().SyncedEndOffset)
				}
			}
		})
		wg.Wait()
		close(stop)
		watcher.Wait()
		require.Greater(t, len(*l.segments.Load()), 3)
		require.Less(t, syncs.Load(), int64(8*40), "they share them")
		require.NoError(t, l.Close())
	})
}
