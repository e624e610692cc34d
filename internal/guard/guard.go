package guard

import (
	"encoding/binary"
	"math"
)

// Request checks the body of a request: what follows the header and its tagged fields. budget is how many bytes decoding it may allocate, see
// [Budget]; cost how many it will at most. A nil error says that kmsg's decoder will read the message that the body begins with, in time in proportion
// to it. What is left over after the message is ignored, here as by the decoder.
//
// The error is an [*Error].
func Request(key, version int16, body []byte, budget int) (cost int, err error) {
	w := walk{src: body, end: len(body), budget: int64(budget)}
	if w.message(find(requests[:], key), version) {
		return int(w.cost), nil
	}
	return 0, w.failure(find(requests[:], key), "request", key, version)
}

// Response checks the body of a response: what follows the correlation id and, except in ApiVersions, the header's tagged fields. See [Request]; but
// nothing may be left over, [ErrTrailing].
//
// An ApiVersions response with error UNSUPPORTED_VERSION is of version 0 whatever was asked for.
func Response(key, version int16, body []byte, budget int) error {
	w := walk{src: body, end: len(body), budget: int64(budget)}
	if w.message(find(responses[:], key), version) && w.whole() {
		return nil
	}
	return w.failure(find(responses[:], key), "response", key, version)
}

// ConsumerMemberMetadata checks what a member of a classic group tells its leader, in JoinGroup. It begins with its version. One that is newer than
// the newest known is read as that; what follows is for those who know more, and is ignored in every version.
func ConsumerMemberMetadata(b []byte, budget int) error {
	return within(&inside[inConsumerMemberMetadata], b, budget)
}

// ConsumerMemberAssignment checks what a leader assigns to a member of a classic group, in SyncGroup. See [ConsumerMemberMetadata].
func ConsumerMemberAssignment(b []byte, budget int) error {
	return within(&inside[inConsumerMemberAssignment], b, budget)
}

// Budget is how many bytes decoding a frame of so many bytes may allocate: 16 for each, and 16 KiB for what is small. See the package's comment for
// what honest frames take.
func Budget(frameLen int) int {
	const (
		floor   = 16 << 10
		perByte = 16
	)
	return floor + perByte*min(max(frameLen, 0), math.MaxInt32/(2*perByte)) // no overflow where int has 32 bits
}

// find returns nil for a key that is not in a table.
func find(table []message, key int16) *message {
	if key < 0 || int(key) >= len(table) || table[key].count == 0 {
		return nil
	}
	return &table[key]
}

// message walks the message that a body begins with.
func (w *walk) message(m *message, version int16) bool {
	if m == nil || version < 0 || int(version) >= int(m.count) {
		w.err = ErrUnknown
		return false
	}
	return w.start(m, version)
}

// whole says whether the walk has come to the end.
func (w *walk) whole() bool {
	if w.pos != w.end {
		w.err, w.at, w.depth = ErrTrailing, w.pos, 0
		return false
	}
	return true
}

func (w *walk) start(m *message, version int16) bool {
	if !w.charge(allocated(int64(m.size))) {
		w.err = ErrBudget
		return false
	}
	return w.run(versions[int(m.first)+int(version)])
}

// failure is apart from the walk, so that only a failed one allocates.
func (w *walk) failure(m *message, kind string, key, version int16) error {
	if m != nil {
		kind = m.name
	}
	return &Error{Message: kind, Key: key, Version: version, Field: w.path(), Position: w.at, Err: w.err}
}

func within(m *message, b []byte, budget int) error {
	w := walk{src: b, end: len(b), budget: int64(budget), err: ErrTruncated}
	version := int16(-1)
	if len(b) >= 2 {
		version = int16(binary.BigEndian.Uint16(b))
		w.err = ErrUnknown
	}
	if version >= 0 && w.start(m, min(version, int16(m.count)-1)) {
		return nil
	}
	return w.failure(m, "", -1, version)
}
