package log

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// exploreDir is where the directory of a world is.
const exploreDir = "/srv/data"

// world is a directory in the hands of a workload, with a model of what its disk has to hold after a crash at any moment. Every step brings the model up to date before it starts, so that either
// outcome is allowed while it is under way, and again when it is acknowledged.
type world struct {
	rng    *rand.Rand
	now    time.Time
	disk   *vfs.Mem
	d      *Directory
	logs   []*Log
	m      model
	budget int64 // of operations that change the disk
	looks  bool  // at the logs in use, after what changes more than their end
}

// model is what is known of a directory.
type model struct {
	id      TopicID // of the directory, once OpenDirectory has returned
	marker  markerState
	stopped change[int64] // broker epoch in the clean marker
	epoch   change[int64] // in broker-state
	claimed bool          // SetBrokerEpoch has returned in this life
	relaxed change[bool]
	cluster change[string]
	logs    []logModel
}

// markerState says whether the clean marker can be there.
type markerState int

const (
	noMarker markerState = iota
	mayMarker
	hasMarker
)

// change is a value that is acknowledged, and the one that may be there instead.
type change[T comparable] struct{ now, next T }

func (c change[T]) allows(v T) bool { return v == c.now || v == c.next }

// logModel is what is known of a log.
type logModel struct {
	topic  string
	id     TopicID
	config Config
	epoch  int32

	there, may bool // OpenLog has returned; it has been called, or the log is being deleted

	batches []record.Batch // as stored, from origin on, those below the log start too
	origin  int64
	flight  []record.Batch // of an append that is under way
	synced  int64          // acknowledged as durable
	floor   int64          // a truncation that is under way may have cut the log down to here
	restart int64          // the offset of a TruncateFullyAndStartAt that is under way, or -1

	compacted bool // Compact has been called: only the view stays

	startLow, startHigh int64 // the durable log start is one of these
	highLow, high       int64 // likewise the high watermark
}

func (m *logModel) end() int64 {
	if n := len(m.batches); n > 0 {
		return m.batches[n-1].NextOffset()
	}
	return m.origin
}

// written are all batches that can be there.
func (m *logModel) written() []record.Batch {
	return append(m.batches[:len(m.batches):len(m.batches)], m.flight...)
}

// calm ends what was under way.
func (m *logModel) calm() { m.flight, m.floor, m.restart = nil, math.MaxInt64, -1 }

func newWorld(seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), now: testTime, disk: vfs.NewMem(), budget: 232}
	w.m.epoch = change[int64]{-1, -1}
	w.m.stopped = w.m.epoch
	return w
}

// snapshot is the model as it is, for later.
func (m *model) snapshot() model {
	s := *m
	s.logs = slices.Clone(m.logs)
	return s
}

// addLog lets a log be part of the world. It is opened with the directory, or by openLog.
func (w *world) addLog(c Config) {
	if c.TimestampAfterMax == 0 {
		c.TimestampAfterMax = 100000 * time.Hour
	}
	c.ProducerIDExpiration = 1 << 62 // those of the tests' time must not expire
	m := logModel{topic: fmt.Sprint("t", len(w.m.logs)), id: TopicID{byte(1 + len(w.m.logs))}, config: c}
	m.calm()
	w.m.logs = append(w.m.logs, m)
	w.logs = append(w.logs, nil)
}

