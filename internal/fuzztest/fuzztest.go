// Package fuzztest holds decoders of hostile input to what they may cost, in fuzz targets.
package fuzztest

import (
	"runtime"
	"testing"
	"time"
)

const (
	perByte = 16               // bytes allocated for each byte of input
	floor   = 16 << 10         // and for what is small
	most    = time.Millisecond // for each 64 KiB of input, begun
	slack   = 20               // other processes, the race detector, a fuzzing engine that counts branches: what is meant are costs out of all proportion
	tries   = 5
)

// Bounded runs f, which decodes an input of n bytes, and fails if it allocates more than 16 bytes for each of them and 16 KiB, or takes out of proportion to them. Whatever else runs in the process can only add to both, so what is
// too much is measured again.
func Bounded(t testing.TB, n int, f func()) {
	t.Helper()
	bytes, limit := uint64(0), uint64(raceFactor*(perByte*n+floor))
	took, patience := time.Duration(0), slack*most*time.Duration(1+n/(64<<10))
	for range tries {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		f()
		took = time.Since(began)
		runtime.ReadMemStats(&after)
		if bytes = after.TotalAlloc - before.TotalAlloc; bytes <= limit && took <= patience {
			return
		}
	}
	t.Fatalf("input of %d bytes: %d bytes allocated, %d allowed; %v taken, %v allowed", n, bytes, limit, took, patience)
}
