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
	limit, full := pt.limitLocked(sticky), someRecords
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

// limitLocked returns the size at which the open batch is closed. While a full one waits in front of it, which means that as many requests are
// under way as may be, it grows on, if the size is left to the producer: to close it would not send it earlier, and what a leader syncs at once,
// or a follower fetches, are that many larger batches.
func (pt *partition) limitLocked(sticky bool) int {
	c := &pt.topic.p.c
	limit := int(pt.topic.batchBytes.Load())
	if len(pt.queue) > 0 && !sticky && limit == c.BatchBytes {
		return max(limit, c.grownBytes)
	}
	return limit
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
			if granted = need; !p.memory.take(granted) {
				return false
			}
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
	b := pt.sealOpenLocked()
	b.state = queued
	pt.queue = append(pt.queue, b)
}

// sealOpenLocked ends the open batch and gives back the memory that it had in reserve.
func (pt *partition) sealOpenLocked() *batch {
	b := pt.open
	pt.open = nil
	surplus := b.reserved - int64(b.size())
	b.reserved -= surplus
	pt.topic.p.memory.release(surplus)
	return b
}

// backOffLocked puts the next attempt off, the longer the more attempts failed.
func (pt *partition) backOffLocked(now time.Time) {
	pt.failures++
	pt.notBefore = now.Add(pt.topic.p.backOff(pt.failures, uint64(pt.number)))
}

// wakeAfterMetadata ends the back-off if the metadata names a newer leader. It returns the node that should look, or nil, and whether the partition goes on backing off.
func (pt *partition) wakeAfterMetadata() (n *node, backs bool) {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	leader, epoch := pt.topic.leader(pt.number)
	switch {
	case pt.closed || !pt.hasUnsentLocked():
		return nil, false
	case leader < 0:
		return nil, true
	case epoch > pt.epoch, pt.node == nil, pt.node.id != leader:
		pt.notBefore = time.Time{}
	}
	return pt.wakeLocked(fullBatch), pt.notBefore.After(time.Now())
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
