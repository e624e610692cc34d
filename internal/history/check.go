package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Options say what was promised.
type Options struct {
	Plain     []string // producers without idempotence: their unknown and retried sends may be there twice, and out of order
	Dense     bool     // every offset holds a value: no transactions, nobody else writes, no retention
	AllowLoss bool     // a Lost operation is no anomaly by itself: acknowledgements before the flush, unclean elections
	Limit     int      // anomalies to report at most, 0 is 100
}

// Verdict is the result of Check.
type Verdict uint8

const (
	Good    Verdict = iota // all that was promised is kept, as far as the history tells
	Bad                    // at least one anomaly
	Unknown                // no anomaly, but the final readers did not come to the end, or there was none
)

func (v Verdict) String() string { return [...]string{"ok", "anomaly", "unknown"}[v] }

// Anomaly is a broken rule.
type Anomaly struct {
	Rule   string // C1 to C18, H1
	Place  Place
	Offset int64 // -1 if none is concerned
	Text   string
	Ops    []Op // that prove it
}

// String has a line for each operation.
func (a Anomaly) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v@%d: %s", a.Rule, a.Place, a.Offset, a.Text)
	for _, op := range a.Ops {
		line := op.String()
		if len(line) > 600 {
			line = line[:600] + "..."
		}
		b.WriteString("\n\t" + line)
	}
	return b.String()
}

// Report is what Check found.
type Report struct {
	Verdict   Verdict
	Anomalies []Anomaly
	Unreached []string // what the final readers did not come to
	Sent      [outcomes]int

	steps int64 // rounds of all loops: what a judgement costs, but for sorting
}

// String counts, and lists all that is wrong.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v: %d acknowledged, %d refused, %d unknown", r.Verdict, r.Sent[OK], r.Sent[Fail], r.Sent[Info])
	for _, a := range r.Anomalies {
		b.WriteString("\n" + a.String())
	}
	for _, u := range r.Unreached {
		b.WriteString("\nnot reached: " + u)
	}
	return b.String()
}

// Check judges a history. It takes the time of sorting it.
func Check(h History, o Options) Report {
	h = slices.Clone(h)
	h.Sort()
	c := &checker{h: h, o: o, places: map[Place]int32{}, producers: map[string]int32{}, values: map[valueKey]int32{}, plain: map[string]bool{}}
	if c.o.Limit == 0 {
		c.o.Limit = 100
	}
	for _, p := range o.Plain {
		c.plain[p] = true
	}
	c.facts()
	c.collectSends()
	c.inTime()
	c.collectSightings()
	for i := range c.parts {
		c.versions(&c.parts[i])
	}
	c.sessions()
	c.atTheEnd()
	if len(c.report.Anomalies) > 0 {
		c.report.Verdict = Bad
	} else if len(c.report.Unreached) > 0 {
		c.report.Verdict = Unknown
	}
	return c.report
}

type checker struct {
	h         History
	o         Options
	plain     map[string]bool
	report    Report
	places    map[Place]int32
	parts     []part
	recent    int32 // the part asked for last
	producers map[string]int32
	values    map[valueKey]int32
	sends     []sent
}

type valueKey struct {
	producer, place int32
	sequence        int64
}

// part is what is known of a partition.
type part struct {
	Place
	seen       []sighting // by offset and time, after versions
	known      []int64    // offsets of seen, once each
	lost, gone ranges
	losses     []int32 // operations
	top        int64   // highest offset seen or listed below, -1
	read       int64   // highest offset read, -1
	acked      int64   // highest acknowledged offset until now that no reported loss covers, -1
	ackedBy    int32
	finals     map[string]*final
}

// sent is a value that somebody sent.
type sent struct {
	Value
	part     int32
	op       int32
	offset   int64 // acknowledged, -1
	floor    int64 // highest acknowledged offset when it was sent
	floorBy  int32
	at       int64 // first sighting, -1
	read     bool
	readBy   int32
	numbered int32 // of its producer
}

// sighting is a value at an offset.
type sighting struct {
	offset int64
	value  int32
	op     int32
	read   bool
}

