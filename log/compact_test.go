package log

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

var compactSeeds = flag.Uint64("compact.seeds", few(60, 15), "random lives of a compacted log")

// compacted is a random workload on a compacted log, with a model of what its readers must see.
type compacted struct {
	t    *testing.T
	rng  *rand.Rand
	disk *vfs.Mem
	d    *Directory
	l    *Log
	c    Compactor
	now  time.Time

	written   map[int64]string // every record that was ever at an offset and not truncated: key=value
	high      int64
	producers map[int64]*compactedProducer
	quiet     bool
	deleted   bool
	twin      *Log // gets the same appends, and is never compacted
	passes    int
	dropped   int64
}

type compactedProducer struct {
	sequence int32
	inTxn    bool
	batches  []record.Batch // to send again
}

func newCompacted(t *testing.T, seed uint64) *compacted {
	f := &compacted{t: t, rng: rand.New(rand.NewPCG(seed, 3)), disk: vfs.NewMem(), now: testTime, written: map[int64]string{}, producers: map[int64]*compactedProducer{}}
	for id := range int64(4) {
		f.producers[id] = &compactedProducer{}
	}
	f.c.ReadBytes = []int{100, 300, 4000}[f.rng.IntN(3)]
	f.c.BufferBytes = []int64{0, 24 * 5, 24 * 40}[f.rng.IntN(3)]
	f.open()
	var err error
	f.twin, err = Open("/twin", Config{FS: vfs.NewMem(), TimestampAfterMax: 1e6 * time.Hour, ProducerIDExpiration: 1 << 62})
	require.NoError(t, err)
	t.Cleanup(f.twin.Abandon)
	return f
}

// both appends to the log and to its twin.
func (f *compacted) both(b record.Batch, origin Origin) Appended {
	f.t.Helper()
	a, err := f.l.Append(b, AppendOptions{Now: f.now, Origin: origin})
	require.NoError(f.t, err)
	twin, err := f.twin.Append(b, AppendOptions{Now: f.now, Origin: origin})
	require.NoError(f.t, err)
	require.Equal(f.t, twin, a)
	return a
}

// reference is what a reader of committed records should end up with.
func (f *compacted) reference() map[string]string {
	return view(f.t, f.twin, f.l.Offsets().LastStableOffset, f.written)
}

// deleteSome has both logs begin at a later offset.
func (f *compacted) deleteSome() {
	o := f.l.Offsets()
	at := o.LogStartOffset + f.rng.Int64N((o.LastStableOffset-o.LogStartOffset)/3+1)
	f.deleted = f.deleted || at > 0
	require.NoError(f.t, f.l.AdvanceLogStart(at))
	require.NoError(f.t, f.twin.AdvanceLogStart(at))
	_, err := f.l.SyncLogStart()
	require.NoError(f.t, err)
	_, err = f.l.DeleteOldSegments()
	require.NoError(f.t, err)
}

// truncate cuts both logs above the high watermark.
func (f *compacted) truncate() {
	o := f.l.Offsets()
	at := o.HighWatermark + f.rng.Int64N(o.LogEndOffset-o.HighWatermark+1)
	require.NoError(f.t, f.l.TruncateTo(at))
	end := f.l.Offsets().LogEndOffset
	require.NoError(f.t, f.twin.TruncateTo(end))
	require.Equal(f.t, end, f.twin.Offsets().LogEndOffset)
	for o := range f.written {
		if o >= end {
			delete(f.written, o)
		}
	}
	// The producers go on from what the log knows.
	for id, p := range f.producers {
		*p = compactedProducer{}
		for _, s := range f.twin.Producers() {
			if s.ProducerID == id {
				p.sequence, p.inTxn = s.LastSequence+1, s.TxnStartOffset >= 0
			}
		}
	}
}

func (f *compacted) config() Config {
	return Config{SegmentBytes: 900, IndexIntervalBytes: 100, TimestampAfterMax: 1e6 * time.Hour, ProducerIDExpiration: 1 << 62, Compacted: true}
}

func (f *compacted) open() {
	f.d = openDir(f.t, f.disk, "/d")
	var err error
	f.l, err = f.d.OpenLog("t", 0, TopicID{1}, f.config())
	require.NoError(f.t, err)
	f.l.SetHighWatermark(f.high)
}

