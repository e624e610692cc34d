package producer

import (
	"fmt"
	"time"
)

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
	pt.window.restart()
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

// timeoutError is the error of a batch whose delivery timeout is over.
func (p *Producer) timeoutError(b *batch) *Error {
	e := &Error{Topic: b.part.topic.name, Partition: b.part.number, Outcome: NotCommitted}
	e.Err = fmt.Errorf("%w after %v", ErrDeliveryTimeout, p.c.DeliveryTimeout)
	if b.lastErr != nil {
		e.Err = fmt.Errorf("%w after %v and %d attempts, the last: %w", ErrDeliveryTimeout, p.c.DeliveryTimeout, b.attempts, b.lastErr)
	}
	return e
}

// closedError is the error of a batch that Close ended.
func closedError(b *batch) *Error {
	return &Error{Topic: b.part.topic.name, Partition: b.part.number, Outcome: NotCommitted, Err: ErrClosed}
}
