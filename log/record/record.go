package record

import (
	"bytes"
	"time"
)

// Header is one key and value that travel with a record.
type Header struct {
	Key   string
	Value []byte // nil is Kafka's null
}

// Record is one entry of a partition's log.
//
// A producer sets Topic, Key, Value, Headers and, if it wants, Timestamp and Partition; the log sets the rest.
type Record struct {
	Topic       string
	Partition   int32
	Offset      int64
	LeaderEpoch int32     // epoch of the leader that appended it; -1 when unknown
	Timestamp   time.Time // millisecond precision; the zero time means "now" to a producer, "none" to a consumer
	Key         []byte    // nil is Kafka's null
	Value       []byte    // nil is Kafka's null (a tombstone in a compacted topic)
	Headers     []Header
}

// MaxHeaders is the largest number of headers of one record that this package builds, validates or reads.
const MaxHeaders = 1024

// Clone returns a copy of r that shares no memory with it, except for the strings, which cannot change.
// Null and empty stay apart: a nil Key, Value or header value is nil in the copy, an empty one empty.
func (r *Record) Clone() Record {
	c := *r
	c.Key = bytes.Clone(r.Key)
	c.Value = bytes.Clone(r.Value)
	c.Headers = nil
	if len(r.Headers) > 0 {
		c.Headers = make([]Header, len(r.Headers))
		for i, h := range r.Headers {
			c.Headers[i] = Header{Key: h.Key, Value: bytes.Clone(h.Value)}
		}
	}
	return c
}

// noTimestamp is how the format says that there is no timestamp. Outside this package that is the zero time.
const noTimestamp = -1

// A builder keeps timestamps inside ±2^62 ms (146 million years), so that the difference of any two of them, which is what
// a record holds, fits into 64 bits.
const maxTimestampMillis = 1 << 62

// millis returns t as the format's milliseconds. The zero time counts as now.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return time.Now().UnixMilli()
	}
	return min(max(t.UnixMilli(), -maxTimestampMillis), maxTimestampMillis)
}

// timeOf is the inverse of millis for what is read.
func timeOf(ms int64) time.Time {
	if ms == noTimestamp {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
