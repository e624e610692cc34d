package record

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A stream that decompresses to one byte more than the limit is refused, one that meets it is not.
func TestDecompress_Limit(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, size := range []int{0, 1, 100, 64<<10 - 1, 64 << 10, 300_000} {
		src := make([]byte, size)
		for i := range src {
			src[i] = byte('a' + rng.IntN(4))
		}
		for _, c := range codecs[1:] {
			stream, err := compress(nil, c, 0, src)
			require.NoError(t, err)
			for _, room := range []int{0, size / 2, 2*size + 100} { // what the buffer has from before
				got, err := decompress(make([]byte, 0, room), c, stream, size)
				require.NoError(t, err, "%s %d", c, size)
				require.True(t, bytes.Equal(src, got), "%s %d", c, size)
				if size == 0 {
					continue
				}
				got, err = decompress(make([]byte, 0, room), c, stream, size-1)
				var tle *TooLargeError
				require.ErrorAs(t, err, &tle, "%s %d", c, size)
				assert.True(t, tle.Decompressed)
				assert.Equal(t, size-1, tle.Limit)
				assert.GreaterOrEqual(t, tle.Size, size)
				assert.LessOrEqual(t, len(got), size-1, c)
			}
		}
	}
}

// bombs are streams of a few KiB that decompress to 16 MiB or claim to.
func bombs(t testing.TB) map[string]struct {
	codec  Codec
	stream []byte
} {
	type bomb = struct {
		codec  Codec
		stream []byte
	}
	zeros := make([]byte, 16<<20)
	m := make(map[string]bomb)
	for _, c := range codecs[1:] {
		s, err := compress(nil, c, 0, zeros)
		require.NoError(t, err)
		m[c.String()] = bomb{c, s}
	}
	m["snappy raw"] = bomb{Snappy, snappy.Encode(nil, zeros)}
	m["snappy claim"] = bomb{Snappy, append(binary.AppendUvarint(nil, 1<<30), 0, 'x')}
	m["zstd claim"] = bomb{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 4, 0x01, 0, 0}} // 64 MiB in an empty block
	m["zstd window"] = bomb{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x98, 0x01, 0, 0}}      // 512 MiB window, an empty block
	m["lz4 block size"] = bomb{LZ4, append(lz4FrameHead(0x60, 0x70), 0, 0, 0, 0)}              // 4 MiB blocks, and none there
	return m
}

func lz4FrameHead(flags, bd byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, lz4Magic)
	return append(b, flags, bd, byte(xxh32([]byte{flags, bd})>>8))
}

// A bomb costs no more memory than the limit, twice over for growth, and the decoder's own.
func TestDecompress_Bomb(t *testing.T) {
	const limit, own = 1 << 20, 2 << 20
	for name, bomb := range bombs(t) {
		t.Run(name, func(t *testing.T) {
			b := rawBatch(t, None, 1, bomb.stream)
			b[attributesAt+1] = byte(bomb.codec)
			b.putCRC()
			var r Reader
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := r.Reset(b, limit)
			runtime.ReadMemStats(&after)
			require.Error(t, err)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2*limit+own))
			_, verr := Validate(b, ValidateOptions{MaxDecompressed: limit}, &r)
			assert.Equal(t, err.Error(), verr.Error())
			assert.LessOrEqual(t, cap(r.buf), 2*limit)
		})
	}
}

// Every codec's stream, cut anywhere, is an error; so is one with bytes behind it.
func TestDecompress_Truncated(t *testing.T) {
	src := bytes.Repeat([]byte("some text that repeats; "), 100)
	for _, c := range codecs[1:] {
		stream, err := compress(nil, c, 0, src)
		require.NoError(t, err)
		for n := range stream {
			got, err := decompress(nil, c, stream[:n], 1<<20)
			if err == nil { // snappy's framing and zstd have no end mark: what is missing shows as missing records
				require.Less(t, len(got), len(src), "%s cut to %d", c, n)
				continue
			}
			require.IsType(t, &InvalidError{}, err, "%s cut to %d", c, n)
		}
		for _, tail := range []string{"\x01", "\xff\xff\xff\xff\xff"} {
			_, err = decompress(nil, c, append(bytes.Clone(stream), tail...), 1<<20)
			require.IsType(t, &InvalidError{}, err, "%s with a tail", c)
		}
	}
}

// Damaged streams end in an error or in other bytes, never in a panic or in more than the limit.
func TestDecompress_Damaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	src := bytes.Repeat([]byte("some text that repeats, and some that does not: 8f3k2l; "), 50)
	const limit = 8 << 10
	for _, c := range codecs[1:] {
		stream, err := compress(nil, c, 0, src)
		require.NoError(t, err)
		for range 3000 {
			s := bytes.Clone(stream)
			for range 1 + rng.IntN(3) {
				s[rng.IntN(len(s))] = byte(rng.Uint32())
			}
			got, err := decompress(nil, c, s, limit)
			require.LessOrEqual(t, len(got), limit)
			if err != nil {
				require.Condition(t, func() bool {
					switch err.(type) {
					case *InvalidError, *TooLargeError:
						return true
					}
					return false
				}, "%T", err)
			}
		}
	}
}

