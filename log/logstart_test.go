package log

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// afterPowerLoss reopens the log of oldLog as a power loss leaves it.
func afterPowerLoss(t *testing.T, fsys *vfs.Mem) (*Directory, *Log) {
	t.Helper()
	d := openDir(t, fsys.Clone().Crash(vfs.DropAll, nil), "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, oldConfig)
	require.NoError(t, err)
	return d, l
}

func TestSyncLogStart(t *testing.T) {
	fsys := vfs.NewMem()
	_, l := oldLog(t, fsys)
	require.NoError(t, l.AdvanceLogStart(15))
	assert.Zero(t, l.SyncedLogStart(), "not yet")
	_, after := afterPowerLoss(t, fsys)
	assert.Zero(t, after.Offsets().LogStartOffset)

	start, err := l.SyncLogStart()
	require.NoError(t, err)
	assert.Equal(t, []int64{15, 15}, []int64{start, l.SyncedLogStart()})
	_, after = afterPowerLoss(t, fsys)
	assert.Equal(t, int64(15), after.Offsets().LogStartOffset)
	assert.Equal(t, int64(15), after.SyncedLogStart())
	assert.Equal(t, int64(15), after.Offsets().HighWatermark, "it cannot be below")
	after.SetHighWatermark(24)
	checkOld(t, after, 15)

	// The segments may go then or later; the start stays either way.
	_, err = l.DeleteOldSegments()
	require.NoError(t, err)
	_, after = afterPowerLoss(t, fsys)
	assert.Equal(t, int64(15), after.Offsets().LogStartOffset)

	// A truncation below takes it back, durably, before anything is cut.
	require.NoError(t, l.TruncateTo(l.Offsets().LogEndOffset-1))
	assert.Equal(t, int64(15), l.SyncedLogStart())
	require.NoError(t, l.TruncateFullyAndStartAt(9))
	assert.Equal(t, int64(9), l.SyncedLogStart())
	_, after = afterPowerLoss(t, fsys)
	assert.Equal(t, int64(9), after.Offsets().LogStartOffset)

	require.NoError(t, l.Close())
	_, err = l.SyncLogStart()
	assert.ErrorIs(t, err, ErrClosed)
}

// What was never synced can be gone after a power loss while the start above it is there: the log is empty then, and begins at its start.
func TestLogStartAboveWhatIsSynced(t *testing.T) {
	fsys := vfs.NewMem()
	d := openDir(t, fsys, "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, oldConfig)
	require.NoError(t, err)
	for i := range 24 {
		mustAppend(t, l, batchOf(t, fmt.Sprint(i)))
		if i == 7 {
			_, err := l.Sync()
			require.NoError(t, err)
		}
	}
	require.NoError(t, l.AdvanceLogStart(20))
	_, err = l.SyncLogStart()
	require.NoError(t, err)
	_, after := afterPowerLoss(t, fsys)
	assert.Equal(t, Offsets{20, 20, 20, 20, 20}, after.Offsets())
}

// Checkpoints beside it do not take back what SyncLogStart has stored.
func TestSyncLogStartBesideCheckpoints(t *testing.T) {
	fsys := vfs.NewMem()
	d, l := oldLog(t, fsys)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				assert.NoError(t, d.Checkpoint(context.Background()))
			}
		}
	})
	for start := int64(1); start <= 24; start++ {
		require.NoError(t, l.AdvanceLogStart(start))
		_, err := l.SyncLogStart()
		require.NoError(t, err)
		_, after := afterPowerLoss(t, fsys)
		require.Equal(t, start, after.Offsets().LogStartOffset)
	}
	close(stop)
	wg.Wait()
	require.NoError(t, d.Close(1))
}

// A log whose start could not be stored refuses everything: what the disk holds is not known any more.
func TestSyncLogStartFails(t *testing.T) {
	for n := 0; ; n++ {
		fsys := vfs.NewMem()
		d, l := oldLog(t, fsys)
		require.NoError(t, l.AdvanceLogStart(15))
		count := 0
		fsys.SetFault(func(vfs.Op) error {
			count++
			if count == n+1 {
				return syscall.EIO
			}
			return nil
		})
		_, err := l.SyncLogStart()
		fsys.SetFault(nil)
		if err == nil {
			require.GreaterOrEqual(t, n, 4, "write, sync, rename and sync of the directory can fail")
			require.NoError(t, d.Close(1))
			return
		}
		assert.Less(t, l.SyncedLogStart(), int64(15))
		assert.Error(t, l.AdvanceLogStart(16))
		d.Abandon()
		_, after := afterPowerLoss(t, fsys)
		assert.Contains(t, []int64{0, 15}, after.Offsets().LogStartOffset)
	}
}
