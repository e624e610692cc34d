package record

import (
	"encoding/binary"
	"math/bits"
)

// The primes of xxHash, 32 bits.
const (
	xxPrime1 uint32 = 2654435761
	xxPrime2 uint32 = 2246822519
	xxPrime3 uint32 = 3266489917
	xxPrime4 uint32 = 668265263
	xxPrime5 uint32 = 374761393
)

// xxh32 returns the 32-bit xxHash of b with seed 0, the checksum inside LZ4 frames.
func xxh32(b []byte) uint32 {
	le := binary.LittleEndian
	n := uint32(len(b))
	h := xxPrime5
	if len(b) >= 16 {
		// Seed 0: -prime1 wraps around, which a constant expression may not.
		var v1, v2, v3, v4 uint32 = 606290984, xxPrime2, 0, 1640531535
		for ; len(b) >= 16; b = b[16:] {
			v1 = bits.RotateLeft32(v1+le.Uint32(b)*xxPrime2, 13) * xxPrime1
			v2 = bits.RotateLeft32(v2+le.Uint32(b[4:])*xxPrime2, 13) * xxPrime1
			v3 = bits.RotateLeft32(v3+le.Uint32(b[8:])*xxPrime2, 13) * xxPrime1
			v4 = bits.RotateLeft32(v4+le.Uint32(b[12:])*xxPrime2, 13) * xxPrime1
		}
		h = bits.RotateLeft32(v1, 1) + bits.RotateLeft32(v2, 7) + bits.RotateLeft32(v3, 12) + bits.RotateLeft32(v4, 18)
	}
	h += n
	for ; len(b) >= 4; b = b[4:] {
		h = bits.RotateLeft32(h+le.Uint32(b)*xxPrime3, 17) * xxPrime4
	}
	for _, c := range b {
		h = bits.RotateLeft32(h+uint32(c)*xxPrime5, 11) * xxPrime1
	}
	h = (h ^ h>>15) * xxPrime2
	h = (h ^ h>>13) * xxPrime3
	return h ^ h>>16
}
