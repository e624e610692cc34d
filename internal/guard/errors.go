package guard

import (
	"errors"
	"fmt"
)

// What can be wrong with a frame. Each comes wrapped in an [Error].
var (
	ErrUnknown   = errors.New("no such message or version")
	ErrTruncated = errors.New("longer than the rest of the frame")
	ErrLength    = errors.New("negative or missing length")
	ErrCount     = errors.New("more elements than the rest of the frame can hold")
	ErrVarint    = errors.New("varint of more than 32 bits")
	ErrTrailing  = errors.New("bytes left over")
	ErrBudget    = errors.New("decodes to more memory than granted")
)

// Error says where a frame is wrong. It holds nothing of the frame's contents.
type Error struct {
	Message  string // as kmsg names it: ProduceRequest
	Key      int16  // -1: a message inside another
	Version  int16
	Field    string // path: Topics.Partitions.Records; of several fields of fixed width in a row, the first
	Position int    // byte of the body where that field begins
	Err      error  // one of the above
}

func (e *Error) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("%s (key %d) version %d: byte %d: %v", e.Message, e.Key, e.Version, e.Position, e.Err)
	}
	return fmt.Sprintf("%s (key %d) version %d: %s at byte %d: %v", e.Message, e.Key, e.Version, e.Field, e.Position, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }
