package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/insynclog/insync/internal/dice"
)

// Local is a node in this process that a client calls directly, without a socket and without encoding.
type Local struct {
	NodeID  int32
	Handler Handler
}

// ClientConfig sets up a Client.
type ClientConfig struct {
	Bootstrap []string // addresses of any nodes of the cluster; may be empty with Local, or if SetNode names nodes
	Network   Network  // nil = TCP(nil)
	Local     *Local   // a node reached by function call; it also serves as bootstrap
	ClientID  string   // "" = "insync"

	Credentials Credentials // by which connections log in; nil = they do not

	DialTimeout    time.Duration // 0 = 10 s
	RequestTimeout time.Duration // request.timeout.ms; 0 = 30 s. A request that lets the node wait longer (Fetch, Produce, …) may take that long and a second.
	MetadataMaxAge time.Duration // metadata.max.age.ms; 0 = 5 min
	BackoffMin     time.Duration // retry.backoff.ms; 0 = 100 ms
	BackoffMax     time.Duration // retry.backoff.max.ms; 0 = 1 s
	MaxFrameBytes  int           // of responses; 0 = 64 MiB
	Logger         *slog.Logger
}

// idleTimeout is when a client closes a connection that it does not use: before a Kafka node does, after 10 min.
const idleTimeout = 9 * time.Minute

func (c ClientConfig) withDefaults() ClientConfig {
	if c.Network == nil {
		c.Network = TCP(nil)
	}
	c.ClientID = cmp.Or(c.ClientID, "insync")
	c.DialTimeout = cmp.Or(c.DialTimeout, 10*time.Second)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, 30*time.Second)
	c.MetadataMaxAge = cmp.Or(c.MetadataMaxAge, 5*time.Minute)
	c.BackoffMin = cmp.Or(c.BackoffMin, 100*time.Millisecond)
	c.BackoffMax = max(cmp.Or(c.BackoffMax, time.Second), c.BackoffMin)
	c.MaxFrameBytes = cmp.Or(c.MaxFrameBytes, 64<<20)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c ClientConfig) validate() error {
	var errs []error
	for _, addr := range c.Bootstrap {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			errs = append(errs, fmt.Errorf("transport: bootstrap address %q: %w", addr, err))
		}
	}
	if c.Local != nil && (c.Local.Handler == nil || c.Local.NodeID < 0) {
		errs = append(errs, errors.New("transport: Local needs a Handler and a NodeID of at least 0"))
	}
	if len(c.ClientID) > math.MaxInt16 {
		errs = append(errs, fmt.Errorf("transport: ClientID is longer than %d bytes", math.MaxInt16))
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"DialTimeout", c.DialTimeout}, {"RequestTimeout", c.RequestTimeout}, {"MetadataMaxAge", c.MetadataMaxAge}, {"BackoffMin", c.BackoffMin}, {"BackoffMax", c.BackoffMax}} {
		if d.d < 0 {
			errs = append(errs, fmt.Errorf("transport: %s %v is negative", d.name, d.d))
		}
	}
	if c.MaxFrameBytes < 0 {
		errs = append(errs, fmt.Errorf("transport: MaxFrameBytes %d is negative", c.MaxFrameBytes))
	}
	return errors.Join(errs...)
}

// Client is a connection to a cluster: bootstrap addresses, metadata cache, routing, back-off. It is safe for concurrent use. Connections are made on demand; fetches and
// produces have connections of their own, so that one that waits holds up nobody else.
//
// Goroutines: two for each connection, one for each direct request that may wait, one while metadata is asked for. They end when there is nothing to do, or at Close, which waits for them.
type Client struct {
	cfg    ClientConfig
	idle   time.Duration
	direct *direct // nil without Local
	meta   *metadata
	dice   dice.Dice

	coordinators coordinators

	frames framePool
	life   context.Context // ends at Close
	end    context.CancelFunc
	wg     sync.WaitGroup

	mu struct {
		sync.Mutex
		closed bool
		peers  map[int32]*peer
	}
}

