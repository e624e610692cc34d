package producer

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// noProducer is Kafka's producer id of a producer without one.
const noProducer = -1

// window decides in which order the batches of one partition are sent, and under which sequence numbers. It is a pure machine: its
// caller holds the partition's lock, does the sending, and tells it the results.
//
// Sent batches stay in the window, in sequence order, until they are finished and all before them are. Rules:
//
//   - New batches are sent only while none waits for a retry; retries are sent one at a time, oldest first. So records keep
//     their order even where the leader does not check it.
//   - At most dedupeWindow batches are under way, and one only until the leader has acknowledged the first of this producer id and
//     epoch: a leader without state of a producer accepts any first sequence, and would take the second batch before the first.
//   - A batch that leaves the window as anything but committed leaves a gap that the leader will not cross. Then a new epoch begins
//     (bump), once nothing is under way, with sequences from 0 (KIP-360). Its numbers are not given to others, which Kafka's producer
//     does with the last batch's if it was refused: a copy of it may still arrive, when the leader does not refuse it any more (its
//     clock is right again), and what bears its number would be taken for it.
//   - Only a batch that is certainly not in the log may get new numbers. One that may be there keeps its own, under which the
//     leader recognises it, to the end.
type window struct {
	idempotent bool
	limit      int // batches under way

	producerID    int64 // noProducer: take the producer's current one
	producerEpoch int16
	next          int32 // sequence of the next new batch
	established   bool  // the leader acknowledged a batch of this id and epoch
	bump          bump

	sent []*batch // flying, waiting, or finished behind one that is not
}

// bump says what has to happen before new numbers are given out.
type bump int8

const (
	bumpNone  bump = iota
	bumpEpoch      // the same producer id, the next epoch
	bumpID         // a new producer id
)

func (b bump) String() string { return [...]string{"none", "epoch", "id"}[b] }

// verdict is what a window has to send.
type verdict int8

const (
	sendNothing verdict = iota // until something under way returns
	sendRetry                  // the first batch of the window
	sendNew                    // the next batch that was never sent, if there is one
	needID                     // nothing before assign gave it a producer id
)

func (v verdict) String() string { return [...]string{"nothing", "retry", "new", "need-id"}[v] }

// choose says what to send next. It performs a bump that is due.
func (w *window) choose() verdict {
	underWay, waits, certain := 0, false, true
	for _, b := range w.sent {
		switch b.state {
		case flying:
			underWay++
		case waiting:
			waits = true
			certain = certain && !b.maybe
		}
	}
	if w.bump != bumpNone && underWay == 0 && certain {
		w.renumber()
	}
	switch {
	case w.idempotent && w.producerID == noProducer:
		return needID
	case w.bump != bumpNone && certain && underWay > 0:
		return sendNothing // what waits gets new numbers as soon as nothing is under way: the old ones would be refused again
	case waits && w.sent[0].state == waiting:
		return sendRetry
	case waits || w.bump != bumpNone:
		return sendNothing
	case len(w.sent) >= w.limit, w.idempotent && !w.established && len(w.sent) > 0:
		return sendNothing
	}
	return sendNew
}

// renumber begins a new epoch, or gives up the producer id, and numbers the waiting batches from 0.
func (w *window) renumber() {
	if w.bump == bumpID || w.producerEpoch == math.MaxInt16 {
		w.producerID, w.producerEpoch = noProducer, 0
	} else {
		w.producerEpoch++
	}
	w.restart()
	for _, b := range w.sent {
		if b.state == waiting {
			w.number(b)
		}
	}
}

// assign gives the window the producer's id and epoch. The sequences start from 0.
func (w *window) assign(producerID int64, epoch int16) {
	w.producerID, w.producerEpoch, w.established = producerID, epoch, false
}

// restart begins with the first number again. Nothing that has a number may be under way.
func (w *window) restart() {
	w.bump, w.established, w.next = bumpNone, false, 0
}

func (w *window) number(b *batch) {
	if !w.idempotent {
		return
	}
	b.sequence = w.next
	w.next = addSequence(w.next, b.count)
}

// send notes that b, the one that choose asked for, is under way from now on.
func (w *window) send(b *batch, v verdict) {
	if v == sendNew {
		w.number(b)
		w.sent = append(w.sent, b)
	}
	b.state = flying
	b.attempts++
}

// succeed notes that b is committed.
func (w *window) succeed(b *batch) {
	b.state = finished
	w.established = true
}

// retry notes that the attempt at b failed in a way that another may mend. maybe says that the attempt may have left b in the log.
func (w *window) retry(b *batch, maybe bool) {
	b.state = waiting
	b.maybe = b.maybe || maybe
}

// fail ends b with an error, and sees to the gap that its sequence numbers leave.
func (w *window) fail(b *batch, err *Error) {
	b.state, b.err = finished, err
	if b.maybe {
		b.err.Outcome = Unknown
	}
	if !w.idempotent {
		return
	}
	w.bump = max(w.bump, bumpEpoch)
}

// outOfOrder notes that the leader refused b because of its sequence number: OUT_OF_ORDER_SEQUENCE_NUMBER. cause is the error if it ends b.
func (w *window) outOfOrder(b *batch, cause *Error) {
	if b != w.sent[0] {
		w.retry(b, false) // the gap in front of it is another's, which will be sent again
		return
	}
	w.lostState(b, bumpEpoch, cause)
}

// lostState notes that the leader refused b because it does not know the producer any more, or not under this epoch. Batches that may be in
// the log cannot be told from new ones then: they end, with an unknown outcome. The others get new numbers.
func (w *window) lostState(b *batch, how bump, cause *Error) {
	w.bump = max(w.bump, how)
	w.retry(b, false)
	if b != w.sent[0] {
		return
	}
	for _, o := range w.sent {
		if o.state == waiting && o.maybe {
			e := *cause
			e.Outcome = Unknown
			o.state, o.err = finished, &e
		}
	}
}

// split replaces b, which the leader refused as too large, by its parts, which have its records and take its sequence numbers.
func (w *window) split(b *batch, parts []*batch) {
	i := w.index(b)
	seq := b.sequence
	for _, p := range parts {
		p.state, p.sequence, p.maybe, p.attempts = waiting, seq, b.maybe, b.attempts
		seq = addSequence(seq, p.count)
	}
	w.sent = append(w.sent[:i], append(parts, w.sent[i+1:]...)...)
}

// index returns where b is in the window, or -1.
func (w *window) index(b *batch) int {
	for i, o := range w.sent {
		if o == b {
			return i
		}
	}
	return -1
}

// pop takes the first batch out if it is finished.
func (w *window) pop() *batch {
	if len(w.sent) == 0 || w.sent[0].state != finished {
		return nil
	}
	b := w.sent[0]
	n := copy(w.sent, w.sent[1:])
	w.sent[n] = nil
	w.sent = w.sent[:n]
	return b
}

// expired returns the batches whose time is up at now.
func (w *window) expired(now time.Time) (bs []*batch) {
	for _, b := range w.sent {
		if b.state != finished && !b.deadline.After(now) {
			bs = append(bs, b)
		}
	}
	return bs
}

func (w *window) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "id=%d epoch=%d next=%d", w.producerID, w.producerEpoch, w.next)
	if w.established {
		s.WriteString(" established")
	}
	if w.bump != bumpNone {
		fmt.Fprintf(&s, " bump=%v", w.bump)
	}
	for _, b := range w.sent {
		fmt.Fprintf(&s, "\n  %v", b)
	}
	return s.String()
}
