package transport

import (
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// memWindow is how many bytes a direction of a connection holds before its writer waits.
const memWindow = 256 << 10

// memConn is one end of a connection of Mem.
type memConn struct {
	m             *Mem
	r, w          *memPipe
	local, remote memAddr
	key           *memConn // the dialling end, by which Mem knows the connection
}

func (c *memConn) opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "mem", Source: c.local, Addr: c.remote, Err: err}
}

func (c *memConn) Read(b []byte) (int, error) {
	n, err := c.r.read(b)
	return n, c.opError("read", err)
}

func (c *memConn) Write(b []byte) (int, error) {
	n, err := c.w.write(b)
	return n, c.opError("write", err)
}

// CloseWrite ends the direction to the peer, which reads what is under way and then io.EOF.
func (c *memConn) CloseWrite() error { return c.opError("close", c.w.closeWrite()) }

func (c *memConn) Close() error {
	err := c.r.closeRead()
	_ = c.w.closeWrite() // ended already, perhaps
	if c.r.over() && c.w.over() {
		c.m.mu.Lock()
		c.m.conns = slices.DeleteFunc(c.m.conns, func(d *memConn) bool { return d == c.key })
		c.m.mu.Unlock()
	}
	return c.opError("close", err)
}

// reset breaks the connection for both ends, for each after the delay of a delivery if there are such.
func (c *memConn) reset() {
	for _, end := range []*memConn{c, {m: c.m, r: c.w, w: c.r}} {
		if wait := end.r.nextDelay(); wait > 0 {
			time.AfterFunc(wait, end.breakUp)
		} else {
			end.breakUp()
		}
	}
}

// breakUp breaks this end.
func (c *memConn) breakUp() {
	c.r.breakRead()
	c.w.breakWrite()
}

func (c *memConn) LocalAddr() net.Addr  { return c.local }
func (c *memConn) RemoteAddr() net.Addr { return c.remote }

func (c *memConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *memConn) SetReadDeadline(t time.Time) error {
	return c.opError("set", c.r.setDeadline(&c.r.reader, t))
}

func (c *memConn) SetWriteDeadline(t time.Time) error {
	return c.opError("set", c.w.setDeadline(&c.w.writer, t))
}

// memChunk is a piece of a pipe's buffer. An idle pipe has none.
type memChunk struct {
	b    [16 << 10]byte
	r, w int
}

// memPipe is one direction of a connection. Positions count bytes since its start:
//
//	0 … read | delivered: in the buffer | written: in the buffer, under way | lost
//	         └── what Read returns ─────┘ └─ marks say when it arrives ─────┘
//
// Nobody holds its lock while waiting, and waiting is by condition only, so virtual time goes on.
type memPipe struct {
	m        *Mem
	from, to string
	conn     string

	mu         sync.Mutex
	reader     memSide
	writer     memSide
	chunks     []*memChunk
	pos        int64 // read so far
	delivered  int64
	written    int64
	dropped    int64 // bytes lost; they still fill the writer's window
	sent       int64 // deliveries
	marks      []memMark
	arrival    *time.Timer // wakes the reader for the first mark
	link       Link
	backCut    bool // the other direction is cut: what the reader's end would answer does not arrive
	lost       bool // something was lost, so nothing after it can be delivered
	busy       bool // a writer is between two parts of its bytes
	finished   bool // the end of the stream was delivered
	broken     bool // reset, as the writer knows
	readBroken bool // reset, as the reader knows
}

// memMark is a write under way.
type memMark struct {
	end int64
	at  time.Time
	fin bool
}

// memSide is one side of a pipe.
type memSide struct {
	cond     sync.Cond
	closed   bool
	deadline time.Time
	timer    *time.Timer
}

func newMemPipe(m *Mem, from, to string, conn string) *memPipe {
	p := &memPipe{m: m, from: from, to: to, conn: conn}
	p.reader.cond.L, p.writer.cond.L = &p.mu, &p.mu
	return p
}

