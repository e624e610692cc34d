package clustertest_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ledger holds what producers sent and what readers saw, and tells what cannot be true of a log without transactions and without retention. It names an anomaly as Jepsen's Kafka workload
// does, or near it:
//
//	lost        an acknowledged value is not there at the end
//	undead      a value that was certainly refused is there
//	duplicate   a value has two offsets
//	changed     an offset has two values
//	phantom     a value that nobody sent, or that is damaged, or that was sent elsewhere
//	order       of one producer and partition: a later value has a lower offset
//	realtime    a value was sent after another was acknowledged, and has a lower offset
//	misplaced   the acknowledgement named another offset than the one where the value is
//	skip        a reader went over an offset
//	back        a reader, or the end of a partition as one client sees it, went back
//	hole        an offset below the end has no value at the end
//
// A value carries its producer, sequence, topic and partition, and a checksum. It is safe for concurrent use.
type ledger struct {
	mu       sync.Mutex
	sends    map[string]*send
	parts    map[place]*part
	problems []string
	tell     func(problem string) // when it is noticed; nil tells nobody
}

type place struct {
	topic     string
	partition int32
}

func (p place) String() string { return fmt.Sprintf("%s-%d", p.topic, p.partition) }

// part is what is known of a partition.
type part struct {
	values map[int64]string // by offset
	acked  int64            // highest acknowledged offset, -1 without
}

type send struct {
	producer string
	sequence int
	place    place
	outcome  producer.Outcome
	over     bool  // outcome is valid
	offset   int64 // that the acknowledgement named
	floor    int64 // highest acknowledged offset of the partition when it was sent
	seen     int64 // offset that a reader found it at, -1
}

func newLedger() *ledger { return &ledger{sends: map[string]*send{}, parts: map[place]*part{}} }

func (l *ledger) part(p place) *part {
	if l.parts[p] == nil {
		l.parts[p] = &part{values: map[int64]string{}, acked: -1}
	}
	return l.parts[p]
}

func (l *ledger) accuse(kind, format string, args ...any) {
	if len(l.problems) < 50 {
		l.problems = append(l.problems, kind+": "+fmt.Sprintf(format, args...))
		if l.tell != nil {
			l.tell(l.problems[len(l.problems)-1])
		}
	}
}

// String counts the outcomes.
func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n [3]int
	for _, s := range l.sends {
		n[s.outcome]++
	}
	return fmt.Sprintf("%d acknowledged, %d refused, %d unknown", n[producer.Committed], n[producer.NotCommitted], n[producer.Unknown])
}

// value is the one that a producer sends under a sequence number.
func value(producer string, sequence int, p place, padding int) string {
	v := fmt.Sprintf("%s/%d/%v/%s", producer, sequence, p, strings.Repeat("x", padding))
	return fmt.Sprintf("%s/%08x", v, crc32.ChecksumIEEE([]byte(v)))
}

func damaged(v string) bool {
	i := strings.LastIndexByte(v, '/')
	return i < 0 || fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(v[:i]))) != v[i+1:]
}

// sent notes a value that is about to be sent.
func (l *ledger) sent(producer string, sequence int, p place, padding int) string {
	v := value(producer, sequence, p, padding)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sends[v] = &send{producer: producer, sequence: sequence, place: p, floor: l.part(p).acked, seen: -1}
	return v
}

// settled notes what became of a value.
func (l *ledger) settled(v string, md producer.Metadata, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sends[v]
	if s.over {
		l.accuse("settled twice", "%s", v)
	}
	s.over, s.outcome, s.offset = true, producer.OutcomeOf(err), -1
	if err != nil {
		return
	}
	s.offset = md.Offset
	if md.Topic != s.place.topic || md.Partition != s.place.partition {
		l.accuse("misplaced", "%s was acknowledged in %s-%d", v, md.Topic, md.Partition)
	}
	if md.Offset >= 0 {
		l.part(s.place).acked = max(l.part(s.place).acked, md.Offset)
		l.found(s.place, md.Offset, v, "acknowledged")
	}
}

// found notes that an offset has a value.
func (l *ledger) found(p place, offset int64, v, how string) {
	s := l.sends[v]
	switch {
	case damaged(v):
		l.accuse("phantom", "%v@%d %s: damaged value %q", p, offset, how, v)
		return
	case s == nil:
		l.accuse("phantom", "%v@%d %s: %s was never sent", p, offset, how, v)
		return
	case s.place != p:
		l.accuse("phantom", "%v@%d %s: %s belongs to %v", p, offset, how, v, s.place)
		return
	}
	if old, ok := l.part(p).values[offset]; ok && old != v {
		l.accuse("changed", "%v@%d %s: %s, was %s", p, offset, how, v, old)
	}
	l.part(p).values[offset] = v
	if s.seen >= 0 && s.seen != offset {
		l.accuse("duplicate", "%v@%d %s: %s is at %d, too", p, offset, how, v, s.seen)
	}
	if s.offset >= 0 && s.over && s.outcome == producer.Committed && s.offset != offset {
		l.accuse("misplaced", "%v@%d %s: %s was acknowledged at %d", p, offset, how, v, s.offset)
	}
	if offset <= s.floor {
		l.accuse("realtime", "%v@%d %s: %s was sent after %d was acknowledged", p, offset, how, v, s.floor)
	}
	s.seen = offset
}

