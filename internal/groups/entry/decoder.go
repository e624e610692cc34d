package entry

import (
	"encoding/binary"
	"slices"

	"github.com/insynclog/insync/internal/groups/partition"
)

// decoder reads the fields of a key or a value. After the first error, it returns zeros and keeps the error: who reads a record asks once, in the end.
//
// Lengths and counts are held against the bytes that are left before anything is allocated for them.
type decoder struct {
	b      []byte
	at     int
	text   string // what strings are cut from, all of b; if "", each is a copy of its own
	flex   bool   // KIP-482: compact lengths, tagged fields
	failed bool
	reason string
}

func (d *decoder) left() int { return len(d.b) - d.at }

func (d *decoder) fail(reason string) {
	if !d.failed {
		d.failed, d.reason = true, reason
	}
}

// take returns the next n bytes, nil after an error.
func (d *decoder) take(n int) []byte {
	if d.failed || n > d.left() {
		d.fail("ends inside a field")
		return nil
	}
	d.at += n
	return d.b[d.at-n : d.at]
}

func (d *decoder) int8() int8 {
	if b := d.take(1); b != nil {
		return int8(b[0])
	}
	return 0
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

func (d *decoder) int64() int64 {
	if b := d.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (d *decoder) topicID() (id partition.TopicID) {
	copy(id[:], d.take(len(id)))
	return id
}

func (d *decoder) uvarint() uint32 {
	if d.failed {
		return 0
	}
	v, n := binary.Uvarint(d.b[d.at:])
	switch {
	case n == 0:
		d.fail("ends inside a field")
	case n < 0 || n > 5 || v > 1<<32-1:
		d.fail("number has more than 32 bits")
	default:
		d.at += n
		return uint32(v)
	}
	return 0
}

// length reads a length in bytes, and moves on only if there are so many. It is -1 for null.
func (d *decoder) length(k kind) int {
	from := d.at
	n := 0
	switch {
	case d.flex:
		n = int(d.uvarint()) - 1
	case k == str16:
		n = int(d.int16())
	default:
		n = int(d.int32())
	}
	if d.failed {
		return 0
	}
	if n < -1 || n > d.left() {
		d.at = from
		d.fail("length exceeds the record")
		return 0
	}
	return n
}

// kind is what has a length.
type kind bool

const (
	str16   kind = false // 16 bits, where it is not compact
	bytes32 kind = true  // 32 bits
)

// str reads a string that must not be null.
func (d *decoder) str() string {
	from := d.at
	n := d.length(str16)
	if n < 0 {
		d.at = from
		d.fail("null")
	}
	return d.cut(n)
}

// nullable reads a string; "" for null.
func (d *decoder) nullable() string {
	return d.cut(d.length(str16))
}

// cut returns the next n bytes, of which length has seen that they are there.
func (d *decoder) cut(n int) string {
	if d.failed || n <= 0 {
		return ""
	}
	d.at += n
	if d.text != "" {
		return d.text[d.at-n : d.at]
	}
	return string(d.b[d.at-n : d.at])
}

// bytes reads bytes that must not be null, into a copy; nil if there are none.
func (d *decoder) bytes() []byte {
	from := d.at
	n := d.length(bytes32)
	if n < 0 {
		d.at = from
		d.fail("null")
	}
	if d.failed || n <= 0 {
		return nil
	}
	return slices.Clone(d.take(n))
}

// count reads the number of elements of an array that must not be null. An element takes least bytes at least.
func (d *decoder) count(least int) int {
	from := d.at
	n := 0
	if d.flex {
		n = int(d.uvarint()) - 1
	} else {
		n = int(d.int32())
	}
	if d.failed {
		return 0
	}
	if n < 0 || n > d.left()/least {
		d.at = from
		d.fail("number of elements exceeds the record, or null")
		return 0
	}
	return n
}

// names reads an array of strings and returns them sorted, each once.
func (d *decoder) names() []string {
	n := d.count(1)
	if n == 0 {
		return nil
	}
	names := make([]string, 0, n)
	for range n {
		names = append(names, d.str())
		if d.failed {
			return nil
		}
	}
	if !slices.IsSorted(names) {
		slices.Sort(names)
	}
	return slices.Compact(names)
}

// partitions reads an array of topics, with an array of partitions each. Kafka writes them in any order.
func (d *decoder) partitions() partition.Set {
	n := d.count(16 + 1 + 1)
	if n == 0 {
		return nil
	}
	topics := make([]partition.Topic, 0, n)
	canonical := true
	for i := range n {
		t := partition.Topic{ID: d.topicID()}
		count := d.count(4)
		if count > 0 {
			t.Numbers = make([]int32, 0, count)
		}
		for j := range count {
			t.Numbers = append(t.Numbers, d.int32())
			canonical = canonical && (j == 0 || t.Numbers[j-1] < t.Numbers[j])
		}
		d.skipTags()
		if d.failed {
			return nil
		}
		canonical = canonical && count > 0 && (i == 0 || partition.Partition{Topic: topics[i-1].ID}.Compare(partition.Partition{Topic: t.ID}) < 0)
		topics = append(topics, t)
	}
	if canonical {
		return topics
	}
	return partition.FromTopics(topics...)
}

// tags returns how many tagged fields follow: 0 where the version has none.
func (d *decoder) tags() uint32 {
	if !d.flex {
		return 0
	}
	return d.uvarint()
}

// field goes past a tagged field and returns a decoder of what it holds.
func (d *decoder) field() (tag uint32, field decoder) {
	tag = d.uvarint()
	size := d.uvarint()
	if int64(size) > int64(d.left()) {
		d.fail("tagged field exceeds the record")
	}
	if d.failed {
		return tag, decoder{failed: true, reason: d.reason}
	}
	field = decoder{b: d.b[:d.at+int(size)], at: d.at, flex: true}
	d.at += int(size)
	return tag, field
}

// done takes over what went wrong in a tagged field.
func (d *decoder) done(field *decoder) {
	if !field.failed && field.left() > 0 {
		field.fail("bytes after a tagged field")
	}
	if field.failed && !d.failed {
		d.at = field.at
		d.fail(field.reason)
	}
}

// skipTags goes past tagged fields.
func (d *decoder) skipTags() {
	for n := d.tags(); n > 0 && !d.failed; n-- {
		d.field()
	}
}
