package log

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// markerOf builds an end-transaction marker as a coordinator sends it.
func markerOf(tb testing.TB, id int64, epoch int16, coordinatorEpoch int32, abort bool) record.Batch {
	tb.Helper()
	key := []byte{0, 0, 0, 1}
	if abort {
		key[3] = 0
	}
	value := binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(coordinatorEpoch))
	b := record.NewBuilder(record.BuilderConfig{Transactional: true})
	b.Append(&record.Record{Key: key, Value: value, Timestamp: testTime})
	out, err := b.Build(nil)
	require.NoError(tb, err)
	m := record.Batch(out)
	binary.BigEndian.PutUint16(m[21:], uint16(m.Attributes()|1<<5))
	m.PutProducer(id, epoch, -1)
	require.Len(tb, m, 78)
	return m
}

// life is a random workload on one log of a directory, with a model of what must be in it.
type life struct {
	t   *testing.T
	rng *rand.Rand
	// checks is a generator of its own, so that more checks do not make another workload.
	checks *rand.Rand
	d      *Directory
	l      *Log

	config  Config
	batches []record.Batch // as stored
	end     int64          // of the log
	synced  int64          // acknowledged as durable
	floor   int64          // an operation that was under way may have cut the log down to here
	flight  record.Batch   // an append that was under way
	epoch   int32

	openMax  int  // of DirectoryConfig
	blind    bool // steps do not look at what they have done
	sequence map[int64]int32
	inTxn    map[int64]bool
	now      time.Time
}

func newLife(t *testing.T, seed uint64) *life {
	rng := rand.New(rand.NewPCG(seed, 1))
	f := &life{t: t, rng: rng, checks: rand.New(rand.NewPCG(seed, 2)), floor: math.MaxInt64, sequence: map[int64]int32{}, inTxn: map[int64]bool{}, now: testTime}
	f.config = Config{
		SegmentBytes:       int32(1600 + rng.IntN(6000)),
		IndexIntervalBytes: int32(1 + rng.IntN(400)),
		SegmentIndexBytes:  int32(64 + rng.IntN(4000)),
		WriteAhead:         [...]int32{-1, 512, 4096}[rng.IntN(3)],
		TimestampAfterMax:  1000 * time.Hour,
		// Producers of the test's age must not expire.
		ProducerIDExpiration: 1 << 62,
	}
	return f
}

func (f *life) open(fsys vfs.FS) error {
	var err error
	if f.d, err = OpenDirectory("/data", DirectoryConfig{FS: fsys, NodeID: 1, MaxOpenSegments: f.openMax}); err != nil {
		return err
	}
	f.l, err = f.d.OpenLog("t", 0, TopicID{1}, f.config)
	if err != nil {
		f.d.Abandon()
	}
	return err
}

// step does something, and brings the model up to date before and after it, so that a crash in between is allowed either outcome.
func (f *life) step() error {
	switch n := f.rng.IntN(100); {
	case n < 60:
		return f.append()
	case n < 80:
		synced, err := f.l.Sync()
		if err == nil {
			f.synced = max(f.synced, synced)
		}
		return err
	case n < 84:
		return f.d.Checkpoint(context.Background())
	case n < 88:
		return f.truncate()
	case n < 91:
		f.epoch++
		return f.l.StartEpoch(f.epoch)
	case n < 94:
		f.l.SetHighWatermark(f.end - f.rng.Int64N(5))
		return nil
	case n < 97:
		return f.replicate()
	default:
		if err := f.d.Close(7); err != nil {
			return err
		}
		f.synced = f.end
		if err := f.open(f.d.fs); err != nil {
			return err
		}
		require.Equal(f.t, f.end, f.l.Offsets().LogEndOffset)
		if !f.blind {
			f.verifyDerived()
		}
		return nil
	}
}

