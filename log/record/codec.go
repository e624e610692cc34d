package record

import "fmt"

// Codec is a compression codec, with the number it has in a batch's attributes.
type Codec int8

// The codecs of RecordBatch v2.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// String returns Kafka's name of c, as in compression.type.
func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("codec %d", int8(c))
}

// CheckLevel tells whether Kafka allows level for c: gzip -1 or 1 to 9, lz4 1 to 17, zstd -131072 to 22, and 0, the default,
// for all. A Builder takes the nearest allowed level instead of an error. *UnsupportedCodecError if there is no such codec.
func (c Codec) CheckLevel(level int) error {
	lo, hi, ok := c.levels()
	if !ok {
		return &UnsupportedCodecError{Codec: c}
	}
	if level != 0 && (level < lo || level > hi) {
		return fmt.Errorf("record: compression level %d of %s, must be 0 or %d to %d", level, c, lo, hi)
	}
	return nil
}

// levels returns the range of c's levels, both ends inclusive.
func (c Codec) levels() (lo, hi int, ok bool) {
	switch c {
	case None, Snappy:
		return 0, 0, true
	case Gzip:
		return -1, 9, true
	case LZ4:
		return 1, 17, true
	case Zstd:
		return -131072, 22, true
	}
	return 0, 0, false
}

// compress appends src, compressed, to dst.
func compress(dst []byte, c Codec, level int, src []byte) ([]byte, error) {
	lo, hi, ok := c.levels()
	if !ok {
		return dst, &UnsupportedCodecError{Codec: c}
	}
	if level != 0 {
		level = min(max(level, lo), hi)
	}
	switch c {
	case Gzip:
		return appendGzip(dst, level, src)
	case Snappy:
		return appendXerial(dst, src), nil
	case LZ4:
		return appendLZ4(dst, level, src)
	case Zstd:
		return appendZstd(dst, level, src)
	}
	return append(dst, src...), nil
}

// decompress appends src, decompressed, to dst, which must be empty, and returns dst, perhaps grown, on an error too.
//
// The result never exceeds limit bytes, and memory grows with what the stream's blocks can hold, not with what a length in
// it claims: both are chosen by whoever made the stream.
//
// Errors: *InvalidError, *TooLargeError, *UnsupportedCodecError.
func decompress(dst []byte, c Codec, src []byte, limit int) ([]byte, error) {
	limit = min(limit, maxLimit)
	switch c {
	case Gzip:
		return readGzip(dst, src, limit)
	case Snappy:
		return readSnappy(dst, src, limit)
	case LZ4:
		return readLZ4(dst, src, limit)
	case Zstd:
		return readZstd(dst, src, limit)
	}
	return dst, &UnsupportedCodecError{Codec: c}
}

// maxLimit is the largest bound on decompressed bytes: limits are added to, and an int may have 32 bits.
const maxLimit = 1 << 30

func tooLarge(size, limit int) error {
	return &TooLargeError{Size: size, Limit: limit, Decompressed: true}
}

// badStream says that the codec's stream is malformed. err may be nil.
func badStream(c Codec, reason string, err error) error {
	return &InvalidError{Index: -1, Reason: c.String() + " stream: " + reason, Err: err}
}

// reserve returns dst with room for n more bytes. It doubles what it must replace: a batch of many small blocks would
// otherwise be copied more often.
func reserve(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	grown := make([]byte, len(dst), max(len(dst)+n, 2*cap(dst)))
	copy(grown, dst)
	return grown
}