// Streams as other writers make them.
func TestDecompress_Foreign(t *testing.T) {
	src := bytes.Repeat([]byte("some text that repeats; "), 20_000)
	half := len(src) / 2
	lz := func(opts ...lz4.Option) []byte {
		var buf bytes.Buffer
		w := lz4.NewWriter(&buf)
		require.NoError(t, w.Apply(opts...))
		_, err := w.Write(src)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return buf.Bytes()
	}
	gz := func(b []byte) []byte {
		var buf bytes.Buffer
		w := gzip.NewWriter(&buf)
		w.Name = "records"
		_, err := w.Write(b)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return buf.Bytes()
	}
	zs := func(b []byte, streamed bool) []byte {
		var buf bytes.Buffer
		w, err := zstd.NewWriter(&buf)
		require.NoError(t, err)
		defer w.Close()
		if !streamed {
			return w.EncodeAll(b, nil)
		}
		for len(b) > 0 { // flushes make small blocks, and the header has no content size
			n := min(len(b), 10_000)
			_, err = w.Write(b[:n])
			require.NoError(t, err)
			require.NoError(t, w.Flush())
			b = b[n:]
		}
		require.NoError(t, w.Close())
		return buf.Bytes()
	}
	for name, c := range map[string]struct {
		codec  Codec
		stream []byte
	}{
		"gzip":                  {Gzip, gz(src)},
		"gzip members":          {Gzip, append(gz(src[:half]), gz(src[half:])...)},
		"snappy raw":            {Snappy, snappy.Encode(nil, src)},
		"snappy raw, better":    {Snappy, s2.EncodeSnappyBest(nil, src)},
		"xerial, two streams":   {Snappy, append(appendXerial(nil, src[:half]), appendXerial(nil, src[half:])...)},
		"lz4 by the library":    {LZ4, lz()},
		"lz4 block checksums":   {LZ4, lz(lz4.BlockChecksumOption(true), lz4.BlockSizeOption(lz4.Block256Kb))},
		"lz4 no checksum, size": {LZ4, lz(lz4.ChecksumOption(false), lz4.SizeOption(uint64(len(src))), lz4.BlockSizeOption(lz4.Block4Mb))},
		"lz4 deep":              {LZ4, lz(lz4.CompressionLevelOption(lz4.Level9), lz4.BlockSizeOption(lz4.Block64Kb))},
		"zstd":                  {Zstd, zs(src, false)},
		"zstd streamed":         {Zstd, zs(src, true)},
		"zstd frames":           {Zstd, append(zs(src[:half], true), zs(src[half:], false)...)},
	} {
		got, err := decompress(nil, c.codec, c.stream, len(src))
		require.NoError(t, err, name)
		require.True(t, bytes.Equal(src, got), name)
	}
}