func (f *compacted) append() {
	id := int64(f.rng.IntN(7)) - 3
	if f.quiet {
		id = -1 - id%2
	}
	p := f.producers[id]
	if p != nil && p.inTxn && f.rng.IntN(3) == 0 {
		f.both(markerOf(f.t, id, 0, 1, f.rng.IntN(2) == 0), FromCoordinator)
		p.inTxn = false
		return
	}
	txn := p != nil && (p.inTxn || f.rng.IntN(3) == 0)
	b := record.NewBuilder(record.BuilderConfig{Transactional: txn, Codec: []record.Codec{record.None, record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd}[f.rng.IntN(6)]})
	if p != nil {
		b.SetProducer(id, 0, p.sequence)
	}
	var texts []string
	for range 1 + f.rng.IntN(4) {
		r := record.Record{Key: fmt.Appendf(nil, "k%d", f.rng.IntN(12)), Timestamp: f.now}
		text := string(r.Key)
		if f.rng.IntN(4) > 0 {
			r.Value = fmt.Appendf(nil, "v%d%s", f.rng.Int(), strings.Repeat("x", f.rng.IntN(50)))
			text += "=" + string(r.Value)
		}
		b.Append(&r)
		texts = append(texts, text)
	}
	out, err := b.Build(nil)
	require.NoError(f.t, err)
	a := f.both(out, FromClient)
	for i, text := range texts {
		f.written[a.BaseOffset+int64(i)] = text
	}
	if p != nil {
		p.sequence += int32(len(texts))
		p.inTxn = txn
		p.batches = append(p.batches, out)
		p.batches = p.batches[max(0, len(p.batches)-cachedBatches):]
	}
}

// view is what a reader of committed records below end ends up with. It also checks that every record is at the offset where it was written.
func view(t *testing.T, l *Log, end int64, written map[int64]string) map[string]string {
	t.Helper()
	o := l.Offsets()
	aborted, err := l.AbortedTxns(nil, o.LogStartOffset, end)
	require.NoError(t, err)
	slices.SortFunc(aborted, func(a, b AbortedTxn) int { return int(a.FirstOffset - b.FirstOffset) })
	open := map[int64]bool{}
	m := map[string]string{}
	for next := o.LogStartOffset; next < end; {
		sl, err := l.Read(next, end, 1000, true)
		require.NoError(t, err)
		require.NotZero(t, sl.Len(), "nothing at %d, below %d", next, end)
		data, err := sl.Append(nil)
		require.NoError(t, err)
		sl.Release()
		for b, err := range record.Batches(data) {
			require.NoError(t, err)
			require.NoError(t, b.CheckCRC())
			require.GreaterOrEqual(t, b.LastOffset(), next)
			next = b.NextOffset()
			for len(aborted) > 0 && aborted[0].FirstOffset <= b.LastOffset() {
				open[aborted[0].ProducerID] = true
				aborted = aborted[1:]
			}
			if b.Control() {
				delete(open, b.ProducerID())
				continue
			}
			for r, err := range b.All() {
				require.NoError(t, err)
				if r.Offset < o.LogStartOffset {
					continue
				}
				key, value, _ := strings.Cut(written[r.Offset], "=")
				require.Equal(t, key, string(r.Key), "offset %d", r.Offset)
				require.Equal(t, value, string(r.Value), "offset %d", r.Offset)
				if open[b.ProducerID()] && b.Transactional() {
					continue
				}
				delete(m, key)
				if r.Value != nil {
					m[key] = value
				}
			}
		}
	}
	return m
}

// check compares the views.
func (f *compacted) check() {
	f.t.Helper()
	want := f.reference()
	require.Equal(f.t, want, view(f.t, f.l, f.l.Offsets().LastStableOffset, f.written))
}

