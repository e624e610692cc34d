package entry

import "fmt"

// FormatError says that a record of __consumer_offsets is not what its type and version promise.
type FormatError struct {
	Part   string // "key" or "value"
	Type   int16  // of the key; -1 if it has none
	Byte   int    // where in the part
	Reason string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("entry: %s of type %d, byte %d: %s", e.Part, e.Type, e.Byte, e.Reason)
}