func (w *world) open() error {
	if w.m.marker == hasMarker {
		w.m.marker = mayMarker
		w.m.relaxed.now = false // the stop synced all
	}
	d, err := OpenDirectory(exploreDir, DirectoryConfig{FS: w.disk, NodeID: 1, MaxOpenSegments: 1})
	if err != nil {
		return err
	}
	w.d = d
	if w.m.id != (TopicID{}) && w.m.id != d.ID() {
		return fmt.Errorf("directory.id was %v and is %v", w.m.id, d.ID())
	}
	w.m.id, w.m.marker = d.ID(), noMarker
	for i := range w.logs {
		if err := w.openLog(i); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) openLog(i int) error {
	m := &w.m.logs[i]
	m.may = true
	l, err := w.d.OpenLog(m.topic, 0, m.id, m.config)
	if err != nil {
		return err
	}
	w.logs[i], m.there = l, true
	if end := l.Offsets().LogEndOffset; end != m.end() {
		return fmt.Errorf("log %d ended at %d and ends at %d after it was opened", i, m.end(), end)
	}
	return w.look(i)
}

// close stops cleanly. The logs are closed one after the other, so that the operations of the disk are in the same order each time.
func (w *world) close(epoch int64) error {
	w.m.marker = mayMarker
	w.m.stopped.next = epoch
	for _, l := range w.logs {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	if err := w.d.Close(epoch); err != nil {
		return err
	}
	w.m.marker, w.m.stopped.now, w.m.claimed = hasMarker, epoch, false
	for i := range w.logs {
		w.noted(i)
		w.m.logs[i].synced = w.m.logs[i].end()
	}
	return nil
}

func (w *world) reopen(epoch int64) error {
	if err := w.close(epoch); err != nil {
		return err
	}
	return w.open()
}

// noteShown takes for synced what the logs say is: whoever asks beside an operation that is under way may act on it.
func (w *world) noteShown() {
	for i, l := range w.logs {
		if m := &w.m.logs[i]; l != nil && m.there {
			m.synced = max(m.synced, min(l.Offsets().SyncedEndOffset, m.end()))
		}
	}
}

// look compares a log in use with the model: what a restart finds is made anew from the batches, so that it would not tell of a mistake here.
func (w *world) look(i int) error {
	if !w.looks {
		return nil
	}
	m, l := &w.m.logs[i], w.logs[i]
	o := l.Offsets()
	if o.LogStartOffset > o.LastStableOffset || o.LastStableOffset > o.HighWatermark || o.HighWatermark > o.LogEndOffset || o.SyncedEndOffset > o.LogEndOffset {
		return fmt.Errorf("log %d in use: positions %+v", i, o)
	}
	if _, err := m.checkBatches(l, o); err != nil {
		return fmt.Errorf("log %d in use: %w", i, err)
	}
	if err := m.checkDerived(l, o); err != nil {
		return fmt.Errorf("log %d in use: %w", i, err)
	}
	return nil
}

// noted says that the checkpoints have been written.
func (w *world) noted(i int) {
	m := &w.m.logs[i]
	if w.logs[i] != nil {
		m.startLow, m.highLow = m.startHigh, min(w.logs[i].Offsets().HighWatermark, m.high)
	}
}

func (w *world) checkpoint() error {
	if err := w.d.Checkpoint(context.Background()); err != nil {
		return err
	}
	for i := range w.logs {
		w.noted(i)
	}
	return nil
}

func (w *world) setBrokerEpoch(epoch int64) error {
	w.m.epoch.next = epoch
	if err := w.d.SetBrokerEpoch(epoch); err != nil {
		return err
	}
	w.m.epoch.now, w.m.claimed, w.m.relaxed.next = epoch, true, w.m.relaxed.now
	return nil
}

func (w *world) noteRelaxed() error {
	w.m.relaxed.next = true
	if err := w.d.NoteRelaxed(); err != nil {
		return err
	}
	w.m.relaxed.now = true
	return nil
}

func (w *world) setClusterID(id string) error {
	w.m.cluster.next = id
	if err := w.d.SetClusterID(id); err != nil {
		return err
	}
	w.m.cluster.now = id
	return nil
}

// batch is what a producer may send.
type batch struct {
	records, bytes int
	codec          record.Codec
	producer       int64 // -1 is none
	sequence       int32
	txn            bool
	keys           int // so many, and some of their values are tombstones; 0 is one for each place in the batch
}

func (w *world) build(s batch) (record.Batch, error) {
	w.now = w.now.Add(time.Duration(w.rng.IntN(10)-2) * time.Millisecond)
	b := record.NewBuilder(record.BuilderConfig{Codec: s.codec, Transactional: s.txn})
	if s.producer >= 0 {
		b.SetProducer(s.producer, 0, s.sequence)
	}
	for i := range max(s.records, 1) {
		v := make([]byte, s.bytes)
		for j := range v {
			v[j] = byte(w.rng.Uint32())
			if s.codec != record.None {
				v[j] &= 3
			}
		}
		key := byte(i)
		if s.keys > 0 {
			key = byte(w.rng.IntN(s.keys))
			if w.rng.IntN(8) == 0 {
				v = nil
			}
		}
		b.Append(&record.Record{Key: []byte{key}, Value: v, Timestamp: w.now.Add(time.Duration(w.rng.IntN(4)) * time.Millisecond)})
	}
	return b.Build(nil)
}

// append appends as a leader does.
func (w *world) append(i int, s batch) error {
	b, err := w.build(s)
	if err != nil {
		return err
	}
	return w.appendBatch(i, b, FromClient)
}

// repeat sends again what each producer sent last, as many batches as may be under way: all of them are known.
func (w *world) repeat(i int) error {
	m := &w.m.logs[i]
	start := w.logs[i].Offsets().LogStartOffset
	seen := map[int64][]record.Batch{}
	for _, b := range m.batches {
		if id := b.ProducerID(); id >= 0 && !b.Control() {
			seen[id] = append(seen[id], b)
		}
	}
	for _, b := range m.batches {
		id := b.ProducerID()
		if last := seen[id]; id < 0 || b.Control() || b.BaseOffset() < last[max(0, len(last)-cachedBatches)].BaseOffset() || last[len(last)-1].BaseOffset() < start {
			continue
		}
		again := b.Clone()
		again.PutBaseOffset(0)
		a, err := w.logs[i].Append(again, AppendOptions{LeaderEpoch: m.epoch, Now: w.now})
		if err != nil || !a.Duplicate || a.BaseOffset != b.BaseOffset() {
			return fmt.Errorf("batch at %d of producer %d, sent again, got %+v: %w", b.BaseOffset(), id, a, err)
		}
	}
	return nil
}

func (w *world) plain(i, bytes int) error { return w.append(i, batch{bytes: bytes, producer: -1}) }

func (w *world) appendBatch(i int, b record.Batch, origin Origin) error {
	m := &w.m.logs[i]
	s := b.Clone()
	s.PutBaseOffset(m.end())
	s.PutLeaderEpoch(m.epoch)
	m.flight = []record.Batch{s}
	a, err := w.logs[i].Append(b, AppendOptions{LeaderEpoch: m.epoch, Now: w.now, Origin: origin})
	if err != nil {
		return err
	}
	if a.BaseOffset != m.end() || a.Duplicate {
		return fmt.Errorf("append at the end %d got %+v", m.end(), a)
	}
	m.batches = append(m.batches, s)
	m.flight = nil
	return nil
}

// replicate appends n batches at once as a follower does, with the beginning of another behind them.
func (w *world) replicate(i, n int, s batch) error {
	m := &w.m.logs[i]
	var data []byte
	next := m.end()
	var flight []record.Batch
	for range n {
		b, err := w.build(s)
		if err != nil {
			return err
		}
		b.PutBaseOffset(next)
		b.PutLeaderEpoch(m.epoch)
		data, next = append(data, b...), b.NextOffset()
		flight = append(flight, b)
	}
	m.flight = flight
	if _, err := w.logs[i].AppendReplicated(append(data, data[:30]...), m.epoch); err != nil {
		return err
	}
	m.batches = append(m.batches, flight...)
	m.flight = nil
	return nil
}

func (w *world) sync(i int) error {
	end, err := w.logs[i].Sync()
	if err != nil {
		return err
	}
	if m := &w.m.logs[i]; end != m.end() {
		return fmt.Errorf("synced to %d, the log ends at %d", end, m.end())
	}
	w.m.logs[i].synced = end
	return nil
}

func (w *world) setHigh(i int, hw int64) {
	m := &w.m.logs[i]
	m.high = max(m.high, min(hw, m.end()))
	w.logs[i].SetHighWatermark(hw)
}

func (w *world) startEpoch(i int) error {
	w.m.logs[i].epoch++
	return w.logs[i].StartEpoch(w.m.logs[i].epoch)
}

// back is the base offset of the nth batch from the end.
func (m *logModel) back(n int) int64 {
	if len(m.batches) == 0 {
		return m.origin
	}
	return m.batches[max(0, len(m.batches)-n)].BaseOffset()
}

func (w *world) truncate(i int, at int64) error {
	m := &w.m.logs[i]
	m.floor = at
	m.startLow, m.highLow = min(m.startLow, at), min(m.highLow, at)
	if err := w.logs[i].TruncateTo(at); err != nil {
		return err
	}
	n := len(m.batches)
	for n > 0 && m.batches[n-1].NextOffset() > at {
		n--
	}
	m.batches = slices.Clone(m.batches[:n])
	m.synced = min(m.synced, m.end())
	m.startHigh = min(m.startHigh, m.end())
	m.calm()
	return w.look(i)
}

func (w *world) truncateFully(i int, at int64) error {
	m := &w.m.logs[i]
	m.floor, m.restart = -1, at
	m.startLow, m.highLow, m.high = min(m.startLow, at), min(m.highLow, at), max(m.high, at)
	if err := w.logs[i].TruncateFullyAndStartAt(at); err != nil {
		return err
	}
	m.batches, m.origin, m.synced = nil, at, at
	m.startLow, m.startHigh = at, at
	m.calm()
	return w.look(i)
}

func (w *world) advance(i int, start int64) error {
	m := &w.m.logs[i]
	m.startHigh, m.high = max(m.startHigh, start), max(m.high, start)
	return w.logs[i].AdvanceLogStart(start)
}

func (w *world) syncStart(i int) error {
	start, err := w.logs[i].SyncLogStart()
	if err != nil {
		return err
	}
	if m := &w.m.logs[i]; start != m.startHigh {
		return fmt.Errorf("log start %d synced, want %d", start, m.startHigh)
	}
	w.m.logs[i].startLow = start
	return nil
}

func (w *world) deleteOld(i int) error {
	n, err := w.logs[i].DeleteOldSegments()
	if err == nil && n > 0 {
		w.m.logs[i].startLow = w.m.logs[i].startHigh
	}
	if err != nil {
		return err
	}
	return w.look(i)
}

func (w *world) compact(i int) error {
	w.m.logs[i].compacted = true
	_, err := w.logs[i].Compact(&Compactor{BufferBytes: 1 << 12, ReadBytes: 1 << 12}, CompactionPolicy{DeleteRetention: 50 * time.Millisecond}, w.now)
	if err != nil {
		return err
	}
	return w.look(i)
}

// recreate deletes a log and makes another of the same name.
func (w *world) recreate(i int) error {
	m := &w.m.logs[i]
	m.there, m.floor, m.startLow, m.highLow = false, -1, 0, 0 // the checkpoints forget it first
	if err := w.d.DeleteLog(w.logs[i]); err != nil {
		return err
	}
	w.logs[i] = nil
	*m = logModel{topic: m.topic, id: TopicID{m.id[0], m.id[1] + 1}, config: m.config}
	m.calm()
	return w.openLog(i)
}

// until repeats f until the disk has done as much as the workload may.
func (w *world) until(f func(i int) error) error {
	for i := 0; w.disk.Ops() < w.budget; i++ {
		if err := f(i); err != nil {
			return err
		}
	}
	return nil
}

// steps does one after the other.
func steps(list ...func() error) error {
	for _, f := range list {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// crashKind is what is known of the crashes between the model and what is looked at.
type crashKind struct {
	lossless bool // the operating system lived on
	again    bool // another crash came in between
	failed   bool // an operation had failed before
	lossy    bool // it was a sync of a log
}

// recovered is a world as it came out of a crash: the model is exactly what is there.
func (m model) recovered(disk *vfs.Mem, k crashKind, seed uint64) (w *world, err error) {
	w = newWorld(seed)
	w.disk, w.m = disk, m.snapshot()
	if w.d, err = OpenDirectory(exploreDir, DirectoryConfig{FS: disk, NodeID: 1, MaxOpenSegments: 1}); err != nil {
		return w, err
	}
	if m.id != (TopicID{}) && w.d.ID() != m.id {
		return w, fmt.Errorf("directory.id was %v and is %v", m.id, w.d.ID())
	}
	if !m.cluster.allows(w.d.ClusterID()) {
		return w, fmt.Errorf("cluster.id is %q, want %q", w.d.ClusterID(), m.cluster)
	}
	w.m.id, w.m.marker = w.d.ID(), noMarker
	w.m.cluster = change[string]{w.d.ClusterID(), w.d.ClusterID()}
	list, err := w.d.Logs()
	if err != nil {
		return w, err
	}
	clean, _ := w.d.Clean()
	switch {
	case clean && m.marker == noMarker:
		return w, errors.New("clean marker without a clean stop")
	case !clean && m.marker == hasMarker && !k.again:
		return w, errors.New("clean stop without a clean marker")
	}
	kind, epoch := w.d.Restart()
	if err := m.checkRestart(kind, epoch, k); err != nil {
		return w, err
	}
	w.m.claimed = m.claimed && (kind == Crashed || kind == Rebooted)
	whole := clean || kind == Crashed // every record that was appended is there
	w.logs = make([]*Log, len(m.logs))
	for i := range w.m.logs {
		lm := &w.m.logs[i]
		spare := TopicID{200, byte(i)} // of logs that come to be in a recovery
		at := slices.IndexFunc(list, func(e LogEntry) bool { return e.Topic == lm.topic })
		if at >= 0 && !lm.there && k.again && (list[at].TopicID == spare || list[at].TopicID == TopicID{}) {
			at = -1
		}
		switch {
		case at < 0 && lm.there:
			return w, fmt.Errorf("log %d is gone", i)
		case at >= 0 && list[at].TopicID != lm.id && (lm.there || list[at].TopicID != (TopicID{})):
			return w, fmt.Errorf("log %d has topic id %v, want %v", i, list[at].TopicID, lm.id)
		case at >= 0 && !lm.may:
			return w, fmt.Errorf("log %d is there and was never made", i)
		case at < 0:
			*lm = logModel{topic: lm.topic, id: spare, config: lm.config}
			lm.calm()
		}
		if w.logs[i], err = w.d.OpenLog(lm.topic, 0, lm.id, lm.config); err != nil {
			return w, err
		}
		if err := lm.check(w.logs[i], k.lossless || whole); err != nil {
			return w, fmt.Errorf("log %d: %w", i, err)
		}
		lm.there, lm.may = true, true
	}
	return w, nil
}

// checkRestart compares what a directory says of its last life with what is known of it. That a record is missing that the answer says is there is found where the logs are compared.
func (m *model) checkRestart(kind Restart, epoch int64, k crashKind) error {
	claims := kind == Crashed || kind == Rebooted // all that was confirmed
	switch {
	case kind == Crashed && !k.lossless:
		return errors.New("the power went, and it is taken for the end of the process alone")
	case kind == Clean && !m.stopped.allows(epoch), claims && !m.epoch.allows(epoch):
		return fmt.Errorf("%v restart of epoch %d, want %v, or %v", kind, epoch, m.epoch, m.stopped)
	case kind == Lossy && epoch != -1:
		return fmt.Errorf("lossy restart of epoch %d", epoch)
	case claims && k.lossy && k.lossless:
		return errors.New("not lossy, though a sync had failed")
	case claims && m.relaxed.now && !k.lossless && m.marker == noMarker:
		return errors.New("not lossy, though records were confirmed before they were synced and the power went")
	case kind == Lossy && m.claimed && !m.relaxed.next && !k.failed && m.marker == noMarker:
		return errors.New("lossy without a reason")
	}
	return nil
}
