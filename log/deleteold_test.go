package log

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

var oldConfig = Config{SegmentBytes: 400, TimestampAfterMax: 1000 * time.Hour, ProducerIDExpiration: 1 << 62}

// oldLog is a log of 24 batches, the first of them by a producer that writes no more, in segments of a few each, under two leader epochs.
func oldLog(t *testing.T, fsys vfs.FS) (*Directory, *Log) {
	t.Helper()
	d := openDir(t, fsys, "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, oldConfig)
	require.NoError(t, err)
	for i := range 24 {
		b := batchOf(t, fmt.Sprint(i))
		if i == 0 {
			b = producerBatchOf(t, 9, 0, 0, 1, false)
		}
		_, err := l.Append(b, AppendOptions{Now: testTime, LeaderEpoch: int32(1 + i/12)})
		require.NoError(t, err)
	}
	_, err = l.Sync()
	require.NoError(t, err)
	l.SetHighWatermark(24)
	return d, l
}

// checkOld compares what is left of it with what was written.
func checkOld(t *testing.T, l *Log, start int64) {
	t.Helper()
	require.Equal(t, int64(24), l.Offsets().LogEndOffset)
	var want []string
	for o := start; o < 24; o++ {
		want = append(want, fmt.Sprintf("%d=%d", o, o))
	}
	require.Equal(t, want, values(t, l, start))
	if start >= 12 {
		found, end, ok := l.EndOffsetForEpoch(1)
		require.Equal(t, []any{int32(1), start, true}, []any{found, end, ok}, "an epoch that is forgotten ends where the log starts")
		_, ok = l.EpochAt(11)
		require.False(t, ok)
	}
	epoch, ok := l.EpochAt(23)
	require.Equal(t, []any{int32(2), true}, []any{epoch, ok})
	a, err := l.Append(producerBatchOf(t, 9, 0, 0, 1, false), AppendOptions{Now: testTime, LeaderEpoch: 2})
	require.NoError(t, err)
	require.True(t, a.Duplicate, "a producer is not forgotten with its batches")
}

func logFiles(t *testing.T, fsys vfs.FS, dir string) (names []string) {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if base, ok := strings.CutSuffix(e.Name(), ".log"); ok {
			names = append(names, strings.TrimLeft(base, "0"))
		}
	}
	return names
}

func TestDeleteOldSegments(t *testing.T) {
	fsys := vfs.NewMem()
	d, l := oldLog(t, fsys)
	segs := len(*l.segments.Load())
	require.Greater(t, segs, 4)
	n, err := l.DeleteOldSegments()
	require.NoError(t, err)
	require.Zero(t, n, "nothing lies below the log start")

	held, err := l.Read(1, 24, 1<<20, true)
	require.NoError(t, err)
	defer held.Release()
	require.NoError(t, l.AdvanceLogStart(15))
	n, err = l.DeleteOldSegments()
	require.NoError(t, err)
	first := (*l.segments.Load())[0].BaseOffset()
	assert.Len(t, *l.segments.Load(), segs-n)
	assert.LessOrEqual(t, first, int64(15))
	assert.Greater(t, (*l.segments.Load())[1].BaseOffset(), int64(15))
	assert.Len(t, logFiles(t, fsys, l.Dir()), segs-n)
	assert.GreaterOrEqual(t, l.mu.snapshots[0], first)
	_, err = held.Append(nil)
	assert.NoError(t, err, "a reader keeps what it has")
	_, err = l.Read(14, 24, 1<<20, true)
	_, out := errors.AsType[*OffsetOutOfRangeError](err)
	assert.True(t, out, "%v", err)
	checkOld(t, l, 15)
	n, err = l.DeleteOldSegments()
	require.NoError(t, err)
	require.Zero(t, n)

	// The active segment stays when all of it is below the start.
	require.NoError(t, l.AdvanceLogStart(24))
	_, err = l.DeleteOldSegments()
	require.NoError(t, err)
	assert.Len(t, *l.segments.Load(), 1)
	require.NoError(t, d.Close(1))

	d = openDir(t, fsys, "/d")
	l, err = d.OpenLog("t", 0, TopicID{1}, oldConfig)
	require.NoError(t, err)
	assert.Equal(t, Offsets{24, 24, 24, 24, 24}, l.Offsets())
	mustAppend(t, l, batchOf(t, "24"))
	assert.Equal(t, []string{"24=24"}, values(t, l, 24))
	require.NoError(t, d.Close(1))
	_, err = l.DeleteOldSegments()
	assert.ErrorIs(t, err, ErrClosed)
}

