package vfs

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

var noSpaceErrors = [...]error{syscall.ENOSPC, syscall.EDQUOT}

// maxIovecs is the kernel's limit on the buffers of one vectored write.
const maxIovecs = 1024

// eintr repeats a call that a signal interrupted; the runtime's own preemption signals do that.
func eintr(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// syncData flushes data and what is needed to find it again (size, blocks), but not times.
func syncData(fd uintptr) error {
	return eintr(func() error { return unix.Fdatasync(int(fd)) })
}

// writev writes a prefix of bufs, usually all.
func writev(fd uintptr, bufs [][]byte, off int64) (int, error) {
	if len(bufs) > maxIovecs {
		bufs = bufs[:maxIovecs]
	}
	for {
		n, err := unix.Pwritev(int(fd), bufs, off)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// allocate reserves blocks; where the file system cannot, a file that grows gets zeros written, because a mapping needs real blocks.
func allocate(f *os.File, fd uintptr, off, n, size int64) error {
	err := eintr(func() error { return unix.Fallocate(int(fd), 0, off, n) })
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	return writeZeros(f, size, off+n)
}

// freeBytes is what an unprivileged user may still write.
func freeBytes(name string) (int64, error) {
	var st unix.Statfs_t
	if err := eintr(func() error { return unix.Statfs(name, &st) }); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// mappedFile is what a mapping needs of its file: nothing, as it keeps the file alive in the kernel.
type mappedFile struct{}

func (mappedFile) retain(uintptr) error { return nil }
func (mappedFile) release() error       { return nil }

// flush is msync, which waits for data, size and the device's cache.
func (mappedFile) flush(data []byte) error {
	return eintr(func() error { return unix.Msync(data, unix.MS_SYNC) })
}
