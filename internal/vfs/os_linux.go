package vfs

import (
	"errors"
	"fmt"
	"os"
	"strings"
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

// reserveBlocks leaves the size as it is. The kernel then maps a page to its block when it is written to the page cache, and has no need to find one, and to count it, for every page.
func reserveBlocks(fd uintptr, off, n int64) {
	_ = eintr(func() error { return unix.Fallocate(int(fd), unix.FALLOC_FL_KEEP_SIZE, off, n) })
}

// diskSpace is the size of a disk, and what an unprivileged user may still write.
func diskSpace(name string) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := eintr(func() error { return unix.Statfs(name, &st) }); err != nil {
		return 0, 0, err
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

// bootID is the kernel's id of its run with the mount's. A mount's number is only unique since Linux 6.8; before, the device's number says a little more.
func bootID(name string) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	var st unix.Statx_t
	for _, mask := range []int{unix.STATX_MNT_ID_UNIQUE, unix.STATX_MNT_ID} {
		err := eintr(func() error { return unix.Statx(unix.AT_FDCWD, name, 0, mask, &st) })
		if err == nil && st.Mask&uint32(mask) != 0 {
			return fmt.Sprintf("%s %d:%d %d", strings.TrimSpace(string(boot)), st.Dev_major, st.Dev_minor, st.Mnt_id)
		}
	}
	return ""
}

// mappedFile is what a mapping needs of its file: nothing, as it keeps the file alive in the kernel.
type mappedFile struct{}

func (mappedFile) retain(uintptr) error { return nil }
func (mappedFile) release() error       { return nil }

// flush is msync, which waits for data, size and the device's cache.
func (mappedFile) flush(data []byte) error {
	return eintr(func() error { return unix.Msync(data, unix.MS_SYNC) })
}