// next builds a batch that a producer may send now.
func (f *life) next() (record.Batch, Origin) {
	f.now = f.now.Add(time.Duration(f.rng.IntN(10)-2) * time.Millisecond)
	id := int64(f.rng.IntN(8)) - 3
	if f.inTxn[id] && f.rng.IntN(3) == 0 {
		return markerOf(f.t, id, 0, 1, f.rng.IntN(2) == 0), FromCoordinator
	}
	txn := id >= 0 && (f.inTxn[id] || f.rng.IntN(4) == 0)
	b := record.NewBuilder(record.BuilderConfig{Transactional: txn})
	if id >= 0 {
		b.SetProducer(id, 0, f.sequence[id])
	}
	for range 1 + f.rng.IntN(4) {
		v := make([]byte, f.rng.IntN(300))
		for i := range v {
			v[i] = byte(f.rng.IntN(256))
		}
		b.Append(&record.Record{Value: v, Timestamp: f.now.Add(time.Duration(f.rng.IntN(4)) * time.Millisecond)})
	}
	out, err := b.Build(nil)
	require.NoError(f.t, err)
	return out, FromClient
}

// stored is b as the log has to keep it.
func (f *life) stored(b record.Batch) record.Batch {
	s := b.Clone()
	s.PutBaseOffset(f.end)
	s.PutLeaderEpoch(f.epoch)
	return s
}

func (f *life) append() error {
	b, origin := f.next()
	f.flight = f.stored(b)
	a, err := f.l.Append(b, AppendOptions{LeaderEpoch: f.epoch, Now: f.now, Origin: origin})
	if err != nil {
		return err
	}
	require.Equal(f.t, f.end, a.BaseOffset)
	f.took(f.flight)
	return nil
}

// took moves a batch that has been appended into the model.
func (f *life) took(s record.Batch) {
	f.batches = append(f.batches, s)
	f.end = s.NextOffset()
	f.flight = nil
	switch id := s.ProducerID(); {
	case s.Control():
		f.inTxn[id] = false
	case id >= 0:
		f.sequence[id] = s.LastSequence() + 1
		f.inTxn[id] = s.Transactional()
	}
}

func (f *life) replicate() error {
	b, _ := f.next()
	f.flight = f.stored(b)
	_, err := f.l.AppendReplicated(f.flight, f.epoch)
	if err == nil {
		f.took(f.flight)
	}
	return err
}

func (f *life) truncate() error {
	if len(f.batches) == 0 {
		return nil
	}
	at := f.batches[max(0, len(f.batches)-1-f.rng.IntN(6))].BaseOffset()
	f.floor = at
	if err := f.l.TruncateTo(at); err != nil {
		return err
	}
	f.cut(at)
	f.floor = math.MaxInt64
	if !f.blind {
		f.verifyDerived()
	}
	return nil
}

// cut removes everything from at on from the model.
func (f *life) cut(at int64) {
	for len(f.batches) > 0 && f.batches[len(f.batches)-1].BaseOffset() >= at {
		f.batches = f.batches[:len(f.batches)-1]
	}
	f.end = 0
	if n := len(f.batches); n > 0 {
		f.end = f.batches[n-1].NextOffset()
	}
	f.synced = min(f.synced, f.end)
	f.relearn()
}

// relearn makes the producers' positions anew from the model's batches.
func (f *life) relearn() {
	clear(f.sequence)
	clear(f.inTxn)
	all := f.batches
	f.batches, f.end = nil, 0
	for _, s := range all {
		f.took(s)
	}
}

// verify compares the log, just opened after a crash, with the model, and lets the model be what was recovered.
func (f *life) verify() {
	t := f.t
	o := f.l.Offsets()
	got := raw(t, f.l, o.LogStartOffset)
	written := f.batches
	if f.flight != nil {
		written = append(written[:len(written):len(written)], f.flight)
	}
	n := 0
	for b, err := range record.Batches(got) {
		require.NoError(t, err)
		require.Less(t, n, len(written), "offset %d was never written", b.BaseOffset())
		require.Equal(t, []byte(written[n]), []byte(b), "batch at offset %d", b.BaseOffset())
		n++
	}
	must := min(f.synced, f.floor)
	end := int64(0)
	if n > 0 {
		end = written[n-1].NextOffset()
	}
	require.Equal(t, end, o.LogEndOffset)
	require.GreaterOrEqual(t, end, must, "synced offsets are gone")
	require.Equal(t, end, o.SyncedEndOffset)
	f.batches = slices.Clone(written[:n])
	f.flight, f.floor = nil, math.MaxInt64
	f.relearn()
	f.synced = f.end
	f.verifyDerived()
}

