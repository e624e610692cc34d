package log

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/segment"
)

// cachedBatches is how many batches of a producer are remembered to answer duplicates: as many as a client may have in flight.
const cachedBatches = 5

// noSequence is the sequence of a producer that has not sent data in its current epoch.
const noSequence = -1

// producerBatch is one batch of an idempotent producer. Its first sequence and offset are offsetDelta below the last ones.
type producerBatch struct {
	lastSequence int32
	offsetDelta  int32
	lastOffset   int64
	timestamp    int64 // milliseconds
}

func (b producerBatch) baseOffset() int64 { return b.lastOffset - int64(b.offsetDelta) }

func (b producerBatch) baseSequence() int32 {
	s := int64(b.lastSequence) - int64(b.offsetDelta)
	if s < 0 {
		s += math.MaxInt32 + 1
	}
	return int32(s)
}

// producerEntry is what the log knows of one producer.
type producerEntry struct {
	id               int64
	epoch            int16
	coordinatorEpoch int32 // -1 until a marker came
	lastTimestamp    int64
	txnFirst         int64 // first offset of the open transaction, -1 without

	n       int
	batches [cachedBatches]producerBatch // of the current epoch, oldest first
}

func (e *producerEntry) lastSequence() int32 {
	if e.n == 0 {
		return noSequence
	}
	return e.batches[e.n-1].lastSequence
}

// setEpoch forgets the batches of another epoch.
func (e *producerEntry) setEpoch(epoch int16) {
	if e.epoch != epoch {
		e.epoch, e.n = epoch, 0
	}
}

func (e *producerEntry) push(b producerBatch) {
	if e.n == cachedBatches {
		copy(e.batches[:], e.batches[1:])
		e.n--
	}
	e.batches[e.n] = b
	e.n++
	e.lastTimestamp = b.timestamp
}

// duplicate returns the remembered batch that b repeats.
func (e *producerEntry) duplicate(b record.Batch) (producerBatch, bool) {
	if e.epoch != b.ProducerEpoch() {
		return producerBatch{}, false
	}
	first, last := b.BaseSequence(), b.LastSequence()
	for _, old := range e.batches[:e.n] {
		if old.lastSequence == last && old.baseSequence() == first {
			return old, true
		}
	}
	return producerBatch{}, false
}

// txnRange is a transaction in this log: [first, last], last being the marker's offset.
type txnRange struct {
	producer    int64
	first, last int64
}

// producerState is what a log knows of its idempotent and transactional producers (KIP-98). It is a function of the log: recovery and followers
// make it from the batches, without checking them. Time and offsets come from the caller; it does no I/O.
type producerState struct {
	entries map[int64]*producerEntry

	open         []txnRange // transactions without a marker, by first offset; last is unused
	unreplicated []txnRange // transactions with a marker at or above the high watermark, by first offset

	reader record.Reader // for markers
}

func newProducerState() *producerState {
	return &producerState{entries: map[int64]*producerEntry{}}
}

// check tells what a leader has to say to a batch: nil error and no duplicate means append. Rules in Kafka's order.
func (p *producerState) check(b record.Batch, origin Origin) (dup producerBatch, isDup bool, err error) {
	id := b.ProducerID()
	if id < 0 {
		return producerBatch{}, false, nil
	}
	e, known := p.entries[id]
	if !known {
		return producerBatch{}, false, nil // any first sequence: the records that would tell may be gone
	}
	if origin == FromClient {
		if old, ok := e.duplicate(b); ok {
			return old, true, nil
		}
	}
	epoch := b.ProducerEpoch()
	if epoch < e.epoch {
		return producerBatch{}, false, &ProducerEpochError{ProducerID: id, Got: epoch, Known: e.epoch}
	}
	if b.Control() {
		if m, ok := p.marker(b); ok && m.coordinatorEpoch < e.coordinatorEpoch {
			return producerBatch{}, false, &CoordinatorEpochError{ProducerID: id, Got: m.coordinatorEpoch, Known: e.coordinatorEpoch}
		}
		return producerBatch{}, false, nil
	}
	if origin == FromClient {
		if err := e.checkSequence(b); err != nil {
			return producerBatch{}, false, err
		}
	}
	if e.txnFirst >= 0 && !b.Transactional() {
		return producerBatch{}, false, ErrInvalidTxnState
	}
	return producerBatch{}, false, nil
}

func (e *producerEntry) checkSequence(b record.Batch) error {
	got, want, last := b.BaseSequence(), int32(0), int32(noSequence)
	switch {
	case b.ProducerEpoch() == e.epoch:
		last = e.lastSequence()
		if last != math.MaxInt32 {
			want = last + 1
		}
	case e.epoch < 0:
		return nil
	}
	if got != want {
		return &SequenceError{ProducerID: e.id, Epoch: b.ProducerEpoch(), Got: got, Want: want, Last: last}
	}
	return nil
}

