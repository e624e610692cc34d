package partition

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

// TopicID is a topic's id.
type TopicID = [16]byte

// Partition is one partition.
type Partition struct {
	Topic  TopicID
	Number int32
}

// Compare orders by topic id and number.
func (p Partition) Compare(o Partition) int {
	return cmp.Or(bytes.Compare(p.Topic[:], o.Topic[:]), cmp.Compare(p.Number, o.Number))
}

// Topic is the partitions of one topic.
type Topic struct {
	ID      TopicID
	Numbers []int32 // ascending
}

// Set is a set of partitions; nil is the empty one. It must not be changed.
type Set []Topic

// Of makes a set of partitions in any order, with repetitions or without.
func Of(ps ...Partition) Set {
	if len(ps) == 0 {
		return nil
	}
	ps = slices.Clone(ps)
	slices.SortFunc(ps, Partition.Compare)
	ps = slices.Compact(ps)
	numbers := make([]int32, 0, len(ps))
	var s Set
	for i := 0; i < len(ps); {
		from := len(numbers)
		topic := ps[i].Topic
		for ; i < len(ps) && ps[i].Topic == topic; i++ {
			numbers = append(numbers, ps[i].Number)
		}
		s = append(s, Topic{ID: topic, Numbers: numbers[from:len(numbers):len(numbers)]})
	}
	return s
}

// FromTopics makes a set of topics in any order, perhaps repeated, with numbers in any order. It copies what it keeps.
func FromTopics(topics ...Topic) Set {
	n := 0
	for _, t := range topics {
		n += len(t.Numbers)
	}
	ps := make([]Partition, 0, n)
	for _, t := range topics {
		for _, number := range t.Numbers {
			ps = append(ps, Partition{t.ID, number})
		}
	}
	return Of(ps...)
}

// Len counts the partitions.
func (s Set) Len() int {
	n := 0
	for i := range s {
		n += len(s[i].Numbers)
	}
	return n
}

// find returns where a topic is or would be.
func (s Set) find(id TopicID) (int, bool) {
	return slices.BinarySearchFunc(s, id, func(t Topic, id TopicID) int { return bytes.Compare(t.ID[:], id[:]) })
}

// Numbers returns the partitions of one topic, ascending. They must not be changed.
func (s Set) Numbers(id TopicID) []int32 {
	if i, ok := s.find(id); ok {
		return s[i].Numbers
	}
	return nil
}

// Contains tells whether a partition is in the set.
func (s Set) Contains(p Partition) bool {
	_, ok := slices.BinarySearch(s.Numbers(p.Topic), p.Number)
	return ok
}

// All calls yield for every partition in order: an iter.Seq.
func (s Set) All(yield func(Partition) bool) {
	for i := range s {
		for _, n := range s[i].Numbers {
			if !yield(Partition{s[i].ID, n}) {
				return
			}
		}
	}
}

// Equal compares two sets.
func (s Set) Equal(o Set) bool {
	return slices.EqualFunc(s, o, func(a, b Topic) bool { return a.ID == b.ID && slices.Equal(a.Numbers, b.Numbers) })
}

// SubsetOf tells whether every partition of s is in o.
func (s Set) SubsetOf(o Set) bool { return len(s.Minus(o)) == 0 }

// Union is the set of what is in s or in o.
func (s Set) Union(o Set) Set {
	switch {
	case len(s) == 0:
		return o
	case len(o) == 0:
		return s
	}
	return s.merge(o, true, true, true)
}

// Intersect is the set of what is in both.
func (s Set) Intersect(o Set) Set {
	if len(s) == 0 || len(o) == 0 {
		return nil
	}
	return s.merge(o, false, true, false)
}

// Minus is the set of what is in s and not in o.
func (s Set) Minus(o Set) Set {
	if len(s) == 0 || len(o) == 0 {
		return s
	}
	return s.merge(o, true, false, false)
}

// Keep is the set of the partitions whose topic is wanted.
func (s Set) Keep(wanted func(TopicID) bool) Set {
	all := true
	for i := range s {
		all = all && wanted(s[i].ID)
	}
	if all {
		return s
	}
	var out Set
	for i := range s {
		if wanted(s[i].ID) {
			out = append(out, s[i])
		}
	}
	return out
}

// merge walks both sets and takes what is in the left one only, in both, in the right one only.
func (s Set) merge(o Set, left, both, right bool) Set {
	var out Set
	for len(s) > 0 || len(o) > 0 {
		c := 0
		switch {
		case len(o) == 0:
			c = -1
		case len(s) == 0:
			c = 1
		default:
			c = bytes.Compare(s[0].ID[:], o[0].ID[:])
		}
		switch {
		case c < 0:
			if left {
				out = append(out, s[0])
			}
			s = s[1:]
		case c > 0:
			if right {
				out = append(out, o[0])
			}
			o = o[1:]
		default:
			if numbers := mergeNumbers(s[0].Numbers, o[0].Numbers, left, both, right); len(numbers) > 0 {
				out = append(out, Topic{ID: s[0].ID, Numbers: numbers})
			}
			s, o = s[1:], o[1:]
		}
	}
	return out
}

func mergeNumbers(a, b []int32, left, both, right bool) []int32 {
	var out []int32
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
			if left {
				out = append(out, a[0])
			}
			a = a[1:]
		case len(a) == 0 || b[0] < a[0]:
			if right {
				out = append(out, b[0])
			}
			b = b[1:]
		default:
			if both {
				out = append(out, a[0])
			}
			a, b = a[1:], b[1:]
		}
	}
	return out
}

// String lists topics by the start of their ids: "AAAAAAAA[0 1 2] BBBBBBBB[4]".
func (s Set) String() string {
	var b strings.Builder
	for i := range s {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(base64.RawURLEncoding.EncodeToString(s[i].ID[:6]))
		b.WriteByte('[')
		for j, n := range s[i].Numbers {
			if j > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(strconv.Itoa(int(n)))
		}
		b.WriteByte(']')
	}
	return b.String()
}
