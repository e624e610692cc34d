//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package vfs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

var noSpaceErrors = [...]error{syscall.ENOSPC, syscall.EDQUOT}

// mappedFile is a mapping's own descriptor, for flush, as the File may be closed before the mapping.
type mappedFile struct{ fd int }

func (m *mappedFile) retain(fd uintptr) error {
	var err error
	m.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	return err
}

func (m *mappedFile) release() error { return unix.Close(m.fd) }

// flush writes the pages out and then flushes the file: msync alone leaves them in the drive's cache on darwin.
func (m *mappedFile) flush(data []byte) error {
	if err := unix.Msync(data, unix.MS_SYNC); err != nil {
		return err
	}
	return syncData(uintptr(m.fd))
}

// reserveBlocks does nothing.
func reserveBlocks(uintptr, int64, int64) {}

// writev writes nothing: the caller goes on with one write per buffer.
func writev(uintptr, [][]byte, int64) (int, error) { return 0, nil }
