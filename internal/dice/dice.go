// Package dice is randomness that a test can repeat. Whoever needs some makes a Dice of its own, which is seeded from crypto/rand, the one source of the process that a test may replace
// (testing/cryptotest); the global functions of math/rand/v2 cannot be seeded.
package dice

import (
	"crypto/rand"
	"encoding/binary"
	mathrand "math/rand/v2"
	"sync"
	"time"
)

// Dice is a source of random numbers, not for secrets. Its methods are safe for concurrent use.
type Dice struct {
	mu  sync.Mutex
	rng *mathrand.Rand
}

// New seeds one.
func New() *Dice { return &Dice{rng: Rand()} }

// Rand is a source for the use of one goroutine.
func Rand() *mathrand.Rand {
	var seed [16]byte
	_, _ = rand.Read(seed[:]) // never fails
	return mathrand.New(mathrand.NewPCG(binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:])))
}

// IntN is in [0, n).
func (d *Dice) IntN(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.IntN(n)
}

// Around is wait, give or take up to part of it (0.2 is a fifth): those who wait for the same thing do not come back together.
func (d *Dice) Around(wait time.Duration, part float64) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(float64(wait) * (1 - part + 2*part*d.rng.Float64()))
}

// Shuffle mixes n things.
func (d *Dice) Shuffle(n int, swap func(i, j int)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rng.Shuffle(n, swap)
}