// What Kafka's readers would refuse must not get into a log.
func TestDecompress_Refused(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 10)
	stored := func(flags, bd byte) []byte {
		b := lz4FrameHead(flags, bd)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(content))|lz4Stored)
		return append(append(b, content...), 0, 0, 0, 0)
	}
	patch := func(b []byte, at int, v byte) []byte {
		b[at] = v
		return b
	}
	// A stored block of 64 KiB and one byte, all there, where the header allows 64 KiB.
	oversized := binary.LittleEndian.AppendUint32(lz4FrameHead(0x60, 0x40), (64<<10+1)|lz4Stored)
	oversized = append(append(oversized, make([]byte, 64<<10+1)...), 0, 0, 0, 0)
	// S2's extension of snappy: a copy with offset 0 repeats the last offset. Its own decoder takes it.
	s2Repeat := []byte{9, 0, 'x', 1, 1, 1, 0}
	lax, err := snappy.Decode(nil, s2Repeat)
	require.NoError(t, err)
	require.Equal(t, "xxxxxxxxx", string(lax))

	for _, c := range []struct {
		codec  Codec
		stream []byte
		reason string // "" for a stream that is fine
	}{
		{LZ4, stored(0x60, 0x40), ""},
		{LZ4, stored(0x64, 0x40), "lz4 stream: ends before the content checksum"},
		{LZ4, stored(0x40, 0x40), "lz4 stream: dependent blocks"},
		{LZ4, stored(0x20, 0x40), "lz4 stream: unknown version"},
		{LZ4, stored(0xa0, 0x40), "lz4 stream: unknown version"},
		{LZ4, stored(0x61, 0x40), "lz4 stream: reserved flag or dictionary"},
		{LZ4, stored(0x62, 0x40), "lz4 stream: reserved flag or dictionary"},
		{LZ4, stored(0x60, 0x30), "lz4 stream: block size code"},
		{LZ4, stored(0x60, 0xc0), "lz4 stream: block size code"},
		{LZ4, stored(0x60, 0x41), "lz4 stream: block size code"},
		{LZ4, stored(0x70, 0x40), "lz4 stream: block checksum"},
		{LZ4, patch(stored(0x60, 0x40), 6, 0), "lz4 stream: header checksum"},
		{LZ4, patch(stored(0x60, 0x40), 0, 5), "lz4 stream: no frame"},
		{LZ4, patch(stored(0x60, 0x40), 9, 1), "lz4 stream: block exceeds the batch"}, // 65696 bytes: beyond 64 KiB, too
		{LZ4, append(stored(0x60, 0x40), 1), "lz4 stream: bytes after the frame"},
		{LZ4, nil, "lz4 stream: no frame"},
		{LZ4, lz4FrameHead(0x68, 0x40), "lz4 stream: ends in the header"},
		{LZ4, oversized, "lz4 stream: block exceeds the batch"},
		{Snappy, s2Repeat, "snappy stream: block"},
		{Snappy, nil, "snappy stream: block length"},
		{Snappy, append([]byte("\x82SNAPPY\x00"), 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 1, 0), "snappy stream: framing of a later version"},
		{Snappy, append([]byte("\x82SNAPPY\x00"), 0, 0, 0, 1, 0, 0, 0, 1, 0, 0), "snappy stream: ends in a block's length"},
		{Snappy, append([]byte("\x82SNAPPY\x00"), 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0, 0, 1, 0), "snappy stream: block exceeds the batch"},
		{Snappy, append(binary.AppendUvarint(nil, 1<<20), 0, 'x'), "snappy stream: block claims more than it can hold"},
		{Gzip, []byte("no gzip"), "gzip stream: header"},
		{Gzip, nil, "gzip stream: header"},
		{Zstd, []byte("no zstd"), "zstd stream: frame header"},
		{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0}, "zstd stream: ends without a last block"},
		{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0x07, 0, 0}, "zstd stream: reserved block type"},
		{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0x21, 0, 0, 1, 2, 3}, "zstd stream: block exceeds the batch"},
		{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0xff, 0xff, 0xff}, "zstd stream: block larger than the format allows"},
		{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 4, 0, 1, 0, 0, 9, 9, 9}, "zstd stream: ends before the checksum"},
		{Zstd, []byte{0x5a, 0x2a, 0x4d, 0x18, 9, 0, 0, 0, 1}, "zstd stream: skippable frame exceeds the batch"},
		{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 4, 1, 0, 0}, "zstd stream: frame claims more than it can hold"},
	} {
		_, err := decompress(nil, c.codec, c.stream, 1<<20)
		if c.reason == "" {
			require.NoError(t, err)
			continue
		}
		var ie *InvalidError
		require.ErrorAs(t, err, &ie, c.reason)
		assert.Equal(t, c.reason, ie.Reason, "%x", c.stream)
		assert.Equal(t, -1, ie.Index)
	}
	_, err = decompress(nil, 5, nil, 1)
	assert.Equal(t, &UnsupportedCodecError{Codec: 5}, err)
	_, err = compress(nil, 5, 0, nil)
	assert.Equal(t, &UnsupportedCodecError{Codec: 5}, err)
}

// What does not compress is stored: it grows by the framing alone. What is small takes little memory to decompress.
func TestCompress_Random(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	src := make([]byte, 200_000)
	for i := range src {
		src[i] = byte(rng.Uint32())
	}
	for _, c := range codecs[1:] {
		for _, size := range []int{1, 100, len(src)} {
			stream, err := compress(nil, c, 0, src[:size])
			require.NoError(t, err)
			overhead := 64 + size/1000
			assert.LessOrEqual(t, len(stream), size+overhead, "%s %d", c, size)
			got, err := decompress(nil, c, stream, size)
			require.NoError(t, err)
			require.True(t, bytes.Equal(src[:size], got))
			assert.LessOrEqual(t, cap(got), max(4*len(stream), 512)+2*size+lz4BlockSize, "%s %d", c, size)
		}
	}
}

// A content size that the blocks can hold is believed: a small batch does not take a block's 128 KiB.
func TestZstd_ContentSize(t *testing.T) {
	src := bytes.Repeat([]byte("abcdefgh"), 100)
	stream, err := compress(nil, Zstd, 0, src)
	require.NoError(t, err)
	got, err := decompress(nil, Zstd, stream, 1<<20)
	require.NoError(t, err)
	assert.Equal(t, src, got)
	assert.LessOrEqual(t, cap(got), len(src)+zstdDecoderMargin)
}

// Blocks of up to 4 MiB may be announced; a block of ten bytes is not given that.
func TestLZ4_SmallBlock(t *testing.T) {
	stream := binary.LittleEndian.AppendUint32(lz4FrameHead(0x60, 0x70), 6)
	stream = append(stream, 0x50, 'h', 'e', 'l', 'l', 'o', 0, 0, 0, 0)
	got, err := decompress(nil, LZ4, stream, 16<<20)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(got))
	assert.Less(t, cap(got), 4096)
}

func TestXXH32(t *testing.T) {
	for s, want := range map[string]uint32{ // xxHash's own test values, seed 0
		"":    0x02cc5d05,
		"a":   0x550d7456,
		"abc": 0x32d153ff,
		"Nobody inspects the spammish repetition": 0xe2293b2f,
	} {
		assert.Equal(t, want, xxh32([]byte(s)), "%q", s)
	}
}
