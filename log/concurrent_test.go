package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// TestConcurrentReadersBesideWriter lets readers, syncs, look-ups and checkpoints run beside one writer that appends, rolls and truncates
// what is above a high watermark. What is below it is the same at every read.
func TestConcurrentReadersBesideWriter(t *testing.T) {
	disks(t, func(t *testing.T, fsys vfs.FS, dir string) {
		d, err := OpenDirectory(dir, DirectoryConfig{FS: fsys, NodeID: 1})
		require.NoError(t, err)
		l, err := d.OpenLog("t", 0, TopicID{1}, Config{SegmentBytes: 4000, IndexIntervalBytes: 200})
		require.NoError(t, err)
		var stop atomic.Bool
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { readBelow(t, l, &stop) })
		}
		wg.Go(func() {
			for !stop.Load() {
				if _, err := l.Sync(); !assert.NoError(t, err) {
					return
				}
			}
		})
		wg.Go(func() {
			for !stop.Load() {
				o := l.Offsets()
				_, _, err := l.OffsetForTime(testTime.UnixMilli(), o.HighWatermark)
				assert.True(t, err == nil || errors.Is(err, ErrTruncated), "%v", err)
				l.EpochAt(o.LogStartOffset)
				l.Producers()
				assert.NoError(t, d.Checkpoint(context.Background()))
			}
		})
		for i := range 1500 {
			mustAppend(t, l, batchOf(t, fmt.Sprint("v", l.Offsets().LogEndOffset), "w"))
			switch {
			case i%37 == 36:
				end := l.Offsets().LogEndOffset
				require.NoError(t, l.TruncateTo(max(l.Offsets().HighWatermark, end-40)))
			case i%5 == 4:
				l.SetHighWatermark(l.Offsets().LogEndOffset - 20)
			}
		}
		stop.Store(true)
		wg.Wait()
		require.NoError(t, d.Close(1))
	})
}

// readBelow reads random runs below the high watermark, and at the tail, until stop.
func readBelow(t *testing.T, l *Log, stop *atomic.Bool) {
	var buf []byte
	for from := int64(0); !stop.Load(); {
		o := l.Offsets()
		if !assert.LessOrEqual(t, o.LogStartOffset, o.LastStableOffset) || !assert.LessOrEqual(t, o.LastStableOffset, o.HighWatermark) ||
			!assert.LessOrEqual(t, o.HighWatermark, o.LogEndOffset) || !assert.LessOrEqual(t, o.SyncedEndOffset, o.LogEndOffset) {
			return
		}
		sl, err := l.Read(from, o.HighWatermark, 3000, true)
		if !assert.NoError(t, err) {
			return
		}
		if sl.Len() == 0 {
			if !assert.GreaterOrEqual(t, from, o.HighWatermark-1) {
				return
			}
			from = 0
			continue
		}
		buf, err = sl.Append(buf[:0])
		sl.Release()
		if errors.Is(err, ErrTruncated) {
			continue // the segment was cut, above what was asked for
		}
		if !assert.NoError(t, err) || !checkRun(t, buf, &from, o.HighWatermark) {
			return
		}
	}
}

// checkRun checks that buf holds whole batches from the offset from on, each with the value that was written there.
func checkRun(t *testing.T, buf []byte, from *int64, end int64) bool {
	for b, err := range record.Batches(buf) {
		if !assert.NoError(t, err) || !assert.NoError(t, b.CheckCRC()) || !assert.Equal(t, *from, b.BaseOffset()) || !assert.LessOrEqual(t, b.NextOffset(), end) {
			return false
		}
		for r, err := range b.All() {
			if !assert.NoError(t, err) || !assert.Equal(t, fmt.Sprint("v", b.BaseOffset()), string(r.Value)) {
				return false
			}
			break
		}
		*from = b.NextOffset()
	}
	return true
}

// TestSyncIsShared lets many goroutines append and sync; each finds its batch synced, and there are fewer syncs than goroutines times rounds.
func TestSyncIsShared(t *testing.T) {
	m := vfs.NewMem()
	l, err := Open("/data/t-0", Config{FS: m})
	require.NoError(t, err)
	var owner sync.Mutex
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				owner.Lock()
				a, err := l.Append(batchOf(t, "x"), AppendOptions{Now: testTime})
				owner.Unlock()
				assert.NoError(t, err)
				synced, err := l.Sync()
				assert.NoError(t, err)
				assert.GreaterOrEqual(t, synced, a.EndOffset)
			}
		})
	}
	wg.Wait()
	require.NoError(t, l.Close())
}

// TestNoAllocations holds append, read and sync to no allocation in the steady state.
func TestNoAllocations(t *testing.T) {
	disks(t, func(t *testing.T, fsys vfs.FS, dir string) {
		l, err := Open(dir+"/t-0", Config{FS: fsys, WriteAhead: 1 << 20})
		require.NoError(t, err)
		defer l.Close()
		batch := sizedBatch(t, 2000)
		idempotent := producerBatchOf(t, 7, 0, 0, 3, false)
		sequence := int32(0)
		built := record.NewBuilder(record.BuilderConfig{})
		value := record.Record{Value: make([]byte, 300), Timestamp: testTime}
		replicated := batch.Clone()
		replicated.PutLeaderEpoch(0)
		buf := make([]byte, 0, 1<<20)
		step := func() {
			mustNot(t, appendErr(l, batch))
			built.Reset()
			built.Append(&value)
			_, err := l.AppendBuilt(built, AppendOptions{Now: testTime})
			mustNot(t, err)
			idempotent.PutProducer(7, 0, sequence)
			sequence += 3
			mustNot(t, appendErr(l, idempotent))
			replicated.PutBaseOffset(l.Offsets().LogEndOffset)
			_, err = l.AppendReplicated(replicated, 1)
			mustNot(t, err)
			end := l.Offsets().LogEndOffset
			sl, err := l.Read(end-5, end, 1<<20, true)
			mustNot(t, err)
			buf, err = sl.Append(buf[:0])
			mustNot(t, err)
			sl.Release()
			_, err = l.Sync()
			mustNot(t, err)
		}
		for range 50 {
			step()
		}
		n := testing.AllocsPerRun(200, step)
		if _, mem := fsys.(*vfs.Mem); mem {
			// What the memory disk itself allocates for blocks, less than one a step.
			assert.Less(t, n, 40.0)
			return
		}
		assert.Zero(t, n)
	})
}

func appendErr(l *Log, b record.Batch) error {
	_, err := l.Append(b, AppendOptions{Now: testTime})
	return err
}

func mustNot(t *testing.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}
