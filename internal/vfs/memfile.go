package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
)

// maxFileSize bounds what a wild offset costs; segments are below 2 GiB.
const maxFileSize = 64 << 30

// memFile is an open file of a Mem.
type memFile struct {
	mem      *Mem
	node     *node
	name     string
	readOnly bool
	closed   atomic.Bool
}

// begin is Mem.begin for an operation on this file.
func (f *memFile) begin(op Op) error {
	op.Name = f.name
	switch {
	case f.closed.Load():
		return pathError(op.Kind.String(), f.name, fs.ErrClosed)
	case op.Off < 0 || op.Len < 0 || op.Off+op.Len < op.Off:
		return pathError(op.Kind.String(), f.name, errRange)
	case f.readOnly && op.Kind.Changes():
		return pathError(op.Kind.String(), f.name, syscall.EBADF)
	case op.Kind.Changes() && op.Off+op.Len > maxFileSize:
		return pathError(op.Kind.String(), f.name, syscall.EFBIG)
	}
	return f.mem.begin(op)
}

// ReadAt implements File.
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	err := f.begin(Op{Kind: OpRead, Off: off, Len: int64(len(p))})
	if short, ok := errors.AsType[ShortRead](err); ok {
		p = p[:min(max(short.N, 0), int64(len(p)))]
		f.mem.life.RLock()
		defer f.mem.life.RUnlock()
		f.node.mu.RLock()
		defer f.node.mu.RUnlock()
		return f.node.mu.content.readAt(p, off), io.EOF
	}
	if err != nil {
		return 0, err
	}
	defer f.mem.end()
	f.node.mu.RLock()
	n := f.node.mu.content.readAt(p, off)
	f.node.mu.RUnlock()
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements File.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.begin(Op{Kind: OpWrite, Off: off, Len: int64(len(p))})
	if err != nil {
		return f.fail(err, off, p)
	}
	defer f.mem.end()
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	return f.writeLocked(p, off)
}

