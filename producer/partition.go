package producer

import (
	"sync"
	"time"

	"github.com/insynclog/insync/log/record"
)

// partition collects the records of one partition and hands them, batch by batch, to the sender of its leader.
//
//	Enqueue -> open -> queue -> window (sent) -> deliveries -> callbacks
type partition struct {
	topic  *topic
	number int32

	mu     sync.Mutex
	closed bool

	open   *batch   // takes records; nil if there is none
	queue  []*batch // closed, never sent, oldest first
	window window   // sent

	node      *node     // whose sender looks after this partition; nil before the first record
	attached  bool      // node has it on its list, or is about to
	notBefore time.Time // of the next attempt: back-off
	failures  int       // attempts that failed since the last one that did not
	epoch     int32     // leader epoch of the last attempt

	deliveries []*batch      // finished, callbacks to be run in this order
	delivering []*batch      // callbacks are being run by somebody
	spare      []*batch      // memory for deliveries
	delivered  chan struct{} // closed when they have run, if Close waits for it
}

func newPartition(t *topic, number int32) *partition {
	c := &t.p.c
	pt := &partition{topic: t, number: number, epoch: -1}
	pt.window = window{idempotent: !c.DisableIdempotence, limit: c.MaxInFlight, producerID: noProducer}
	return pt
}

// added says what became of an attempt to add a record.
type added int8

const (
	addedRecord added = iota
	notClosed         // not added: the producer is closed
	notMemory         // not added: no memory
	notSticky         // not added: the open batch is full, and another partition would do
)

// minReserve is how much memory a batch takes at a time.
const minReserve = 4 << 10

// add adds a record of at most size bytes to the open batch, and opens one if need be. granted is memory that the caller has waited for; it is
// used, or left to the caller if the record is not added. now is the time if the caller happens to know it, else zero. A node that add returns
// has to be woken.
func (pt *partition) add(r *record.Record, size int, cb callback, now time.Time, granted int64, sticky bool) (added, *node, urgency) {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if pt.closed {
		return notClosed, nil, someRecords
	}
	limit, full := int(pt.topic.batchBytes.Load()), someRecords
	if pt.open != nil && pt.open.builder.Size()+size > limit {
		pt.closeOpenLocked()
		full = fullBatch
		if sticky {
			return notSticky, pt.wakeLocked(full), full
		}
	}
	if !pt.reserveLocked(size, granted, now) {
		return notMemory, pt.wakeLocked(full), full
	}
	b := pt.open
	b.builder.Append(r)
	b.count++
	b.callbacks = append(b.callbacks, cb)
	b.heavy = b.heavy || cb.done != nil
	if b.builder.Size() >= limit {
		pt.closeOpenLocked()
		full = fullBatch
	}
	return addedRecord, pt.wakeLocked(full), full
}

// reserveLocked makes the open batch ready for another record of size bytes, if there is memory.
func (pt *partition) reserveLocked(size int, granted int64, now time.Time) bool {
	p, b := pt.topic.p, pt.open
	need := int64(record.HeaderSize + size)
	if b != nil {
		need = int64(b.builder.Size()+size) - b.reserved
	}
	if need > granted {
		if granted = max(need, minReserve); !p.memory.take(granted) {
			return false
		}
	}
	if b == nil {
		b = p.newBatch(pt, now)
		pt.open = b
	}
	b.reserved += granted
	return true
}

// wakeLocked returns the node that must be told that there is work, or nil if it knows.
func (pt *partition) wakeLocked(u urgency) *node {
	if pt.attached {
		if u == fullBatch {
			return pt.node
		}
		return nil
	}
	if !pt.hasUnsentLocked() {
		return nil
	}
	leader, _ := pt.topic.leader(pt.number)
	if pt.node == nil || leader >= 0 && pt.node.id != leader {
		pt.node = pt.topic.p.nodeFor(leader)
	}
	pt.attached = true
	pt.node.attach(pt)
	return pt.node
}

func (pt *partition) closeOpenLocked() {
	if pt.open == nil {
		return
	}
	pt.open.state = queued
	pt.queue = append(pt.queue, pt.open)
	pt.open = nil
}

// pick is what take found.
type pick int8

const (
	pickBatch   pick = iota // a batch to send
	pickNothing             // nothing to send before something else happens, which will wake the node
	pickEmpty               // nothing to send at all: the partition is detached
	pickLater               // not before the time
	pickMoved               // another node leads
	pickID                  // no producer id yet
	pickRefresh             // no leader: look again at the time, or when the metadata comes
	pickNoRoom              // does not fit into the request
)

// taken is a batch to send with the producer fields that go into its header.
type taken struct {
	b        *batch
	id       int64
	epoch    int16
	sequence int32
	at       time.Time // for pickLater and pickRefresh
	node     *node     // for pickMoved
	more     bool      // another batch could go at once, in another request
	last     bool      // the partition is detached: nothing is left to send
}

