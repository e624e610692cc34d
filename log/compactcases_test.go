package log

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// caseConfig makes a segment of every two or three small batches.
var caseConfig = Config{SegmentBytes: 200, TimestampAfterMax: 1e6 * time.Hour, ProducerIDExpiration: 1 << 62, Compacted: true}

// described tells what is in a log: a line for every batch.
func described(t *testing.T, l *Log) string {
	t.Helper()
	var out strings.Builder
	for b, err := range record.Batches(raw(t, l, 0)) {
		require.NoError(t, err)
		fmt.Fprintf(&out, "%d-%d", b.BaseOffset(), b.LastOffset())
		if kind, ok := b.ControlType(); ok {
			fmt.Fprintf(&out, " %v", kind)
		}
		for r, err := range b.All() {
			require.NoError(t, err)
			if b.Control() {
				continue
			}
			value := string(r.Value)
			if r.Value == nil {
				value = "nil"
			}
			fmt.Fprintf(&out, " %d:%s=%s", r.Offset, r.Key, value)
		}
		if b.HasDeleteHorizon() {
			fmt.Fprintf(&out, " until +%v", time.UnixMilli(b.BaseTimestamp()).Sub(testTime))
		}
		if b.RecordCount() == 0 {
			out.WriteString(" empty")
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// appendCase appends a batch: "a=1 b=" where "b=" is a tombstone; in a transaction of producer id with id >= 0.
func appendCase(t *testing.T, l *Log, id int64, sequence int32, text string) {
	t.Helper()
	b := record.NewBuilder(record.BuilderConfig{Transactional: id >= 0})
	if id >= 0 {
		b.SetProducer(id, 0, sequence)
	}
	for _, field := range strings.Fields(text) {
		key, value, _ := strings.Cut(field, "=")
		r := record.Record{Key: []byte(key), Timestamp: testTime}
		if value != "" {
			r.Value = []byte(value)
		}
		b.Append(&r)
	}
	out, err := b.Build(nil)
	require.NoError(t, err)
	mustAppend(t, l, out)
}

func endCase(t *testing.T, l *Log, id int64, abort bool) {
	t.Helper()
	_, err := l.Append(markerOf(t, id, 0, 1, abort), AppendOptions{Now: testTime, Origin: FromCoordinator})
	require.NoError(t, err)
}

// pass commits and rolls what there is, and compacts it at testTime+at.
func pass(t *testing.T, l *Log, at time.Duration) Compaction {
	t.Helper()
	require.NoError(t, l.Roll())
	_, err := l.Sync()
	require.NoError(t, err)
	l.SetHighWatermark(l.Offsets().LogEndOffset)
	defer l.SetConfig(l.mu.config)
	wide(l)
	r, err := l.Compact(&Compactor{}, CompactionPolicy{DeleteRetention: time.Hour}, testTime.Add(at))
	require.NoError(t, err)
	return r
}

// wide lets a compaction make one segment of all.
func wide(l *Log) {
	c := l.mu.config
	c.SegmentBytes = 1 << 20
	l.SetConfig(c)
}

func caseLog(t *testing.T, fsys vfs.FS) (*Directory, *Log) {
	t.Helper()
	d := openDir(t, fsys, "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, caseConfig)
	require.NoError(t, err)
	return d, l
}

// A tombstone gets its horizon from the first pass that meets it, and goes with the first one behind that.
func TestCompactTombstones(t *testing.T) {
	d, l := caseLog(t, vfs.NewMem())
	defer d.Abandon()
	appendCase(t, l, -1, 0, "a=1 b=1 c=1")
	appendCase(t, l, -1, 0, "b= c=2")
	appendCase(t, l, -1, 0, "a=2")
	pass(t, l, 0)
	require.Equal(t, "3-4 3:b=nil 4:c=2 until +1h0m0s\n5-5 5:a=2\n", described(t, l))
	appendCase(t, l, -1, 0, "d=1")
	pass(t, l, 59*time.Minute)
	require.Equal(t, "3-4 3:b=nil 4:c=2 until +1h0m0s\n5-5 5:a=2\n6-6 6:d=1\n", described(t, l))
	appendCase(t, l, -1, 0, "e= e=1 f=")
	pass(t, l, time.Hour)
	require.Equal(t, "3-4 4:c=2 until +1h0m0s\n5-5 5:a=2\n6-6 6:d=1\n7-9 8:e=1 9:f=nil until +2h0m0s\n", described(t, l))
	// Times are the records', not the horizon's.
	to, ok, err := l.OffsetForTime(testTime.UnixMilli(), 10)
	require.NoError(t, err)
	require.Equal(t, []any{true, int64(4), testTime.UnixMilli()}, []any{ok, to.Offset, to.Timestamp})
	_, ok, err = l.OffsetForTime(testTime.UnixMilli()+1, 10)
	require.NoError(t, err)
	require.False(t, ok)
}

// A marker goes an hour after the first pass that finds none of its transaction's batches; what it aborted goes at once.
func TestCompactMarkers(t *testing.T) {
	d, l := caseLog(t, vfs.NewMem())
	defer d.Abandon()
	appendCase(t, l, 1, 0, "a=1")
	appendCase(t, l, 2, 0, "b=1")
	endCase(t, l, 1, true)  // 2
	endCase(t, l, 2, false) // 3
	appendCase(t, l, -1, 0, "b=2")
	for id := range int64(2) { // other batches, so that those above are not needed to know the producers
		for i := range int32(5) {
			appendCase(t, l, id+1, i+1, fmt.Sprintf("x%d=%d", id, i))
			endCase(t, l, id+1, false)
		}
	}
	tail := func() string {
		_, text, _ := strings.Cut(described(t, l), "4-4")
		head, _, _ := strings.Cut(described(t, l), "5-5")
		require.NotEmpty(t, text)
		return head
	}
	pass(t, l, 0)
	require.Equal(t, "2-2 abort\n3-3 commit\n4-4 4:b=2\n", tail())
	aborted, err := l.AbortedTxns(nil, 0, 5)
	require.NoError(t, err)
	require.Equal(t, []AbortedTxn{{1, 0}}, aborted)
	appendCase(t, l, -1, 0, "z=1")
	pass(t, l, time.Minute)
	require.Equal(t, "2-2 abort until +1h1m0s\n3-3 commit until +1h1m0s\n4-4 4:b=2\n", tail())
	aborted, err = l.AbortedTxns(nil, 0, 5)
	require.NoError(t, err)
	require.Empty(t, aborted, "nothing is left of it")
	appendCase(t, l, -1, 0, "z=2")
	pass(t, l, time.Hour)
	require.Equal(t, "2-2 abort until +1h1m0s\n3-3 commit until +1h1m0s\n4-4 4:b=2\n", tail())
	appendCase(t, l, -1, 0, "z=3")
	pass(t, l, 61*time.Minute)
	require.Equal(t, "4-4 4:b=2\n", tail())
	require.NotContains(t, described(t, l), "abort")
}

// What a log is not done with is left alone: an open transaction, what is not committed, what is young.
func TestCompactBounds(t *testing.T) {
	d, l := caseLog(t, vfs.NewMem())
	defer d.Abandon()
	for i := range 6 {
		appendCase(t, l, -1, 0, fmt.Sprintf("a=%d b=%d", i, i))
	}
	require.NoError(t, l.Roll())
	all := described(t, l)
	p := CompactionPolicy{MinDirtyRatio: 0.5}
	c, err := l.Cleanable(p, testTime)
	require.NoError(t, err)
	require.Equal(t, Cleanable{}, c, "nothing is committed")
	_, err = l.Compact(&Compactor{}, p, testTime)
	require.NoError(t, err)
	require.Equal(t, all, described(t, l))
	l.SetHighWatermark(7)
	_, err = l.Sync()
	require.NoError(t, err)
	c, err = l.Cleanable(p, testTime)
	require.NoError(t, err)
	require.Equal(t, int64(4), c.FirstUncleanable)
	require.Positive(t, c.DirtyBytes)
	require.InDelta(t, 1, c.Ratio(), 0)
	require.True(t, c.Due(p))
	l.SetHighWatermark(12)
	p.MinLag = time.Hour
	c, err = l.Cleanable(p, testTime.Add(time.Minute))
	require.NoError(t, err)
	require.Zero(t, c.FirstUncleanable, "too young")
	p = CompactionPolicy{MinDirtyRatio: 0.9, MaxLag: time.Hour}
	wide(l)
	r, err := l.Compact(&Compactor{}, p, testTime)
	require.NoError(t, err)
	require.Equal(t, int64(12), r.EndOffset)
	require.Equal(t, "10-11 10:a=5 11:b=5\n", described(t, l))
	appendCase(t, l, -1, 0, "a=6")
	appendCase(t, l, 1, 0, "a=7")
	require.NoError(t, l.Roll())
	_, err = l.Sync()
	require.NoError(t, err)
	l.SetHighWatermark(14)
	c, err = l.Cleanable(p, testTime)
	require.NoError(t, err)
	require.Equal(t, []any{int64(12), int64(12)}, []any{c.FirstDirty, c.FirstUncleanable}, "a transaction is open")
	endCase(t, l, 1, true)
	require.NoError(t, l.Roll())
	_, err = l.Sync()
	require.NoError(t, err)
	l.SetHighWatermark(15)
	c, err = l.Cleanable(p, testTime)
	require.NoError(t, err)
	require.False(t, c.Due(p))
	c, err = l.Cleanable(p, testTime.Add(2*time.Hour))
	require.NoError(t, err)
	require.True(t, c.Overdue)
	require.True(t, c.Due(p))
}

// The checkpoint survives, and falls with what is cut.
func TestCompactCheckpoint(t *testing.T) {
	disk := vfs.NewMem()
	d, l := caseLog(t, disk)
	for i := range 6 {
		appendCase(t, l, -1, 0, fmt.Sprintf("a=%d b=%d", i, i))
	}
	pass(t, l, 0)
	disk = crash(disk, d)
	stored := func() map[partitionKey]int64 {
		m, damaged, err := readOffsetCheckpoint(disk, "/d/cleaner-offset-checkpoint")
		require.NoError(t, err)
		require.NoError(t, damaged)
		return m
	}
	require.Equal(t, map[partitionKey]int64{{"t", 0}: 12}, stored())
	d, l = caseLog(t, disk)
	l.SetHighWatermark(12)
	c, err := l.Cleanable(CompactionPolicy{}, testTime)
	require.NoError(t, err)
	require.Equal(t, int64(12), c.FirstDirty)
	require.NoError(t, l.TruncateTo(10))
	disk = crash(disk, d)
	require.Equal(t, map[partitionKey]int64{{"t", 0}: 0}, stored(), "the batch that holds 10 is the only one")
	// A damaged one costs work, and nothing else.
	require.NoError(t, disk.Corrupt("/d/cleaner-offset-checkpoint", 0, 1))
	d, l = caseLog(t, disk)
	require.Zero(t, l.home.cleaned(l.key))
	require.NoError(t, d.Close(1))
}

// Damage stops a pass, which says where it is and leaves it as it is.
func TestCompactDamage(t *testing.T) {
	disk := vfs.NewMem()
	d, l := caseLog(t, disk)
	defer d.Abandon()
	for i := range 6 {
		appendCase(t, l, -1, 0, fmt.Sprintf("a=%d b=%d", i, i))
	}
	require.NoError(t, l.Roll())
	_, err := l.Sync()
	require.NoError(t, err)
	l.SetHighWatermark(12)
	s := (*l.segments.Load())[1]
	require.NoError(t, disk.Corrupt(s.Path(), 70, 1))
	_, err = l.Compact(&Compactor{}, CompactionPolicy{}, testTime)
	bad, ok := errors.AsType[*CorruptError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, s.Path(), bad.Path)
	require.NoError(t, l.Err())
	require.Len(t, *l.segments.Load(), 4)
	require.Empty(t, halfDone(t, disk, l.Dir()))
	require.Zero(t, l.home.cleaned(l.key))
}

// An abort that the transaction index does not know of would let records count that never did.
func TestCompactWithoutTransactionIndex(t *testing.T) {
	for _, begin := range []string{"dirty", "clean"} {
		disk := vfs.NewMem()
		d, l := caseLog(t, disk)
		appendCase(t, l, -1, 0, "a=1")
		appendCase(t, l, 1, 0, "a=2")
		endCase(t, l, 1, true)
		require.NoError(t, l.Roll())
		appendCase(t, l, -1, 0, "b=1")
		require.NoError(t, l.Roll())
		require.NoError(t, d.Close(1))
		for base := range 3 {
			if err := disk.Remove(fmt.Sprintf("/d/t-0/%020d.txnindex", base)); err == nil {
				break
			}
		}
		d, l = caseLog(t, disk)
		l.SetHighWatermark(4)
		if begin == "clean" {
			l.home.noteCleaned(l.key, 3)
		}
		before := described(t, l)
		_, err := l.Compact(&Compactor{}, CompactionPolicy{}, testTime)
		require.ErrorIs(t, err, errNoAbortEntry, begin)
		_, ok := errors.AsType[*CorruptError](err)
		require.True(t, ok)
		require.Equal(t, before, described(t, l))
		d.Abandon()
	}
}

// A pass that waits, for minutes if it must, does not hold up a Close, and ends with the error of who paces it.
func TestCompactPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := caseLog(t, vfs.NewMem())
		for i := range 6 {
			appendCase(t, l, -1, 0, fmt.Sprintf("a=%d b=%d", i, i))
		}
		require.NoError(t, l.Roll())
		_, err := l.Sync()
		require.NoError(t, err)
		l.SetHighWatermark(12)
		stop := errors.New("stop")
		began := time.Now()
		asked := 0
		_, err = l.Compact(&Compactor{Pace: func(int) (time.Duration, error) {
			if asked++; asked == 20 {
				return 0, stop
			}
			return time.Minute, nil
		}}, CompactionPolicy{}, testTime)
		require.ErrorIs(t, err, stop)
		require.Equal(t, 1900*time.Millisecond, time.Since(began))
		ended := make(chan error)
		go func() {
			_, err := l.Compact(&Compactor{Pace: func(int) (time.Duration, error) { return time.Hour, nil }}, CompactionPolicy{}, testTime)
			ended <- err
		}()
		synctest.Wait()
		began = time.Now()
		require.NoError(t, d.Close(1))
		require.Less(t, time.Since(began), time.Second)
		require.ErrorIs(t, <-ended, ErrClosed)
	})
}

// The power fails, or an operation of the disk does, at every point of a pass: the view stays, and a later pass comes to the same end.
func TestCompactMayBeInterrupted(t *testing.T) {
	fill := func(t *testing.T, disk *vfs.Mem) (*Directory, *Log) {
		d, l := caseLog(t, disk)
		appendCase(t, l, 7, 0, "a=0 b=0")
		endCase(t, l, 7, true)
		for i := range 8 {
			appendCase(t, l, -1, 0, fmt.Sprintf("a=%d b=%d c%d=1", i, i, i))
		}
		appendCase(t, l, -1, 0, "c1= c2=")
		require.NoError(t, l.Roll())
		_, err := l.Sync()
		require.NoError(t, err)
		l.SetHighWatermark(l.Offsets().LogEndOffset)
		return d, l
	}
	run := func(l *Log) error {
		_, err := l.Compact(&Compactor{ReadBytes: 100}, CompactionPolicy{DeleteRetention: time.Hour}, testTime)
		return err
	}
	written := map[int64]string{0: "a=0", 1: "b=0", 27: "c1", 28: "c2"}
	for i := range int64(8) {
		written[3+i*3], written[4+i*3], written[5+i*3] = fmt.Sprintf("a=%d", i), fmt.Sprintf("b=%d", i), fmt.Sprintf("c%d=1", i)
	}
	want := map[string]string{"a": "7", "b": "7", "c0": "1", "c3": "1", "c4": "1", "c5": "1", "c6": "1", "c7": "1"}
	disk := vfs.NewMem()
	d, l := fill(t, disk)
	var ops int64
	disk.SetFault(func(vfs.Op) error {
		ops++
		return nil
	})
	require.NoError(t, run(l))
	disk.SetFault(nil)
	require.Equal(t, want, view(t, l, 29, written))
	final := described(t, l)
	d.Abandon()
	require.Greater(t, ops, int64(100))
	reopen := func(t *testing.T, disk *vfs.Mem) {
		d, l := caseLog(t, disk)
		l.SetHighWatermark(29)
		require.Equal(t, int64(29), l.Offsets().LogEndOffset)
		require.Equal(t, want, view(t, l, 29, written))
		require.NoError(t, run(l))
		require.Equal(t, final, described(t, l))
		a, err := l.Append(producerBatchOf(t, 7, 0, 0, 2, true), AppendOptions{Now: testTime})
		require.NoError(t, err)
		require.True(t, a.Duplicate)
		d.Abandon()
	}
	for i := int64(1); i <= ops; i++ {
		for k, mode := range crashModes[:4] {
			if !sampled(i*4+int64(k), 7) {
				continue
			}
			disk := vfs.NewMem()
			d, l := fill(t, disk)
			var n int64
			var after *vfs.Mem
			disk.SetFault(func(vfs.Op) error {
				if n++; n == i {
					after = disk.Crash(mode, rand.New(rand.NewPCG(uint64(i), uint64(k))))
				}
				return nil
			})
			require.Error(t, run(l), "operation %d", i)
			d.Abandon()
			reopen(t, after)
		}
		if !sampled(i, 7) {
			continue
		}
		disk := vfs.NewMem()
		d, l := fill(t, disk)
		var n int64
		disk.SetFault(func(vfs.Op) error {
			if n++; n == i {
				return syscall.EIO
			}
			return nil
		})
		require.ErrorIs(t, run(l), syscall.EIO, "operation %d", i)
		disk.SetFault(nil)
		require.Equal(t, want, view(t, l, 29, written), "it can still be read")
		if l.Err() == nil {
			require.NoError(t, run(l))
			require.Equal(t, final, described(t, l))
		}
		after := disk.Crash(vfs.KeepAll, nil)
		d.Abandon()
		reopen(t, after)
	}
}

// Readers, the writer and truncations go on beside a cleaner that never rests.
func TestCompactBesideOthers(t *testing.T) {
	d := openDir(t, vfs.NewMem(), "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, oldConfig)
	require.NoError(t, err)
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for i := range 800 {
			b := record.NewBuilder(record.BuilderConfig{})
			for k := range 3 {
				b.Append(&record.Record{Key: fmt.Appendf(nil, "k%d", (i*k)%10), Value: fmt.Append(nil, i), Timestamp: testTime})
			}
			out, err := b.Build(nil)
			assert.NoError(t, err)
			if _, err := l.Append(out, AppendOptions{Now: testTime}); !assert.NoError(t, err) {
				return
			}
			if i%20 == 19 {
				end, err := l.Sync()
				assert.NoError(t, err)
				l.SetHighWatermark(end - 6)
			}
			if i%100 == 99 {
				assert.NoError(t, l.TruncateTo(l.Offsets().LogEndOffset-3))
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
	var c Compactor
	loop(func() {
		_, err := l.Compact(&c, CompactionPolicy{}, testTime)
		assert.NoError(t, err)
		_, err = l.Cleanable(CompactionPolicy{MinLag: time.Hour, MaxLag: time.Hour}, testTime)
		assert.NoError(t, err)
	})
	loop(func() {
		for next := int64(0); ; {
			end := l.Offsets().HighWatermark
			if next >= end {
				return
			}
			sl, err := l.Read(next, end, 700, true)
			if !assert.NoError(t, err) || !assert.NotZero(t, sl.Len()) {
				return
			}
			data, err := sl.Append(nil)
			assert.NoError(t, err)
			sl.Release()
			for b, err := range record.Batches(data) {
				assert.NoError(t, err)
				assert.NoError(t, b.CheckCRC())
				assert.GreaterOrEqual(t, b.LastOffset(), next)
				next = b.NextOffset()
			}
		}
	})
	loop(func() {
		end := l.Offsets().HighWatermark
		_, _, err := l.OffsetForTime(0, end)
		assert.NoError(t, err)
		_, _, err = l.MaxTimestamp(end)
		assert.NoError(t, err)
	})
	wg.Wait()
	l.SetHighWatermark(math.MaxInt64)
	require.NoError(t, l.Roll())
	_, err = l.Sync()
	require.NoError(t, err)
	_, err = l.Compact(&c, CompactionPolicy{}, testTime)
	require.NoError(t, err)
	require.Len(t, values(t, l, 0), 10)
	require.NoError(t, d.Close(1))
}

// A batch without records still has a timestamp, which is no record's.
func TestMaxTimestampOfEmptiedBatches(t *testing.T) {
	d, l := caseLog(t, vfs.NewMem())
	defer d.Abandon()
	at := func(key string, after time.Duration) {
		b := record.NewBuilder(record.BuilderConfig{})
		b.Append(&record.Record{Key: []byte(key), Value: []byte("v"), Timestamp: testTime.Add(after)})
		out, err := b.Build(nil)
		require.NoError(t, err)
		mustAppend(t, l, out)
	}
	at("a", 2*time.Second)
	at("b", time.Second)
	at("c", time.Hour)
	require.NoError(t, l.Roll())
	at("c", 0)
	require.NoError(t, l.Roll())
	c := l.mu.config
	c.SegmentBytes = 100
	l.SetConfig(c)
	_, err := l.Sync() // no pass of this test makes one segment of two: the first ends with an empty batch
	require.NoError(t, err)
	l.SetHighWatermark(4)
	_, err = l.Compact(&Compactor{}, CompactionPolicy{}, testTime)
	require.NoError(t, err)
	require.Contains(t, described(t, l), "2-2 empty")
	to, ok, err := l.MaxTimestamp(4)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, int64(0), to.Offset)
}

func TestOffsetMap(t *testing.T) {
	var m offsetMap
	for _, load := range []float64{0.9, 1} {
		m.reset(1000, 24*100, load)
		put := 0
		for i := range 1000 {
			if m.put(fmt.Appendf(nil, "%d", i), int64(i)) {
				put++
			}
		}
		require.InDelta(t, 100*load, put, 2)
		for i := range 1000 {
			want := int64(-1)
			if i < put {
				want = int64(i)
			}
			require.Equal(t, want, m.get(fmt.Appendf(nil, "%d", i)))
		}
		require.True(t, m.put([]byte("5"), 5000), "a key that is there needs no room")
		require.Equal(t, int64(5000), m.get([]byte("5")))
	}
	m.reset(0, 0, 0.9)
	require.True(t, m.put([]byte("a"), 0))
	require.False(t, m.put([]byte("b"), 1))
	require.Equal(t, int64(-1), m.get([]byte("b")))
}

// Reports the speed in bytes of the log that a pass goes through, with half of its records superseded.
func BenchmarkCompact(b *testing.B) {
	for _, codec := range []record.Codec{record.None, record.LZ4, record.Zstd} {
		b.Run(fmt.Sprintf("codec=%v", codec), func(b *testing.B) { benchmarkCompact(b, codec) })
	}
}

func benchmarkCompact(b *testing.B, codec record.Codec) {
	const batches, perBatch = 2000, 100
	disk := vfs.NewMem()
	d := openDir(b, disk, "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{SegmentBytes: 4 << 20, TimestampAfterMax: 1e6 * time.Hour, WriteAhead: -1})
	require.NoError(b, err)
	builder := record.NewBuilder(record.BuilderConfig{Codec: codec})
	value := make([]byte, 80)
	for i := range batches {
		builder.Reset()
		for k := range perBatch {
			n := i*perBatch + k
			builder.Append(&record.Record{Key: fmt.Appendf(nil, "key-%08d", n%(batches*perBatch/2)), Value: fmt.Appendf(value[:0], "%080d", n), Timestamp: testTime})
		}
		out, err := builder.Build(nil)
		require.NoError(b, err)
		mustAppend(b, l, out)
	}
	require.NoError(b, l.Roll())
	_, err = l.Sync()
	require.NoError(b, err)
	l.SetHighWatermark(batches * perBatch)
	require.NoError(b, d.Close(1))
	b.SetBytes(l.SizeBytes())
	var c Compactor
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		d := openDir(b, disk.Clone(), "/d")
		l, err := d.OpenLog("t", 0, TopicID{1}, Config{SegmentBytes: 4 << 20})
		require.NoError(b, err)
		b.StartTimer()
		r, err := l.Compact(&c, CompactionPolicy{}, testTime)
		require.NoError(b, err)
		b.StopTimer()
		require.Equal(b, int64(batches*perBatch/2), r.RecordsKept)
		d.Abandon()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(batches*perBatch), "ns/record")
}

// A truncation to an offset inside a batch takes the whole batch; a crash right after it must not take the log for one that lost what was synced.
func TestTruncateInsideBatchThenCrash(t *testing.T) {
	disk := vfs.NewMem()
	d, l := caseLog(t, disk)
	appendCase(t, l, -1, 0, "a=1 b=1")
	appendCase(t, l, -1, 0, "a=2 b=2 c=2")
	_, err := l.Sync()
	require.NoError(t, err)
	require.NoError(t, d.Checkpoint(context.Background()))
	require.NoError(t, l.TruncateTo(4))
	require.Equal(t, int64(2), l.Offsets().LogEndOffset)
	disk = crash(disk, d)
	d, l = caseLog(t, disk)
	require.Equal(t, int64(2), l.Offsets().LogEndOffset)
	d.Abandon()
}

// A new segment is synced as it grows: no more than a part of it waits for the disk at a time, and everybody else's syncs with it.
func TestCompactionSyncsInParts(t *testing.T) {
	disk := vfs.NewMem()
	d := openDir(t, disk, "/d")
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{SegmentBytes: 16 << 20, TimestampAfterMax: 1e6 * time.Hour, WriteAhead: -1})
	require.NoError(t, err)
	const records = 28 << 10
	value := make([]byte, 1<<10)
	builder := record.NewBuilder(record.BuilderConfig{})
	for i := range records {
		builder.Append(&record.Record{Key: fmt.Appendf(nil, "key-%d", i*(i%2)), Value: value, Timestamp: testTime}) // every second one stays
		if i%64 == 63 {
			_, err := l.AppendBuilt(builder, AppendOptions{Now: testTime})
			require.NoError(t, err)
			builder.Reset()
		}
	}
	require.NoError(t, l.Roll())
	_, err = l.Sync()
	require.NoError(t, err)
	l.SetHighWatermark(l.Offsets().LogEndOffset)
	var waits, most, syncs int64
	disk.SetFault(func(op vfs.Op) error {
		switch {
		case !strings.HasSuffix(op.Name, ".log.cleaned"):
		case op.Kind == vfs.OpWrite:
			waits += op.Len
			most = max(most, waits)
		case op.Kind == vfs.OpSync:
			waits, syncs = 0, syncs+1
		}
		return nil
	})
	r, err := l.Compact(&Compactor{ReadBytes: 64 << 10}, CompactionPolicy{}, testTime)
	require.NoError(t, err)
	require.Greater(t, r.WrittenBytes, int64(8<<20))
	require.Greater(t, syncs, int64(2))
	require.Less(t, most, int64(replacementSyncBytes+256<<10))
	require.NoError(t, d.Close(1))
}
