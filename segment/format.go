package segment

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// The suffixes of a segment's files.
const (
	LogSuffix         = ".log"
	OffsetIndexSuffix = ".index"
	TimeIndexSuffix   = ".timeindex"
	TxnIndexSuffix    = ".txnindex"
)

// nameDigits is the number of digits of the offset in a file's name.
const nameDigits = 20

// FileName returns the name of a file for a base offset: 20 digits and the suffix.
func FileName(baseOffset int64, suffix string) string {
	return fmt.Sprintf("%020d%s", baseOffset, suffix)
}

// ParseFileName splits a name that FileName made; ok is false for other names.
func ParseFileName(name string) (baseOffset int64, suffix string, ok bool) {
	if len(name) <= nameDigits || name[nameDigits] != '.' {
		return 0, "", false
	}
	if strings.IndexFunc(name[:nameDigits], func(r rune) bool { return r < '0' || r > '9' }) >= 0 {
		return 0, "", false
	}
	v, err := strconv.ParseInt(name[:nameDigits], 10, 64)
	if err != nil {
		return 0, "", false
	}
	return v, name[nameDigits:], true
}

// The sizes in bytes of index entries.
//
//	offset index                      time index
//	+----------------+----------+     +-----------+----------------+
//	| relativeOffset | position |     | timestamp | relativeOffset |
//	|     int32      |  int32   |     |   int64   |     int32      |
//	+----------------+----------+     +-----------+----------------+
const (
	offsetEntrySize = 8
	timeEntrySize   = 12
)

// offsetEntry says that the batch whose last offset is base+rel starts at pos.
type offsetEntry struct {
	rel, pos int32
}

func getOffsetEntry(b []byte) offsetEntry {
	return offsetEntry{rel: int32(binary.BigEndian.Uint32(b)), pos: int32(binary.BigEndian.Uint32(b[4:]))}
}

func (e offsetEntry) put(b []byte) {
	binary.BigEndian.PutUint32(b, uint32(e.rel))
	binary.BigEndian.PutUint32(b[4:], uint32(e.pos))
}

// timeEntry says that no batch up to some point has a timestamp above ts, and that the batch whose last offset is base+rel has ts.
type timeEntry struct {
	ts  int64
	rel int32
}

func getTimeEntry(b []byte) timeEntry {
	return timeEntry{ts: int64(binary.BigEndian.Uint64(b)), rel: int32(binary.BigEndian.Uint32(b[8:]))}
}

func (e timeEntry) put(b []byte) {
	binary.BigEndian.PutUint64(b, uint64(e.ts))
	binary.BigEndian.PutUint32(b[8:], uint32(e.rel))
}
