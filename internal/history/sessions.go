package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// position of a consumer in a partition.
type position struct {
	next  int64 // -1 is anywhere
	op    int32 // that it is from
	epoch int   // of the process
	told  time.Duration
}

type follows struct {
	process string
	place   int32
}

// final is what a final reader read of a partition.
type final struct {
	values  map[int32]bool
	highest int64 // offset that was read, or passed
	end     int64 // that it listed, -1
}

// sessions follows each consumer from poll to poll: C7 to C10, C17, C18.
func (c *checker) sessions() {
	at := map[follows]*position{}
	epochs := map[string]int{}
	moved := map[follows][]time.Duration{} // beginnings of rebalances
	for i := range c.h {
		if op := &c.h[i]; op.Kind == Claim || op.Kind == Revoke || op.Kind == Seek {
			key := follows{op.Process, c.partID(op.Place)}
			moved[key] = append(moved[key], op.Invoke)
		}
	}
	for i := range c.h {
		op := &c.h[i]
		switch op.Kind {
		case Assign, Seek, Claim, Revoke:
			p := &position{next: -1, op: int32(i), epoch: epochs[op.Process], told: completed(op)}
			if op.Kind == Assign || op.Kind == Seek {
				p.next = op.Offset
			}
			at[follows{op.Process, c.partID(op.Place)}] = p
		case Subscribe, Crash:
			epochs[op.Process]++
		case List:
			if op.Final && op.Outcome == OK && op.Bound == End {
				c.finalOf(op).end = op.Offset
			}
		case Poll:
			for n, item := range op.Items {
				c.report.steps++
				key := follows{op.Process, c.partID(item.Place)}
				p := at[key]
				if p == nil || p.epoch != epochs[op.Process] {
					p = &position{next: -1, op: -1, epoch: epochs[op.Process], told: op.Invoke}
					if op.Final && c.o.Dense {
						p.next = 0
					}
					at[key] = p
				}
				if n == 0 || p.op != int32(i) {
					c.told(p, int32(i), item)
				}
				if p.next >= 0 && item.Offset != p.next {
					j, _ := slices.BinarySearch(moved[key], op.Invoke)
					if j == len(moved[key]) || moved[key][j] > completed(op) {
						c.stepped(p, int32(i), item)
					}
				}
				p.next, p.op, p.told = item.Offset+1, int32(i), max(p.told, completed(op))
				if op.Final {
					c.readFinally(op, item)
				}
			}
			if op.Final && op.To > 0 {
				f := c.finalOf(op)
				f.highest = max(f.highest, op.To-1)
			}
		}
	}
}

// told accuses a consumer that goes on from a position that was lost.
func (c *checker) told(p *position, i int32, item Item) {
	op := &c.h[i]
	losses := c.part(item.Place).losses
	// In the order of time: each consumer passes each of them once.
	n, _ := slices.BinarySearchFunc(losses, p.told, func(l int32, told time.Duration) int { return cmp.Compare(c.h[l].Invoke, told+1) })
	for ; n < len(losses) && c.h[losses[n]].Invoke < op.Invoke; n++ {
		c.report.steps++
		l := losses[n]
		if loss := &c.h[l]; p.next > loss.Offset && p.next <= loss.To && completed(loss) < op.Invoke {
			c.accuse("C17", item.Place, item.Offset, []int32{p.op, l, i}, "%s was at %d, which was lost, and goes on as if it were not", op.Process, p.next)
			p.next = -1
			return
		}
	}
}

// stepped judges a step that is not to the next offset.
func (c *checker) stepped(p *position, i int32, item Item) {
	part := c.part(item.Place)
	op := &c.h[i]
	rule, ops := [2]string{"C7", "C8"}, []int32{p.op, i}
	switch {
	case p.op == i:
		rule = [2]string{"C9", "C10"}
	case p.op >= 0 && c.h[p.op].Node != op.Node && c.h[p.op].Kind == Poll:
		rule = [2]string{"C18", "C18"}
	}
	if item.Offset > p.next {
		if o := c.skipped(part, p.next, item.Offset); o >= 0 {
			c.accuse(rule[0], item.Place, o, ops, "%s reads %d after %d, and skips it", op.Process, item.Offset, p.next-1)
		}
		return
	}
	if part.lost.covers(item.Offset, p.next) {
		rule[1] = "C17"
	}
	c.accuse(rule[1], item.Place, item.Offset, ops, "%s reads it after %d", op.Process, p.next-1)
}

func (c *checker) finalOf(op *Op) *final {
	return c.finalAt(op.Process, op.Place)
}

func (c *checker) finalAt(process string, at Place) *final {
	p := c.part(at)
	if p.finals[process] == nil {
		p.finals[process] = &final{values: map[int32]bool{}, highest: -1, end: -1}
	}
	return p.finals[process]
}

func (c *checker) readFinally(op *Op, item Item) {
	f := c.finalAt(op.Process, item.Place)
	f.highest = max(f.highest, item.Offset)
	if n, ok := c.find(item.Value); ok {
		f.values[n] = true
	}
}

// atTheEnd looks for what is missing: C1 and C2.
func (c *checker) atTheEnd() {
	readers := map[string]bool{}
	for i := range c.h {
		if c.h[i].Final {
			readers[c.h[i].Process] = true
		}
	}
	names := slices.Sorted(maps.Keys(readers))
	if len(names) == 0 {
		c.report.Unreached = append(c.report.Unreached, "no final reader")
	}
	for i := range c.parts {
		p := &c.parts[i]
		for _, name := range names {
			f := p.finals[name]
			if f == nil {
				f = &final{highest: -1, end: -1}
				p.finals[name] = f
			}
			want := p.top
			for want >= 0 && p.excused(want) {
				want--
			}
			if f.end >= 0 { // it says itself where the end is, and what was beyond is missing
				n, _ := slices.BinarySearch(p.known, f.end)
				for want = -1; n > 0 && want < 0; n-- {
					if o := p.known[n-1]; !p.excused(o) {
						want = o
					}
				}
			}
			if f.highest < want {
				c.report.Unreached = append(c.report.Unreached, fmt.Sprintf("%s read %v to %d, not to %d", name, p.Place, f.highest, want))
				delete(p.finals, name)
			}
		}
	}
	for n := range c.sends {
		c.report.steps += int64(len(names))
		c.missing(int32(n), names)
	}
}

func (c *checker) missing(n int32, readers []string) {
	s := &c.sends[n]
	p := &c.parts[s.part]
	at := s.at
	if s.offset >= 0 {
		at = s.offset
	}
	switch {
	case at >= 0 && p.excused(at) || c.h[s.op].Outcome != OK && !s.read:
		return
	case !s.read && at >= 0 && at < p.read:
		c.accuse("C1", p.Place, at, []int32{s.op}, "%v was acknowledged, and nobody read it, though somebody read %d", s.Value, p.read)
		return
	}
	for _, name := range readers {
		if f := p.finals[name]; f != nil && !f.values[n] {
			c.accuse("C2", p.Place, at, []int32{s.op, s.readBy}, "%v is not there at the end: %s read to %d", s.Value, name, f.highest)
			return
		}
	}
}
