package record

import (
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Encoders hold megabytes and decoders some hundred KiB: see gzipReaders. Neither has goroutines as used here.
var (
	zstdEncoders [zstd.SpeedBestCompression + 1]sync.Pool // of *zstd.Encoder, by the library's own level
	zstdDecoders sync.Pool                                // of *zstd.Decoder
)

const (
	// zstdWindow is how far back, in bytes, an encoder looks for repetitions. Records of one batch resemble their
	// neighbours; a larger window costs memory in each encoder.
	zstdWindow = 256 << 10

	zstdDefaultLevel  = 3
	zstdMaxBlock      = 128 << 10
	zstdBlockHeader   = 3
	zstdChecksumSize  = 4
	zstdDecoderMargin = 32 // bytes beyond the output that let the decoder use its fast copies
)

// appendZstd appends src as one frame.
func appendZstd(dst []byte, level int, src []byte) ([]byte, error) {
	if level == 0 {
		level = zstdDefaultLevel
	}
	speed := zstd.EncoderLevelFromZstd(level)
	pool := &zstdEncoders[speed]
	enc, _ := pool.Get().(*zstd.Encoder)
	if enc == nil {
		var err error
		enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow),
			zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false)) // the batch has a CRC
		if err != nil {
			return dst, err
		}
	}
	dst = enc.EncodeAll(src, dst)
	pool.Put(enc)
	return dst, nil
}

// readZstd decompresses one frame or several in a row.
func readZstd(dst, src []byte, limit int) ([]byte, error) {
	bound, err := zstdBound(src)
	if err != nil {
		return dst, err
	}
	dst = reserve(dst, int(min(bound, int64(limit)))+zstdDecoderMargin)
	dec, _ := zstdDecoders.Get().(*zstd.Decoder)
	if dec == nil {
		if dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true)); err != nil {
			return dst, err
		}
	}
	// The decoder stops at dst's capacity.
	out, err := dec.DecodeAll(src, dst[:0:min(cap(dst), limit+zstdDecoderMargin)])
	zstdDecoders.Put(dec)
	switch {
	case len(out) > limit || err != nil && bound > int64(limit):
		return dst, tooLarge(max(len(out), limit+1), limit)
	case err != nil:
		return dst, badStream(Zstd, "data", err)
	}
	return out, nil
}

// zstdBound returns the most bytes that the frames in src can decompress to. It reads only the headers of frames and blocks.
// A frame may claim a content size; what its blocks can hold is the better bound where the claim is a lie, and the claim
// where it is not.
func zstdBound(src []byte) (int64, error) {
	var total int64
	for len(src) > 0 {
		var h zstd.Header
		if err := h.Decode(src); err != nil {
			return 0, badStream(Zstd, "frame header", err)
		}
		src = src[h.HeaderSize:]
		if h.Skippable {
			if int64(h.SkippableSize) > int64(len(src)) {
				return 0, badStream(Zstd, "skippable frame exceeds the batch", nil)
			}
			src = src[h.SkippableSize:]
			continue
		}
		size, n, reason := zstdBlocks(src)
		if reason != "" {
			return 0, badStream(Zstd, reason, nil)
		}
		src = src[n:]
		if h.HasCheckSum {
			if len(src) < zstdChecksumSize {
				return 0, badStream(Zstd, "ends before the checksum", nil)
			}
			src = src[zstdChecksumSize:]
		}
		if h.HasFCS {
			if h.FrameContentSize > uint64(size) {
				return 0, badStream(Zstd, "frame claims more than it can hold", nil)
			}
			size = int64(h.FrameContentSize)
		}
		total += size
	}
	return total, nil
}

// zstdBlocks walks the blocks of a frame and returns the most they decompress to, and their size in bytes.
func zstdBlocks(src []byte) (size int64, n int, reason string) {
	for last := false; !last; {
		if len(src)-n < zstdBlockHeader {
			return 0, 0, "ends without a last block"
		}
		head := int(src[n]) | int(src[n+1])<<8 | int(src[n+2])<<16
		n += zstdBlockHeader
		last = head&1 != 0
		length := head >> 3 // 21 bits
		if length > zstdMaxBlock {
			return 0, 0, "block larger than the format allows"
		}
		switch head >> 1 & 3 {
		case 0: // raw
			size += int64(length)
		case 1: // run of one byte
			size += int64(length)
			length = 1
		case 2: // compressed
			size += zstdMaxBlock
		default:
			return 0, 0, "reserved block type"
		}
		if length > len(src)-n {
			return 0, 0, "block exceeds the batch"
		}
		n += length
	}
	return size, n, ""
}