// peer is a node as a client reaches it. Bootstrap addresses are peers with ids below AnyNode.
type peer struct {
	addr  string
	lanes [laneKinds]*lane
}

// NewClient returns a client without connecting. Errors: all problems of the config at once.
func NewClient(c ClientConfig) (*Client, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	cl := &Client{cfg: c, idle: idleTimeout}
	cl.life, cl.end = context.WithCancel(context.Background())
	cl.mu.peers = make(map[int32]*peer)
	for i, addr := range c.Bootstrap {
		cl.mu.peers[AnyNode-1-int32(i)] = &peer{addr: addr}
	}
	if c.Local != nil {
		cl.direct = newDirect(cl, c.Local)
	}
	cl.dice = dice.New()
	cl.meta = newMetadata(cl)
	return cl, nil
}

// Close closes the connections, fails what is under way with ErrClosed and waits for all goroutines, and so for the callbacks of Send: it must not be called from one.
func (c *Client) Close() error {
	c.mu.Lock()
	c.mu.closed = true
	var lanes []*lane
	for _, id := range slices.Sorted(maps.Keys(c.mu.peers)) {
		for _, l := range c.mu.peers[id].lanes {
			if l != nil {
				lanes = append(lanes, l)
			}
		}
	}
	c.mu.Unlock()
	c.meta.close()
	if c.direct != nil {
		c.direct.close()
	}
	for _, l := range lanes {
		l.close()
	}
	c.end() // after the requests have failed, so that no handler answers them because its context ended
	c.wg.Wait()
	return nil
}

func (c *Client) closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.closed
}

// AnyNode as a node id stands for whichever node answers.
const AnyNode int32 = -1

// Response is an answer with its memory.
type Response struct {
	Message kmsg.Response // nil for a request that has no response (Produce with acks=0), which is sent then
	Release func()        // may be nil
}

// Request sends req to a node (or AnyNode) at the highest version both sides know and waits for the answer. It is not retried, except that with AnyNode every known
// address is tried once until a request could be sent. Errors: ErrClosed, *UnknownNodeError, *ConnError, *UnsupportedVersionError, ctx's.
// The response's bytes may be shared with nobody else. req belongs to the client until Request returns; after an error other than an answer's, a Local node may still read its bytes.
func (c *Client) Request(ctx context.Context, node int32, req kmsg.Request) (kmsg.Response, error) {
	if node != AnyNode {
		return c.request(ctx, node, req)
	}
	var last error = &UnknownNodeError{Node: AnyNode}
	for _, n := range c.candidates() {
		resp, err := c.request(ctx, n, req)
		if !unsent(err) {
			return resp, err
		}
		last = err
	}
	return nil, last
}

// unsent tells whether a request can go elsewhere, because it certainly had no effect where it went.
func unsent(err error) bool {
	e, ok := errors.AsType[*ConnError](err)
	return ok && !e.Sent
}

// waiter is a call that somebody waits for.
type waiter struct {
	call
	ready chan struct{}
	resp  Response
	err   error
}

func (w *waiter) set(r Response, err error) {
	w.resp, w.err = r, err
	w.ready <- struct{}{}
}

func (c *Client) request(ctx context.Context, node int32, req kmsg.Request) (kmsg.Response, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	key := req.Key()
	o, err := c.route(node, key)
	if err != nil {
		return nil, err
	}
	w := &waiter{ready: make(chan struct{}, 1)}
	w.req, w.key, w.started, w.done = req, key, time.Now(), w.set
	o.start(&w.call)
	select {
	case <-w.ready:
	case <-ctx.Done():
		o.cancel(&w.call, ctx.Err())
		<-w.ready
	}
	if w.err != nil {
		return nil, w.err
	}
	if w.resp.Release != nil && o == owner(c.direct) {
		return own(w.resp)
	}
	return w.resp.Message, nil // the frame is left to the garbage collector
}

