package log

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// crashBehind runs f and crashes a copy of the disk behind every operation of it. It returns what was left each time.
func crashBehind(t *testing.T, disk *vfs.Mem, mode vfs.CrashMode, f func() error) (after []*vfs.Mem) {
	t.Helper()
	disk.SetFault(func(op vfs.Op) error {
		if op.Kind.Changes() {
			after = append(after, disk.Clone().Crash(mode, nil))
		}
		return nil
	})
	require.NoError(t, f())
	disk.SetFault(nil)
	return append(after, disk.Clone().Crash(mode, nil))
}

// A crash in the middle of a deletion, or of setting aside, must not leave a checkpoint that speaks of the next log of that name: that one would seem to have lost what was synced.
func TestCrashWhileALogGoes(t *testing.T) {
	for _, what := range []string{"delete", "set aside"} {
		for _, mode := range []vfs.CrashMode{vfs.KeepAll, vfs.DropAll} {
			disk := vfs.NewMem()
			d, l := oldLog(t, disk)
			require.NoError(t, d.Checkpoint(context.Background()))
			gone := func() error { return d.DeleteLog(l) }
			if what == "set aside" {
				require.NoError(t, l.Close())
				gone = func() error { return d.SetAside(LogEntry{Topic: "t"}) }
			}
			fresh := 0
			for i, after := range crashBehind(t, disk, mode, gone) {
				d := openDir(t, after, "/d")
				list, err := d.Logs()
				require.NoError(t, err)
				id := TopicID{2}
				if len(list) > 0 {
					id = TopicID{1}
				}
				l, err := d.OpenLog("t", 0, id, oldConfig)
				require.NoError(t, err, "%s, crash %d behind operation %d", what, mode, i)
				if len(list) == 0 {
					fresh++
					require.Zero(t, l.Offsets())
				} else {
					require.Equal(t, int64(24), l.Offsets().LogEndOffset)
				}
				d.Abandon()
			}
			require.NotZero(t, fresh)
			d.Abandon()
		}
	}
}

// A checkpoint that is being written while the log is truncated holds what was true before: the truncation waits for it, and takes it back.
func TestTruncationBesideACheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, step := range []vfs.OpKind{vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpRename, vfs.OpSyncDir} {
			disk := vfs.NewMem()
			d, l := oldLog(t, disk)
			disk.SetFault(func(op vfs.Op) error {
				if op.Kind == step && (strings.HasPrefix(op.Name, "/d/"+recoveryPointFile) || op.Name == "/d") {
					time.Sleep(time.Second)
				}
				return nil
			})
			done := make(chan error, 1)
			go func() { done <- d.Checkpoint(context.Background()) }()
			time.Sleep(time.Second / 2)
			require.NoError(t, l.TruncateTo(20))
			require.NoError(t, <-done)
			for _, mode := range []vfs.CrashMode{vfs.KeepAll, vfs.DropAll} {
				d := openDir(t, disk.Clone().Crash(mode, nil), "/d")
				l, err := d.OpenLog("t", 0, TopicID{1}, oldConfig)
				require.NoError(t, err, "%v", step)
				require.Equal(t, int64(20), l.Offsets().LogEndOffset)
				d.Abandon()
			}
			d.Abandon()
		}
	})
}

// The epochs on disk may have forgotten what lies below a log start that was never made durable: it is read from the batches again.
func TestEpochsBelowALogStartThatIsLost(t *testing.T) {
	disk := vfs.NewMem()
	d, l := oldLog(t, disk)
	require.NoError(t, l.AdvanceLogStart(15))
	lost := 0
	for i, after := range crashBehind(t, disk, vfs.DropAll, func() error { return d.Checkpoint(context.Background()) }) {
		d := openDir(t, after, "/d")
		l, err := d.OpenLog("t", 0, TopicID{1}, oldConfig)
		require.NoError(t, err)
		start := l.Offsets().LogStartOffset
		if start == 0 {
			lost++
		}
		for o := start; o < 24; o++ {
			epoch, ok := l.EpochAt(o)
			require.Equal(t, []any{int32(1 + o/12), true}, []any{epoch, ok}, "offset %d, crash behind operation %d", o, i)
		}
		found, end, ok := l.EndOffsetForEpoch(1)
		require.Equal(t, []any{int32(1), max(start, 12), true}, []any{found, end, ok})
		d.Abandon()
	}
	require.NotZero(t, lost)
	d.Abandon()
}

// Once OpenLog has returned, the topic id stays over a power loss, also when the file was left by a life that ended before its name was durable.
func TestTopicIDOfALogThatWasLeftHalfMade(t *testing.T) {
	disk := vfs.NewMem()
	d := openDir(t, disk, "/d")
	for i, left := range crashBehind(t, disk, vfs.KeepAll, func() error {
		_, err := d.OpenLog("t", 0, TopicID{1}, Config{})
		return err
	}) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			d := openDir(t, left, "/d")
			_, err := d.OpenLog("t", 0, TopicID{1}, Config{})
			require.NoError(t, err)
			d = openDir(t, crash(left, d), "/d")
			list, err := d.Logs()
			require.NoError(t, err)
			assert.Equal(t, []LogEntry{{Topic: "t", TopicID: TopicID{1}}}, list)
			d.Abandon()
		})
	}
	d.Abandon()
}
