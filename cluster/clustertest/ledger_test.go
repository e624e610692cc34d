package clustertest_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/insynclog/insync/internal/history"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ledger records what producers sent, what readers saw and what ends were listed, as a history of a log without transactions and without retention, which package history judges. It has one
// rule of its own, "unsettled": every send comes to an end. It is safe for concurrent use.
type ledger struct {
	rec *history.Recorder

	mu    sync.Mutex
	sends map[string]pending
	final []*reader
}

type pending struct {
	id   int
	op   history.Op
	over bool
}

type place struct {
	topic     string
	partition int32
}

func (p place) String() string { return fmt.Sprintf("%s-%d", p.topic, p.partition) }

func (p place) of() history.Place { return history.Place{Topic: p.topic, Partition: p.partition} }

func newLedger() *ledger {
	return &ledger{rec: history.NewRecorder(), sends: map[string]pending{}}
}

// sent notes a value that is about to be sent.
func (l *ledger) sent(producer string, sequence int, p place, padding int) string {
	v := history.Value{Producer: producer, Sequence: int64(sequence), Place: p.of()}
	b, _ := history.Encode(v, nil, padding)
	op := history.Op{Process: producer, Kind: history.Send, Items: []history.Item{{Place: p.of(), Offset: -1, Value: v}}}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sends[string(b)] = pending{id: l.rec.Begin(op), op: op}
	return string(b)
}

// settled notes what became of a value.
func (l *ledger) settled(v string, md producer.Metadata, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sends[v]
	s.over = true
	l.sends[v] = s
	op := s.op
	op.Items = slices.Clone(op.Items)
	switch producer.OutcomeOf(err) {
	case producer.Committed:
		op.Outcome = history.OK
		op.Items[0].Offset, op.Items[0].Place = md.Offset, place{md.Topic, md.Partition}.of()
	case producer.NotCommitted:
		op.Outcome, op.Err = history.Fail, err.Error()
	default:
		op.Outcome, op.Err = history.Info, err.Error()
	}
	l.rec.End(s.id, op)
}

// reader follows one consumer through its partitions.
type reader struct {
	l      *ledger
	name   string
	topics []string
	next   map[place]int64
	final  bool
}

func (l *ledger) reader(name string) *reader {
	return &reader{l: l, name: name, next: map[place]int64{}}
}

// finalReader is one that has to find everything.
func (l *ledger) finalReader(name string) *reader {
	r := l.reader(name)
	r.final = true
	l.mu.Lock()
	defer l.mu.Unlock()
	l.final = append(l.final, r)
	return r
}

// read notes what a consumer that began at offset 0 was given.
func (r *reader) read(p place, offset int64, v string) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	if _, ok := r.next[p]; !ok {
		r.l.rec.Note(history.Op{Process: r.name, Kind: history.Assign, Place: p.of()})
	}
	r.next[p] = offset + 1
	r.l.rec.Note(history.Op{Process: r.name, Kind: history.Poll, Items: []history.Item{history.ItemOf(p.of(), offset, nil, []byte(v), nil)}, Final: r.final})
}

// listing notes that the end of a partition is asked for, and listed what the answer was. One process asks one question after the other.
func (l *ledger) listing(process string, p place) (listed func(end int64, err error)) {
	op := history.Op{Process: process, Kind: history.List, Place: p.of()}
	id := l.rec.Begin(op)
	return func(end int64, err error) {
		op.Offset = end
		if err != nil {
			op.Outcome, op.Err = history.Info, err.Error()
		}
		l.rec.End(id, op)
	}
}

// verdict is called when everything was read up to the ends, and returns what is wrong.
func (l *ledger) verdict(ends map[place]int64) (problems []string, report history.Report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, end := range ends {
		for _, r := range l.final {
			l.rec.Note(history.Op{Process: r.name, Kind: history.List, Place: p.of(), Offset: end, Final: true})
		}
	}
	for _, v := range slices.Sorted(maps.Keys(l.sends)) {
		if !l.sends[v].over {
			problems = append(problems, "unsettled: "+v)
		}
	}
	report = history.Check(l.rec.History(), history.Options{Dense: true, Limit: 50})
	for _, a := range report.Anomalies {
		problems = append(problems, a.String())
	}
	for _, u := range report.Unreached {
		problems = append(problems, "unknown: "+u)
	}
	return problems, report
}

