package replication

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"time"

	"github.com/insynclog/insync/log"
)

// run is the fetcher's goroutine. It ends when the fetcher has no partitions, and with Close.
func (f *Fetcher) run() {
	if f.config.OnPanic != nil {
		defer f.recover()
	}
	for f.collect() {
		f.build()
		if f.syncs.pending() {
			// What was appended in the last round, or before this node became a follower, must be durable before a fetch says so. All logs sync in parallel.
			f.syncs.wait(f.stop)
			continue
		}
		if len(f.request.Partitions) == 0 {
			continue
		}
		if err := f.fetch(); err != nil {
			f.pauseAll(err)
			continue
		}
		f.failures = backoff{}
		f.process()
		f.resolveRanges()
	}
}

// recover ends a loop that panicked, so that Remove and Close wait for nothing.
func (f *Fetcher) recover() {
	v := recover()
	if v == nil {
		return
	}
	stack := debug.Stack()
	f.mu.Lock()
	if !f.mu.closed {
		f.mu.closed = true
		close(f.stop)
	}
	f.mu.cancel, f.mu.running = nil, false
	if f.mu.dog != nil && f.mu.dog.Stop() {
		f.wg.Done()
	}
	f.dropContext()
	f.mu.Unlock()
	f.end()
	f.config.OnPanic(v, stack)
}

// collect waits until there is something to do and notes for whom in f.round. False: the loop ends.
func (f *Fetcher) collect() bool {
	for {
		f.mu.Lock()
		if f.mu.closed || len(f.mu.followed) == 0 {
			f.mu.running = false
			f.dropContext()
			f.mu.Unlock()
			return false
		}
		f.mu.added = false
		select { // a wake-up from before is taken into account here
		case <-f.wake:
		default:
		}
		f.round, f.nextDue = f.round[:0], time.Time{}
		now := time.Now()
		for _, e := range f.mu.followed {
			switch {
			case e.stalled:
			case !e.notBefore.After(now):
				e.seen = e.added
				f.round = append(f.round, e)
			case f.nextDue.IsZero() || e.notBefore.Before(f.nextDue):
				f.nextDue = e.notBefore
			}
		}
		f.mu.Unlock()
		if len(f.round) > 0 {
			return true
		}
		f.sleep(f.nextDue)
	}
}

// sleep waits until due (zero: for ever), Add or Close.
func (f *Fetcher) sleep(due time.Time) {
	var timer <-chan time.Time
	if !due.IsZero() {
		timer = time.After(time.Until(due))
	}
	select {
	case <-timer:
	case <-f.wake:
	case <-f.stop:
	}
}

// build makes the request for the round, and asks for the syncs that must come first.
func (f *Fetcher) build() {
	f.request.MaxWait, f.request.MinBytes, f.request.MaxBytes = f.config.MaxWait, f.config.MinBytes, f.config.MaxBytes
	if !f.nextDue.IsZero() {
		f.request.MaxWait = max(time.Millisecond, min(f.request.MaxWait, time.Until(f.nextDue))) // those that pause must not wait for a long poll of the others
	}
	f.request.Partitions = f.request.Partitions[:0]
	for _, e := range f.round {
		if e.asked.state != ready || e.asked.changes != e.replica.changes.Load() { // else nothing has happened since it was asked for last
			e.asked = e.replica.position(f.config.Leader, &f.syncs)
		}
		e.answered = false
		switch e.asked.state {
		case notFollowing:
			f.stall(e)
		case ready:
			f.request.Partitions = append(f.request.Partitions, FetchPartition{
				TopicID: e.id.topic, Topic: e.name.topic, Partition: e.name.partition,
				CurrentLeaderEpoch: e.asked.leaderEpoch, FetchOffset: e.asked.offset, LastFetchedEpoch: e.asked.lastEpoch, LogStartOffset: e.asked.logStart,
				MaxBytes: f.config.PartitionMaxBytes,
			})
		}
	}
}

// fetch sends the request and waits for the answer.
func (f *Fetcher) fetch() error {
	f.response.Partitions, f.response.Release = f.response.Partitions[:0], nil
	ctx := f.beginCall(f.request.MaxWait)
	err := f.config.Source.Fetch(ctx, &f.request, &f.response)
	return f.endCall(err)
}

// process hands every partition of the answer to its replica.
func (f *Fetcher) process() {
	for i := range f.response.Partitions {
		p := &f.response.Partitions[i]
		if e := f.begin(p); e != nil {
			f.handle(e, p)
			f.end()
		}
	}
	if f.response.Release != nil {
		f.response.Release()
	}
	clear(f.response.Partitions) // keep no records alive
}

// begin finds the partition and keeps Remove waiting until end. Nil: not (or no longer) asked for.
func (f *Fetcher) begin(p *FetchedPartition) *followed {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.mu.byName[partitionName{p.Topic, p.Partition}]
	if e == nil {
		e = f.mu.byID[partitionID{p.TopicID, p.Partition}]
	}
	if e == nil || e.asked.state != ready || e.answered || (p.TopicID != log.TopicID{} && p.TopicID != e.id.topic) {
		return nil
	}
	f.mu.current = e
	return e
}

func (f *Fetcher) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.current = nil
	if f.mu.idle != nil {
		close(f.mu.idle)
		f.mu.idle = nil
	}
}