// take decides what of the partition may be sent by n now. now is the time, idle says that nothing was under way to n, room how many bytes the
// request may still take.
func (pt *partition) take(n *node, now time.Time, idle bool, room int) (pick, taken) {
	p := pt.topic.p
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if pt.closed || pt.node != n || !pt.hasUnsentLocked() {
		pt.attached = pt.attached && pt.node != n
		return pickEmpty, taken{}
	}
	if pt.notBefore.After(now) {
		return pickLater, taken{at: pt.notBefore}
	}
	leader, epoch := pt.topic.leader(pt.number)
	switch {
	case leader < 0:
		pt.backOffLocked(now)
		return pickRefresh, taken{at: pt.notBefore}
	case leader != n.id:
		pt.node = p.nodeFor(leader)
		return pickMoved, taken{node: pt.node}
	}
	v := pt.window.choose()
	if v == needID {
		id, ok := p.identity.get()
		if !ok {
			return pickID, taken{}
		}
		pt.window.assign(id.producerID, id.epoch)
		v = pt.window.choose()
	}
	var b *batch
	switch v {
	case sendRetry:
		b = pt.window.sent[0]
	case sendNew:
		var at time.Time
		if b, at = pt.nextNewLocked(now, idle); b == nil {
			if at.IsZero() {
				return pickNothing, taken{}
			}
			return pickLater, taken{at: at}
		}
	default:
		return pickNothing, taken{}
	}
	if b.size() > room {
		return pickNoRoom, taken{}
	}
	if v == sendNew {
		if b == pt.open {
			pt.open = nil
		} else {
			pt.queue = removeFirst(pt.queue)
		}
	}
	pt.window.send(b, v)
	pt.epoch = epoch
	t := taken{b: b, id: -1, epoch: -1, sequence: -1}
	if pt.window.idempotent {
		t.id, t.epoch, t.sequence = pt.window.producerID, pt.window.producerEpoch, b.sequence
	}
	t.more = len(pt.queue) > 0
	t.last = !pt.hasUnsentLocked()
	pt.attached = !t.last
	return pickBatch, t
}

// hasUnsentLocked tells whether there is anything that has to be sent, now or later.
func (pt *partition) hasUnsentLocked() bool {
	if pt.open != nil || len(pt.queue) > 0 {
		return true
	}
	for _, b := range pt.window.sent {
		if b.state == waiting {
			return true
		}
	}
	return false
}

// nextNewLocked returns the next batch that was never sent, if it is time, or when it will be; the zero time if that depends on something else.
func (pt *partition) nextNewLocked(now time.Time, idle bool) (*batch, time.Time) {
	p := pt.topic.p
	switch {
	case len(pt.queue) > 0:
		return pt.queue[0], time.Time{}
	case pt.open == nil:
		return nil, time.Time{}
	case p.memory.short(), p.c.Linger == 0 && idle:
		return pt.open, time.Time{}
	case p.c.Linger == 0:
		return nil, time.Time{}
	case pt.open.ripe.After(now):
		return nil, pt.open.ripe
	}
	return pt.open, time.Time{}
}

// backOffLocked puts the next attempt off, the longer the more attempts failed.
func (pt *partition) backOffLocked(now time.Time) {
	pt.failures++
	pt.notBefore = now.Add(backOff(pt.failures))
}

// settleLocked moves what is finished from the window to the deliveries and gives its memory back.
func (pt *partition) settleLocked() {
	for b := pt.window.pop(); b != nil; b = pt.window.pop() {
		pt.finishLocked(b)
	}
}

func (pt *partition) finishLocked(b *batch) {
	pt.topic.p.memory.release(b.reserved)
	b.reserved = 0
	pt.deliveries = append(pt.deliveries, b)
}

// deliver runs the callbacks that are due, in order, unless somebody else is at it, who will run these too.
func (pt *partition) deliver() {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if len(pt.delivering) > 0 {
		return
	}
	for len(pt.deliveries) > 0 {
		pt.delivering, pt.deliveries, pt.spare = pt.deliveries, pt.spare, nil
		bs := pt.delivering
		pt.mu.Unlock()
		for _, b := range bs {
			b.deliver()
		}
		pt.mu.Lock()
		for _, b := range bs {
			for _, f := range b.flushes {
				f.one()
			}
		}
		for _, b := range bs {
			pt.topic.p.recycleBatch(b)
		}
		clear(bs)
		pt.delivering, pt.spare = nil, bs[:0]
	}
	if pt.delivered != nil {
		close(pt.delivered)
		pt.delivered = nil
	}
}

// awaitDelivery waits for callbacks that another goroutine is running.
func (pt *partition) awaitDelivery() {
	pt.mu.Lock()
	if len(pt.delivering) == 0 {
		pt.mu.Unlock()
		return
	}
	if pt.delivered == nil {
		pt.delivered = make(chan struct{})
	}
	ch := pt.delivered
	pt.mu.Unlock()
	<-ch
}

// unsent returns how many records were never sent.
func (pt *partition) unsent() (n int) {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	for _, b := range pt.queue {
		n += int(b.count)
	}
	if pt.open != nil {
		n += int(pt.open.count)
	}
	return n
}

// heavy tells whether a user's function is among the callbacks that are due.
func (pt *partition) heavy() bool {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	for _, b := range pt.deliveries {
		if b.heavy {
			return true
		}
	}
	return false
}

