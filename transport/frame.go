package transport

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"sync"
	"time"
)

const (
	// readBufferBytes is the read-ahead of a connection: enough for the small requests; larger frames are read past it, straight into their own memory.
	readBufferBytes = 4 << 10
	// frameTrustBytes is how much memory a connection gets for a frame on the word of its length alone. More is given as bytes arrive, or once the connection has
	// sent a frame as large before.
	frameTrustBytes = 4 << 10
)

// FrameSizeError says that a frame's length is negative or above the limit. The connection it came on is closed.
type FrameSizeError struct{ Size, Max int }

func (e *FrameSizeError) Error() string {
	return fmt.Sprintf("frame of %d bytes is outside [0, %d]", e.Size, e.Max)
}

// frame is the memory of one frame, without its length. It belongs to whoever holds it, who may give it back to its pool once, or leave it to the garbage collector.
type frame struct {
	b      []byte
	class  int8 // of the pool; -1 is not pooled
	charge int  // what its connection's account was charged; a server's only
}

// framePool keeps frames by powers of two. The zero value is ready. It is safe for concurrent use.
type framePool struct {
	classes [maxFrameClass - minFrameClass + 1]sync.Pool
}

const (
	minFrameClass = 12 // 4 KiB
	maxFrameClass = 24 // 16 MiB
)

// get returns a frame of n bytes with undefined content. Small ones are not worth a pool and are made to measure.
func (p *framePool) get(n int) *frame {
	if n <= 1<<(minFrameClass-2) || n > 1<<maxFrameClass {
		return &frame{b: make([]byte, n), class: -1}
	}
	class := max(bits.Len(uint(n-1)), minFrameClass)
	if f, ok := p.classes[class-minFrameClass].Get().(*frame); ok {
		f.b = f.b[:n]
		return f
	}
	return &frame{b: make([]byte, n, 1<<class), class: int8(class)}
}

func (p *framePool) put(f *frame) {
	if f == nil || f.class < 0 {
		return
	}
	poison(f.b[:cap(f.b)])
	p.classes[int(f.class)-minFrameClass].Put(f)
}

// frameReader reads frames from a connection. It belongs to one goroutine.
type frameReader struct {
	nc      net.Conn
	br      *bufio.Reader
	pool    *framePool
	max     int           // largest frame accepted
	idle    time.Duration // how long to wait for a frame to begin; 0 = for ever
	half    time.Duration // how long the rest of a begun frame may take, plus a second for each 64 KiB
	until   time.Time     // no frame may take longer than this; zero = no limit
	armed   time.Time     // when the read deadline was last set
	largest int           // largest frame that arrived whole

	// What frames may have; nil = anything.
	account *account
	ctx     context.Context // ends waiting for it
	alone   func() bool     // the connection has no other requests
	hold    func() error    // nil, or called when a frame has begun, before there is memory for it
}

func newFrameReader(nc net.Conn, pool *framePool, maxBytes int, idle time.Duration) *frameReader {
	return &frameReader{nc: nc, br: bufio.NewReaderSize(nc, readBufferBytes), pool: pool, max: maxBytes, idle: idle, half: 30 * time.Second}
}

// next returns the next frame. io.EOF means that the peer closed between frames.
func (r *frameReader) next() (*frame, error) {
	if err := r.armIdle(); err != nil {
		return nil, err
	}
	head, err := r.br.Peek(4)
	if err != nil {
		if errors.Is(err, io.EOF) && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if r.hold != nil {
		if err := r.hold(); err != nil {
			return nil, err
		}
	}
	size := int(int32(binary.BigEndian.Uint32(head)))
	if size < 0 || size > r.max {
		return nil, &FrameSizeError{Size: size, Max: r.max}
	}
	if _, err := r.br.Discard(4); err != nil {
		return nil, err
	}
	if r.br.Buffered() >= size {
		return r.body(size)
	}
	if err := r.armBody(size); err != nil {
		return nil, err
	}
	if r.account != nil {
		defer r.account.arrived()
	}
	return r.body(size)
}

// body reads size bytes into memory that grows with what has arrived: a peer that claims much and sends little gets little.
func (r *frameReader) body(size int) (*frame, error) {
	f, err := r.get(min(size, max(frameTrustBytes, r.largest)), 0)
	if err != nil {
		return nil, err
	}
	read := 0
	for {
		n, err := io.ReadFull(r.br, f.b[read:])
		read += n
		if err != nil {
			r.put(f)
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if read == size {
			r.largest = max(r.largest, size)
			return f, nil
		}
		g, err := r.get(min(size, 2*read), f.charge)
		if err != nil {
			r.put(f)
			return nil, err
		}
		copy(g.b, f.b[:read])
		r.put(f)
		f = g
	}
}

// get returns a frame of n bytes; held is what this one has already.
func (r *frameReader) get(n, held int) (*frame, error) {
	if r.account == nil {
		return r.pool.get(n), nil
	}
	charge := chargeOf(n)
	if r.br.Buffered() < n { // more is to come
		r.account.awaited(held)
	}
	if err := r.account.take(r.ctx, charge, held == 0 && r.alone()); err != nil {
		return nil, err
	}
	f := r.pool.get(n)
	f.charge = charge
	return f, nil
}

// put ends a frame that did not become a request.
func (r *frameReader) put(f *frame) {
	if r.account != nil {
		r.account.m.give(f.charge)
		f.charge = 0
	}
	r.pool.put(f)
}

// chargeOf is the memory behind a frame of n bytes.
func chargeOf(n int) int {
	if n <= 1<<(minFrameClass-2) || n > 1<<maxFrameClass {
		return n
	}
	return 1 << max(bits.Len(uint(n-1)), minFrameClass)
}

// armIdle sets the deadline for the next frame to begin. A deadline costs a lock and a timer, so it is moved only when an eighth of it has passed.
func (r *frameReader) armIdle() error {
	if r.idle <= 0 || r.br.Buffered() >= 4 {
		return nil
	}
	now := time.Now()
	if now.Sub(r.armed) < r.idle/8 {
		return nil
	}
	r.armed = now
	return r.nc.SetReadDeadline(r.latest(now.Add(r.idle + r.idle/8)))
}

// armBody sets the deadline for a begun frame to end: half a minute, and more for what is large.
func (r *frameReader) armBody(size int) error {
	if r.idle <= 0 {
		return nil
	}
	r.armed = time.Time{} // the next frame sets its own
	return r.nc.SetReadDeadline(r.latest(time.Now().Add(r.half + time.Duration(size>>16)*time.Second)))
}

func (r *frameReader) latest(t time.Time) time.Time {
	if !r.until.IsZero() && r.until.Before(t) {
		return r.until
	}
	return t
}