// The power fails, or an operation of the disk does, at every point of a deletion: what counts is there afterwards, and the next deletion goes on.
func TestDeleteOldSegmentsMayBeInterrupted(t *testing.T) {
	reopened := func(t *testing.T, disk *vfs.Mem) {
		d := openDir(t, disk, "/d")
		l, err := d.OpenLog("t", 0, TopicID{1}, oldConfig)
		require.NoError(t, err)
		require.LessOrEqual(t, l.Offsets().LogStartOffset, int64(15))
		l.SetHighWatermark(24)
		require.NoError(t, l.AdvanceLogStart(15))
		_, err = l.DeleteOldSegments()
		require.NoError(t, err)
		checkOld(t, l, 15)
		require.NoError(t, d.Close(1))
		d = openDir(t, disk, "/d")
		l, err = d.OpenLog("t", 0, TopicID{1}, oldConfig)
		require.NoError(t, err)
		require.Equal(t, int64(15), l.Offsets().LogStartOffset)
		checkOld(t, l, 15)
		require.NoError(t, d.Close(1))
	}
	disk := vfs.NewMem()
	d, l := oldLog(t, disk)
	require.NoError(t, l.AdvanceLogStart(15))
	all := logFiles(t, disk, l.Dir())
	ops := int64(0)
	disk.SetFault(func(vfs.Op) error {
		ops++
		return nil
	})
	_, err := l.DeleteOldSegments()
	require.NoError(t, err)
	require.Greater(t, ops, int64(20))
	d.Abandon()
	for i := int64(1); i <= ops; i++ {
		for _, mode := range []vfs.CrashMode{vfs.KeepAll, vfs.DropAll, vfs.KeepRandom} {
			disk := vfs.NewMem()
			d, l := oldLog(t, disk)
			require.NoError(t, l.AdvanceLogStart(15))
			var n int64
			var after *vfs.Mem
			disk.SetFault(func(vfs.Op) error {
				if n++; n == i {
					after = disk.Crash(mode, rand.New(rand.NewPCG(uint64(i), 1)))
				}
				return nil
			})
			_, err := l.DeleteOldSegments()
			require.Error(t, err)
			d.Abandon()
			left := logFiles(t, after, "/d/t-0")
			require.Equal(t, all[len(all)-len(left):], left, "no hole")
			for _, suffix := range []string{".snapshot", "-checkpoint"} {
				// Either proof that nothing is missing in front of what is left does.
				damaged := after.Clone()
				for _, dir := range []string{"/d", "/d/t-0"} {
					entries, err := damaged.ReadDir(dir)
					require.NoError(t, err)
					for _, e := range entries {
						if strings.HasSuffix(e.Name(), suffix) {
							require.NoError(t, damaged.Remove(dir+"/"+e.Name()))
						}
					}
				}
				d := openDir(t, damaged, "/d")
				l, err := d.OpenLog("t", 0, TopicID{1}, oldConfig)
				require.NoError(t, err)
				require.LessOrEqual(t, l.Offsets().LogStartOffset, int64(15))
				require.Equal(t, int64(24), l.Offsets().LogEndOffset)
				require.Len(t, values(t, l, 15), 9)
				d.Abandon()
			}
			reopened(t, after)
		}
		disk := vfs.NewMem()
		d, l := oldLog(t, disk)
		require.NoError(t, l.AdvanceLogStart(15))
		var n int64
		disk.SetFault(func(vfs.Op) error {
			if n++; n == i {
				return syscall.EIO
			}
			return nil
		})
		_, err := l.DeleteOldSegments()
		require.ErrorIs(t, err, syscall.EIO, "operation %d", i)
		require.Error(t, l.Err(), "the log takes no more")
		disk.SetFault(nil)
		after := disk.Crash(vfs.KeepAll, nil)
		d.Abandon()
		reopened(t, after)
	}
}

