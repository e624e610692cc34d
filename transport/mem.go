package transport

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Mem is a network in memory whose links can be slowed, stalled, reset and cut one way. It works inside a testing/synctest bubble, in which it must then be made.
// A host's name is the part of an address before the colon; each host dials under its own name (Host). It starts no goroutines.
//
// Links are between hosts by name: the one that dials and the one whose Network listens. The latest SetLink that matches a direction counts.
type Mem struct {
	chunks sync.Pool // of *memChunk
	delay  atomic.Pointer[func(Delivery) time.Duration]

	mu        sync.Mutex // before a pipe's
	rules     []linkRule // the later first
	listeners map[string]*memListener
	conns     []*memConn        // dialling ends, in the order in which they were made, until both ends are closed
	ports     map[string]int    // last port given out, by host
	dials     map[[2]string]int // from whom to whom
	changed   chan struct{}     // closed at the next change of links
}

type linkRule struct {
	from, to string
	link     Link
}

// covers tells whether r matches whatever o matches.
func (r linkRule) covers(o linkRule) bool { return matches(r.from, o.from) && matches(r.to, o.to) }

func matches(pattern, host string) bool { return pattern == "*" || pattern == host }

// NewMem returns a network without hosts or faults.
func NewMem() *Mem {
	m := &Mem{
		listeners: make(map[string]*memListener),
		ports:     make(map[string]int),
		dials:     make(map[[2]string]int),
		changed:   make(chan struct{}),
	}
	m.chunks.New = func() any { return new(memChunk) }
	return m
}

// Host returns the network as the host of that name sees it: what it dials counts as coming from name. Listen with an empty host listens on name; port 0 picks one.
func (m *Mem) Host(name string) Network { return memHost{m, name} }

// Trusted tells that nobody connects by accident: the network is in this process.
func (memHost) Trusted() bool { return true }

// Link is the state of one direction between two hosts. The zero value is a perfect link.
type Link struct {
	Latency time.Duration // added to every delivery; order is kept
	Cut     bool          // bytes are lost in silence; dialling hangs until its context ends or the cut does
	Stall   bool          // bytes are kept until the stall ends; dialling waits for that, too
}

// SetLink sets the direction from → to, for connections that exist and those to come. "*" matches every host.
//
// A connection that lost bytes to a cut delivers nothing more in that direction; when the cut ends it is reset, as it is when a peer that gave up hears from the other again.
func (m *Mem) SetLink(from, to string, l Link) {
	rule := linkRule{from, to, l}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rules = slices.DeleteFunc(m.rules, rule.covers)
	m.rules = slices.Insert(m.rules, 0, rule)
	m.relinkLocked()
}

// Delivery is something on its way between two hosts.
type Delivery struct {
	From, To string
	Conn     string // names the connection: who dialled whom, and for which time
	N        int64  // number in this direction of the connection; 0 and below are attempts at the connection itself
	Bytes    int64  // written in this direction so far, with this delivery
}

// SetDelay has every delivery take what f returns, besides the latency of its link; order within a connection is kept. If f depends on nothing but a seed and the delivery, and hardly ever returns the same twice,
// then what happens in a bubble happens at instants of its own, in the same order each time. f is called with locks held, from many goroutines. nil ends it.
func (m *Mem) SetDelay(f func(Delivery) time.Duration) {
	if f == nil {
		m.delay.Store(nil)
		return
	}
	m.delay.Store(&f)
}

func (m *Mem) delayOf(d Delivery) time.Duration {
	if f := m.delay.Load(); f != nil {
		return (*f)(d)
	}
	return 0
}

// Heal removes all link states.
func (m *Mem) Heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rules = nil
	m.relinkLocked()
}

// relinkLocked applies the rules to the connections that exist and wakes those who dial.
func (m *Mem) relinkLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
	for _, c := range m.conns {
		there, back := m.linkLocked(c.w.from, c.w.to), m.linkLocked(c.r.from, c.r.to)
		broken := c.w.setLink(there, back)
		broken = c.r.setLink(back, there) || broken
		if broken {
			c.reset()
		}
	}
}

func (m *Mem) linkLocked(from, to string) Link {
	for _, r := range m.rules {
		if r.covers(linkRule{from: from, to: to}) {
			return r.link
		}
	}
	return Link{}
}

// Reset breaks all connections between the two hosts, in both directions, as a TCP reset does. "*" matches every host.
func (m *Mem) Reset(a, b string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.conns {
		if matches(a, c.w.from) && matches(b, c.w.to) || matches(b, c.w.from) && matches(a, c.w.to) {
			c.reset()
		}
	}
}

type memHost struct {
	m    *Mem
	name string
}

// memAddr is "host:port".
type memAddr string

func (memAddr) Network() string  { return "mem" }
func (a memAddr) String() string { return string(a) }