func (c *checker) accuse(rule string, p Place, offset int64, ops []int32, format string, args ...any) {
	if len(c.report.Anomalies) >= c.o.Limit {
		return
	}
	a := Anomaly{Rule: rule, Place: p, Offset: offset, Text: fmt.Sprintf(format, args...)}
	slices.Sort(ops)
	for _, i := range slices.Compact(ops) {
		if i >= 0 {
			a.Ops = append(a.Ops, c.h[i])
		}
	}
	c.report.Anomalies = append(c.report.Anomalies, a)
}

func (c *checker) part(p Place) *part { return &c.parts[c.partID(p)] }

func (c *checker) partID(p Place) int32 {
	if n := int(c.recent); n < len(c.parts) && c.parts[n].Place == p { // mostly
		return c.recent
	}
	i, ok := c.places[p]
	if !ok {
		i = int32(len(c.parts))
		c.places[p] = i
		c.parts = append(c.parts, part{Place: p, top: -1, read: -1, acked: -1, finals: map[string]*final{}})
	}
	c.recent = i
	return i
}

func (c *checker) producer(name string) int32 {
	i, ok := c.producers[name]
	if !ok {
		i = int32(len(c.producers))
		c.producers[name] = i
	}
	return i
}

func (c *checker) find(v Value) (int32, bool) {
	i, ok := c.values[valueKey{c.producer(v.Producer), c.partID(v.Place), v.Sequence}]
	return i, ok
}

// facts collects what is excused.
func (c *checker) facts() {
	for i := range c.h {
		c.report.steps++
		op := &c.h[i]
		switch op.Kind {
		case Lost:
			p := c.part(op.Place)
			p.lost = append(p.lost, span{op.Offset, op.To})
			p.losses = append(p.losses, int32(i))
			if !c.o.AllowLoss {
				c.accuse("C2", op.Place, op.Offset, []int32{int32(i)}, "offsets up to %d were lost, which was not to happen", op.To)
			}
		case Deleted:
			p := c.part(op.Place)
			p.gone = append(p.gone, span{op.Offset, op.To})
		}
		if op.Twice {
			c.accuse("H1", op.Place, -1, []int32{int32(i)}, "completed twice")
		}
	}
	for i := range c.parts {
		c.parts[i].lost, c.parts[i].gone = c.parts[i].lost.merged(), c.parts[i].gone.merged()
	}
}

func (p *part) excused(offset int64) bool { return p.lost.has(offset) || p.gone.has(offset) }

func (c *checker) collectSends() {
	for i := range c.h {
		op := &c.h[i]
		if op.Kind != Send {
			continue
		}
		c.report.Sent[op.Outcome] += len(op.Items)
		for _, item := range op.Items {
			c.report.steps++
			v := item.Value
			if old, ok := c.find(v); ok {
				c.accuse("H1", v.Place, item.Offset, []int32{c.sends[old].op, int32(i)}, "%v was sent twice", v)
				continue
			}
			s := sent{Value: v, part: c.partID(v.Place), op: int32(i), offset: -1, floor: -1, floorBy: -1, at: -1, readBy: -1, numbered: c.producer(v.Producer)}
			if op.Outcome == OK && item.Place == v.Place {
				s.offset = item.Offset
			}
			c.values[valueKey{s.numbered, s.part, v.Sequence}] = int32(len(c.sends))
			c.sends = append(c.sends, s)
		}
	}
}

func (c *checker) collectSightings() {
	for i := range c.h {
		op := &c.h[i]
		if op.Kind != Poll && (op.Kind != Send || op.Outcome != OK) {
			continue
		}
		for _, item := range op.Items {
			c.report.steps++
			if item.Offset >= 0 {
				c.sight(int32(i), op, item)
			}
		}
	}
}

func (c *checker) sight(i int32, op *Op, item Item) {
	id := c.partID(item.Place)
	read := op.Kind == Poll
	ops := []int32{i}
	if item.Damaged != "" {
		c.accuse("C5", item.Place, item.Offset, ops, "damaged: %s", item.Damaged)
		return
	}
	n, ok := c.find(item.Value)
	switch {
	case !ok:
		c.accuse("C5", item.Place, item.Offset, ops, "%v was never sent", item.Value)
		return
	case item.Place != item.Value.Place:
		c.accuse("C5", item.Place, item.Offset, append(ops, c.sends[n].op), "%v belongs elsewhere", item.Value)
		return
	}
	s := &c.sends[n]
	p := &c.parts[id]
	if read {
		if send := &c.h[s.op]; send.Outcome == Fail {
			c.accuse("C6", p.Place, item.Offset, append(ops, s.op), "%v was refused, and is there", item.Value)
		} else if send.Invoke > op.Complete && op.Complete != Unfinished {
			c.accuse("C5", p.Place, item.Offset, append(ops, s.op), "%v was read before it was sent", item.Value)
		}
		if !s.read {
			s.read, s.readBy = true, i
		}
		p.read = max(p.read, item.Offset)
	}
	p.top = max(p.top, item.Offset)
	p.seen = append(p.seen, sighting{offset: item.Offset, value: n, op: i, read: read})
}

