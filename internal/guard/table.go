package guard

//go:generate go run -C ../../tools ./genguard

// A program is a row of steps that ends with opEnd. There is one for each version of each message, so that a walk asks nothing about versions:
// fields of fixed width that follow each other are one step, and the least size of an element is a number.

// step is one field, or several of fixed width.
type step struct {
	op   op
	name uint16 // in names
	n    uint16 // opFixed: bytes; arrays: least bytes of an element, or all of them; opTagged: known tags
	size uint16 // bytes of the Go value of an element or struct
	body uint16 // first step of the program of an element or struct; opTagged: first row in tags
}

// op says how a field is encoded.
type op uint8

// Every step but opEnd takes at least one byte of the frame.
const (
	opEnd   op = iota
	opFixed    // n bytes

	opString     // int16 length; copied by the decoder
	opNullString // -1: null; behind a pointer
	opStringPtr  // behind a pointer, though never null
	opBytes      // int32 length, -1: null; the decoder aliases the frame
	opCompactString
	opCompactNullString
	opCompactStringPtr
	opCompactBytes

	opArray             // int32 count, -1: null; elements are programs
	opFixedArray        // elements are n bytes each
	opCompactArray      // uvarint count + 1
	opCompactFixedArray // likewise

	opStruct // int8, -1: null; else a program follows
	opTags   // tagged fields, none of which is known
	opTagged // tagged fields, some of which are programs
)

// tag is a known tagged field.
type tag struct {
	key  uint32
	body uint16 // first step
}

// message is a request, a response, or what travels inside one.
type message struct {
	name  string
	first uint16 // in versions
	count uint16 // versions, from 0; none: there is no such message
	size  uint16 // bytes of the Go struct
}

// Rows of the table inside.
const (
	inConsumerMemberAssignment = iota
	inConsumerMemberMetadata
)
