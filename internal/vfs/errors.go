package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// ErrLocked says that another process or another node in this process holds the lock.
var ErrLocked = errors.New("vfs: locked by another owner")

// ErrCrashed is returned by every operation on a Mem after Crash, and on its files. The caller is part of the crashed process: it should stop.
var ErrCrashed = errors.New("vfs: disk has crashed")

// ErrNoSpace is returned by a Mem whose capacity (SetCapacity) is used up. It matches syscall.ENOSPC. Callers test with IsNoSpace, which knows real disks too.
var ErrNoSpace = fmt.Errorf("vfs: disk full: %w", syscall.ENOSPC)

// IsNoSpace says whether err means that the disk (or the quota on it) is full, on any system.
func IsNoSpace(err error) bool {
	for _, target := range noSpaceErrors {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// FaultError is a memory fault on a mapping, caught by Guard: the file was shortened, the disk was full behind a hole or could not be read.
type FaultError struct {
	Addr uintptr // the address that was touched
	Err  error   // the fault as the runtime words it
}

// Error names the fault and the address.
func (e *FaultError) Error() string {
	return fmt.Sprintf("vfs: fault on mapped file at address %#x: %v", e.Addr, e.Err)
}

// Unwrap returns the runtime's error.
func (e *FaultError) Unwrap() error { return e.Err }

// pathError adds operation and name, unless err has them.
func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	if pe, ok := err.(*fs.PathError); ok { //nolint:errorlint // only the outermost matters
		return pe
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// CannotSync tells whether SyncDir was refused, and not tried in vain: the directory may not be read, is on a disk that takes no writes, or on a file system that syncs none. Nobody but its owner can have changed anything in it.
func CannotSync(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EINVAL)
}