func (s *memSide) late() bool { return !s.deadline.IsZero() && !time.Now().Before(s.deadline) }

func (p *memPipe) wakeLocked() {
	p.reader.cond.Broadcast()
	p.writer.cond.Broadcast()
}

func (p *memPipe) setDeadline(s *memSide, t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.deadline = t
	wait := time.Until(t)
	switch {
	case t.IsZero():
		if s.timer != nil {
			s.timer.Stop()
		}
	case wait <= 0:
	case s.timer == nil:
		s.timer = time.AfterFunc(wait, func() {
			p.mu.Lock()
			s.cond.Broadcast()
			p.mu.Unlock()
		})
	default:
		s.timer.Reset(wait)
	}
	s.cond.Broadcast()
	return nil
}

// setLink takes the state of this direction and of the other. It tells whether the connection must be reset, because it lost bytes and is connected again.
func (p *memPipe) setLink(l, back Link) (broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deliverLocked()
	p.link, p.backCut = l, back.Cut
	if l.Cut && len(p.marks) > 0 {
		p.loseLocked()
	}
	p.deliverLocked()
	p.wakeLocked()
	return p.lost && !l.Cut
}

// loseLocked drops what is under way.
func (p *memPipe) loseLocked() {
	p.lost = true
	p.dropped += p.written - p.delivered
	p.marks = nil
}

// deliverLocked moves what has arrived by now into the reader's reach.
func (p *memPipe) deliverLocked() {
	if len(p.marks) == 0 || p.link.Stall || p.lost {
		return
	}
	now := time.Now()
	n := 0
	for n < len(p.marks) && !p.marks[n].at.After(now) {
		p.delivered = p.marks[n].end
		p.finished = p.finished || p.marks[n].fin
		n++
	}
	p.marks = append(p.marks[:0], p.marks[n:]...)
}

// sendLocked marks what was written since the last mark, or delivers it at once over a perfect link.
func (p *memPipe) sendLocked(fin bool) {
	p.sent++
	latency := p.link.Latency + p.m.delayOf(Delivery{From: p.from, To: p.to, Conn: p.conn, N: p.sent, Bytes: p.written})
	if latency <= 0 && !p.link.Stall && len(p.marks) == 0 {
		p.delivered, p.finished = p.written, p.finished || fin
	} else {
		at := time.Now().Add(latency)
		if n := len(p.marks); n > 0 && p.marks[n-1].at.After(at) {
			at = p.marks[n-1].at // order is kept when the latency falls
		}
		p.marks = append(p.marks, memMark{end: p.written, at: at, fin: fin})
	}
	p.reader.cond.Signal()
}

func (p *memPipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		p.deliverLocked()
		switch {
		case p.reader.closed:
			return 0, net.ErrClosed
		case p.readBroken:
			return 0, syscall.ECONNRESET
		case p.reader.late():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case p.delivered > p.pos:
			n := p.takeLocked(b[:min(int64(len(b)), p.delivered-p.pos)])
			p.writer.cond.Broadcast() // who writes, and those whose turn it is not
			if p.delivered > p.pos || p.finished {
				p.reader.cond.Signal() // for another reader
			}
			return n, nil
		case p.finished:
			return 0, io.EOF
		}
		p.awaitArrivalLocked()
		p.reader.cond.Wait()
	}
}

// awaitArrivalLocked sets the timer for the first mark.
func (p *memPipe) awaitArrivalLocked() {
	if len(p.marks) == 0 || p.link.Stall || p.lost {
		return
	}
	wait := time.Until(p.marks[0].at)
	if p.arrival == nil {
		p.arrival = time.AfterFunc(wait, func() {
			p.mu.Lock()
			p.reader.cond.Broadcast()
			p.mu.Unlock()
		})
		return
	}
	p.arrival.Reset(wait)
}

