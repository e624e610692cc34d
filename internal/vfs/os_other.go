//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly && !windows

package vfs

import (
	"errors"
	"math"
	"os"
	"syscall"
)

var noSpaceErrors = [...]error{syscall.ENOSPC}

func openFile(name string, flag int, perm os.FileMode) (*os.File, error) {
	return os.OpenFile(name, flag, perm)
}

func syncData(fd uintptr) error { return syscall.Fsync(int(fd)) }

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// lockFile refuses: without a lock two nodes could write one directory.
func lockFile(*os.File) error { return errors.ErrUnsupported }

// reserveBlocks does nothing.
func reserveBlocks(uintptr, int64, int64) {}

// writev writes nothing: the caller goes on with one write per buffer.
func writev(uintptr, [][]byte, int64) (int, error) { return 0, nil }

func allocate(f *os.File, _ uintptr, off, n, size int64) error { return writeZeros(f, size, off+n) }

func diskSpace(string) (total, free int64, err error) { return math.MaxInt64, math.MaxInt64, nil }

func mapFile(f *os.File, _ uintptr, name string, size int) (Mapping, error) {
	own, err := os.OpenFile(f.Name(), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return newBufferMapping(own, name, size)
}

// bootID is not known here.
func bootID(string) string { return "" }

func maxDescriptors() int64 { return 0 }