// WritevAt implements File.
func (f *memFile) WritevAt(bufs [][]byte, off int64) (int, error) {
	length := 0
	for _, b := range bufs {
		length += len(b)
	}
	if err := f.begin(Op{Kind: OpWrite, Off: off, Len: int64(length)}); err != nil {
		return f.fail(err, off, bufs...)
	}
	defer f.mem.end()
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	done := 0
	for _, b := range bufs {
		n, err := f.writeLocked(b, off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (f *memFile) writeLocked(p []byte, off int64) (int, error) {
	c := &f.node.mu.content
	n := c.reserve(off, int64(len(p)), f.mem.grab)
	if n > 0 {
		c.write(p[:n], off)
		f.node.touch()
	}
	if n < int64(len(p)) {
		return int(n), pathError("write", f.name, ErrNoSpace)
	}
	return int(n), nil
}

// fail ends a write that a fault function refused, after the prefix that it may have asked for.
func (f *memFile) fail(err error, off int64, bufs ...[]byte) (int, error) {
	short, ok := errors.AsType[ShortWrite](err)
	if !ok || short.N <= 0 {
		return 0, err
	}
	f.mem.life.RLock()
	defer f.mem.life.RUnlock()
	if f.mem.dead.Load() {
		return 0, pathError("write", f.name, ErrCrashed)
	}
	p := slices.Concat(bufs...)
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	n, full := f.writeLocked(p[:min(short.N, int64(len(p)))], off)
	if full != nil {
		err = full
	}
	return n, err
}

// Close implements File.
func (f *memFile) Close() error {
	if f.closed.Swap(true) {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.mem.life.RLock()
	defer f.mem.life.RUnlock()
	if f.mem.dead.Load() {
		return pathError("close", f.name, ErrCrashed)
	}
	f.mem.closed(f.node)
	return nil
}

// Size implements File.
func (f *memFile) Size() (int64, error) {
	if err := f.begin(Op{Kind: OpStat}); err != nil {
		return 0, err
	}
	defer f.mem.end()
	f.node.mu.RLock()
	defer f.node.mu.RUnlock()
	return f.node.mu.content.size, nil
}

var errMapped = errors.New("file is mapped beyond the new size")

// Truncate implements File.
func (f *memFile) Truncate(size int64) error {
	if err := f.begin(Op{Kind: OpTruncate, Len: size}); err != nil {
		return err
	}
	defer f.mem.end()
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	for _, mapped := range f.node.mu.mapped {
		if size < int64(mapped) {
			return pathError("truncate", f.name, errMapped)
		}
	}
	c := &f.node.mu.content
	if size != c.size {
		f.mem.used.Add(-c.resize(size) * blockSize)
		f.node.touch()
	}
	return nil
}

// Sync implements File.
func (f *memFile) Sync() error {
	if f.closed.Load() {
		return pathError("sync", f.name, fs.ErrClosed)
	}
	if err := f.mem.begin(Op{Kind: OpSync, Name: f.name}); err != nil {
		f.mem.syncFailed(f.node, func() {})
		return err
	}
	defer f.mem.end()
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	f.node.mu.content.synced()
	return nil
}

// syncFailed does to the page cache what a kernel does after an error: writeBack fills it, under n's lock, and then nothing seems dirty.
func (m *Mem) syncFailed(n *node, writeBack func()) {
	m.life.RLock()
	defer m.life.RUnlock()
	if m.dead.Load() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	writeBack()
	n.mu.content.syncFailed()
}

// Preallocate implements File.
func (f *memFile) Preallocate(off, n int64) error {
	if err := f.begin(Op{Kind: OpPreallocate, Off: off, Len: n}); err != nil {
		return err
	}
	defer f.mem.end()
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	c := &f.node.mu.content
	if c.reserve(off, n, f.mem.grab) < n {
		return pathError("preallocate", f.name, ErrNoSpace)
	}
	if n > 0 && off+n > c.size {
		c.resize(off + n)
		f.node.touch()
	}
	return nil
}

// Reserve implements File: nothing is faster here.
func (f *memFile) Reserve(int64, int64) {}

var errHole = errors.New("mapping over blocks that are not allocated: Preallocate first")

// Map implements File.
func (f *memFile) Map(size int) (Mapping, error) {
	if err := f.begin(Op{Kind: OpMap, Len: int64(size)}); err != nil {
		return nil, err
	}
	defer f.mem.end()
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	c := &f.node.mu.content
	switch {
	case f.readOnly:
		return nil, pathError("map", f.name, fs.ErrPermission)
	case size == 0 || int64(size) > c.size:
		return nil, pathError("map", f.name, errMapSize)
	case c.hole(int64(size)) >= 0:
		return nil, pathError("map", f.name, errHole)
	}
	m := &memMapping{mem: f.mem, node: f.node, name: f.name, data: make([]byte, size)}
	c.copyTo(m.data)
	f.node.mu.mapped = append(f.node.mu.mapped, size)
	return m, nil
}

// OS implements File.
func (f *memFile) OS() *os.File { return nil }

// memMapping is a copy of a file's first bytes, written to it by Sync and Close. It holds memory of its own size.
type memMapping struct {
	mem  *Mem
	node *node
	name string
	data []byte

	mu struct { // between Mem.life and node.mu
		sync.Mutex
		closed bool
	}
}

// Bytes implements Mapping.
func (m *memMapping) Bytes() []byte { return m.data[:len(m.data):len(m.data)] }

// Sync implements Mapping.
func (m *memMapping) Sync() error {
	beginErr := m.mem.begin(Op{Kind: OpSyncMap, Name: m.name, Len: int64(len(m.data))})
	if beginErr == nil {
		defer m.mem.end()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.mu.closed:
		return pathError("msync", m.name, fs.ErrClosed)
	case beginErr != nil:
		m.mem.syncFailed(m.node, m.writeBackLocked)
		return beginErr
	}
	m.node.mu.Lock()
	defer m.node.mu.Unlock()
	m.writeBackLocked()
	m.node.mu.content.synced()
	return nil
}

// Close implements Mapping.
func (m *memMapping) Close() error {
	m.mem.life.RLock()
	defer m.mem.life.RUnlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return nil
	}
	m.mu.closed = true
	if m.mem.dead.Load() {
		return pathError("munmap", m.name, ErrCrashed)
	}
	m.node.mu.Lock()
	defer m.node.mu.Unlock()
	m.writeBackLocked()
	if i := slices.Index(m.node.mu.mapped, len(m.data)); i >= 0 {
		m.node.mu.mapped = slices.Delete(m.node.mu.mapped, i, i+1)
	}
	return nil
}

var zeroBlock [blockSize]byte

// writeBackLocked writes the sectors that differ. The blocks are there: Map saw to it, and a mapped file is not shortened.
func (m *memMapping) writeBackLocked() {
	c := &m.node.mu.content
	for off := 0; off < len(m.data); off += blockSize {
		end := min(off+blockSize, len(m.data))
		if c.equal(m.data[off:end], int64(off)) {
			continue
		}
		for at := off; at < end; at += sectorSize {
			if s := m.data[at:min(at+sectorSize, end)]; !c.equal(s, int64(at)) {
				c.write(s, int64(at))
			}
		}
		m.node.touch()
	}
}

// equal compares at most a block, which does not cross pages.
func (c *content) equal(p []byte, off int64) bool {
	have := c.view(off)
	have = have[:min(len(have), len(p))]
	return bytes.Equal(have, p[:len(have)]) && bytes.Equal(p[len(have):], zeroBlock[:len(p)-len(have)])
}

// copyTo fills zeroed memory, and leaves what is zero in the file untouched.
func (c *content) copyTo(p []byte) {
	for i, page := range c.pages {
		if at := i * pageSize; at < len(p) {
			copy(p[at:], page)
		}
	}
}