// own returns the message in memory of its own and releases the response.
func own(r Response) (kmsg.Response, error) {
	defer r.Release()
	if f, ok := r.Message.(*kmsg.FetchResponse); ok {
		return ownFetch(f), nil
	}
	if r.Message == nil {
		return nil, nil
	}
	m := r.Message.RequestKind().ResponseKind()
	m.SetVersion(r.Message.GetVersion())
	return m, m.ReadFrom(r.Message.AppendTo(nil))
}

// ownFetch copies the response of a fetch, which its node makes anew in the same memory: structs as well as batches.
func ownFetch(f *kmsg.FetchResponse) *kmsg.FetchResponse {
	own := *f
	own.Brokers = slices.Clone(f.Brokers)
	own.Topics = slices.Clone(f.Topics)
	for i := range own.Topics {
		t := &own.Topics[i]
		t.Partitions = slices.Clone(t.Partitions)
		for j := range t.Partitions {
			p := &t.Partitions[j]
			p.RecordBatches = slices.Clone(p.RecordBatches)
			p.AbortedTransactions = slices.Clone(p.AbortedTransactions)
		}
	}
	return &own
}

// Send is Request without waiting: requests to one node are pipelined in the order of the calls (per lane: produce, fetch, private keys, a broker's requests to its controller, others) and done is called exactly once,
// in the order of responses, from the connection's goroutine or, for a Local node, from whichever goroutine replies, perhaps before Send returns. done must not block, nor call Close. With a nil error the
// Response's Release, if not nil, must be called once when its bytes are no longer used. ctx ends the wait, not what was sent.
//
// req and its bytes must not change until done was called. When done gets an error (its context's, ErrClosed, a timeout), a Local node may still read them: they may be sent again, but not be overwritten.
//
// A Local node gets produce requests in order, on the goroutine of a sender; all other requests run beside each other, as if each came on its own connection.
func (c *Client) Send(ctx context.Context, node int32, req kmsg.Request, done func(Response, error)) {
	if node == AnyNode {
		c.sendAny(ctx, c.candidates(), req, done)
		return
	}
	key := req.Key()
	err := ctx.Err()
	var o owner
	if err == nil {
		o, err = c.route(node, key)
	}
	if err != nil {
		done(Response{}, err)
		return
	}
	cl := &call{req: req, key: key, started: time.Now(), done: done}
	if ctx.Done() != nil {
		cl.stop = context.AfterFunc(ctx, func() { o.cancel(cl, ctx.Err()) })
	}
	o.start(cl)
}

func (c *Client) sendAny(ctx context.Context, nodes []int32, req kmsg.Request, done func(Response, error)) {
	if len(nodes) == 0 {
		done(Response{}, &UnknownNodeError{Node: AnyNode})
		return
	}
	c.Send(ctx, nodes[0], req, func(r Response, err error) {
		if unsent(err) && len(nodes) > 1 {
			c.sendAny(ctx, nodes[1:], req, done)
			return
		}
		done(r, err)
	})
}

// route returns what carries requests for a key to a node. What it returns must be started: a connection for a join is reserved by it.
func (c *Client) route(node int32, key int16) (owner, error) {
	if c.direct != nil && node == c.direct.id {
		return c.direct, nil
	}
	kind := laneOf(key)
	switch kind {
	case laneFetch:
		kind = c.fetchLane(node)
	case laneJoin:
		return c.joinLane(node)
	}
	return c.lane(node, kind)
}

// lane returns one of the connections to a node.
func (c *Client) lane(node int32, kind laneKind) (*lane, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, ErrClosed
	}
	p := c.mu.peers[node]
	if p == nil {
		return nil, &UnknownNodeError{Node: node}
	}
	if p.lanes[kind] == nil {
		p.lanes[kind] = newLane(c, node, kind)
	}
	return p.lanes[kind], nil
}