// The log start comes back after a clean stop, and after a crash as the last checkpoint says.
func TestLogStartSurvives(t *testing.T) {
	for _, end := range []string{"clean", "power loss", "power loss before the checkpoint"} {
		t.Run(end, func(t *testing.T) {
			disk := vfs.NewMem()
			d, l := oldLog(t, disk)
			require.NoError(t, l.AdvanceLogStart(15))
			want := int64(15)
			switch end {
			case "clean":
				require.NoError(t, d.Close(1))
			case "power loss":
				require.NoError(t, d.Checkpoint(context.Background()))
				disk = crash(disk, d)
			default:
				want = 0
				disk = crash(disk, d)
			}
			d = openDir(t, disk, "/d")
			l, err := d.OpenLog("t", 0, TopicID{1}, oldConfig)
			require.NoError(t, err)
			require.Equal(t, want, l.Offsets().LogStartOffset)
			if want > 0 {
				checkOld(t, l, want)
			}
			require.NoError(t, d.Close(1))
		})
	}
}

func crash(disk *vfs.Mem, d *Directory) *vfs.Mem {
	after := disk.Crash(vfs.DropAll, nil)
	d.Abandon()
	return after
}

// Readers, of every kind, and the writer go on beside deletions.
func TestDeleteOldSegmentsBesideOthers(t *testing.T) {
	d := openDir(t, vfs.NewMem(), "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, oldConfig)
	require.NoError(t, err)
	const batches = 1500
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for i := range batches {
			if _, err := l.Append(batchOf(t, fmt.Sprint(i)), AppendOptions{Now: testTime}); !assert.NoError(t, err) {
				return
			}
			if i%20 == 19 {
				end, err := l.Sync()
				assert.NoError(t, err)
				l.SetHighWatermark(end)
				assert.NoError(t, l.AdvanceLogStart(end-10))
			}
		}
	})
	loop := func(f func()) {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					f()
				}
			}
		})
	}
	loop(func() {
		_, err := l.DeleteOldSegments()
		assert.NoError(t, err)
	})
	loop(func() {
		o := l.Offsets()
		sl, err := l.Read(o.HighWatermark-1, o.HighWatermark, 100, true)
		if _, out := errors.AsType[*OffsetOutOfRangeError](err); out {
			return
		}
		assert.NoError(t, err)
		if sl.Len() > 0 {
			_, err = sl.Append(nil)
			assert.NoError(t, err)
			sl.Release()
		}
	})
	loop(func() {
		o := l.Offsets()
		to, byTime, err := l.OffsetForTime(0, o.HighWatermark)
		assert.NoError(t, err)
		assert.True(t, !byTime || to.Offset >= o.LogStartOffset)
		_, largest, err := l.MaxTimestamp(o.HighWatermark)
		assert.NoError(t, err)
		if l.Offsets().LogStartOffset < o.HighWatermark { // else all that was asked for may be gone
			assert.True(t, byTime)
			assert.True(t, largest)
		}
		_, err = l.AbortedTxns(nil, o.LogStartOffset, o.HighWatermark)
		assert.NoError(t, err)
	})
	wg.Wait()
	_, err = l.DeleteOldSegments()
	require.NoError(t, err)
	require.Less(t, len(*l.segments.Load()), 10)
	require.NoError(t, d.Close(1))
}
