package embedded

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// newest is the highest version that is known.
const newest = 3

// Subscription is what a member tells the leader.
type Subscription struct {
	Topics     []string
	UserData   []byte            // the assignor's; nil is null
	Owned      []TopicPartitions // version 1 and later
	Generation int32             // in which it came to own them; -1 unknown; version 2 and later
	Rack       string            // "" unknown; version 3 and later
}

// TopicPartitions is partitions of one topic.
type TopicPartitions struct {
	Topic      string
	Partitions []int32
}

// Assignment is what the leader tells a member.
type Assignment struct {
	Partitions []TopicPartitions
	UserData   []byte // the assignor's; nil is null
}

// FormatError says that bytes are not what their version promises.
type FormatError struct {
	What   string // "subscription" or "assignment"
	Byte   int
	Reason string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("embedded: %s, byte %d: %s", e.What, e.Byte, e.Reason)
}

// ParseSubscription reads a subscription of any version. It keeps nothing of b.
//
// Errors: *FormatError.
func ParseSubscription(b []byte) (Subscription, error) {
	d := decoder{b: b}
	version := d.version()
	s := Subscription{Generation: -1}
	if n := d.count(2); n > 0 {
		s.Topics = make([]string, 0, n)
		for range n {
			s.Topics = append(s.Topics, d.name())
		}
	}
	s.UserData = d.data()
	// Some clients have raised the version without the fields that came with it.
	if version >= 1 && d.at < len(d.b) {
		s.Owned = d.partitions()
		if version >= 2 {
			s.Generation = d.int32()
		}
		if version >= 3 {
			s.Rack = d.nullable()
		}
	}
	if d.reason != "" {
		return Subscription{}, &FormatError{"subscription", d.at, d.reason}
	}
	return s, nil
}

// ParseAssignment reads an assignment of any version. No bytes at all are one without partitions: what the coordinator sends to a member that the leader left out. It keeps nothing of b.
//
// Errors: *FormatError.
func ParseAssignment(b []byte) (Assignment, error) {
	if len(b) == 0 {
		return Assignment{}, nil
	}
	d := decoder{b: b}
	d.version()
	a := Assignment{Partitions: d.partitions(), UserData: d.data()}
	if d.reason != "" {
		return Assignment{}, &FormatError{"assignment", d.at, d.reason}
	}
	return a, nil
}

// Append appends the subscription in a version from 0 to 3, leaving out what that has no room for.
func (s Subscription) Append(dst []byte, version int16) []byte {
	version = max(0, min(version, newest))
	dst = binary.BigEndian.AppendUint16(dst, uint16(version))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s.Topics)))
	for _, t := range s.Topics {
		dst = appendName(dst, t)
	}
	dst = appendData(dst, s.UserData)
	if version >= 1 {
		dst = appendPartitions(dst, s.Owned)
	}
	if version >= 2 {
		dst = binary.BigEndian.AppendUint32(dst, uint32(s.Generation))
	}
	if version >= 3 {
		if s.Rack == "" {
			return append(dst, 0xff, 0xff) // null
		}
		dst = appendName(dst, s.Rack)
	}
	return dst
}

// Append appends the assignment in a version from 0 to 3. But for its number, all are the same.
func (a Assignment) Append(dst []byte, version int16) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(max(0, min(version, newest))))
	dst = appendPartitions(dst, a.Partitions)
	return appendData(dst, a.UserData)
}

// appendName cuts names that have no room. No topic's name is that long.
func appendName(dst []byte, s string) []byte {
	s = s[:min(len(s), math.MaxInt16)]
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

func appendData(dst, data []byte) []byte {
	if data == nil {
		return append(dst, 0xff, 0xff, 0xff, 0xff)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(data)))
	return append(dst, data...)
}

func appendPartitions(dst []byte, topics []TopicPartitions) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(topics)))
	for _, t := range topics {
		dst = appendName(dst, t.Topic)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(t.Partitions)))
		for _, p := range t.Partitions {
			dst = binary.BigEndian.AppendUint32(dst, uint32(p))
		}
	}
	return dst
}

// decoder reads fields. After the first error, it returns zeros and keeps the reason. Lengths and counts are held against the bytes that are left before anything is allocated for them.
type decoder struct {
	b      []byte
	at     int
	reason string // "" as long as all is well
}

// take returns the next n bytes, nil after an error.
func (d *decoder) take(n int) []byte {
	if d.reason != "" {
		return nil
	}
	if n > len(d.b)-d.at {
		d.reason = "ends inside a field"
		return nil
	}
	d.at += n
	return d.b[d.at-n : d.at]
}

// version reads the version, which must not be negative.
func (d *decoder) version() int16 {
	v := d.int16()
	if v < 0 {
		d.at, d.reason = 0, "negative version"
	}
	return v
}

func (d *decoder) int16() int16 {
	if b := d.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (d *decoder) int32() int32 {
	if b := d.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// name reads a string that must not be null.
func (d *decoder) name() string {
	n := int(d.int16())
	if n < 0 {
		d.at, d.reason = d.at-2, "null"
	}
	return string(d.take(n))
}

// nullable reads a string; "" for null.
func (d *decoder) nullable() string {
	return string(d.take(max(0, int(d.int16()))))
}

// data reads bytes, into a copy; nil for null.
func (d *decoder) data() []byte {
	n := d.int32()
	if n < 0 {
		return nil
	}
	return slices.Clone(d.take(int(n)))
}

// count reads the number of elements of an array, 0 for null. An element takes least bytes at least.
func (d *decoder) count(least int) int {
	n := int(d.int32())
	if n > (len(d.b)-d.at)/least {
		d.at, d.reason = d.at-4, "number of elements exceeds the bytes"
	}
	if d.reason != "" {
		return 0
	}
	return max(0, n)
}

func (d *decoder) partitions() []TopicPartitions {
	n := d.count(2 + 4)
	if n == 0 {
		return nil
	}
	topics := make([]TopicPartitions, 0, n)
	for range n {
		t := TopicPartitions{Topic: d.name()}
		if count := d.count(4); count > 0 {
			t.Partitions = make([]int32, 0, count)
			for range count {
				t.Partitions = append(t.Partitions, d.int32())
			}
		}
		topics = append(topics, t)
	}
	return topics
}
