// Package dice is randomness that a test can repeat. Whoever needs some makes a Dice of its own, seeded from crypto/rand, the one source of the process that a test may replace (testing/cryptotest); the global
// functions of math/rand/v2 cannot be seeded. What a Dice throws depends on its seed and on what it is thrown for, not on what was thrown before: goroutines that use it at the same time do not change
// each other's luck.
package dice

import (
	"crypto/rand"
	"encoding/binary"
	mathrand "math/rand/v2"
	"time"
)

// Dice is a source of random numbers, not for secrets. It may be copied.
type Dice uint64

// New seeds one.
func New() Dice {
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // never fails
	return Dice(binary.LittleEndian.Uint64(seed[:]))
}

// Rand is a source in the form of the standard library, for the use of one goroutine.
func Rand() *mathrand.Rand {
	d := New()
	return mathrand.New(mathrand.NewPCG(d.Throw(1), d.Throw(2)))
}

// Throw mixes the seed with what it is for, by SplitMix64.
func (d Dice) Throw(what ...uint64) uint64 {
	z := uint64(d)
	for _, x := range what {
		z ^= x
		z += 0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
	}
	return z
}

// IntN is in [0, n).
func (d Dice) IntN(n int, what ...uint64) int { return int(d.Throw(what...) % uint64(n)) }

// Around is wait, give or take up to part of it (0.2 is a fifth): those who wait for the same thing do not come back together.
func (d Dice) Around(wait time.Duration, part float64, what ...uint64) time.Duration {
	at := float64(d.Throw(what...)>>11) / (1 << 53)
	return time.Duration(float64(wait) * (1 - part + 2*part*at))
}

// Moment is now, as something to throw for.
func Moment() uint64 { return uint64(time.Now().UnixNano()) }