// reader follows one consumer through its partitions.
type reader struct {
	l      *ledger
	name   string
	topics []string
	next   map[place]int64
}

func (l *ledger) reader(name string) *reader {
	return &reader{l: l, name: name, next: map[place]int64{}}
}

// read notes what a consumer that began at offset 0 was given.
func (r *reader) read(p place, offset int64, v string) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	switch next := r.next[p]; {
	case offset > next:
		r.l.accuse("skip", "%s reads %v@%d after %d", r.name, p, offset, next-1)
	case offset < next:
		r.l.accuse("back", "%s reads %v@%d after %d", r.name, p, offset, next-1)
	}
	r.next[p] = offset + 1
	r.l.found(p, offset, v, "read by "+r.name)
}

// ends follows the end of partitions as one client sees it.
type ends struct {
	l    *ledger
	last map[place]int64
}

// acked is the highest acknowledged offset at the moment.
func (l *ledger) acked(p place) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.part(p).acked
}

// listed notes an end that was asked for when the offset acked was acknowledged.
func (e *ends) listed(p place, end, acked int64) {
	e.l.mu.Lock()
	defer e.l.mu.Unlock()
	if end < e.last[p] {
		e.l.accuse("back", "end of %v is %d, was %d", p, end, e.last[p])
	}
	if end <= acked {
		e.l.accuse("back", "end of %v is %d, but %d was acknowledged before it was asked for", p, end, acked)
	}
	e.last[p] = end
}

// verdict is called when everything was read up to the ends, and returns what is wrong.
func (l *ledger) verdict(ends map[place]int64) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range slices.Sorted(maps.Keys(l.sends)) {
		s := l.sends[v]
		switch {
		case !s.over:
			l.accuse("unsettled", "%s was never settled", v)
		case s.outcome == producer.Committed && (s.seen < 0 || s.seen >= ends[s.place] || l.part(s.place).values[s.seen] != v):
			l.accuse("lost", "%v@%d: %s", s.place, s.offset, v)
		case s.outcome == producer.NotCommitted && s.seen >= 0:
			l.accuse("undead", "%v@%d: %s was refused", s.place, s.seen, v)
		}
	}
	for _, p := range l.places() {
		l.checkPart(p, ends[p])
	}
	return l.problems
}

