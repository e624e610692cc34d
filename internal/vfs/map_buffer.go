//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly

package vfs

import (
	"bytes"
	"errors"
	"os"
	"sync"
)

// bufferMapping is a mapping for systems without a usable one: a copy of the file, written back where it differs from what was last written.
type bufferMapping struct {
	name string
	data []byte

	mu struct {
		sync.Mutex
		file    *os.File // own descriptor; nil after Close
		written []byte   // what the file holds, as far as this mapping knows
	}
}

// newBufferMapping owns f, also when it fails.
func newBufferMapping(f *os.File, name string, size int) (Mapping, error) {
	m := &bufferMapping{name: name, data: make([]byte, size)}
	if _, err := f.ReadAt(m.data, 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	m.mu.file = f
	m.mu.written = bytes.Clone(m.data)
	return m, nil
}

// Bytes implements Mapping.
func (m *bufferMapping) Bytes() []byte { return m.data[:len(m.data):len(m.data)] }

// Sync implements Mapping.
func (m *bufferMapping) Sync() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.file == nil {
		return pathError("msync", m.name, os.ErrClosed)
	}
	if err := m.writeBackLocked(); err != nil {
		return err
	}
	return pathError("msync", m.name, syncData(m.mu.file.Fd()))
}

// Close implements Mapping.
func (m *bufferMapping) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.file == nil {
		return nil
	}
	err := errors.Join(m.writeBackLocked(), m.mu.file.Close())
	m.mu.file = nil
	return err
}

// writeBackLocked writes the blocks that changed since the last time.
func (m *bufferMapping) writeBackLocked() error {
	const block = 4096
	for off := 0; off < len(m.data); off += block {
		end := min(off+block, len(m.data))
		if bytes.Equal(m.data[off:end], m.mu.written[off:end]) {
			continue
		}
		if _, err := m.mu.file.WriteAt(m.data[off:end], int64(off)); err != nil {
			return err
		}
		copy(m.mu.written[off:end], m.data[off:end])
	}
	return nil
}
