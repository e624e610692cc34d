package vfs

import (
	"errors"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

var noSpaceErrors = [...]error{syscall.ENOSPC, windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, windows.ERROR_DISK_QUOTA_EXCEEDED}

// openFile differs from os.OpenFile in that others may rename and remove the file while it is open, as a log does with its segments.
func openFile(name string, flag int, _ os.FileMode) (*os.File, error) {
	path, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	access, disposition := uint32(windows.GENERIC_READ), uint32(windows.OPEN_EXISTING)
	if flag&os.O_RDWR != 0 {
		access |= windows.GENERIC_WRITE
	}
	switch {
	case flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		disposition = windows.CREATE_NEW
	case flag&os.O_CREATE != 0:
		disposition = windows.OPEN_ALWAYS
	}
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	h, err := windows.CreateFile(path, access, share, nil, disposition, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}

func syncData(fd uintptr) error { return windows.FlushFileBuffers(windows.Handle(fd)) }

// syncDir does nothing: NTFS journals names, and a directory cannot be flushed.
func syncDir(name string) error {
	_, err := os.Stat(name)
	return err
}

// lockFile locks the whole range; the lock belongs to the handle, so that this process is refused like a foreign one.
func lockFile(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, math.MaxUint32, math.MaxUint32, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return ErrLocked
	}
	return err
}

// reserveBlocks does nothing.
func reserveBlocks(uintptr, int64, int64) {}

// writev writes nothing: the caller goes on with one write per buffer.
func writev(uintptr, [][]byte, int64) (int, error) { return 0, nil }

// allocate grows the file; NTFS allocates the blocks with it.
func allocate(f *os.File, _ uintptr, off, n, size int64) error {
	if off+n <= size {
		return nil
	}
	return f.Truncate(off + n)
}

func diskSpace(name string) (total, free int64, err error) {
	path, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return 0, 0, err
	}
	var available, size uint64
	if err := windows.GetDiskFreeSpaceEx(path, &available, &size, nil); err != nil {
		return 0, 0, err
	}
	return int64(min(size, math.MaxInt64)), int64(min(available, math.MaxInt64)), nil
}

// mapFile makes a buffer that is written back. A mapping by the system would forbid to truncate or replace the file while it exists.
func mapFile(_ *os.File, fd uintptr, name string, size int) (Mapping, error) {
	var h windows.Handle
	self := windows.CurrentProcess()
	if err := windows.DuplicateHandle(self, windows.Handle(fd), self, &h, 0, false, windows.DUPLICATE_SAME_ACCESS); err != nil {
		return nil, err
	}
	return newBufferMapping(os.NewFile(uintptr(h), name), name, size)
}

// bootID is not known here.
func bootID(string) string { return "" }

func maxDescriptors() int64 { return 0 }
