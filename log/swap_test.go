package log

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// swapLog is a log in segments of a few batches each, with an aborted transaction in the run that swapRun names.
func swapLog(t *testing.T, fsys vfs.FS) (*Directory, *Log) {
	t.Helper()
	d := openDir(t, fsys, "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, oldConfig)
	require.NoError(t, err)
	for i := range 24 {
		b, origin := batchOf(t, fmt.Sprint(i)), FromClient
		switch i {
		case 9:
			b = producerBatchOf(t, 9, 0, 0, 1, true)
		case 11:
			b, origin = markerOf(t, 9, 0, 1, true), FromCoordinator
		}
		_, err := l.Append(b, AppendOptions{Now: testTime, LeaderEpoch: int32(1 + i/12), Origin: origin})
		require.NoError(t, err)
	}
	_, err = l.Sync()
	require.NoError(t, err)
	l.SetHighWatermark(24)
	require.GreaterOrEqual(t, len(*l.segments.Load()), 5)
	return d, l
}

// swapRun are the segments to replace: not the first, not the last two.
func swapRun(l *Log) []*segment.Segment {
	segs := *l.segments.Load()
	return segs[1 : len(segs)-2]
}

// thin builds the replacement: every second batch, and the one that ends the run.
func thin(t *testing.T, l *Log, old []*segment.Segment) (*segment.Segment, error) {
	t.Helper()
	built, err := l.createReplacement(old[0].BaseOffset())
	if err != nil {
		return nil, err
	}
	end := old[len(old)-1].EndOffset()
	var failed error
	for _, s := range old {
		err := s.Headers(s.BaseOffset(), s.EndOffset(), func(h record.Batch, pos, size int64) bool {
			if h.BaseOffset()%2 == 0 && h.NextOffset() != end {
				return true
			}
			b := make(record.Batch, size)
			if failed = s.ReadAt(b, pos); failed == nil {
				failed = built.Append(nil, b, segment.Ahead{})
			}
			if b.Control() && failed == nil {
				failed = built.AddAborted(segment.AbortedTxn{ProducerID: 9, FirstOffset: 9, LastOffset: 11, LastStableOffset: 12})
			}
			return failed == nil
		})
		if err := errors.Join(err, failed); err != nil {
			return nil, errors.Join(err, l.discardReplacement(built))
		}
	}
	return built, nil
}

func swapSome(t *testing.T, l *Log) error {
	t.Helper()
	old := swapRun(l)
	built, err := thin(t, l, old)
	if err != nil {
		return err
	}
	return l.replaceSegments(old, built, l.cuts.Load())
}

// checkSwap compares the log with what it held before the replacement, or after it; it tells which.
func checkSwap(t *testing.T, l *Log, from, to int64) (replaced bool) {
	t.Helper()
	require.Equal(t, int64(24), l.Offsets().LogEndOffset)
	var before, after []string
	for i := range int64(24) {
		v := fmt.Sprintf("%d=%d", i, i)
		switch i {
		case 9:
			v = "9=p9.0+0"
		case 11:
			continue
		}
		before = append(before, v)
		if i < from || i >= to || i%2 == 1 || i == to-1 {
			after = append(after, v)
		}
	}
	got := values(t, l, 0)
	replaced = len(got) < len(before)
	if replaced {
		require.Equal(t, after, got)
	} else {
		require.Equal(t, before, got)
	}
	aborted, err := l.AbortedTxns(nil, 0, 24)
	require.NoError(t, err)
	require.Equal(t, []AbortedTxn{{ProducerID: 9, FirstOffset: 9}}, aborted)
	ts, ok, err := l.OffsetForTime(testTime.UnixMilli(), 24)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, int64(0), ts.Offset)
	for i := range int64(24) {
		epoch, ok := l.EpochAt(i)
		require.Equal(t, []any{int32(1 + i/12), true}, []any{epoch, ok})
	}
	a, err := l.Append(producerBatchOf(t, 9, 0, 0, 1, true), AppendOptions{Now: testTime, LeaderEpoch: 2})
	require.NoError(t, err)
	require.True(t, a.Duplicate)
	require.Empty(t, halfDone(t, l.fs, l.Dir()))
	return replaced
}