func (m *Mem) portLocked(host string) string {
	for {
		m.ports[host]++
		port := strconv.Itoa(m.ports[host])
		if m.listeners[net.JoinHostPort(host, port)] == nil {
			return port
		}
	}
}

func (h memHost) Listen(ctx context.Context, addr string) (net.Listener, error) {
	fail := func(err error) (net.Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: "mem", Addr: memAddr(addr), Err: err}
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	host, port, err := splitAddr(addr)
	if err != nil {
		return fail(err)
	}
	if host == "" {
		host = h.name
	}
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if port == "0" {
		port = h.m.portLocked(host)
	}
	l := &memListener{m: h.m, host: h.name, addr: memAddr(net.JoinHostPort(host, port))}
	l.cond.L = &l.mu
	if h.m.listeners[string(l.addr)] != nil {
		return fail(syscall.EADDRINUSE)
	}
	h.m.listeners[string(l.addr)] = l
	return l, nil
}

func splitAddr(addr string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(addr)
	if err != nil {
		return "", "", err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "", "", fmt.Errorf("port %q is not a number from 0 to 65535", port)
	}
	return host, port, nil
}

func (h memHost) Dial(ctx context.Context, addr string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: memAddr(addr), Err: err}
	}
	host, port, err := splitAddr(addr)
	if err != nil {
		return fail(err)
	}
	if host == "" {
		host = h.name
	}
	key := net.JoinHostPort(host, port)
	h.m.mu.Lock()
	h.m.dials[[2]string{h.name, host}]++
	conn := fmt.Sprintf("%s>%s#%d", h.name, host, h.m.dials[[2]string{h.name, host}])
	h.m.mu.Unlock()
	slept := false
	for attempt := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return fail(err)
		}
		h.m.mu.Lock()
		l := h.m.listeners[key]
		to := host
		if l != nil {
			to = l.host
		}
		there, back := h.m.linkLocked(h.name, to), h.m.linkLocked(to, h.name)
		changed := h.m.changed
		if !slept {
			slept = true
			if trip := there.Latency + back.Latency + h.m.delayOf(Delivery{From: h.name, To: to, Conn: conn, N: -attempt}); trip > 0 {
				h.m.mu.Unlock()
				sleep(ctx, trip)
				continue
			}
		}
		if there.Cut || back.Cut || there.Stall || back.Stall {
			h.m.mu.Unlock()
			select {
			case <-changed:
				slept, attempt = false, attempt+1 // the way is to be made now
			case <-ctx.Done():
			}
			continue
		}
		if l == nil {
			h.m.mu.Unlock()
			return fail(syscall.ECONNREFUSED)
		}
		c := h.m.connectLocked(h.name, conn, l, there, back)
		h.m.mu.Unlock()
		if c == nil {
			return fail(syscall.ECONNREFUSED)
		}
		return c, nil
	}
}

// connectLocked makes a connection and hands its other end to the listener.
func (m *Mem) connectLocked(from, conn string, l *memListener, there, back Link) *memConn {
	local := memAddr(net.JoinHostPort(from, m.portLocked(from)))
	out, in := newMemPipe(m, from, l.host, conn), newMemPipe(m, l.host, from, conn)
	out.setLink(there, back)
	in.setLink(back, there)
	near := &memConn{m: m, r: in, w: out, local: local, remote: l.addr}
	far := &memConn{m: m, r: out, w: in, local: l.addr, remote: local}
	near.key, far.key = near, near
	if !l.push(far) {
		return nil
	}
	m.conns = append(m.conns, near)
	return near
}

// memBacklog is how many connections wait to be accepted before others are refused.
const memBacklog = 4096

// memListener is a listener of Mem.
type memListener struct {
	m    *Mem
	host string // whose Network listens
	addr memAddr

	mu     sync.Mutex
	cond   sync.Cond
	queue  []*memConn
	closed bool
}

func (l *memListener) push(c *memConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.queue) >= memBacklog {
		return false
	}
	l.queue = append(l.queue, c)
	l.cond.Signal()
	return true
}

func (l *memListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) == 0 && !l.closed {
		l.cond.Wait()
	}
	if l.closed {
		return nil, &net.OpError{Op: "accept", Net: "mem", Addr: l.addr, Err: net.ErrClosed}
	}
	c := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	return c, nil
}

func (l *memListener) Addr() net.Addr { return l.addr }

func (l *memListener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return &net.OpError{Op: "close", Net: "mem", Addr: l.addr, Err: net.ErrClosed}
	}
	l.closed = true
	queue := l.queue
	l.queue = nil
	l.cond.Broadcast()
	l.mu.Unlock()
	l.m.mu.Lock()
	delete(l.m.listeners, string(l.addr))
	l.m.mu.Unlock()
	for _, c := range queue {
		c.reset()
		_ = c.Close()
	}
	return nil
}
