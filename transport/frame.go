package transport

import (
	"bufio"
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
	frameTrustBytes = 64 << 10
)

// FrameSizeError says that a frame's length is negative or above the limit. The connection it came on is closed.
type FrameSizeError struct{ Size, Max int }

func (e *FrameSizeError) Error() string {
	return fmt.Sprintf("frame of %d bytes is outside [0, %d]", e.Size, e.Max)
}

// frame is the memory of one frame, without its length. It belongs to whoever holds it, who may give it back to its pool once, or leave it to the garbage collector.
type frame struct {
	b     []byte
	class int8 // of the pool; -1 is not pooled
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
	armed   time.Time     // when the read deadline was last set
	largest int           // largest frame that arrived whole
}

func newFrameReader(nc net.Conn, pool *framePool, maxBytes int, idle time.Duration) *frameReader {
	return &frameReader{nc: nc, br: bufio.NewReaderSize(nc, readBufferBytes), pool: pool, max: maxBytes, idle: idle}
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
	size := int(int32(binary.BigEndian.Uint32(head)))
	if size < 0 || size > r.max {
		return nil, &FrameSizeError{Size: size, Max: r.max}
	}
	if _, err := r.br.Discard(4); err != nil {
		return nil, err
	}
	if err := r.armBody(size); err != nil {
		return nil, err
	}
	return r.body(size)
}

// body reads size bytes into memory that grows with what has arrived: a peer that claims much and sends little gets little.
func (r *frameReader) body(size int) (*frame, error) {
	f := r.pool.get(min(size, max(frameTrustBytes, r.largest)))
	read := 0
	for {
		n, err := io.ReadFull(r.br, f.b[read:])
		read += n
		if err != nil {
			r.pool.put(f)
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if read == size {
			r.largest = max(r.largest, size)
			return f, nil
		}
		g := r.pool.get(min(size, 2*read))
		copy(g.b, f.b[:read])
		r.pool.put(f)
		f = g
	}
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
	return r.nc.SetReadDeadline(now.Add(r.idle + r.idle/8))
}

// armBody sets the deadline for a begun frame to end, unless it is here already: half a minute, and more for what is large.
func (r *frameReader) armBody(size int) error {
	if r.idle <= 0 || r.br.Buffered() >= size {
		return nil
	}
	r.armed = time.Time{} // the next frame sets its own
	return r.nc.SetReadDeadline(time.Now().Add(halfFrameTimeout + time.Duration(size>>16)*time.Second))
}

// halfFrameTimeout is how long the rest of a begun frame may take, plus a second for each 64 KiB.
const halfFrameTimeout = 30 * time.Second