// compact makes a pass and compares what it did with the rules.
func (f *compacted) compact() {
	t := f.t
	before := f.l.Offsets()
	keep := maps.Clone(f.reference())
	p := CompactionPolicy{DeleteRetention: []time.Duration{0, time.Minute, time.Hour}[f.rng.IntN(3)]}
	r, err := f.l.Compact(&f.c, p, f.now)
	require.NoError(t, err)
	require.False(t, r.Interrupted)
	after := f.l.Offsets()
	before.SyncedEndOffset = after.SyncedEndOffset // a replacement syncs what was rolled
	require.Equal(t, before, after, "offsets never change")
	require.Equal(t, keep, view(t, f.l, before.LastStableOffset, f.written))
	require.LessOrEqual(t, r.RecordsKept, r.Records)
	f.passes++
	f.dropped += r.Records - r.RecordsKept
	segs := *f.l.segments.Load()
	for i, s := range segs[:len(segs)-1] {
		end := int64(-1)
		require.NoError(t, s.Headers(s.BaseOffset(), math.MaxInt64, func(h record.Batch, _, _ int64) bool {
			end = h.NextOffset()
			return true
		}))
		require.Equal(t, segs[i+1].BaseOffset(), end, "a segment begins where the one before ends")
	}
	f.checkKeys(r.EndOffset)
}

// checkKeys looks for keys that have more than one record below end, and for records of aborted transactions.
func (f *compacted) checkKeys(end int64) {
	start := f.l.Offsets().LogStartOffset
	data := raw(f.t, f.l, start)
	aborted, err := f.twin.AbortedTxns(nil, 0, math.MaxInt64)
	require.NoError(f.t, err)
	for b, err := range record.Batches(data) {
		require.NoError(f.t, err)
		if b.NextOffset() > end || !b.Transactional() || b.Control() || b.RecordCount() == 0 {
			continue
		}
		for _, a := range aborted {
			require.False(f.t, a.ProducerID == b.ProducerID() && a.FirstOffset == b.BaseOffset(), "aborted records at %d", b.BaseOffset())
		}
	}
	last := map[string]int64{}
	for r, err := range f.l.Records(f.t.Context(), start) {
		require.NoError(f.t, err)
		if r.Offset >= end {
			break
		}
		at, twice := last[string(r.Key)]
		require.False(f.t, twice, "key %s at %d and %d, compacted up to %d", r.Key, at, r.Offset, end)
		last[string(r.Key)] = r.Offset
	}
}

// checkDuplicates sends again what the producers sent last.
func (f *compacted) checkDuplicates() {
	for id, p := range f.producers {
		for i, b := range p.batches {
			a, err := f.l.Append(b, AppendOptions{Now: f.now})
			require.NoError(f.t, err)
			require.True(f.t, a.Duplicate, "producer %d, batch %d", id, i)
		}
	}
}

// restart closes the log, or has a crash do it, with or without the files that could be made anew.
func (f *compacted) restart() {
	_, err := f.l.Sync()
	require.NoError(f.t, err)
	f.high = f.l.Offsets().HighWatermark
	n := f.rng.IntN(3)
	if n == 0 {
		require.NoError(f.t, f.d.Close(1))
	} else {
		f.disk = crash(f.disk, f.d)
	}
	if n == 2 && !f.deleted { // what was deleted can only be known from them
		entries, err := f.disk.ReadDir("/d/t-0")
		require.NoError(f.t, err)
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), snapshotSuffix) || strings.HasSuffix(e.Name(), producersSuffix) {
				require.NoError(f.t, f.disk.Remove("/d/t-0/"+e.Name()))
			}
		}
		require.NoError(f.t, f.disk.SyncDir("/d/t-0"))
	}
	f.open()
}

// A log that is compacted again and again, among all that may happen to a log, shows what one would that never was.
func TestCompactModel(t *testing.T) {
	var passes int
	var dropped int64
	for seed := range *compactSeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			f := newCompacted(t, seed)
			for step := range 150 {
				f.quiet = step > 60 // some producers fall silent, and are still known later
				switch n := f.rng.IntN(100); {
				case n < 70:
					f.append()
				case n < 80:
					end, err := f.l.Sync()
					require.NoError(t, err)
					f.l.SetHighWatermark(end)
					f.high = f.l.Offsets().HighWatermark
				case n < 88:
					f.compact()
				case n < 92:
					f.now = f.now.Add(time.Duration(f.rng.IntN(100)) * time.Minute)
				case n < 95:
					f.checkDuplicates()
				case n < 98:
					f.restart()
					f.check()
					f.checkDuplicates()
				case n < 99:
					f.deleteSome()
				default:
					f.truncate()
				}
			}
			f.restart()
			f.check()
			f.checkDuplicates()
			f.d.Abandon()
			passes += f.passes
			dropped += f.dropped
		})
	}
	require.Greater(t, passes, 5*int(*compactSeeds))
	require.Greater(t, dropped, int64(15**compactSeeds))
}