// verifyDerived compares what the log derives from its batches with what follows from them.
func (f *life) verifyDerived() {
	t := f.t
	fresh := newProducerState()
	var aborted []AbortedTxn
	for _, b := range f.batches {
		if c, ok := fresh.update(b); ok && c.abort {
			aborted = append(aborted, AbortedTxn{c.producer, c.first})
		}
		epoch, ok := f.l.EpochAt(b.BaseOffset())
		require.True(t, ok)
		require.Equal(t, b.LeaderEpoch(), epoch)
	}
	want, got := fresh.sorted(), f.l.mu.producers.sorted()
	require.Equal(t, len(want), len(got))
	for i := range want {
		// What was of another epoch, or is older than five batches, does not count.
		want[i].batches, got[i].batches = trimmed(want[i]), trimmed(got[i])
		require.Equal(t, want[i], got[i])
	}
	require.True(t, slices.Equal(fresh.open, f.l.mu.producers.open), "open transactions %v, want %v", f.l.mu.producers.open, fresh.open)
	list, err := f.l.AbortedTxns(nil, 0, math.MaxInt64)
	require.NoError(t, err)
	require.Equal(t, aborted, list)
	f.verifyTimes()
}

func trimmed(e *producerEntry) (b [cachedBatches]producerBatch) {
	copy(b[:], e.batches[:e.n])
	for i := range b {
		b[i].timestamp = 0 // Kafka's snapshot has one timestamp: the batch's, or that of a later marker
	}
	return b
}

func (f *life) verifyTimes() {
	t := f.t
	type stamp struct{ ts, offset int64 }
	var all []stamp
	for _, b := range f.batches {
		for r, err := range b.All() {
			require.NoError(t, err)
			all = append(all, stamp{r.Timestamp.UnixMilli(), r.Offset})
		}
	}
	for range 10 {
		ts := f.now.UnixMilli() - int64(f.checks.IntN(200))
		i := slices.IndexFunc(all, func(s stamp) bool { return s.ts >= ts })
		to, ok, err := f.l.OffsetForTime(ts, math.MaxInt64)
		require.NoError(t, err)
		require.Equal(t, i >= 0, ok)
		if ok {
			require.Equal(t, all[i], stamp{to.Timestamp, to.Offset}, "first at or after %d", ts)
		}
	}
	to, ok, err := f.l.MaxTimestamp(math.MaxInt64)
	require.NoError(t, err)
	require.Equal(t, len(all) > 0, ok)
	if ok {
		best := slices.MaxFunc(all, func(a, b stamp) int { return int(a.ts - b.ts) })
		require.Equal(t, best, stamp{to.Timestamp, to.Offset})
	}
}

// TestCrashAnywhere runs random workloads and crashes at a random operation of the disk, several lives long.
func TestCrashAnywhere(t *testing.T) {
	seeds := few(200, 25)
	if testing.Short() {
		seeds = 50
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { crashLives(t, seed) })
	}
}

func crashLives(t *testing.T, seed uint64) {
	f := newLife(t, seed)
	f.openMax = int(seed % 2) // every second one closes files whenever it can
	disk := vfs.NewMem()
	for range 6 {
		var after *vfs.Mem
		mode := []vfs.CrashMode{vfs.KeepAll, vfs.DropAll, vfs.KeepRandom}[f.rng.IntN(3)]
		at := 1 + f.rng.Int64N(250)
		now := disk
		crashRNG := rand.New(rand.NewPCG(seed, uint64(at)))
		disk.SetFault(func(op vfs.Op) error {
			if op.Seq == at {
				after = now.Crash(mode, crashRNG)
			}
			return nil
		})
		err := f.open(disk)
		if err == nil {
			f.verify()
			for after == nil && err == nil {
				err = f.step()
			}
		}
		if after == nil {
			require.NoError(t, err)
			after = disk.Crash(mode, crashRNG)
		}
		if f.d != nil {
			f.d.Abandon()
		}
		f.checkIdempotent(after)
		disk = after
	}
}

// checkIdempotent recovers a copy of the disk twice, the second time after the power went right after the first.
func (f *life) checkIdempotent(disk *vfs.Mem) {
	copyOf := disk.Clone()
	g := *f
	g.sequence, g.inTxn = map[int64]int32{}, map[int64]bool{}
	require.NoError(f.t, g.open(copyOf))
	g.verify()
	first := g.batches
	again := copyOf.Crash(vfs.DropAll, nil)
	g.d.Abandon()
	require.NoError(f.t, g.open(again))
	defer g.d.Abandon()
	g.verify()
	require.Equal(f.t, len(first), len(g.batches))
}
