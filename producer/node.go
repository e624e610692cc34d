package producer

import (
	"math"
	"runtime"
	"sync"
	"time"
)

// node is the sender of the partitions that one node leads.
//
// At any time at most one goroutine runs it: a caller of Produce on its way, a goroutine that ends when there is nothing more to do, a timer's,
// or the one that brings a response. Whoever finds it running leaves a note (dirty, incoming, inbox) and goes.
type node struct {
	p  *Producer
	id int32 // -1: partitions whose leader was never known

	mu       sync.Mutex
	running  bool
	dirty    bool         // look at the partitions once more
	incoming []*partition // newly attached
	inbox    []*request   // answered
	inFlight int          // requests sent and not answered; the runner alone adds
	timer    *time.Timer
	wakeAt   time.Time     // of the timer; zero: not set
	closed   bool          // do not begin to run
	stopped  chan struct{} // closed by the last runner, if Close waits for it
	lent     []*partition  // memory of delivered that end gave back

	// The runner's own.
	parts     []*partition
	spare     []*request // answered, swapped with inbox
	delivered []*partition
	first     int       // partition that the next request begins with
	throttled time.Time // the node asked for silence until then
	company   int       // records that the last answers were for
}

// attach puts pt on the list. Its lock is held: nothing here waits for anybody.
func (n *node) attach(pt *partition) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.incoming = append(n.incoming, pt)
}

// urgency is what a wake is for.
type urgency int8

const (
	someRecords urgency = iota // a batch was opened
	fullBatch                  // there is something that can go now
)

// wake makes somebody look at the partitions, now or when a batch that was just opened has lingered.
func (n *node) wake(u urgency) {
	if u == someRecords && n.p.c.Linger > 0 {
		n.wakeAfter(n.p.c.Linger)
		return
	}
	if n.begin(u) {
		go n.run()
	}
}

// wakeHere is wake for a caller that has time to do the sending itself, which saves it from waiting for another goroutine.
func (n *node) wakeHere(u urgency) {
	if u == someRecords && n.p.c.Linger > 0 {
		n.wakeAfter(n.p.c.Linger)
		return
	}
	if !n.begin(u) {
		return
	}
	if n.company > 1 {
		runtime.Gosched() // see runLater
	}
	n.dispatch()
	n.receive() // a node in this process may have answered before Send returned
	n.end()
}

// begin makes the caller the runner, or tells the one there is.
func (n *node) begin(u urgency) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if u == someRecords && n.inFlight > 0 {
		n.wakeAfterLocked(patience) // the answer, which comes sooner as a rule, is followed by a look at everything
		return false
	}
	n.dirty = true
	if n.running || n.closed {
		return false
	}
	n.running = true
	return true
}

// run works until there is nothing to do.
func (n *node) run() {
	for {
		n.receive()
		n.dispatch()
		n.deliver()
		if n.stop() {
			return
		}
	}
}

// runLater is run after an answer to several callers of Produce, who are about to come with their next records. If the first of them
// were sent at once it would travel alone, and all others would wait for its answer: half of what a leader can do. So they get time to come:
// as long as some do, and not all are there.
func (n *node) runLater() {
	company := n.company
	n.deliver()
	for before, tries := -1, 0; tries < maxYields; tries++ {
		runtime.Gosched()
		n.collect()
		now := 0
		for _, pt := range n.parts {
			now += pt.unsent()
		}
		if now >= company || now == before {
			break
		}
		before = now
	}
	n.run()
}

// maxYields bounds how often a runner lets others go first. Each time costs less than a microsecond if there is nobody.
const maxYields = 8

// end stops running after one round, or has another goroutine go on. Who waits in Produce is woken only then, so that he finds the node at rest.
func (n *node) end() {
	delivered := n.delivered
	for _, pt := range delivered {
		if pt.heavy() {
			go n.run() // users' functions may take their time
			return
		}
	}
	if n.company > 1 {
		go n.runLater()
		return
	}
	n.delivered = nil
	if !n.stop() {
		go n.run()
	}
	for _, pt := range delivered {
		pt.deliver()
	}
	clear(delivered)
	n.mu.Lock()
	n.lent = delivered[:0]
	n.mu.Unlock()
}

// stop gives up running, unless there is more to do.
func (n *node) stop() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed && (n.dirty || len(n.inbox) > 0 || len(n.incoming) > 0) {
		return false
	}
	n.running = false
	if n.stopped != nil {
		close(n.stopped)
		n.stopped = nil
	}
	return true
}

// receive takes in the answers.
func (n *node) receive() {
	n.mu.Lock()
	answered := n.inbox
	n.inbox = n.spare[:0]
	if n.delivered == nil {
		n.delivered, n.lent = n.lent, nil
	}
	if len(answered) > 0 && len(n.parts) > 0 {
		n.dirty = true // what had to wait for an answer may go now
	}
	n.mu.Unlock()
	if len(answered) > 0 {
		n.company = 0
	}
	for _, r := range answered {
		n.finish(r)
	}
	clear(answered)
	n.spare = answered
}

