package record

import (
	"encoding/binary"
	"math/bits"
)

// Integers inside a record are ZigZag encoded (0, -1, 1, -2, … become 0, 1, 2, 3, …) and written seven bits to a byte,
// lowest first, the high bit set on every byte but the last. At most 5 bytes make an int32 and 10 an int64.
//
// The decoders take and return an index, and -1 is their error: given a negative index they return it again, so that a
// caller may decode several fields in a row and look once.

// varint32 decodes an int32 at s[i:] and returns it with the index that follows. One and two bytes, which is what deltas and
// lengths up to 8191 take, are decoded here; they are most of the work of reading a record.
func varint32(s []byte, i int) (int32, int) {
	if uint(i) >= uint(len(s)) {
		return 0, -1
	}
	u := uint32(s[i])
	if u < 0x80 {
		return int32(u>>1) ^ -int32(u&1), i + 1
	}
	if i+1 < len(s) && s[i+1] < 0x80 {
		u = u&0x7f | uint32(s[i+1])<<7
		return int32(u>>1) ^ -int32(u&1), i + 2
	}
	return varint32Long(s, i)
}

func varint32Long(s []byte, i int) (int32, int) {
	s = s[i:]
	var u uint32
	for n, c := range s[:min(len(s), binary.MaxVarintLen32)] {
		if n == 4 && c > 0x0f { // more than 32 bits
			return 0, -1
		}
		u |= uint32(c&0x7f) << (7 * n)
		if c < 0x80 {
			return int32(u>>1) ^ -int32(u&1), i + n + 1
		}
	}
	return 0, -1
}

// varint64 decodes an int64 at s[i:] and returns it with the index that follows.
func varint64(s []byte, i int) (int64, int) {
	if uint(i) >= uint(len(s)) {
		return 0, -1
	}
	u := uint64(s[i])
	if u < 0x80 {
		return int64(u>>1) ^ -int64(u&1), i + 1
	}
	if i+1 < len(s) && s[i+1] < 0x80 {
		u = u&0x7f | uint64(s[i+1])<<7
		return int64(u>>1) ^ -int64(u&1), i + 2
	}
	return varint64Long(s, i)
}

func varint64Long(s []byte, i int) (int64, int) {
	s = s[i:]
	var u uint64
	for n, c := range s[:min(len(s), binary.MaxVarintLen64)] {
		if n == 9 && c > 1 { // more than 64 bits
			return 0, -1
		}
		u |= uint64(c&0x7f) << (7 * n)
		if c < 0x80 {
			return int64(u>>1) ^ -int64(u&1), i + n + 1
		}
	}
	return 0, -1
}

// putVarint writes v at b[i:] and returns the index that follows; b must have room.
func putVarint(b []byte, i int, v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	for u >= 0x80 {
		b[i] = byte(u) | 0x80
		u >>= 7
		i++
	}
	b[i] = byte(u)
	return i + 1
}

// varintSize returns the number of bytes that v takes.
func varintSize(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	return (bits.Len64(u|1) + 6) / 7
}