// handle deals with one partition's part of an answer.
func (f *Fetcher) handle(e *followed, p *FetchedPartition) {
	e.answered = true
	if p.Err == nil {
		if err := e.replica.receive(e.asked, p); err != nil {
			if report := f.config.OnCorrupt; report != nil && !isStorageError(err) {
				report(e.name.topic, e.name.partition, e.asked.offset, err)
			}
			f.pause(e, err)
			return
		}
		e.failures = backoff{}
		return
	}
	if _, ok := errors.AsType[*log.OffsetOutOfRangeError](p.Err); ok {
		f.ranges = append(f.ranges, e)
		return
	}
	if errors.Is(p.Err, ErrFencedEpoch) && e.replica.followsIn(e.asked.leaderEpoch) {
		f.stall(e) // the leader knows more than this node: metadata will come, and Add with it
		return
	}
	f.pause(e, p.Err)
}

// resolveRanges asks the leader for its bounds where it said that an offset is out of range: that answer alone is no reason to cut a log.
func (f *Fetcher) resolveRanges() {
	for _, e := range f.ranges {
		ctx := f.beginCall(0)
		start, end, err := f.config.Source.Offsets(ctx, e.name.topic, e.name.partition, e.asked.leaderEpoch)
		if err = f.endCall(err); err != nil {
			f.pause(e, err)
			continue
		}
		f.mu.Lock()
		removed := e.removed
		if !removed {
			f.mu.current = e
		}
		f.mu.Unlock()
		if removed {
			continue
		}
		if err := e.replica.resolveRange(e.asked, start, end); err != nil {
			f.pause(e, err)
		}
		f.end()
	}
	clear(f.ranges)
	f.ranges = f.ranges[:0]
}

// pause leaves a partition out for a while.
func (f *Fetcher) pause(e *followed, err error) {
	wait := e.failures.next(f.config.Backoff)
	f.logger.Debug("replica fetch refused", "topic", e.name.topic, "partition", e.name.partition, "leader", f.config.Leader, "offset", e.asked.offset, "pause", wait, "error", err)
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.added == e.seen {
		e.notBefore = time.Now().Add(wait)
	}
}

// stall leaves a partition out until Add is called for it again, which may have happened just now.
func (f *Fetcher) stall(e *followed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e.stalled = e.added == e.seen
}

// pauseAll waits after a fetch that failed as a whole, unless it was interrupted for the sake of a new partition.
func (f *Fetcher) pauseAll(err error) {
	if errors.Is(err, errInterrupted) {
		return
	}
	wait := f.failures.next(f.config.Backoff)
	f.logger.Debug("replica fetch failed", "leader", f.config.Leader, "pause", wait, "error", err)
	f.sleep(time.Now().Add(wait))
}

// Why a call's context was cancelled.
var (
	errInterrupted = errors.New("replication: fetch interrupted by an added partition")
	errNoAnswer    = errors.New("replication: no answer in time")
)

// beginCall returns the context of a call to the source: it ends with Close, when a partition is added, and when the node does not answer for wait and Timeout.
// One context serves until it is cancelled.
func (f *Fetcher) beginCall(wait time.Duration) context.Context {
	if f.ctx == nil {
		f.ctx, f.cancel = context.WithCancel(context.Background())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.closed {
		f.cancel()
		return f.ctx
	}
	f.mu.cancel, f.mu.expired = f.cancel, false
	if f.mu.added {
		f.armLocked(interruptAfter, true)
	} else {
		f.armLocked(wait+f.config.Timeout, false)
	}
	return f.ctx
}

// endCall says how a call ended.
func (f *Fetcher) endCall(err error) error {
	f.mu.Lock()
	f.mu.cancel = nil
	if f.mu.dog != nil && f.mu.dog.Stop() {
		f.wg.Done()
	}
	soon, expired := f.mu.soon, f.mu.expired
	f.mu.soon, f.mu.expired = false, false
	f.mu.Unlock()
	cancelled := f.ctx.Err() != nil
	if cancelled {
		f.dropContext()
	}
	switch {
	case err == nil || !cancelled:
		return err
	case expired:
		return errNoAnswer
	case soon:
		return errInterrupted
	}
	return err
}

func (f *Fetcher) dropContext() {
	if f.cancel != nil {
		f.cancel()
		f.ctx, f.cancel = nil, nil
	}
}

// armLocked has the call under way cancelled after d. An armed timer is counted in f.wg.
func (f *Fetcher) armLocked(d time.Duration, soon bool) {
	f.mu.soon, f.mu.due = soon, time.Now().Add(d)
	switch {
	case f.mu.dog == nil:
		f.wg.Add(1)
		f.mu.dog = time.AfterFunc(d, f.bark)
	case !f.mu.dog.Reset(d):
		f.wg.Add(1)
	}
}

// bark is the watchdog's.
func (f *Fetcher) bark() {
	defer f.wg.Done()
	f.mu.Lock()
	cancel := f.mu.cancel
	if cancel == nil || time.Now().Before(f.mu.due) { // late: the call that it was for has ended
		f.mu.Unlock()
		return
	}
	f.mu.expired = !f.mu.soon
	f.mu.Unlock()
	cancel()
}

// backoff is a pause that doubles.
type backoff struct{ last time.Duration }

func (b *backoff) next(limit time.Duration) time.Duration {
	b.last = min(max(2*b.last, backoffMin), limit)
	return b.last
}

// syncGroup counts the logs that the loop waits for.
type syncGroup struct {
	mu   sync.Mutex
	n    int
	zero chan struct{} // capacity 1: n has become zero
}

func (g *syncGroup) init() { g.zero = make(chan struct{}, 1) }

func (g *syncGroup) add() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n++
}

func (g *syncGroup) done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n--
	if g.n == 0 {
		select {
		case g.zero <- struct{}{}:
		default:
		}
	}
}

func (g *syncGroup) pending() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.n > 0
}

// wait returns when no log is left to wait for, or with stop.
func (g *syncGroup) wait(stop <-chan struct{}) {
	for g.pending() {
		select {
		case <-g.zero:
		case <-stop:
			return
		}
	}
}