// write leaves the history in a file.
func (l *ledger) write(name string) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	return history.Write(f, l.rec.History())
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

// What the history says of the log is tested beside it; here, that the ledger tells it all.
func TestLedgerNotices(t *testing.T) {
	p := place{"t", 0}
	refused := &producer.Error{Outcome: producer.NotCommitted}
	unknown := &producer.Error{Outcome: producer.Unknown}
	at := func(o int64) producer.Metadata { return producer.Metadata{Topic: "t", Offset: o} }
	// good is a history with nothing wrong: a and b are acknowledged, c is refused, d is there although nobody knows, e is not.
	good := func(l *ledger) (a, b, c, d string) {
		a = l.sent("p", 0, p, 0)
		l.settled(a, at(0), nil)
		b = l.sent("p", 1, p, 3)
		l.settled(b, at(1), nil)
		c, d = l.sent("p", 2, p, 0), l.sent("p", 3, p, 0)
		l.settled(c, producer.Metadata{}, refused)
		l.settled(d, producer.Metadata{}, unknown)
		l.settled(l.sent("p", 4, p, 0), producer.Metadata{}, unknown)
		return a, b, c, d
	}
	read := func(r *reader, values ...string) {
		for i, v := range values {
			r.read(p, int64(i), v)
		}
	}
	for _, c := range []struct {
		want string // "" is a good history
		end  int64
		do   func(l *ledger, r *reader)
	}{
		{"", 3, func(l *ledger, r *reader) { a, b, _, d := good(l); read(r, a, b, d) }},
		{"unknown", 1, func(l *ledger, r *reader) { good(l) }},
		{"C2", 0, func(l *ledger, r *reader) { good(l) }},
		{"C2", 2, func(l *ledger, r *reader) {
			a, b, _, d := good(l)
			read(l.reader("x"), a, b, d) // was delivered once
			read(r, a, b)
		}},
		{"C3", 2, func(l *ledger, r *reader) { _, b, _, d := good(l); read(r, d, b) }},
		{"C4", 4, func(l *ledger, r *reader) { a, b, _, d := good(l); read(r, a, b, d, d) }},
		{"C5", 1, func(l *ledger, r *reader) { read(r, l.sent("p", 0, p, 0)+"0") }},
		{"C5", 1, func(l *ledger, r *reader) { r.read(place{"u", 0}, 0, l.sent("p", 0, p, 0)) }},
		{"C5", 1, func(l *ledger, r *reader) { l.settled(l.sent("p", 0, place{"u", 0}, 0), at(0), nil) }},
		{"C6", 3, func(l *ledger, r *reader) { a, b, c, _ := good(l); read(r, a, b, c) }},
		{"C7", 2, func(l *ledger, r *reader) { _, b, _, _ := good(l); r.read(p, 1, b) }},
		{"C7", 4, func(l *ledger, r *reader) { a, b, _, d := good(l); read(r, a, b); r.read(p, 3, d) }},
		{"C8", 2, func(l *ledger, r *reader) { a, b, _, _ := good(l); read(r, a, b); r.read(p, 0, a) }},
		{"C14", 2, func(l *ledger, r *reader) { good(l); l.listing("x", p)(3, nil); l.listing("x", p)(2, nil) }},
		{"C14", 2, func(l *ledger, r *reader) { good(l); l.listing("x", p)(1, nil) }},
		{"unsettled", 1, func(l *ledger, r *reader) { read(r, l.sent("p", 0, p, 0)) }},
		{"H1", 1, func(l *ledger, r *reader) {
			a := l.sent("p", 0, p, 0)
			l.settled(a, at(0), nil)
			l.settled(a, at(0), nil)
		}},
	} {
		l := newLedger()
		c.do(l, l.finalReader("r"))
		problems, _ := l.verdict(map[place]int64{p: c.end})
		if c.want == "" {
			assert.Empty(t, problems)
			continue
		}
		assert.True(t, has(problems, c.want), "%s: %q", c.want, problems)
	}
}

func has(problems []string, kind string) bool {
	return slices.ContainsFunc(problems, func(s string) bool { return strings.HasPrefix(s, kind+": ") })
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
