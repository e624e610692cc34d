package producer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/internal/dice"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
)

// Producer sends records to a cluster. It is safe for concurrent use.
//
// Locks, outermost first: partition.mu, then any one of node.mu, Producer.mu, identity.mu, memory.mu, reaper.mu. None is held while something is sent,
// while a callback runs, or while anybody waits.
type Producer struct {
	c         Config // with defaults
	client    *transport.Client
	dice      dice.Dice
	ownClient bool

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // the metadata goroutine, timers

	topics   atomic.Pointer[map[string]*topic] // replaced, under mu, never changed: readers need no lock
	memory   memory
	identity identity
	reaper   reaper

	done     chan struct{} // closed when Close is over
	closeErr error         // set before

	mu         sync.Mutex
	closed     bool
	nodes      map[int32]*node
	stale      map[string]bool // topics whose metadata is to be refreshed
	refreshing bool            // the goroutine that does it is there

	batches, builders, buffers, requests, waiters sync.Pool
}

// Metadata says where a record is in its topic.
type Metadata struct {
	Topic     string
	Partition int32
	Offset    int64     // -1 if unknown: with AcksNone, on an error, or when the leader knows only that it has the record already
	Timestamp time.Time // the record's own, or the leader's if the topic is set to log append time; milliseconds
}

// New returns a producer. It does not connect: the first record does. The error names all problems of the config at once.
func New(c Config) (*Producer, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	p := &Producer{c: c, client: c.Client, dice: dice.New(), nodes: make(map[int32]*node), done: make(chan struct{})}
	if p.client == nil {
		client, err := transport.NewClient(transport.ClientConfig{
			Bootstrap: c.Bootstrap, Network: c.Network, ClientID: c.ClientID,
			RequestTimeout: c.RequestTimeout, Logger: c.Logger,
		})
		if err != nil {
			return nil, err
		}
		p.client, p.ownClient = client, true
	}
	if p.c.Partitioner == nil {
		p.c.Partitioner = Keyed{}
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.topics.Store(&map[string]*topic{})
	p.memory.free.Store(c.BufferBytes)
	p.initPools()
	return p, nil
}

// Produce sends r and returns when it is acknowledged as Config.Acks asks. r is not kept.
//
// An error is an *Error, which tells whether the record is certainly not in the log. If ctx ends while the record is on its
// way, Produce returns at once, with an unknown outcome; the record may still be sent.
func (p *Producer) Produce(ctx context.Context, r *record.Record) (Metadata, error) {
	w := p.waiters.Get().(*waiter)
	n, u, err := p.add(ctx, r, callback{waiter: w})
	if n != nil {
		n.wakeHere(u)
	}
	if err != nil {
		p.waiters.Put(w)
		return Metadata{Topic: r.Topic, Partition: -1, Offset: -1}, err
	}
	select {
	case <-w.ch:
	default: // the common case is a select of one channel, which is the cheaper one
		select {
		case <-w.ch:
		case <-ctx.Done():
			// w stays with the batch.
			return Metadata{Topic: r.Topic, Partition: w.partition, Offset: -1},
				&Error{Topic: r.Topic, Partition: w.partition, Outcome: Unknown, Err: ctx.Err()}
		}
	}
	md, err := w.md, w.err
	w.md, w.err = Metadata{}, nil
	p.waiters.Put(w)
	return md, err
}

// Enqueue takes r for sending and returns when it is buffered, which is at once unless the topic's metadata or space in the buffer must be
// waited for; ctx bounds that wait. r is not kept.
//
// done, which may be nil, is called exactly once if Enqueue returns nil, and never otherwise; in the order of the calls per partition; from
// any goroutine. What it does holds up what comes after it, so it must be short. It must not call Produce, Flush or Close, nor
// Enqueue with a context that does not end, for it may be in its own way when the buffer is full. Its error is nil or an *Error.
func (p *Producer) Enqueue(ctx context.Context, r *record.Record, done func(Metadata, error)) error {
	n, u, err := p.add(ctx, r, callback{done: done})
	if n != nil {
		n.wake(u)
	}
	return err
}

// add puts r into a batch. A node that it returns has to be woken.
func (p *Producer) add(ctx context.Context, r *record.Record, cb callback) (*node, urgency, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, p.refusal(r, err)
	}
	t, err := p.topic(ctx, r.Topic)
	if err != nil {
		return nil, 0, p.refusal(r, err)
	}
	size := maxSize(r)
	if size+record.HeaderSize > p.c.MaxRequestBytes {
		return nil, 0, p.refusal(r, &record.TooLargeError{Size: size + record.HeaderSize, Limit: p.c.MaxRequestBytes})
	}
	if len(r.Headers) > record.MaxHeaders {
		return nil, 0, p.refusal(r, &record.InvalidError{Index: 0, Reason: "more than 1024 headers"})
	}
	stamped := r
	var now time.Time
	if r.Timestamp.IsZero() {
		now = time.Now()
		c := *r
		c.Timestamp = now
		stamped = &c
	}
	cb.timestamp = stamped.Timestamp.UnixMilli()
	var granted int64
	for {
		pt, sticky, err := t.choose(r)
		if err != nil {
			p.memory.release(granted)
			return nil, 0, p.refusal(r, err)
		}
		what, n, u := pt.add(stamped, size, cb, now, granted, sticky)
		switch what {
		case addedRecord:
			if sticky {
				t.stick(pt, size)
			}
			if cb.waiter != nil {
				cb.waiter.partition = pt.number
			}
			return n, u, nil
		case notClosed:
			p.memory.release(granted)
			return nil, 0, p.refusal(r, ErrClosed)
		case notSticky:
			t.unstick(pt.number)
		}
		if n != nil {
			n.wake(u)
		}
		if what == notMemory {
			granted = int64(size + record.HeaderSize)
			if err := p.awaitMemory(ctx, granted); err != nil {
				return nil, 0, p.refusal(r, err)
			}
			now = time.Time{} // that was a while ago
		}
	}
}

