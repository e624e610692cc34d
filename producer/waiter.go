package producer

import "sync/atomic"

// waiter is where one blocked call of Produce waits for its record.
type waiter struct {
	ch  chan struct{} // of capacity 1, so that finish never blocks
	md  Metadata
	err error

	partition int32 // set and read by the call alone
}

func newWaiter() *waiter { return &waiter{ch: make(chan struct{}, 1)} }

// finish sets the result and wakes the call. The waiter belongs to the call again afterwards.
func (w *waiter) finish(md Metadata, err error) {
	w.md, w.err = md, err
	w.ch <- struct{}{}
}

// flush counts the batches that a call of Flush waits for.
type flush struct {
	left atomic.Int64
	done chan struct{}
}

// one notes that one batch is delivered.
func (f *flush) one() {
	if f.left.Add(-1) == 0 {
		close(f.done)
	}
}
