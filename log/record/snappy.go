package record

import (
	"encoding/binary"
	"slices"

	"github.com/klauspost/compress/snappy"
)

// Java clients wrap snappy in the framing of the xerial library, most others write one raw block; both are read here.
//
//	| 82 53 4E 41 50 50 59 00 | version int32 | compatible int32 | { length int32 | raw block }* |
//
// What is written is xerial with blocks of 32 KiB, as Kafka's own clients do.
const (
	xerialMagic      = "\x82SNAPPY\x00"
	xerialHeaderSize = len(xerialMagic) + 8
	xerialVersion    = 1
	xerialBlockSize  = 32 << 10
)

// appendXerial appends src in xerial framing.
func appendXerial(dst, src []byte) []byte {
	dst = append(dst, xerialMagic...)
	dst = binary.BigEndian.AppendUint32(dst, xerialVersion)
	dst = binary.BigEndian.AppendUint32(dst, xerialVersion)
	for block := range slices.Chunk(src, xerialBlockSize) {
		at := len(dst)
		room := 4 + snappy.MaxEncodedLen(len(block))
		dst = slices.Grow(dst, room)
		n := len(snappy.Encode(dst[at+4:at+room], block)) // in place, as there is room
		binary.BigEndian.PutUint32(dst[at:at+4], uint32(n))
		dst = dst[:at+4+n]
	}
	return dst
}

// readSnappy decompresses xerial framing or one raw block.
func readSnappy(dst, src []byte, limit int) ([]byte, error) {
	if !hasXerialMagic(src) {
		return readSnappyBlock(dst, src, limit)
	}
	for len(src) > 0 {
		if hasXerialMagic(src) { // the first time, and where streams were concatenated
			compatible := int32(binary.BigEndian.Uint32(src[len(xerialMagic)+4:]))
			if compatible > xerialVersion {
				return dst, badStream(Snappy, "framing of a later version", nil)
			}
			src = src[xerialHeaderSize:]
			continue
		}
		if len(src) < 4 {
			return dst, badStream(Snappy, "ends in a block's length", nil)
		}
		n := int32(binary.BigEndian.Uint32(src))
		if src = src[4:]; n < 0 || int(n) > len(src) {
			return dst, badStream(Snappy, "block exceeds the batch", nil)
		}
		var err error
		if dst, err = readSnappyBlock(dst, src[:n], limit); err != nil {
			return dst, err
		}
		src = src[n:]
	}
	return dst, nil
}

func hasXerialMagic(b []byte) bool {
	return len(b) >= xerialHeaderSize && string(b[:len(xerialMagic)]) == xerialMagic
}

// readSnappyBlock decompresses one raw block. The decoder is the strict one: the fast one also takes S2's extension, which
// no other reader of the log would understand.
func readSnappyBlock(dst, src []byte, limit int) ([]byte, error) {
	size, err := snappy.DecodedLen(src)
	if err != nil {
		return dst, badStream(Snappy, "block length", err)
	}
	// Three bytes make at most 64 (a copy): a block that claims more is lying, and memory is not spent on it.
	if size/22 > len(src) {
		return dst, badStream(Snappy, "block claims more than it can hold", nil)
	}
	if size > limit-len(dst) {
		return dst, tooLarge(len(dst)+size, limit)
	}
	at := len(dst)
	dst = reserve(dst, size)
	if _, err := snappy.DecodeStrict(dst[at:at+size], src); err != nil {
		return dst, badStream(Snappy, "block", err)
	}
	return dst[:at+size], nil
}