// flush closes the open batch and makes f wait for everything that is not delivered.
func (pt *partition) flush(f *flush) *node {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.closeOpenLocked()
	for _, bs := range [][]*batch{pt.delivering, pt.deliveries, pt.window.sent, pt.queue} {
		for _, b := range bs {
			f.left.Add(1)
			b.flushes = append(b.flushes, f)
		}
	}
	return pt.wakeLocked(fullBatch)
}

// expire ends what has not been acknowledged in time and returns the deadline of the oldest batch left, or the zero time.
func (pt *partition) expire(now time.Time, cause func(b *batch) *Error) (oldest time.Time, wake *node) {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	for _, b := range pt.window.expired(now) {
		b.maybe = b.maybe || b.state == flying
		pt.window.fail(b, cause(b))
	}
	pt.settleLocked()
	for len(pt.queue) > 0 && !pt.queue[0].deadline.After(now) {
		pt.dropLocked(pt.queue[0], cause)
		pt.queue = removeFirst(pt.queue)
	}
	if pt.open != nil && len(pt.queue) == 0 && !pt.open.deadline.After(now) {
		pt.dropLocked(pt.open, cause)
		pt.open = nil
	}
	if len(pt.deliveries) > 0 {
		// What is gone may have been in the way; or nothing is left, and the partition must be detached, to be attached when there is.
		wake = pt.wakeLocked(fullBatch)
	}
	switch {
	case len(pt.window.sent) > 0:
		oldest = pt.window.sent[0].deadline
	case len(pt.queue) > 0:
		oldest = pt.queue[0].deadline
	case pt.open != nil:
		oldest = pt.open.deadline
	}
	return oldest, wake
}

// dropLocked ends a batch that was never sent. Batches in front of it, if any, are finished first by the caller.
func (pt *partition) dropLocked(b *batch, cause func(b *batch) *Error) {
	b.state, b.err = finished, cause(b)
	pt.finishLocked(b)
}

// wakeAfterMetadata ends the back-off if the metadata names a newer leader. It returns the node that should look, or nil.
func (pt *partition) wakeAfterMetadata() *node {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	leader, epoch := pt.topic.leader(pt.number)
	if pt.closed || leader < 0 || !pt.hasUnsentLocked() {
		return nil
	}
	if epoch > pt.epoch || pt.node == nil || pt.node.id != leader {
		pt.notBefore = time.Time{}
	}
	return pt.wakeLocked(fullBatch)
}

// failUnidentified ends everything that waits for a producer id, which the cluster refuses to give. It returns the node that has to find out
// that nothing is left, or nil.
func (pt *partition) failUnidentified(cause error) *node {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if pt.window.producerID != noProducer {
		return nil
	}
	err := func() *Error {
		return &Error{Topic: pt.topic.name, Partition: pt.number, Outcome: NotCommitted, Err: cause}
	}
	for _, b := range pt.window.sent {
		if b.state == waiting {
			pt.window.fail(b, err())
		}
	}
	pt.window.bump = bumpNone
	pt.settleLocked()
	pt.closeOpenLocked()
	for _, b := range pt.queue {
		pt.dropLocked(b, func(*batch) *Error { return err() })
	}
	clear(pt.queue)
	pt.queue = pt.queue[:0]
	return pt.wakeLocked(fullBatch)
}

// refuse ends a batch that cannot be encoded. It was to be sent, but was not.
func (pt *partition) refuse(b *batch, cause error) {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if b.state == flying {
		pt.window.fail(b, &Error{Topic: pt.topic.name, Partition: pt.number, Outcome: NotCommitted, Err: cause})
		pt.settleLocked()
	}
}

// minSplitBytes is the smallest size of batches that refusals lead to.
const minSplitBytes = 1 << 10

// splitLocked replaces b by two halves, or ends it if it has one record only.
func (pt *partition) splitLocked(b *batch, r *result) {
	if b.count <= 1 {
		pt.window.fail(b, pt.errorOf(b, r))
		return
	}
	parts, err := pt.topic.p.split(b)
	if err != nil {
		pt.window.fail(b, pt.errorOf(b, &result{err: err}))
		return
	}
	pt.window.split(b, parts)
	// Batches that are opened from now on are small enough, or will be soon.
	if limit, half := pt.topic.batchBytes.Load(), int64(b.rawBytes/2); half < limit {
		pt.topic.batchBytes.CompareAndSwap(limit, max(half, minSplitBytes))
	}
}

// close ends everything that is not finished and refuses what comes.
func (pt *partition) close(cause func(b *batch) *Error) {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.closed = true
	for _, b := range pt.window.sent {
		if b.state != finished {
			b.maybe = b.maybe || b.state == flying
			pt.window.fail(b, cause(b))
		}
	}
	pt.settleLocked()
	pt.closeOpenLocked()
	for _, b := range pt.queue {
		pt.dropLocked(b, cause)
	}
	pt.queue = nil
}

func removeFirst(bs []*batch) []*batch {
	n := copy(bs, bs[1:])
	bs[n] = nil
	return bs[:n]
}
