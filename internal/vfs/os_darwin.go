package vfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// syncData asks the drive itself to flush (fsync on darwin only reaches the drive's cache). File systems that do not know the request get fsync.
func syncData(fd uintptr) error {
	for {
		_, err := unix.FcntlInt(fd, unix.F_FULLFSYNC, 0)
		switch {
		case err == unix.EINTR:
		case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EINVAL):
			return unix.Fsync(int(fd))
		default:
			return err
		}
	}
}

// allocate reserves blocks behind the end of the file and then moves the end over them.
func allocate(f *os.File, fd uintptr, off, n, size int64) error {
	if off+n <= size {
		return nil // darwin cannot fill holes
	}
	store := unix.Fstore_t{Flags: unix.F_ALLOCATEALL, Posmode: unix.F_PEOFPOSMODE, Length: off + n - size}
	if err := unix.FcntlFstore(fd, unix.F_PREALLOCATE, &store); errors.Is(err, unix.ENOSPC) {
		return err
	}
	return f.Truncate(off + n) // without reserved blocks (network file systems) the promise is Truncate's
}

// bootID is the system's id of its run with the mount's.
func bootID(name string) string {
	boot, err := unix.Sysctl("kern.bootsessionuuid")
	var st unix.Statfs_t
	if err != nil || unix.Statfs(name, &st) != nil {
		return ""
	}
	return fmt.Sprintf("%s %x", boot, st.Fsid.Val)
}

func diskSpace(name string) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Blocks) * int64(st.Bsize), int64(st.Bavail) * int64(st.Bsize), nil
}
