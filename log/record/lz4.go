package record

import (
	"encoding/binary"
	"slices"
	"sync"

	"github.com/pierrec/lz4/v4"
)

// An LZ4 frame, integers little-endian:
//
//	| magic 04 22 4D 18 | FLG | BD | [content size 8] | HC | { size 4 | block | [checksum 4] }* | 00 00 00 00 | [checksum 4] |
//
//	FLG  version 01 | independent blocks | block checksums | content size | content checksum | 0 | 0
//	BD   0 | largest block: 4 to 7 for 64 KiB, 256 KiB, 1 MiB, 4 MiB | 0 0 0 0
//	HC   second byte of the xxh32 of FLG to HC; the high bit of a block's size: it is stored, not compressed
//
// The frame is read and written here rather than with the library's stream types, for Kafka's rules differ from the general
// ones (dependent blocks, dictionaries and a second frame are refused, the content checksum is not verified: the batch has a
// CRC), and so that the output is bounded and nothing is allocated.
const (
	lz4Magic      = 0x184D2204
	lz4HeaderSize = 7 // without a content size
	lz4BlockSize  = 64 << 10
	lz4Stored     = 1 << 31

	lz4Version          = 1 << 6
	lz4VersionMask      = 3 << 6
	lz4Independent      = 1 << 5
	lz4BlockChecksum    = 1 << 4
	lz4ContentSize      = 1 << 3
	lz4ContentChecksum  = 1 << 2
	lz4FlagsReserved    = 1<<1 | 1<<0 // the latter is a dictionary id
	lz4BlockCodeShift   = 4
	lz4BlockCodeDefault = 4 // 64 KiB
)

// Compressors hold tables of 128 KiB and more: see gzipReaders.
var (
	lz4Compressors   sync.Pool // of *lz4.Compressor
	lz4HCCompressors sync.Pool // of *lz4.CompressorHC
)

// appendLZ4 appends src as a frame of independent 64 KiB blocks without checksums, as Kafka's clients do. Level 9, Kafka's
// default, means the fast compressor; 1 to 8 search deeper and deeper, and so do those above 9, up to the library's deepest.
func appendLZ4(dst []byte, level int, src []byte) ([]byte, error) {
	const flags, bd = lz4Version | lz4Independent, lz4BlockCodeDefault << lz4BlockCodeShift
	dst = binary.LittleEndian.AppendUint32(dst, lz4Magic)
	dst = append(dst, flags, bd, byte(xxh32([]byte{flags, bd})>>8))

	var block func(src, dst []byte) (int, error)
	if level == 0 || level == 9 {
		c, _ := lz4Compressors.Get().(*lz4.Compressor)
		if c == nil {
			c = new(lz4.Compressor)
		}
		defer lz4Compressors.Put(c)
		block = c.CompressBlock
	} else {
		c, _ := lz4HCCompressors.Get().(*lz4.CompressorHC)
		if c == nil {
			c = new(lz4.CompressorHC)
		}
		defer lz4HCCompressors.Put(c)
		c.Level = 1 << (8 + min(level, 9))
		block = c.CompressBlock
	}
	for chunk := range slices.Chunk(src, lz4BlockSize) {
		at := len(dst)
		room := 4 + lz4.CompressBlockBound(len(chunk))
		dst = slices.Grow(dst, room)
		n, err := block(chunk, dst[at+4:at+room])
		if err != nil {
			return dst, err
		}
		size := uint32(n)
		if n == 0 || n >= len(chunk) {
			n = copy(dst[at+4:at+room], chunk)
			size = uint32(n) | lz4Stored
		}
		binary.LittleEndian.PutUint32(dst[at:at+4], size)
		dst = dst[:at+4+n]
	}
	return append(dst, 0, 0, 0, 0), nil
}

// lz4Frame is what a frame's header says.
type lz4Frame struct {
	flags    byte
	maxBlock int // bytes
}

// readLZ4Header checks the header and returns what follows it. The reason is "" if all is well.
func readLZ4Header(src []byte) (f lz4Frame, rest []byte, reason string) {
	if len(src) < lz4HeaderSize || binary.LittleEndian.Uint32(src) != lz4Magic {
		return f, nil, "no frame"
	}
	f.flags = src[4]
	bd := src[5]
	end := lz4HeaderSize - 1
	if f.flags&lz4ContentSize != 0 {
		end += 8 // a claim that nobody needs
	}
	code := bd >> lz4BlockCodeShift
	switch {
	case f.flags&lz4VersionMask != lz4Version:
		return f, nil, "unknown version"
	case f.flags&lz4FlagsReserved != 0:
		return f, nil, "reserved flag or dictionary"
	case f.flags&lz4Independent == 0:
		return f, nil, "dependent blocks"
	case bd&(1<<lz4BlockCodeShift-1) != 0 || code < 4 || code > 7:
		return f, nil, "block size code"
	case len(src) <= end:
		return f, nil, "ends in the header"
	case src[end] != byte(xxh32(src[4:end])>>8):
		return f, nil, "header checksum"
	}
	f.maxBlock = 1 << (8 + 2*code)
	return f, src[end+1:], ""
}

// readLZ4 decompresses one frame.
func readLZ4(dst, src []byte, limit int) ([]byte, error) {
	f, src, reason := readLZ4Header(src)
	if reason != "" {
		return dst, badStream(LZ4, reason, nil)
	}
	for {
		if len(src) < 4 {
			return dst, badStream(LZ4, "ends without an end mark", nil)
		}
		size := binary.LittleEndian.Uint32(src)
		src = src[4:]
		if size == 0 {
			break
		}
		stored := size&lz4Stored != 0
		n := int(size &^ lz4Stored)
		if n > f.maxBlock || n > len(src) {
			return dst, badStream(LZ4, "block exceeds the batch", nil)
		}
		block := src[:n]
		src = src[n:]
		if f.flags&lz4BlockChecksum != 0 {
			if len(src) < 4 || binary.LittleEndian.Uint32(src) != xxh32(block) {
				return dst, badStream(LZ4, "block checksum", nil)
			}
			src = src[4:]
		}
		var err error
		if stored {
			if n > limit-len(dst) {
				return dst, tooLarge(len(dst)+n, limit)
			}
			dst = append(reserve(dst, n), block...)
		} else if dst, err = readLZ4Block(dst, block, f.maxBlock, limit); err != nil {
			return dst, err
		}
	}
	if f.flags&lz4ContentChecksum != 0 {
		if len(src) < 4 {
			return dst, badStream(LZ4, "ends before the content checksum", nil)
		}
		src = src[4:]
	}
	if len(src) != 0 {
		return dst, badStream(LZ4, "bytes after the frame", nil)
	}
	return dst, nil
}

// readLZ4Block decompresses one block of at most maxBlock bytes.
func readLZ4Block(dst, block []byte, maxBlock, limit int) ([]byte, error) {
	// One byte of input makes at most 255 of output (a match's length), so that is all a small block is given.
	room := min(maxBlock, 255*len(block)+64)
	bounded := room > limit-len(dst)
	if bounded {
		room = limit - len(dst)
	}
	at := len(dst)
	dst = reserve(dst, room)
	n, err := lz4.UncompressBlock(block, dst[at:at+room])
	if err != nil {
		if bounded { // the library does not tell malformed from too long; the latter it is as far as anybody looked
			return dst, tooLarge(limit+1, limit)
		}
		return dst, badStream(LZ4, "block", err)
	}
	return dst[:at+n], nil
}
