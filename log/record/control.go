package record

import (
	"encoding/binary"
	"fmt"
)

// ControlType is the kind of a control record.
type ControlType int16

// The control records that live in partitions of data.
const (
	ControlAbort  ControlType = 0
	ControlCommit ControlType = 1
)

// String returns "abort", "commit" or "control type n".
func (t ControlType) String() string {
	switch t {
	case ControlAbort:
		return "abort"
	case ControlCommit:
		return "commit"
	}
	return fmt.Sprintf("control type %d", int16(t))
}

// controlKeySize is the size in bytes of a control record's key: int16 version, int16 type. A later version may append.
const controlKeySize = 4

// ControlType tells what a control batch says (ok is false where b is not a readable control batch). Types other than
// ControlAbort and ControlCommit are for Kafka's own metadata log, or yet to come; a reader skips such a batch.
func (b Batch) ControlType() (t ControlType, ok bool) {
	if !b.Control() || b.Codec() != None || b.RecordCount() < 1 {
		return 0, false
	}
	var e entry
	s := b.records()
	if e.parse(s, 0) != "" || e.key.size() < controlKeySize {
		return 0, false
	}
	key := e.key.of(s)
	// A version above 0 is read as 0, a negative one is damage.
	if version := int16(binary.BigEndian.Uint16(key)); version < 0 {
		return 0, false
	}
	return ControlType(binary.BigEndian.Uint16(key[2:])), true
}
