package transport

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// metadataTimeout bounds the nodes' answers to one question.
	metadataTimeout = 5 * time.Second
	// createPatience is how long a topic that was to be created may stay unknown: nodes answer first and create then.
	createPatience = 5 * time.Second
)

// metadata is the cache of what the cluster looks like. Readers use an immutable snapshot. Whoever needs news joins the next round; one goroutine asks for all topics of interest
// while there is a round that somebody joined, and ends. A round that is under way already may carry an answer older than the reason to ask, so it cannot be joined.
type metadata struct {
	c        *Client
	snapshot atomic.Pointer[snapshot]

	mu       sync.Mutex
	closed   bool
	interest map[string]bool // topics to ask for
	static   map[int32]Node  // named by SetNode
	next     *round          // to be asked; nil if nobody needs news
	running  bool            // the goroutine exists
	lastAsk  time.Time
	aging    *time.Timer // asks when the cache is old

	failed   map[int32]time.Time // when a node gave no answer, or keeps somebody waiting for one, unless it did since
	answered map[int32]time.Time // when a node gave its last answer
}

// snapshot is the cache at one time; immutable.
type snapshot struct {
	topics     map[string]*Topic
	nodes      []Node // by id
	controller int32  // -1 unknown
}

// round is one exchange with the cluster.
type round struct {
	create map[string]bool
	forced bool          // not to wait for the back-off: a topic is new
	also   []*round      // rounds that were joined while this one found no answer
	done   chan struct{} // closed when answered, or at Close
	once   sync.Once
	err    atomic.Pointer[error] // of the last attempt
}

func (r *round) finish() {
	r.once.Do(func() { close(r.done) })
	for _, a := range r.also {
		a.finish()
	}
}

func newMetadata(c *Client) *metadata {
	m := &metadata{c: c, interest: make(map[string]bool), static: make(map[int32]Node), failed: make(map[int32]time.Time), answered: make(map[int32]time.Time)}
	m.snapshot.Store(&snapshot{controller: -1})
	return m
}

// join returns the next round, which will ask for the topics, too. It returns nil after Close.
func (m *metadata) join(topics []string, create, forced bool) *round {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	if m.next == nil {
		m.next = &round{done: make(chan struct{})}
	}
	r := m.next
	r.forced = r.forced || forced
	for _, t := range topics {
		m.interest[t] = true
		if create {
			if r.create == nil {
				r.create = make(map[string]bool)
			}
			r.create[t] = true
		}
	}
	if !m.running {
		m.running = true
		m.c.wg.Add(1)
		go m.run()
	}
	return r
}

// run asks until nobody needs news.
func (m *metadata) run() {
	defer m.c.wg.Done()
	failures := 0
	for {
		m.mu.Lock()
		r := m.next
		if r == nil || m.closed {
			m.running = false
			m.mu.Unlock()
			return
		}
		wait := m.c.cfg.BackoffMin << min(failures, 16)
		if wait <= 0 || wait > m.c.cfg.BackoffMax {
			wait = m.c.cfg.BackoffMax
		}
		wait -= time.Since(m.lastAsk)
		if failures == 0 && r.forced {
			wait = 0
		}
		m.mu.Unlock()
		if wait > 0 && !sleep(m.c.life, wait) {
			continue
		}
		if m.ask(r) {
			failures = 0
		} else {
			failures++
		}
	}
}

// ask runs one round. If nobody answers, the round stays open: those who joined it keep waiting, and others may join.
func (m *metadata) ask(r *round) bool {
	m.mu.Lock()
	now := time.Now()
	m.lastAsk = now
	m.next = nil // who comes now joins another
	names := slices.Sorted(maps.Keys(m.interest))
	create := slices.Sorted(maps.Keys(r.create))
	order := othersFirst
	if r.forced { // it is about a topic that the likely ones may have been told of
		order = likelyFirst
	}
	m.mu.Unlock()
	if len(create) > 0 {
		names = slices.DeleteFunc(names, func(n string) bool { return r.create[n] })
		if err := m.exchange(create, true, now, order); err != nil {
			m.rejoin(r, err)
			return false
		}
	}
	if len(create) == 0 || len(names) > 0 {
		if err := m.exchange(names, false, now, order); err != nil {
			m.rejoin(r, err)
			return false
		}
	}
	r.finish()
	return true
}

// rejoin puts a round that got no answer back, together with one that was begun meanwhile.
func (m *metadata) rejoin(r *round, err error) {
	r.err.Store(&err)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		r.finish()
		return
	}
	if n := m.next; n != nil {
		r.forced = r.forced || n.forced
		if r.create == nil {
			r.create = n.create
		} else {
			maps.Copy(r.create, n.create)
		}
		r.also = append(r.also, n)
	}
	m.next = r
}

