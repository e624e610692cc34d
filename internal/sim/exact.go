package sim

import (
	"testing"
	"testing/cryptotest"
	"testing/synctest"
)

// Exact tells whether the program was built with the runtime of package exact, with which a seed makes the same run each time: the choices of a select are the same then, 64 times.
func Exact(t *testing.T) bool {
	first := choices(t)
	return choices(t) == first
}

// choices are 64 choices between two cases that are ready, a bit each.
func choices(t *testing.T) (bits uint64) {
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, 1)
		one := make(chan struct{})
		close(one)
		other := make(chan struct{})
		close(other)
		for range 64 {
			bits <<= 1
			select {
			case <-one:
				bits |= 1
			case <-other:
			}
		}
	})
	return bits
}
