package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// OS is the operating system's file system. Files are created with mode 0o644 and directories with 0o755, less the umask. SyncDir does
// nothing on windows, where the system journals names itself and has no call for it.
func OS() FS { return osFS{} }

type osFS struct{}

// Open implements FS.
func (osFS) Open(name string, mode OpenMode) (File, error) {
	flag := os.O_RDWR
	switch mode {
	case ReadOnly:
		flag = os.O_RDONLY
	case ReadWrite:
	case Create:
		flag |= os.O_CREATE
	case CreateExcl:
		flag |= os.O_CREATE | os.O_EXCL
	default:
		return nil, pathError("open", name, errOpenMode)
	}
	f, err := openFile(filepath.FromSlash(name), flag, 0o644)
	if err != nil {
		return nil, err
	}
	return &osFile{f: f, name: name, readOnly: mode == ReadOnly}, nil
}

var errOpenMode = errors.New("vfs: unknown open mode")

// MkdirAll implements FS.
func (osFS) MkdirAll(name string) error { return os.MkdirAll(filepath.FromSlash(name), 0o755) }

// ReadDir implements FS.
func (osFS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(filepath.FromSlash(name)) }

// Stat implements FS.
func (osFS) Stat(name string) (fs.FileInfo, error) { return os.Stat(filepath.FromSlash(name)) }

// Rename implements FS.
func (osFS) Rename(oldName, newName string) error {
	return os.Rename(filepath.FromSlash(oldName), filepath.FromSlash(newName))
}

// Remove implements FS.
func (osFS) Remove(name string) error { return os.Remove(filepath.FromSlash(name)) }

// RemoveAll implements FS.
func (osFS) RemoveAll(name string) error { return os.RemoveAll(filepath.FromSlash(name)) }

// SyncDir implements FS.
func (osFS) SyncDir(name string) error { return syncDir(filepath.FromSlash(name)) }

// Lock implements FS.
func (osFS) Lock(name string) (io.Closer, error) {
	f, err := openFile(filepath.FromSlash(name), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, pathError("lock", name, err)
	}
	return f, nil // closing the descriptor drops the lock
}

// Space implements FS.
func (osFS) Space(name string) (total, free int64, err error) {
	total, free, err = diskSpace(filepath.FromSlash(name))
	return total, free, pathError("space", name, err)
}

// BootID implements FS.
func (osFS) BootID(name string) string { return bootID(filepath.FromSlash(name)) }

// osFile is an open file of the system. Calls that need the bare descriptor hold mu for reading, so that Close cannot hand its number to
// another file under them; the lock is held across system calls on this file only, never across anything that waits for a goroutine.
type osFile struct {
	f        *os.File
	name     string
	readOnly bool

	mu struct {
		sync.RWMutex
		closed bool
	}
}

// acquire returns the descriptor and keeps it open until release.
func (o *osFile) acquire(op string) (uintptr, error) {
	o.mu.RLock()
	if o.mu.closed {
		o.mu.RUnlock()
		return 0, pathError(op, o.name, fs.ErrClosed)
	}
	return o.f.Fd(), nil
}

func (o *osFile) release() { o.mu.RUnlock() }

// ReadAt implements File.
func (o *osFile) ReadAt(p []byte, off int64) (int, error) { return o.f.ReadAt(p, off) }

// WriteAt implements File.
func (o *osFile) WriteAt(p []byte, off int64) (int, error) { return o.f.WriteAt(p, off) }

// WritevAt implements File.
func (o *osFile) WritevAt(bufs [][]byte, off int64) (int, error) {
	if off < 0 {
		return 0, pathError("writev", o.name, errNegativeOffset)
	}
	fd, err := o.acquire("writev")
	if err != nil {
		return 0, err
	}
	n, err := writev(fd, bufs, off)
	o.release()
	if err != nil {
		return n, pathError("writev", o.name, err)
	}
	return o.writeRest(bufs, off, n)
}

var errNegativeOffset = errors.New("negative offset")

// writeRest writes what lies past the first done bytes of bufs: nothing, after a full vectored write.
func (o *osFile) writeRest(bufs [][]byte, off int64, done int) (int, error) {
	pos := 0
	for _, b := range bufs {
		pos += len(b)
		if pos <= done {
			continue
		}
		rest := b[len(b)-(pos-done):]
		n, err := o.f.WriteAt(rest, off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Close implements File.
func (o *osFile) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.closed = true
	return o.f.Close()
}

// Size implements File.
func (o *osFile) Size() (int64, error) {
	fi, err := o.f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// Truncate implements File.
func (o *osFile) Truncate(size int64) error { return o.f.Truncate(size) }

// Sync implements File.
func (o *osFile) Sync() error {
	fd, err := o.acquire("sync")
	if err != nil {
		return err
	}
	defer o.release()
	return pathError("sync", o.name, syncData(fd))
}

// Preallocate implements File.
func (o *osFile) Preallocate(off, n int64) error {
	if off < 0 || n < 0 || off+n < off {
		return pathError("preallocate", o.name, errRange)
	}
	if n == 0 {
		return nil
	}
	fd, err := o.acquire("preallocate")
	if err != nil {
		return err
	}
	size, err := o.Size()
	if err == nil {
		err = allocate(o.f, fd, off, n, size)
	}
	o.release()
	return pathError("preallocate", o.name, err)
}

// Reserve implements File.
func (o *osFile) Reserve(off, n int64) {
	if off < 0 || n <= 0 || off+n < off {
		return
	}
	if fd, err := o.acquire("reserve"); err == nil {
		reserveBlocks(fd, off, n)
		o.release()
	}
}

var errRange = errors.New("range is negative or too large")

// Map implements File.
func (o *osFile) Map(size int) (Mapping, error) {
	have, err := o.Size()
	if err != nil {
		return nil, err
	}
	switch {
	case o.readOnly:
		return nil, pathError("map", o.name, fs.ErrPermission)
	case size <= 0 || int64(size) > have:
		return nil, pathError("map", o.name, errMapSize)
	}
	fd, err := o.acquire("map")
	if err != nil {
		return nil, err
	}
	defer o.release()
	m, err := mapFile(o.f, fd, o.name, size)
	if err != nil {
		return nil, pathError("map", o.name, err)
	}
	return m, nil
}

var errMapSize = errors.New("mapping is empty or longer than the file")

// OS implements File.
func (o *osFile) OS() *os.File { return o.f }
