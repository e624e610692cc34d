package history

import (
	"cmp"
	"slices"
	"time"
)

// before is what the world knew when an operation began.
type before struct {
	offset int64 // highest acknowledged offset, or of the last commit
	by     int32 // operation, -1 without
	gen    int64
	genBy  int32
}

type event struct {
	at  time.Duration
	op  int32
	end bool
}

type owned struct {
	group string
	place int32
}

// commits of a group to a partition.
type commits struct {
	highest map[int64]before        // acknowledged, by generation
	last    int32                   // acknowledged, and begun last
	until   map[int64]time.Duration // offset -> when the last commit of it that began, and did not fail, ended
	owners  []int32                 // claims
}

// disown ends what a process claimed.
func (c *commits) disown(k *checker, process string) {
	k.report.steps += int64(len(c.owners)) + 1
	c.owners = slices.DeleteFunc(c.owners, func(o int32) bool { return k.h[o].Process == process })
}

type listed struct {
	process string
	place   int32
	bound   Bound
}

// clock goes through all beginnings and ends in their order.
type clock struct {
	*checker
	known   []before
	commits map[owned]*commits
	gens    map[string]before
	lists   map[listed]int32
	claims  map[string][]owned // of each process
}

// inTime checks what is about the order of time: C14 to C16. It also notes for each value what was acknowledged when it was sent, for C13.
func (c *checker) inTime() {
	events := make([]event, 0, 2*len(c.h))
	for i := range c.h {
		events = append(events, event{c.h[i].Invoke, int32(i), false})
		if c.h[i].Complete != Unfinished {
			events = append(events, event{c.h[i].Complete, int32(i), true})
		}
	}
	// Of one instant the beginnings come first: what is not known to be later is concurrent.
	slices.SortFunc(events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(btoi(a.end), btoi(b.end)), cmp.Compare(a.op, b.op))
	})
	k := &clock{checker: c, known: make([]before, len(c.h)), commits: map[owned]*commits{}, gens: map[string]before{}, lists: map[listed]int32{}, claims: map[string][]owned{}}
	next := 0 // of c.sends, which are in the order of beginnings
	for _, e := range events {
		c.report.steps++
		if !e.end {
			for ; next < len(c.sends) && c.sends[next].op <= e.op; next++ {
				p := &c.parts[c.sends[next].part]
				c.sends[next].floor, c.sends[next].floorBy = p.acked, p.ackedBy
			}
			k.begins(e.op)
		} else {
			k.ends(e.op)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (k *clock) of(op *Op) *commits {
	key := owned{op.Group, k.partID(op.Place)}
	if k.commits[key] == nil {
		k.commits[key] = &commits{highest: map[int64]before{}, last: -1, until: map[int64]time.Duration{}}
	}
	return k.commits[key]
}

func (k *clock) begins(i int32) {
	op := &k.h[i]
	k.known[i].by, k.known[i].genBy = -1, -1
	switch op.Kind {
	case List:
		if p := k.part(op.Place); p.acked >= 0 {
			k.known[i].offset, k.known[i].by = p.acked, p.ackedBy
		}
	case Commit:
		c := k.of(op)
		if h, ok := c.highest[op.Generation]; ok {
			k.known[i] = h
		}
		k.known[i].genBy = -1
		if g, ok := k.gens[op.Group]; ok {
			k.known[i].gen, k.known[i].genBy = g.gen, g.genBy
		}
		if op.Outcome != Fail {
			c.until[op.Offset] = max(c.until[op.Offset], completed(op))
			if op.Outcome == Info {
				c.until[op.Offset] = 1<<63 - 1
			}
		}
	case Fetch:
		k.known[i].by = k.of(op).last
	case Revoke:
		k.of(op).disown(k.checker, op.Process)
	case Crash:
		for _, key := range k.claims[op.Process] {
			k.commits[key].disown(k.checker, op.Process)
		}
		delete(k.claims, op.Process)
	}
}

func (k *clock) ends(i int32) {
	op := &k.h[i]
	if op.Outcome != OK {
		return
	}
	switch op.Kind {
	case Send:
		for _, item := range op.Items {
			if p := k.part(item.Place); item.Offset > p.acked && !p.lost.has(item.Offset) {
				p.acked, p.ackedBy = item.Offset, i
			}
		}
	case List:
		k.listed(i, op)
	case Commit:
		k.committed(i, op)
	case Fetch:
		k.fetched(i, op)
	case Claim:
		c := k.of(op)
		c.disown(k.checker, op.Process)
		for _, o := range c.owners {
			k.accuse("C16", op.Place, -1, []int32{o, i}, "%s of group %s owns it, and %s, too", op.Process, op.Group, k.h[o].Process)
		}
		c.owners = append(c.owners, i)
		k.claims[op.Process] = append(k.claims[op.Process], owned{op.Group, k.partID(op.Place)})
		k.generation(i, op)
	}
}

func (k *clock) generation(i int32, op *Op) {
	if g, ok := k.gens[op.Group]; !ok || op.Generation > g.gen {
		k.gens[op.Group] = before{gen: op.Generation, genBy: i}
	}
}

func (k *clock) listed(i int32, op *Op) {
	p := k.part(op.Place)
	key := listed{op.Process, k.partID(op.Place), op.Bound}
	old, ok := k.lists[key]
	// An answer to an earlier question may come later.
	if ok && k.h[old].Complete >= op.Invoke {
		return
	}
	if ok && op.Offset < k.h[old].Offset && (op.Bound == Start || !p.lost.covers(op.Offset, k.h[old].Offset)) {
		k.accuse("C14", op.Place, op.Offset, []int32{old, i}, "%v was %d", op.Bound, k.h[old].Offset)
	}
	if b := k.known[i]; op.Bound == End && b.by >= 0 && op.Offset <= b.offset {
		k.accuse("C14", op.Place, op.Offset, []int32{b.by, i}, "%v, but %d was acknowledged before it was asked for", op.Bound, b.offset)
	}
	k.lists[key] = i
}

func (k *clock) committed(i int32, op *Op) {
	c := k.of(op)
	b := k.known[i]
	if b.by >= 0 && op.Offset < b.offset {
		k.accuse("C15", op.Place, op.Offset, []int32{b.by, i}, "group %s committed %d before in generation %d", op.Group, b.offset, op.Generation)
	}
	if b.genBy >= 0 && op.Generation < b.gen {
		k.accuse("C16", op.Place, op.Offset, []int32{b.genBy, i}, "group %s accepts a commit of generation %d in generation %d", op.Group, op.Generation, b.gen)
	}
	if h, ok := c.highest[op.Generation]; !ok || op.Offset > h.offset {
		c.highest[op.Generation] = before{offset: op.Offset, by: i}
	}
	if c.last < 0 || op.Invoke > k.h[c.last].Invoke {
		c.last = i
	}
	k.generation(i, op)
}

func (k *clock) fetched(i int32, op *Op) {
	c := k.of(op)
	last := k.known[i].by
	until, ok := c.until[op.Offset]
	switch {
	case op.Offset < 0 && last < 0:
	case op.Offset < 0 || last >= 0 && (!ok || until < k.h[last].Invoke):
		k.accuse("C15", op.Place, op.Offset, []int32{last, i}, "group %s committed %d before", op.Group, k.h[last].Offset)
	case !ok:
		k.accuse("C15", op.Place, op.Offset, []int32{i}, "group %s never committed it", op.Group)
	}
}