func halfDone(t *testing.T, fsys vfs.FS, dir string) (names []string) {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), cleanedSuffix) || strings.HasSuffix(e.Name(), swapSuffix) {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestReplaceSegments(t *testing.T) {
	disks(t, func(t *testing.T, fsys vfs.FS, dir string) {
		d := openDir(t, fsys, dir)
		l, err := d.OpenLog("t", 0, TopicID{1}, oldConfig)
		require.NoError(t, err)
		for i := range 24 {
			mustAppend(t, l, batchOf(t, fmt.Sprint(i)))
		}
		old := swapRun(l)
		from, to := old[0].BaseOffset(), old[len(old)-1].EndOffset()
		before := values(t, l, 0)

		held, err := l.Read(from, 24, 1<<20, true)
		require.NoError(t, err)
		want, err := held.Append(nil)
		require.NoError(t, err)
		unopened := old[len(old)-1]
		require.True(t, unopened.Acquire())
		last, err := unopened.Read(unopened.BaseOffset(), to, 1<<20, true)
		require.NoError(t, err)

		built, err := thin(t, l, old)
		require.NoError(t, err)
		size := built.SizeBytes()
		require.NoError(t, l.replaceSegments(old, built, l.cuts.Load()))
		segs := *l.segments.Load()
		require.Equal(t, from, segs[1].BaseOffset())
		require.Equal(t, to, segs[1].EndOffset())
		require.Equal(t, size, segs[1].SizeBytes())
		require.Equal(t, to, segs[2].BaseOffset())
		require.Less(t, len(values(t, l, 0)), len(before))
		require.Equal(t, values(t, l, to), before[to:])

		got, err := held.Append(nil)
		require.NoError(t, err, "a reader keeps what it has")
		require.Equal(t, want, got)
		got, err = last.Append(nil)
		require.NoError(t, err)
		require.NotEmpty(t, got)
		held.Release()
		last.Release()
		require.NoError(t, unopened.Release())

		// What is no run any more, or was cut in between, is left alone.
		gone, err := l.createReplacement(old[0].BaseOffset())
		require.NoError(t, err)
		require.NoError(t, gone.Append(nil, stamped(t, to-1), segment.Ahead{}))
		require.ErrorIs(t, l.replaceSegments(old, gone, l.cuts.Load()), errSegmentsChanged)
		cuts := l.cuts.Load()
		run := (*l.segments.Load())[1:2]
		again, err := thin(t, l, run)
		require.NoError(t, err)
		require.NoError(t, l.TruncateTo(23))
		require.ErrorIs(t, l.replaceSegments(run, again, cuts), errSegmentsChanged)
		short, err := l.createReplacement(run[0].BaseOffset())
		require.NoError(t, err)
		require.Error(t, l.replaceSegments(run, short, l.cuts.Load()), "it does not reach the end")
		require.NoError(t, l.Err())
		require.Empty(t, halfDone(t, fsys, l.Dir()))
		kept := values(t, l, 0)
		require.NoError(t, d.Close(1))
		d = openDir(t, fsys, dir)
		l, err = d.OpenLog("t", 0, TopicID{1}, oldConfig)
		require.NoError(t, err)
		require.Equal(t, kept, values(t, l, 0))
		require.NoError(t, d.Close(1))
	})
}

// stamped is a batch at an offset.
func stamped(t *testing.T, offset int64) record.Batch {
	b := batchOf(t, "x")
	b.PutBaseOffset(offset)
	return b
}

// The power fails, or an operation of the disk does, at every point of a replacement, and then at every point of the recovery: the log is what it was, or what it was to become, and once it has become that it stays so.
func TestReplaceSegmentsMayBeInterrupted(t *testing.T) {
	disk := vfs.NewMem()
	d, l := swapLog(t, disk)
	run := swapRun(l)
	from, to := run[0].BaseOffset(), run[len(run)-1].EndOffset()
	require.Less(t, from, int64(9))
	require.Greater(t, to, int64(12))
	var ops, changes int64
	disk.SetFault(func(op vfs.Op) error {
		ops++
		if op.Kind.Changes() {
			changes++
		}
		return nil
	})
	require.NoError(t, swapSome(t, l))
	disk.SetFault(nil)
	require.True(t, checkSwap(t, l, from, to))
	d.Abandon()
	require.Greater(t, changes, int64(40))
	outcomes := map[bool]int{}
	for i := int64(1); i <= changes; i++ {
		for k, mode := range crashModes {
			if !sampled(i*int64(len(crashModes))+int64(k), 7) {
				continue
			}
			disk := vfs.NewMem()
			d, l := swapLog(t, disk)
			after := crashAt(disk, i, mode, k)
			require.Error(t, swapSome(t, l))
			d.Abandon()
			outcomes[recoverSwap(t, after.disk, from, to)]++
		}
	}
	require.Greater(t, outcomes[true], int(few(20, 4)))
	require.Greater(t, outcomes[false], int(few(20, 4)))
	for i := int64(1); i <= ops; i++ {
		if !sampled(i, 7) {
			continue
		}
		disk := vfs.NewMem()
		d, l := swapLog(t, disk)
		var n int64
		disk.SetFault(func(vfs.Op) error {
			if n++; n == i {
				return syscall.EIO
			}
			return nil
		})
		require.ErrorIs(t, swapSome(t, l), syscall.EIO, "operation %d", i)
		disk.SetFault(nil)
		after := disk.Crash(vfs.KeepAll, nil)
		d.Abandon()
		d, l = reopenSwap(t, after)
		checkSwap(t, l, from, to)
		d.Abandon()
	}
}

// crashModes are what a crash may leave; what is random is tried more than once.
var crashModes = []vfs.CrashMode{vfs.KeepAll, vfs.DropAll, vfs.KeepRandom, vfs.KeepRandom, vfs.KeepRandom}

// crashed is the disk's state at an operation, and whether the log's directory had been synced before it.
type crashed struct {
	disk   *vfs.Mem
	synced bool
}

// crashAt takes the disk's state at the n-th operation from now on that changes something.
func crashAt(disk *vfs.Mem, n int64, mode vfs.CrashMode, seed int) *crashed {
	c := &crashed{}
	var seen int64
	disk.SetFault(func(op vfs.Op) error {
		if !op.Kind.Changes() {
			return nil
		}
		if seen++; seen == n {
			c.disk = disk.Crash(mode, rand.New(rand.NewPCG(uint64(n), uint64(seed))))
		}
		c.synced = c.synced || seen < n && op.Kind == vfs.OpSyncDir && strings.HasSuffix(op.Name, "t-0")
		return nil
	})
	return c
}

func reopenSwap(t *testing.T, disk *vfs.Mem) (*Directory, *Log) {
	t.Helper()
	d := openDir(t, disk, "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, oldConfig)
	require.NoError(t, err)
	l.SetHighWatermark(24)
	return d, l
}

// recoverSwap opens what a crash has left, again and again, with another crash at each operation of that.
func recoverSwap(t *testing.T, disk *vfs.Mem, from, to int64) bool {
	t.Helper()
	d, l := reopenSwap(t, disk.Clone())
	replaced := checkSwap(t, l, from, to)
	d.Abandon()
	if len(halfDone(t, disk, "/d/t-0")) == 0 {
		return replaced // the rest of a recovery is the business of other tests
	}
	for j, done := int64(1), false; !done; j++ {
		for k, mode := range crashModes {
			again := disk.Clone()
			after := crashAt(again, j, mode, k)
			d, err := OpenDirectory("/d", DirectoryConfig{FS: again, NodeID: 1})
			if err == nil {
				_, err = d.OpenLog("t", 0, TopicID{1}, oldConfig)
				d.Abandon()
			}
			if done = after.disk == nil; done {
				require.NoError(t, err)
				break
			}
			d, l := reopenSwap(t, after.disk)
			now := checkSwap(t, l, from, to)
			d.Abandon()
			if after.synced {
				require.Equal(t, replaced, now, "operation %d of a recovery", j)
			}
		}
	}
	return replaced
}

// Readers of every kind and the writer go on beside replacements.
func TestReplaceSegmentsBesideOthers(t *testing.T) {
	d := openDir(t, vfs.NewMem(), "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, oldConfig)
	require.NoError(t, err)
	const batches = 600
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
		if len(*l.segments.Load()) > 6 {
			assert.NoError(t, swapSome(t, l))
		}
	})
	loop(func() {
		var next int64
		for {
			end := l.Offsets().LogEndOffset // not an older one: what lies just below that may be gone by now
			if next == end {
				break
			}
			sl, err := l.Read(next, end, 700, true)
			if !assert.NoError(t, err) || !assert.NotZero(t, sl.Len(), "at %d of %d", next, end) {
				return
			}
			b, err := sl.Append(nil)
			assert.NoError(t, err)
			sl.Release()
			for b, err := range record.Batches(b) {
				assert.NoError(t, err)
				assert.NoError(t, b.CheckCRC())
				assert.GreaterOrEqual(t, b.BaseOffset(), next)
				next = b.NextOffset()
			}
		}
	})
	loop(func() {
		end := l.Offsets().HighWatermark
		if end == 0 {
			return
		}
		_, ok, err := l.OffsetForTime(0, end)
		assert.NoError(t, err)
		assert.True(t, ok)
		_, ok, err = l.MaxTimestamp(end)
		assert.NoError(t, err)
		assert.True(t, ok)
		_, err = l.AbortedTxns(nil, 0, end)
		assert.NoError(t, err)
		_, err = l.Retain(Retention{Age: -1, Bytes: math.MaxInt64}, testTime)
		assert.NoError(t, err)
	})
	wg.Wait()
	require.NoError(t, d.Close(1))
}
