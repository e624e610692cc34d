//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package vfs

import (
	"errors"
	"math"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

func openFile(name string, flag int, perm os.FileMode) (*os.File, error) {
	return os.OpenFile(name, flag, perm)
}

// syncDir flushes a directory. The kernel's cache of names is part of the file system's journal on some systems; the call is needed on the others.
func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// lockFile uses flock: it belongs to the open file description, so that a second node in this process is refused like a foreign one
// (fcntl's locks would let it in), and a child process that did not inherit the descriptor does not keep it.
func lockFile(f *os.File) error {
	for {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
		case unix.EINTR:
		case unix.EWOULDBLOCK:
			return ErrLocked
		default:
			return err
		}
	}
}

// osMapping is a shared mapping by the kernel.
type osMapping struct {
	name string
	data []byte
	mappedFile

	once sync.Once
	err  error // of the first Close
}

func mapFile(_ *os.File, fd uintptr, name string, size int) (Mapping, error) {
	data, err := unix.Mmap(int(fd), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	m := &osMapping{name: name, data: data}
	if err := m.retain(fd); err != nil {
		return nil, errors.Join(err, unix.Munmap(data))
	}
	return m, nil
}

// Bytes implements Mapping.
func (m *osMapping) Bytes() []byte { return m.data[:len(m.data):len(m.data)] }

// Sync implements Mapping.
func (m *osMapping) Sync() error { return pathError("msync", m.name, m.flush(m.data)) }

// Close implements Mapping.
func (m *osMapping) Close() error {
	m.once.Do(func() { m.err = pathError("munmap", m.name, errors.Join(unix.Munmap(m.data), m.release())) })
	return m.err
}

// maxDescriptors is the soft limit, which the Go runtime raises to the hard one when the process starts.
func maxDescriptors() int64 {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0
	}
	if n := int64(r.Cur); n >= 0 {
		return n
	}
	return math.MaxInt64
}