// awaitMemory waits for n bytes. Everything that could be sent is sent, so that some come free.
func (p *Producer) awaitMemory(ctx context.Context, n int64) error {
	c := p.memory.claim(n)
	p.wakeAll()
	return p.memory.wait(ctx, c, p.ctx.Done())
}

// refusal is the error of a record that was not taken.
func (p *Producer) refusal(r *record.Record, err error) error {
	return &Error{Topic: r.Topic, Partition: -1, Outcome: NotCommitted, Err: err}
}

// maxSize returns how many bytes r takes in a batch at most: length, attributes, timestamp and offset deltas, and five bytes for each
// length and count.
func maxSize(r *record.Record) int {
	n := 5 + 1 + 10 + 5 + 3*5 + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += 2*5 + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// Flush sends everything that was enqueued before the call, without lingering, and returns when the callbacks of all of it have returned, or
// with ctx's error. Records that are enqueued meanwhile are not waited for.
func (p *Producer) Flush(ctx context.Context) error {
	f := &flush{done: make(chan struct{})}
	f.left.Store(1)
	for _, t := range *p.topics.Load() {
		for _, pt := range *t.partitions.Load() {
			if n := pt.flush(f); n != nil {
				n.wake(fullBatch)
			}
		}
	}
	f.one()
	select {
	case <-f.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.ctx.Err() != nil {
		return ErrClosed
	}
	return nil
}

// Close ends the producer at once and waits for its goroutines and for the callbacks that run. What is not acknowledged by then ends with
// ErrClosed: as not committed if it was never sent, else with an unknown outcome. Call Flush first to have it sent.
// A client that the producer made is closed, one that was shared is not. Further calls wait for the first and return what it returned.
func (p *Producer) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	nodes := make([]*node, 0, len(p.nodes))
	for _, n := range p.nodes {
		nodes = append(nodes, n)
	}
	p.mu.Unlock()
	if !first {
		<-p.done
		return p.closeErr
	}
	defer close(p.done)
	p.cancel()
	p.identity.close()
	p.reaper.close()
	pts := p.partitions()
	for _, pt := range pts {
		pt.close(closedError)
	}
	for _, n := range nodes {
		n.close()
	}
	p.wg.Wait()
	for _, pt := range pts {
		pt.deliver()
		pt.awaitDelivery()
	}
	if p.ownClient {
		p.closeErr = p.client.Close()
	}
	return p.closeErr
}

// enter lets a timer's goroutine in, which Close then waits for. After Close it returns false.
func (p *Producer) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.wg.Add(1)
	return true
}

// partitions lists all partitions that were ever produced to.
func (p *Producer) partitions() (pts []*partition) {
	for _, t := range *p.topics.Load() {
		pts = append(pts, *t.partitions.Load()...)
	}
	return pts
}

// nodeFor returns the sender for a node; -1 is the one for partitions without a leader.
func (p *Producer) nodeFor(id int32) *node {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if n == nil {
		n = &node{p: p, id: id, closed: p.closed}
		p.nodes[id] = n
	}
	return n
}

// wakeAll has every node look at its partitions.
func (p *Producer) wakeAll() {
	p.mu.Lock()
	nodes := make([]*node, 0, len(p.nodes))
	for _, n := range p.nodes {
		nodes = append(nodes, n)
	}
	p.mu.Unlock()
	for _, n := range nodes {
		n.wake(fullBatch)
	}
}

// failUnidentified ends everything that waits for a producer id.
func (p *Producer) failUnidentified(cause error) {
	if errors.Is(cause, transport.ErrClosed) {
		cause = ErrClosed
	}
	for _, pt := range p.partitions() {
		n := pt.failUnidentified(cause)
		pt.deliver()
		if n != nil {
			n.wake(fullBatch)
		}
	}
}
