//go:build !darwin && !windows

package vfs

import "os"

// writeZeros grows a file to end with blocks behind it, on file systems that cannot reserve any.
func writeZeros(f *os.File, from, end int64) error {
	zeros := make([]byte, min(max(end-from, 0), 1<<20))
	for from < end {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), end-from)], from)
		from += int64(n)
		if err != nil {
			return err
		}
	}
	return nil
}