// exchange asks nodes, until one answers.
func (m *metadata) exchange(names []string, create bool, asked time.Time, order candidateOrder) error {
	ctx, cancel := context.WithTimeout(m.c.life, min(metadataTimeout, m.c.cfg.RequestTimeout)) // for all: by then the last one was asked long ago
	defer cancel()
	_, resp, err := m.c.firstAnswer(ctx, m.candidates(order), func() kmsg.Request {
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = make([]kmsg.MetadataRequestTopic, 0, len(names)) // not nil, which means all
		for _, n := range names {
			t := kmsg.NewMetadataRequestTopic()
			t.Topic = kmsg.StringPtr(n)
			req.Topics = append(req.Topics, t)
		}
		req.AllowAutoTopicCreation = create
		return req
	}, func(resp kmsg.Response) error {
		md, ok := resp.(*kmsg.MetadataResponse)
		if !ok {
			return errUnexpected
		}
		return kerr.ErrorForCode(md.ErrorCode)
	})
	if err != nil {
		return err
	}
	m.apply(resp.(*kmsg.MetadataResponse), asked)
	m.c.reconsider()
	return nil
}

// candidateOrder says in which order nodes are asked.
type candidateOrder int8

const (
	likelyFirst candidateOrder = iota
	othersFirst                // whoever answered a moment ago comes last: that answer was not enough
)

// freshAnswer is for how long an answer counts as one of a moment ago.
const freshAnswer = 2 * time.Second

// candidates lists whom to ask: those that gave no answer of late come last, for a connection through which nothing comes back looks like any other.
func (m *metadata) candidates(order candidateOrder) []int32 {
	nodes := m.c.candidates()
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	slices.SortStableFunc(nodes, func(a, b int32) int {
		c := within(m.failed[a], now, m.c.cfg.RequestTimeout).Compare(within(m.failed[b], now, m.c.cfg.RequestTimeout))
		if c == 0 && order == othersFirst {
			c = within(m.answered[a], now, freshAnswer).Compare(within(m.answered[b], now, freshAnswer))
		}
		return c
	})
	return nodes
}

// within is a time unless it is long past.
func within(at, now time.Time, d time.Duration) time.Time {
	if now.Sub(at) < d {
		return at
	}
	return time.Time{}
}

// suspect notes that a node keeps somebody waiting.
func (m *metadata) suspect(node int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed[node] = time.Now()
}

// heard notes that a node has answered, or has not.
func (m *metadata) heard(node int32, err error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.failed[node] = now
		return
	}
	delete(m.failed, node)
	m.answered[node] = now
}

// apply takes an answer into the cache.
func (m *metadata) apply(r *kmsg.MetadataResponse, asked time.Time) {
	var nodes []Node
	for i := range r.Brokers {
		b := &r.Brokers[i]
		n := Node{ID: b.NodeID, Addr: net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))}
		if b.Rack != nil {
			n.Rack = *b.Rack
		}
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		m.c.setAddr(n.ID, n.Addr)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.snapshot.Load()
	s := &snapshot{topics: maps.Clone(old.topics), nodes: old.nodes, controller: r.ControllerID}
	if s.topics == nil {
		s.topics = make(map[string]*Topic)
	}
	if len(nodes) > 0 { // a node that knows none has just started
		s.nodes = m.withStaticLocked(nodes)
	}
	for i := range r.Topics {
		t := newTopic(&r.Topics[i], asked)
		if t == nil {
			continue
		}
		s.topics[t.Name] = t.after(s.topics[t.Name])
		if errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
			delete(m.interest, t.Name) // until somebody asks again
		}
	}
	m.snapshot.Store(s)
	m.ageLocked()
}

// withStaticLocked adds the nodes of SetNode that the cluster did not name; it may have lost them for a while.
func (m *metadata) withStaticLocked(nodes []Node) []Node {
	for id, n := range m.static {
		if !slices.ContainsFunc(nodes, func(k Node) bool { return k.ID == id }) {
			nodes = append(nodes, n)
		}
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes
}

// ageLocked sees to it that the cache is asked for again when it is old.
func (m *metadata) ageLocked() {
	if m.closed || len(m.interest) == 0 {
		return
	}
	if m.aging == nil {
		m.aging = time.AfterFunc(m.c.cfg.MetadataMaxAge, func() { m.join(nil, false, false) })
		return
	}
	m.aging.Reset(m.c.cfg.MetadataMaxAge)
}

func (m *metadata) setNode(n Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.static[n.ID] = n
	old := m.snapshot.Load()
	s := *old
	s.nodes = m.withStaticLocked(slices.DeleteFunc(slices.Clone(old.nodes), func(k Node) bool { return k.ID == n.ID }))
	m.snapshot.Store(&s)
}

// hint takes one partition's leader, if it is news.
func (m *metadata) hint(topic string, partition, leader, epoch int32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.snapshot.Load()
	t := old.topics[topic]
	if t == nil || partition < 0 || int(partition) >= len(t.Partitions) || t.Partitions[partition].LeaderEpoch >= epoch {
		return false
	}
	u := *t
	u.Partitions = slices.Clone(t.Partitions)
	p := &u.Partitions[partition]
	p.Leader, p.LeaderEpoch, p.Err = leader, epoch, nil
	s := *old
	s.topics = maps.Clone(old.topics)
	s.topics[topic] = &u
	m.snapshot.Store(&s)
	return true
}

func (m *metadata) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.aging != nil {
		m.aging.Stop()
	}
	if m.next != nil {
		m.next.finish()
		m.next = nil
	}
}

