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

func compress(dst []byte, c Codec, _ int, src []byte) ([]byte, error) {
	if c != None {
		return dst, &UnsupportedCodecError{Codec: c}
	}
	return append(dst, src...), nil
}

func decompress(dst []byte, c Codec, src []byte, limit int) ([]byte, error) {
	return dst, &UnsupportedCodecError{Codec: c}
}
