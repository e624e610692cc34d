//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package vfs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

var noSpaceErrors = [...]error{syscall.ENOSPC, syscall.EDQUOT}

// flush writes the pages out and then flushes the file: msync alone leaves them in the drive's cache on darwin.
func (m *osMapping) flush() error {
	if err := unix.Msync(m.data, unix.MS_SYNC); err != nil {
		return err
	}
	return syncData(uintptr(m.file))
}

// retain keeps a descriptor for flush, as the File may be closed before the mapping.
func (m *osMapping) retain(fd uintptr) error {
	var err error
	m.file, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	return err
}

func (m *osMapping) releaseFile() error { return unix.Close(m.file) }

// writev writes nothing: the caller goes on with one write per buffer.
func writev(uintptr, [][]byte, int64) (int, error) { return 0, nil }