// Topic returns a topic from the cache, asking the cluster if it is unknown or too old. An unknown topic is an error (kerr.UnknownTopicOrPartition) unless allowCreate made it.
// It waits for an answer for as long as ctx and RequestTimeout allow.
func (c *Client) Topic(ctx context.Context, name string, allowCreate bool) (*Topic, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.life.Err() != nil {
		return nil, ErrClosed // what is cached will never be renewed
	}
	if t := c.CachedTopic(name); t != nil && t.Err == nil && time.Since(t.asked) < c.cfg.MetadataMaxAge {
		return t, nil
	}
	started := time.Now()
	within, cancel := context.WithTimeoutCause(ctx, c.cfg.RequestTimeout, ErrTimeout)
	defer cancel()
	for wait := c.cfg.BackoffMin; ; wait = min(2*wait, c.cfg.BackoffMax) {
		r := c.meta.join([]string{name}, allowCreate, true)
		if r == nil {
			return nil, ErrClosed
		}
		select {
		case <-r.done:
		case <-within.Done():
			return nil, c.topicTimeout(within, r)
		}
		if c.closed() {
			return nil, ErrClosed
		}
		t := c.CachedTopic(name)
		switch {
		case t == nil:
			return nil, kerr.UnknownTopicOrPartition
		case t.Err == nil:
			return t, nil
		case !kerr.IsRetriable(t.Err):
			return nil, t.Err
		case errors.Is(t.Err, kerr.UnknownTopicOrPartition) && (!allowCreate || time.Since(started) >= createPatience):
			return nil, t.Err
		}
		if !sleep(within, wait) {
			return nil, errors.Join(t.Err, c.topicTimeout(within, r))
		}
	}
}

// topicTimeout says why there is no answer: the caller's context, or the last thing that went wrong.
func (c *Client) topicTimeout(ctx context.Context, r *round) error {
	err := context.Cause(ctx)
	if last := r.err.Load(); last != nil {
		return errors.Join(err, *last)
	}
	return err
}

// CachedTopic returns what is cached, or nil. It never blocks and allocates nothing.
func (c *Client) CachedTopic(name string) *Topic { return c.meta.snapshot.Load().topics[name] }

// Refresh asks for new metadata of the topics soon (at most once per back-off) and returns a channel that is closed after the next answer arrived (or the client closed). Reasons to call it: NOT_LEADER_OR_FOLLOWER and the like.
func (c *Client) Refresh(topics ...string) <-chan struct{} {
	if r := c.meta.join(topics, false, false); r != nil {
		return r.done
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

// LeaderHint takes the current leader that a Produce or Fetch response named (KIP-951); older epochs are ignored.
func (c *Client) LeaderHint(topic string, partition, leader, leaderEpoch int32, nodes []Node) {
	for _, n := range nodes {
		c.setAddr(n.ID, n.Addr)
	}
	if c.meta.hint(topic, partition, leader, leaderEpoch) {
		c.reconsider()
	}
}

// Nodes lists the brokers of the cache, by id. The slice is the caller's to read only.
func (c *Client) Nodes() []Node { return c.meta.snapshot.Load().nodes }

// Controller returns the node to which admin requests go. It asks the cluster if the cache does not know. Any live node forwards them, and a Local one is preferred: it answers when it knows of the change
// itself, and it is the one that is asked for metadata next.
func (c *Client) Controller(ctx context.Context) (int32, error) {
	if c.direct != nil && c.life.Err() == nil {
		return c.direct.id, nil
	}
	if id, ok := c.meta.snapshot.Load().reachableController(); ok {
		return id, nil
	}
	r := c.meta.join(nil, false, true)
	if r == nil {
		return 0, ErrClosed
	}
	within, cancel := context.WithTimeoutCause(ctx, c.cfg.RequestTimeout, ErrTimeout)
	defer cancel()
	select {
	case <-r.done:
	case <-within.Done():
		return 0, c.topicTimeout(within, r)
	}
	if c.closed() {
		return 0, ErrClosed
	}
	s := c.meta.snapshot.Load()
	if id, ok := s.reachableController(); ok {
		return id, nil
	}
	if len(s.nodes) > 0 {
		return s.nodes[0].ID, nil
	}
	return 0, &UnknownNodeError{Node: AnyNode}
}

// reachableController is the controller if its address is known, too: a node that is fenced may lead the quorum, and is not among the brokers.
func (s *snapshot) reachableController() (int32, bool) {
	return s.controller, slices.ContainsFunc(s.nodes, func(n Node) bool { return n.ID == s.controller })
}