// dispatch sends what can be sent.
func (n *node) dispatch() {
	if idle, closed := n.collect(); !closed && len(n.parts) > 0 {
		n.send(idle)
	}
}

// collect takes in the newly attached partitions. What is added to any of them from now on makes the node dirty again.
func (n *node) collect() (idle, closed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dirty = false
	n.parts = append(n.parts, n.incoming...)
	clear(n.incoming)
	n.incoming = n.incoming[:0]
	return n.inFlight == 0, n.closed
}

// deliver runs the callbacks of what finish found finished.
func (n *node) deliver() {
	for _, pt := range n.delivered {
		pt.deliver()
	}
	clear(n.delivered)
	n.delivered = n.delivered[:0]
}

// answer is called when r has its answer, from whichever goroutine brings it, which must not be kept long and must not be used to send.
func (n *node) answer(r *request) {
	n.mu.Lock()
	n.inFlight--
	if !n.closed {
		n.inbox = append(n.inbox, r)
	}
	if n.running || n.closed {
		n.mu.Unlock()
		return
	}
	n.running = true
	n.mu.Unlock()
	if r.heavy {
		go n.run()
		return
	}
	// Nobody to tell but callers of Produce: that is done here and now.
	n.receive()
	n.end()
}

// send makes requests of what the partitions have, as many as may be under way. idle says that none was.
func (n *node) send(idle bool) {
	now := time.Now()
	if n.throttled.After(now) {
		n.wakeAfter(n.throttled.Sub(now))
		return
	}
	for more := true; more && len(n.parts) > 0 && n.hasRoom(); {
		r := n.p.newRequest(n)
		f := n.fill(r, now, idle)
		if f.needID {
			n.p.requestID()
		}
		if !f.wake.IsZero() {
			n.wakeAfter(f.wake.Sub(now))
		}
		if !r.encode() {
			n.p.recycleRequest(r)
			return
		}
		n.mu.Lock()
		n.inFlight++
		n.mu.Unlock()
		r.send()
		// From the second request on only what is full goes: the rest had its chance, and gathers company until the answer.
		more, idle = f.more, false
	}
}

func (n *node) hasRoom() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.inFlight < n.p.c.MaxInFlight && !n.closed
}

// filled is what there is to do beside sending a request.
type filled struct {
	more   bool      // another request can be filled at once
	needID bool      // a partition waits for the producer id
	wake   time.Time // when a partition will have something to send, if only time is missing; else zero
}

// fill puts at most one batch of each partition into r.
func (n *node) fill(r *request, now time.Time, idle bool) filled {
	var f filled
	var full, gone bool
	count, first := len(n.parts), n.first
	for i := range count {
		at := (first + i) % count
		pt := n.parts[at]
		room := math.MaxInt // any batch fits into an empty request
		if len(r.batches) > 0 {
			room = n.p.c.MaxRequestBytes - r.bytes
		}
		what, t := pt.take(n, now, idle, room)
		leaves := false
		switch what {
		case pickBatch:
			r.add(t)
			f.more = f.more || t.more
			leaves = t.last
		case pickNoRoom:
			f.more = true
			if !full {
				full, n.first = true, at // where the next request begins
			}
		case pickRefresh:
			n.p.refresh(pt.topic.name)
			fallthrough
		case pickLater:
			if f.wake.IsZero() || t.at.Before(f.wake) {
				f.wake = t.at
			}
		case pickMoved:
			t.node.attach(pt)
			t.node.wake(fullBatch)
			leaves = true
		case pickID:
			f.needID = true
		case pickEmpty:
			leaves = true
		}
		if leaves {
			n.parts[at], gone = nil, true
		}
	}
	if gone {
		n.compact()
	}
	return f
}

// compact removes the gaps from the list.
func (n *node) compact() {
	kept := n.parts[:0]
	first := 0
	for i, pt := range n.parts {
		if i == n.first {
			first = len(kept)
		}
		if pt != nil {
			kept = append(kept, pt)
		}
	}
	clear(n.parts[len(kept):])
	n.parts, n.first = kept, first
	if n.first >= len(kept) {
		n.first = 0
	}
}

// wakeAfter sets the timer, unless it goes off earlier anyway.
func (n *node) wakeAfter(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wakeAfterLocked(d)
}

func (n *node) wakeAfterLocked(d time.Duration) {
	at := time.Now().Add(d)
	if n.closed || !n.wakeAt.IsZero() && !n.wakeAt.After(at) {
		return
	}
	n.wakeAt = at
	if n.timer == nil {
		n.timer = time.AfterFunc(d, n.tick)
		return
	}
	n.timer.Reset(d)
}

// tick is the timer's.
func (n *node) tick() {
	n.mu.Lock()
	n.wakeAt = time.Time{}
	n.mu.Unlock()
	if n.begin(fullBatch) {
		n.run()
	}
}

// close stops the sender and waits until nobody runs it. What was sent is answered later, or never.
func (n *node) close() {
	n.mu.Lock()
	n.closed = true
	if n.timer != nil {
		n.timer.Stop()
	}
	var stopped chan struct{}
	if n.running {
		stopped = make(chan struct{})
		n.stopped = stopped
	}
	n.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
}