// marker is the content of an end-transaction marker.
type marker struct {
	abort            bool
	coordinatorEpoch int32
}

// marker reads the control record of b; ok is false for those that end no transaction.
func (p *producerState) marker(b record.Batch) (m marker, ok bool) {
	t, ok := b.ControlType()
	if !ok || t != record.ControlAbort && t != record.ControlCommit {
		return marker{}, false
	}
	if p.reader.Reset(b, 0) != nil || !p.reader.Next() {
		return marker{}, false
	}
	v := p.reader.Record().Value
	if len(v) < 6 {
		return marker{}, false
	}
	return marker{abort: t == record.ControlAbort, coordinatorEpoch: int32(binary.BigEndian.Uint32(v[2:]))}, true
}

// completed is a transaction that a marker ended.
type completed struct {
	txnRange
	abort bool
	// lso is the last stable offset that the marker leaves, as far as open transactions tell.
	lso int64
}

// update takes in a batch that has been appended, at the offsets in its header. ended is the transaction that it ended, if ok.
func (p *producerState) update(b record.Batch) (ended completed, ok bool) {
	id := b.ProducerID()
	if id < 0 {
		return completed{}, false
	}
	if b.Control() {
		return p.updateMarker(b)
	}
	if b.BaseSequence() < 0 {
		return completed{}, false
	}
	e := p.entry(id)
	e.setEpoch(b.ProducerEpoch())
	e.push(producerBatch{lastSequence: b.LastSequence(), offsetDelta: b.LastOffsetDelta(), lastOffset: b.LastOffset(), timestamp: b.MaxTimestamp()})
	if b.Transactional() && e.txnFirst < 0 {
		e.txnFirst = b.BaseOffset()
		p.open = append(p.open, txnRange{producer: id, first: e.txnFirst})
	}
	return completed{}, false
}

func (p *producerState) entry(id int64) *producerEntry {
	e, known := p.entries[id]
	if !known {
		e = &producerEntry{id: id, epoch: -1, coordinatorEpoch: -1, lastTimestamp: -1, txnFirst: -1}
		p.entries[id] = e
	}
	return e
}

func (p *producerState) updateMarker(b record.Batch) (ended completed, ok bool) {
	m, ok := p.marker(b)
	if !ok {
		return completed{}, false
	}
	e := p.entry(b.ProducerID())
	e.setEpoch(b.ProducerEpoch())
	e.coordinatorEpoch = max(e.coordinatorEpoch, m.coordinatorEpoch)
	e.lastTimestamp = b.MaxTimestamp()
	if e.txnFirst < 0 {
		return completed{}, false
	}
	t := txnRange{producer: e.id, first: e.txnFirst, last: b.BaseOffset()}
	e.txnFirst = -1
	p.open = slices.DeleteFunc(p.open, func(o txnRange) bool { return o.producer == t.producer })
	at, _ := slices.BinarySearchFunc(p.unreplicated, t, byFirst)
	p.unreplicated = slices.Insert(p.unreplicated, at, t)
	ended = completed{txnRange: t, abort: m.abort, lso: t.last + 1}
	if len(p.open) > 0 {
		ended.lso = p.open[0].first
	}
	return ended, true
}

func byFirst(a, b txnRange) int { return cmp.Compare(a.first, b.first) }

// aborted is the transaction index's entry for an ended transaction.
func (c completed) aborted() segment.AbortedTxn {
	return segment.AbortedTxn{ProducerID: c.producer, FirstOffset: c.first, LastOffset: c.last, LastStableOffset: c.lso}
}

// firstUnstable is the first offset of a transaction that is open, or whose marker is not below the high watermark; ok is false without one.
func (p *producerState) firstUnstable() (offset int64, ok bool) {
	offset = math.MaxInt64
	if len(p.open) > 0 {
		offset = p.open[0].first
	}
	if len(p.unreplicated) > 0 {
		offset = min(offset, p.unreplicated[0].first)
	}
	return offset, offset != math.MaxInt64
}

// raiseHighWatermark forgets the ended transactions whose marker is below hw.
func (p *producerState) raiseHighWatermark(hw int64) {
	if len(p.unreplicated) > 0 {
		p.unreplicated = slices.DeleteFunc(p.unreplicated, func(t txnRange) bool { return t.last < hw })
	}
}

// expire forgets the producers whose last batch is older than before (milliseconds), except those with an open transaction.
func (p *producerState) expire(before int64) {
	for id, e := range p.entries {
		if e.txnFirst < 0 && e.lastTimestamp < before {
			delete(p.entries, id)
		}
	}
}

// sorted returns the entries by producer id.
func (p *producerState) sorted() []*producerEntry {
	l := make([]*producerEntry, 0, len(p.entries))
	for _, e := range p.entries {
		l = append(l, e)
	}
	slices.SortFunc(l, func(a, b *producerEntry) int { return cmp.Compare(a.id, b.id) })
	return l
}
