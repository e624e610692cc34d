package commit

// queue is a FIFO of handles, linked through them, so that waiting costs no memory.
type queue struct {
	head, tail *Handle
	n          int
}

// push appends h, which must not be in the queue.
func (q *queue) push(h *Handle) {
	h.next = nil
	if q.tail == nil {
		q.head = h
	} else {
		q.tail.next = h
	}
	q.tail = h
	q.n++
}

// pop removes the oldest, or returns nil.
func (q *queue) pop() *Handle {
	h := q.head
	if h == nil {
		return nil
	}
	q.head = h.next
	if q.head == nil {
		q.tail = nil
	}
	h.next = nil
	q.n--
	return h
}
