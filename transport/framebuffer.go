package transport

import (
	"encoding/binary"
	"net"
	"os"
)

const (
	// inlineBytes is the size up to which foreign bytes are copied rather than referred to: below it an iovec costs more than the copy.
	inlineBytes = 1 << 10
	// keepBytes is the largest scratch that an idle connection keeps.
	keepBytes = 16 << 10
	// copyBytes is the size of the writes when pieces are gathered by copying.
	copyBytes = 64 << 10
)

// frameBuffer is a run of frames to be written: own bytes, foreign bytes (record batches) and file ranges, in order. Foreign bytes are not copied, so they must stay until
// flush returned. It belongs to one goroutine.
type frameBuffer struct {
	b    []byte  // own bytes of all pieces
	open int     // start in b of the own bytes that are not in pieces yet
	p    []piece // in order
	size int64   // bytes in all, foreign ones and files included
	iov  net.Buffers
	out  net.Buffers // what is left of iov while it is written
}

// piece is b[lo:hi], or ext, or n bytes of file from pos.
type piece struct {
	lo, hi int
	ext    []byte
	file   *os.File
	pos    int64
	n      int
}

// begin starts a frame and returns what end needs to fill in its length.
func (fb *frameBuffer) begin() (at int, size int64) {
	at, size = len(fb.b), fb.total()
	fb.b = append(fb.b, 0, 0, 0, 0)
	return at, size
}

// end completes the frame begun at at.
func (fb *frameBuffer) end(at int, size int64) {
	binary.BigEndian.PutUint32(fb.b[at:], uint32(fb.total()-size-4))
}

// total is the number of bytes so far.
func (fb *frameBuffer) total() int64 { return fb.size + int64(len(fb.b)-fb.open) }

// cut closes the run of own bytes, so that something foreign can follow.
func (fb *frameBuffer) cut() {
	if fb.open < len(fb.b) {
		fb.p = append(fb.p, piece{lo: fb.open, hi: len(fb.b)})
		fb.size += int64(len(fb.b) - fb.open)
		fb.open = len(fb.b)
	}
}

// foreign adds bytes that stay the caller's.
func (fb *frameBuffer) foreign(b []byte) {
	if len(b) <= inlineBytes {
		fb.b = append(fb.b, b...)
		return
	}
	fb.cut()
	fb.p = append(fb.p, piece{ext: b})
	fb.size += int64(len(b))
}

// fileRange adds a run of a file's bytes.
func (fb *frameBuffer) fileRange(r FileRange) {
	if r.Len == 0 {
		return
	}
	fb.cut()
	fb.p = append(fb.p, piece{file: r.File, pos: r.Pos, n: r.Len})
	fb.size += int64(r.Len)
}

// reset empties the buffer and forgets what it referred to.
func (fb *frameBuffer) reset() {
	clear(fb.p)
	clear(fb.iov[:cap(fb.iov)])
	fb.p, fb.iov, fb.out = fb.p[:0], fb.iov[:0], nil
	if cap(fb.b) > keepBytes {
		fb.b = nil
	}
	fb.b, fb.open, fb.size = fb.b[:0], 0, 0
}

// bytes returns piece p's bytes, which is not a file.
func (fb *frameBuffer) bytes(p *piece) []byte {
	if p.ext != nil {
		return p.ext
	}
	return fb.b[p.lo:p.hi]
}

// flush writes everything to nc and returns how many bytes it took. The buffer must be reset afterwards.
func (fb *frameBuffer) flush(nc net.Conn, pool *framePool) (int64, error) {
	fb.cut()
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return fb.flushGathered(nc, pool)
	}
	var written int64
	for i := 0; i < len(fb.p); {
		fb.iov = fb.iov[:0]
		for ; i < len(fb.p) && fb.p[i].file == nil; i++ {
			fb.iov = append(fb.iov, fb.bytes(&fb.p[i]))
		}
		if len(fb.iov) > 0 {
			n, err := fb.flushIOV(tc, i < len(fb.p))
			written += n
			if err != nil {
				return written, err
			}
		}
		for ; i < len(fb.p) && fb.p[i].file != nil; i++ {
			p := &fb.p[i]
			n, err := sendFile(tc, p.file, p.pos, p.n)
			written += n
			if err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// flushIOV writes fb.iov; more says that a file follows at once, so the kernel need not send a short segment yet.
func (fb *frameBuffer) flushIOV(tc *net.TCPConn, more bool) (int64, error) {
	if more {
		return sendMore(tc, fb.iov)
	}
	if len(fb.iov) == 1 {
		n, err := tc.Write(fb.iov[0])
		return int64(n), err
	}
	fb.out = fb.iov // WriteTo consumes its receiver
	return fb.out.WriteTo(tc)
}

// flushGathered writes the pieces in few writes: a connection that is not the kernel's makes a record or takes a lock for each.
func (fb *frameBuffer) flushGathered(nc net.Conn, pool *framePool) (int64, error) {
	if len(fb.p) == 1 && fb.p[0].file == nil {
		n, err := nc.Write(fb.bytes(&fb.p[0]))
		return int64(n), err
	}
	f := pool.get(int(min(fb.size, copyBytes)))
	defer pool.put(f)
	g := gatherer{nc: nc, buf: f.b}
	for i := range fb.p {
		p := &fb.p[i]
		var err error
		if p.file != nil {
			err = g.file(p.file, p.pos, p.n)
		} else {
			err = g.bytes(fb.bytes(p))
		}
		if err != nil {
			return g.written, err
		}
	}
	err := g.emit()
	return g.written, err
}

// gatherer writes through a buffer.
type gatherer struct {
	nc      net.Conn
	buf     []byte
	n       int // bytes in buf
	written int64
}

func (g *gatherer) emit() error {
	if g.n == 0 {
		return nil
	}
	n, err := g.nc.Write(g.buf[:g.n])
	g.written, g.n = g.written+int64(n), 0
	return err
}

func (g *gatherer) bytes(b []byte) error {
	for len(b) > 0 {
		if g.n == 0 && len(b) >= len(g.buf) { // nothing to gather
			n, err := g.nc.Write(b)
			g.written += int64(n)
			return err
		}
		n := copy(g.buf[g.n:], b)
		g.n, b = g.n+n, b[n:]
		if g.n == len(g.buf) {
			if err := g.emit(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *gatherer) file(f *os.File, pos int64, n int) error {
	for n > 0 {
		b := g.buf[g.n:min(g.n+n, len(g.buf))]
		if _, err := f.ReadAt(b, pos); err != nil {
			return shortFile(f, pos, err)
		}
		g.n, pos, n = g.n+len(b), pos+int64(len(b)), n-len(b)
		if g.n == len(g.buf) {
			if err := g.emit(); err != nil {
				return err
			}
		}
	}
	return nil
}
