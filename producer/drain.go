package producer

import (
	"time"
)

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

	topicAt, partitionAt int // where the request has it, and its answer most likely, too
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
			pt.sealOpenLocked()
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
	t.more = len(pt.queue) > 0 || pt.open != nil && pt.open.size() >= p.c.BatchBytes
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

// patience is how long a batch waits for the answer to what is under way, for company's sake, if it need not linger. A request that takes longer
// than that may be stuck for reasons of its own: a partition whose followers are slow must not hold up the others.
const patience = 20 * time.Millisecond

// nextNewLocked returns the next batch that was never sent, if it is time, or when it will be; the zero time if that depends on something else.
func (pt *partition) nextNewLocked(now time.Time, idle bool) (*batch, time.Time) {
	p := pt.topic.p
	switch {
	case len(pt.queue) > 0:
		return pt.queue[0], time.Time{}
	case pt.open == nil:
		return nil, time.Time{}
	case p.memory.short(), p.c.Linger == 0 && idle, pt.open.size() >= p.c.BatchBytes:
		return pt.open, time.Time{}
	case pt.open.ripe.After(now):
		return nil, pt.open.ripe
	}
	return pt.open, time.Time{}
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