// joinLane reserves a connection on which nothing is under way: a node keeps the answer to a JoinGroup back until all other members have joined, so that two members that share a connection would wait
// for each other. Beyond the bound they do, until the rebalance times out.
func (c *Client) joinLane(node int32) (*lane, error) {
	for kind := laneJoin; kind < laneJoin+joinLanes; kind++ {
		l, err := c.lane(node, kind)
		if err != nil || l.reserve() {
			return l, err
		}
	}
	return c.lane(node, laneJoin+laneKind(c.dice.IntN(joinLanes, dice.Moment())))
}

// fetchLane returns a connection on which no fetch waits: answers leave a connection in the order of the requests, so that a fetch that waits for records would hold up those of other consumers that
// share the client. Beyond the bound they share.
func (c *Client) fetchLane(node int32) laneKind {
	var lanes [laneKinds]*lane
	c.mu.Lock()
	if p := c.mu.peers[node]; p != nil {
		lanes = p.lanes
	}
	c.mu.Unlock()
	if l := lanes[laneFetch]; l == nil || l.vacant() {
		return laneFetch
	}
	for kind := laneMoreFetches; kind < laneMoreFetches+moreFetchLanes; kind++ {
		if l := lanes[kind]; l == nil || l.vacant() {
			return kind
		}
	}
	return laneMoreFetches + laneKind(c.dice.IntN(moreFetchLanes, dice.Moment()))
}

// addr returns a node's address.
func (c *Client) addr(node int32) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.mu.peers[node]; p != nil {
		return p.addr
	}
	return ""
}

// candidates lists the nodes to ask when any will do, each address once, the likely ones first: the node in this process; nodes that we are connected to; others in random order; those that could not be
// reached of late. Bootstrap addresses come after the nodes that the cluster named, so that a cluster that moved away altogether is found again.
func (c *Client) candidates() []int32 {
	type candidate struct {
		id    int32
		rank  int
		lanes [laneKinds]*lane
	}
	var list []candidate
	seen := make(map[string]bool)
	c.mu.Lock()
	for id, p := range c.mu.peers {
		list = append(list, candidate{id: id, lanes: p.lanes})
	}
	now := dice.Moment()
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(
			cmp.Compare(min(max(b.id, -1), 0), min(max(a.id, -1), 0)), // named ones first
			cmp.Compare(c.dice.Throw(now, uint64(a.id)), c.dice.Throw(now, uint64(b.id))),
		)
	})
	list = slices.DeleteFunc(list, func(k candidate) bool {
		addr := c.mu.peers[k.id].addr
		dup := seen[addr]
		seen[addr] = true
		return dup
	})
	c.mu.Unlock()
	for i := range list {
		k := &list[i]
		k.rank = 1
		if k.id < 0 {
			k.rank = 2
		}
		for _, l := range k.lanes {
			if l == nil {
				continue
			}
			switch connected, failing := l.live(); {
			case connected:
				k.rank = 0
			case failing && k.rank > 0:
				k.rank = 3
			}
		}
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return cmp.Compare(a.rank, b.rank) })
	nodes := make([]int32, 0, len(list)+1)
	if c.direct != nil {
		nodes = append(nodes, c.direct.id)
	}
	for _, k := range list {
		if c.direct == nil || k.id != c.direct.id {
			nodes = append(nodes, k.id)
		}
	}
	return nodes
}

// SetNode adds or replaces a node's address (nodes among themselves know their peers before any metadata). An open connection to an older address stays until it breaks.
func (c *Client) SetNode(n Node) {
	c.setAddr(n.ID, n.Addr)
	c.meta.setNode(n)
}

func (c *Client) setAddr(id int32, addr string) {
	if id < 0 {
		return
	}
	var lanes [laneKinds]*lane
	c.mu.Lock()
	p := c.mu.peers[id]
	switch {
	case p == nil:
		c.mu.peers[id] = &peer{addr: addr}
	case p.addr != addr:
		p.addr = addr
		lanes = p.lanes
	}
	c.mu.Unlock()
	for _, l := range lanes {
		if l != nil {
			l.hurry()
		}
	}
}