// takeLocked moves len(b) bytes from the buffer.
func (p *memPipe) takeLocked(b []byte) int {
	n := 0
	for n < len(b) {
		c := p.chunks[0]
		m := copy(b[n:], c.b[c.r:c.w])
		c.r += m
		n += m
		if c.r == c.w {
			p.m.freeChunk(c)
			p.chunks[0] = nil
			p.chunks = p.chunks[1:]
		}
	}
	if len(p.chunks) == 0 {
		p.chunks = nil
	}
	p.pos += int64(n)
	return n
}

// putLocked copies b into the buffer.
func (p *memPipe) putLocked(b []byte) {
	p.written += int64(len(b))
	for len(b) > 0 {
		if len(p.chunks) == 0 || p.chunks[len(p.chunks)-1].w == len(memChunk{}.b) {
			p.chunks = append(p.chunks, p.m.chunks.Get().(*memChunk))
		}
		c := p.chunks[len(p.chunks)-1]
		n := copy(c.b[c.w:], b)
		c.w += n
		b = b[n:]
	}
}

func (m *Mem) freeChunk(c *memChunk) {
	c.r, c.w = 0, 0
	m.chunks.Put(c)
}

func (p *memPipe) write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.busy && p.writeErrLocked() == nil {
		p.writer.cond.Wait()
	}
	if err := p.writeErrLocked(); err != nil {
		return 0, err
	}
	p.busy = true
	defer func() {
		p.busy = false
		p.writer.cond.Broadcast()
	}()
	for len(b) > 0 {
		if err := p.writeErrLocked(); err != nil {
			return n, err
		}
		room := memWindow - (p.written - p.pos) - p.dropped
		if p.lost {
			room = memWindow - p.dropped
		}
		if room <= 0 {
			p.writer.cond.Wait()
			continue
		}
		part := b[:min(int64(len(b)), room)]
		if p.link.Cut || p.lost || p.reader.closed || p.readBroken {
			p.lost = true
			p.dropped += int64(len(part))
		} else {
			p.putLocked(part)
			p.sendLocked(false)
		}
		n += len(part)
		b = b[len(part):]
	}
	return n, nil
}

func (p *memPipe) writeErrLocked() error {
	switch {
	case p.writer.closed:
		return net.ErrClosed
	case p.broken:
		return syscall.ECONNRESET
	case p.writer.late():
		return os.ErrDeadlineExceeded
	case p.reader.closed && !p.link.Cut && !p.backCut && !p.link.Stall:
		return syscall.EPIPE
	}
	return nil
}

func (p *memPipe) closeWrite() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writer.closed {
		return net.ErrClosed
	}
	p.writer.closed = true
	if p.link.Cut {
		p.lost = true
	}
	if !p.lost {
		p.sendLocked(true)
	}
	if p.writer.timer != nil {
		p.writer.timer.Stop()
	}
	p.wakeLocked()
	return nil
}

func (p *memPipe) closeRead() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reader.closed {
		return net.ErrClosed
	}
	p.reader.closed = true
	p.dropLocked()
	if p.reader.timer != nil {
		p.reader.timer.Stop()
	}
	p.wakeLocked()
	return nil
}

// dropLocked forgets what nobody will read.
func (p *memPipe) dropLocked() {
	for _, c := range p.chunks {
		p.m.freeChunk(c)
	}
	p.chunks, p.marks = nil, nil
	p.pos, p.delivered = p.written, p.written
	if p.arrival != nil {
		p.arrival.Stop()
	}
}

// nextDelay counts one more delivery.
func (p *memPipe) nextDelay() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent++
	return p.m.delayOf(Delivery{From: p.from, To: p.to, Conn: p.conn, N: p.sent, Bytes: p.written})
}

// breakRead has the reader told of a reset.
func (p *memPipe) breakRead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readBroken = true
	p.dropLocked()
	p.wakeLocked()
}

// breakWrite has the writer told of a reset, and loses what it writes.
func (p *memPipe) breakWrite() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = true
	p.wakeLocked()
}

// over tells whether both sides have closed.
func (p *memPipe) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reader.closed && p.writer.closed
}
