//go:build freebsd || netbsd || openbsd || dragonfly

package vfs

import (
	"math"
	"os"

	"golang.org/x/sys/unix"
)

func syncData(fd uintptr) error {
	for {
		if err := unix.Fsync(int(fd)); err != unix.EINTR {
			return err
		}
	}
}

func allocate(f *os.File, _ uintptr, off, n, size int64) error { return writeZeros(f, size, off+n) }

// diskSpace does not know: the shape of statfs differs between these systems.
func diskSpace(string) (total, free int64, err error) { return math.MaxInt64, math.MaxInt64, nil }

// bootID is not known here.
func bootID(string) string { return "" }
