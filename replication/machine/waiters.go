package machine

// Outcome is how a waiting append ended.
type Outcome int8

// The outcomes.
const (
	Waiting        Outcome = iota
	Acked                  // as durable as it asked for
	LostLeadership         // in the log, outcome unknown
	StorageLost            // the log failed, outcome unknown
	GivenUp                // by Cancel
)

// String is for transcripts.
func (o Outcome) String() string {
	switch o {
	case Waiting:
		return "waiting"
	case Acked:
		return "acked"
	case LostLeadership:
		return "lost-leadership"
	case StorageLost:
		return "storage-lost"
	case GivenUp:
		return "given-up"
	}
	return "unknown"
}

// Waiter is an append that waits for its acknowledgement. The driver embeds it in its own type, so that waiting allocates nothing here.
type Waiter struct {
	Owner   any     // the driver's
	Outcome Outcome // set when it appears in Effects.Completed

	end        int64
	list       *waitList
	next, prev *Waiter
}

// Next is the next completed waiter.
func (w *Waiter) Next() *Waiter { return w.next }

// waitList is a list of waiters in the order of their end offsets, so that those to answer are always at its head.
type waitList struct{ head, tail *Waiter }

// insert puts w behind all with a smaller or the same end. Ends rise but for duplicates of idempotent producers, so the search from the tail is short.
func (l *waitList) insert(w *Waiter, end int64) {
	w.end, w.list, w.Outcome = end, l, Waiting
	after := l.tail
	for after != nil && after.end > end {
		after = after.prev
	}
	w.prev = after
	if after == nil {
		w.next, l.head = l.head, w
	} else {
		w.next, after.next = after.next, w
	}
	if w.next == nil {
		l.tail = w
	} else {
		w.next.prev = w
	}
}

func (l *waitList) remove(w *Waiter) {
	if w.prev == nil {
		l.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.list, w.next, w.prev = nil, nil, nil
}

// completeUpTo answers every waiter whose end is at or below bound.
func (l *waitList) completeUpTo(bound int64, o Outcome, fx *Effects) {
	for l.head != nil && l.head.end <= bound {
		w := l.head
		l.remove(w)
		fx.complete(w, o)
	}
}

func (l *waitList) failAll(o Outcome, fx *Effects) {
	for l.head != nil {
		w := l.head
		l.remove(w)
		fx.complete(w, o)
	}
}