// versions checks the order of the values of a partition, and who is at which offset.
func (c *checker) versions(p *part) {
	slices.SortFunc(p.seen, func(a, b sighting) int { return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.op, b.op)) })
	last := map[int32]*sent{} // of each producer
	changed := int64(-1)      // was reported
	for i := range p.seen {
		c.report.steps++
		g := p.seen[i]
		s := &c.sends[g.value]
		again := i > 0 && p.seen[i-1].offset == g.offset
		if again && p.seen[i-1].value == g.value {
			continue
		}
		if again && !p.lost.has(g.offset) && changed < g.offset {
			changed = g.offset
			c.accuse("C3", p.Place, g.offset, []int32{p.seen[i-1].op, g.op}, "%v and %v", c.sends[p.seen[i-1].value].Value, s.Value)
		}
		if !again {
			p.known = append(p.known, g.offset)
		}
		if s.at >= 0 && s.at != g.offset && !p.lost.has(s.at) && !p.lost.has(g.offset) {
			if send := &c.h[s.op]; !c.plain[s.Producer] || send.Outcome == OK && !send.Retried {
				c.accuse("C4", p.Place, g.offset, []int32{s.op, s.readBy, g.op}, "%v is at %d, too", s.Value, s.at)
			}
		}
		again = s.at >= 0
		if !again {
			s.at = g.offset
		}
		if g.offset <= s.floor {
			c.accuse("C13", p.Place, g.offset, []int32{s.op, s.floorBy, g.op}, "%v was sent after %d was acknowledged", s.Value, s.floor)
		}
		if again || c.plain[s.Producer] || p.lost.has(g.offset) {
			continue
		}
		if before := last[s.numbered]; before != nil && before.Sequence > s.Sequence {
			rule := "C11"
			if before.op == s.op {
				rule = "C12"
			}
			c.accuse(rule, p.Place, g.offset, []int32{before.op, s.op, g.op}, "%v is behind %d of its producer, which is at %d", s.Value, before.Sequence, before.at)
		}
		last[s.numbered] = s
	}
}

// skipped returns the first offset of [from, to) that a reader should not have left out, or -1.
func (c *checker) skipped(p *part, from, to int64) int64 {
	if c.o.Dense {
		for from < to {
			c.report.steps++
			end := max(p.lost.end(from), p.gone.end(from))
			if end <= from {
				return from
			}
			from = end
		}
		return -1
	}
	i, _ := slices.BinarySearch(p.known, from)
	for ; i < len(p.known) && p.known[i] < to; i++ {
		c.report.steps++
		if !p.excused(p.known[i]) {
			return p.known[i]
		}
	}
	return -1
}

// span is [from, to).
type span struct{ from, to int64 }

type ranges []span

func (r ranges) merged() (out ranges) {
	slices.SortFunc(r, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	for _, s := range r {
		if n := len(out); n > 0 && s.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, s.to)
		} else if s.from < s.to {
			out = append(out, s)
		}
	}
	return out
}

// end is where the range ends that offset is in, or offset.
func (r ranges) end(offset int64) int64 {
	i, _ := slices.BinarySearchFunc(r, offset, func(s span, o int64) int { return cmp.Compare(s.to, o+1) })
	if i < len(r) && r[i].from <= offset {
		return max(offset, r[i].to)
	}
	return offset
}

func (r ranges) has(offset int64) bool { return r.end(offset) > offset }

func (r ranges) covers(from, to int64) bool { return from >= to || r.end(from) >= to }

func completed(op *Op) time.Duration {
	if op.Complete == Unfinished {
		return 1<<63 - 1
	}
	return op.Complete
}
