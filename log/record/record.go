package record

import "time"

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
	Timestamp   time.Time // millisecond precision; the zero time means "now" to a producer
	Key         []byte    // nil is Kafka's null
	Value       []byte    // nil is Kafka's null (a tombstone in a compacted topic)
	Headers     []Header
}

// Clone returns a copy of r that shares no memory with it.
func (r *Record) Clone() Record {
	panic("stub")
}