func (l *ledger) places() []place {
	return slices.SortedFunc(maps.Keys(l.parts), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
}

func (l *ledger) checkPart(p place, end int64) {
	last := map[string]*send{}
	for offset := range end {
		v, ok := l.parts[p].values[offset]
		if !ok {
			l.accuse("hole", "%v@%d of %d", p, offset, end)
			continue
		}
		s := l.sends[v]
		if before := last[s.producer]; before != nil && before.sequence > s.sequence {
			l.accuse("order", "%v: %s sent %d after %d, which is at %d", p, s.producer, before.sequence, s.sequence, offset)
		}
		last[s.producer] = s
	}
	for offset := range l.parts[p].values {
		if offset >= end {
			l.accuse("lost", "%v@%d was there, and the end is %d", p, offset, end)
		}
	}
}

// batchesBelow returns the bytes of a partition's segment files, in order, as far as their batches lie below end.
func batchesBelow(files [][]byte, end int64) (out []byte, err error) {
	for _, b := range files {
		for len(b) >= record.HeaderSize {
			size := int(binary.BigEndian.Uint32(b[8:])) + 12
			if size == 12 { // reserved space
				break
			}
			if size < record.HeaderSize || size > len(b) {
				return out, fmt.Errorf("batch of %d bytes in %d", size, len(b))
			}
			batch := record.Batch(b[:size])
			if err := batch.CheckCRC(); err != nil {
				return out, err
			}
			if batch.LastOffset() >= end {
				return out, nil
			}
			out, b = append(out, batch...), b[size:]
		}
	}
	return out, nil
}

// firstDifference is where two logs differ, -1 if they do not.
func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// The checker is worth as much as what it notices.
func TestLedgerNotices(t *testing.T) {
	p := place{"t", 0}
	refused := &producer.Error{Outcome: producer.NotCommitted}
	unknown := &producer.Error{Outcome: producer.Unknown}
	at := func(o int64) producer.Metadata { return producer.Metadata{Topic: "t", Offset: o} }
	// good is a history with nothing wrong: a and b are acknowledged, c is refused, d is there although nobody knows, e is not.
	good := func(l *ledger) (a, b, c, d, e string) {
		a = l.sent("p", 0, p, 0)
		l.settled(a, at(0), nil)
		b = l.sent("p", 1, p, 3)
		l.settled(b, at(1), nil)
		c, d, e = l.sent("p", 2, p, 0), l.sent("p", 3, p, 0), l.sent("p", 4, p, 0)
		l.settled(c, producer.Metadata{}, refused)
		l.settled(d, producer.Metadata{}, unknown)
		l.settled(e, producer.Metadata{}, unknown)
		return a, b, c, d, e
	}
	for _, c := range []struct {
		want string // "" is a good history
		end  int64
		do   func(l *ledger, r *reader)
	}{
		{"", 3, func(l *ledger, r *reader) {
			a, b, _, d, _ := good(l)
			r.read(p, 0, a)
			r.read(p, 1, b)
			r.read(p, 2, d)
		}},
		{"lost", 1, func(l *ledger, r *reader) { good(l) }},
		{"lost", 2, func(l *ledger, r *reader) {
			a, b, _, d, _ := good(l)
			r.read(p, 0, a)
			r.read(p, 1, b)
			r.read(p, 2, d) // was delivered once
		}},
		{"lost", 0, func(l *ledger, r *reader) { l.settled(l.sent("p", 0, p, 0), at(-1), nil) }},
		{"undead", 3, func(l *ledger, r *reader) {
			a, b, c, _, _ := good(l)
			r.read(p, 0, a)
			r.read(p, 1, b)
			r.read(p, 2, c)
		}},
		{"duplicate", 4, func(l *ledger, r *reader) {
			a, b, _, d, _ := good(l)
			r.read(p, 0, a)
			r.read(p, 1, b)
			r.read(p, 2, d)
			r.read(p, 3, d)
		}},
		{"changed", 2, func(l *ledger, r *reader) {
			_, b, _, d, _ := good(l)
			r.read(p, 0, d)
			r.read(p, 1, b)
		}},
		{"phantom", 1, func(l *ledger, r *reader) { r.read(p, 0, value("x", 0, p, 0)) }},
		{"phantom", 1, func(l *ledger, r *reader) { r.read(p, 0, l.sent("p", 0, p, 0)+"0") }},
		{"phantom", 1, func(l *ledger, r *reader) { r.read(place{"u", 0}, 0, l.sent("p", 0, p, 0)) }},
		{"order", 2, func(l *ledger, r *reader) {
			a, b := l.sent("p", 0, p, 0), l.sent("p", 1, p, 0)
			r.read(p, 0, b)
			r.read(p, 1, a)
			l.settled(a, at(1), nil)
			l.settled(b, at(0), nil)
		}},
		{"realtime", 3, func(l *ledger, r *reader) {
			a := l.sent("p", 0, p, 0)
			l.settled(a, at(1), nil)
			b := l.sent("q", 0, p, 0)
			l.settled(b, at(0), nil)
		}},
		{"misplaced", 3, func(l *ledger, r *reader) {
			a, b, _, d, _ := good(l)
			r.read(p, 0, a)
			r.read(p, 1, d)
			r.read(p, 2, b)
		}},
		{"skip", 2, func(l *ledger, r *reader) {
			_, b, _, _, _ := good(l)
			r.read(p, 1, b)
		}},
		{"back", 2, func(l *ledger, r *reader) {
			a, b, _, _, _ := good(l)
			r.read(p, 0, a)
			r.read(p, 1, b)
			r.read(p, 0, a)
		}},
		{"back", 2, func(l *ledger, r *reader) {
			good(l)
			e := &ends{l, map[place]int64{}}
			e.listed(p, 3, 1)
			e.listed(p, 2, 1)
		}},
		{"back", 2, func(l *ledger, r *reader) {
			good(l)
			(&ends{l, map[place]int64{}}).listed(p, 1, l.acked(p))
		}},
		{"hole", 3, func(l *ledger, r *reader) { good(l) }},
		{"unsettled", 1, func(l *ledger, r *reader) { r.read(p, 0, l.sent("p", 0, p, 0)) }},
		{"settled twice", 1, func(l *ledger, r *reader) {
			a := l.sent("p", 0, p, 0)
			l.settled(a, at(0), nil)
			l.settled(a, at(0), nil)
		}},
	} {
		l := newLedger()
		c.do(l, l.reader("r"))
		problems := l.verdict(map[place]int64{p: c.end})
		if c.want == "" {
			assert.Empty(t, problems)
			continue
		}
		assert.Conditionf(t, func() bool {
			return slices.ContainsFunc(problems, func(s string) bool { return strings.HasPrefix(s, c.want+": ") })
		}, "%s: %q", c.want, problems)
	}
}

func TestBatchesBelow(t *testing.T) {
	encoded := func(base int64) record.Batch {
		b := record.NewBuilder(record.BuilderConfig{})
		b.Append(&record.Record{Value: []byte("v")})
		out, err := b.Build(nil)
		require.NoError(t, err)
		record.Batch(out).PutBaseOffset(base)
		return out
	}
	first, second := encoded(0), encoded(1)
	got, err := batchesBelow([][]byte{slices.Concat(first, second, make([]byte, 100))}, 1)
	require.NoError(t, err)
	assert.Equal(t, []byte(first), got)
	other := bytes.Clone(first)
	other[len(other)-1] ^= 1
	_, err = batchesBelow([][]byte{other}, 1)
	assert.Error(t, err)
	assert.Equal(t, -1, firstDifference(got, first))
	assert.Equal(t, len(first)-1, firstDifference(first, other))
	assert.Equal(t, 3, firstDifference(first, first[:3]))
}
