package history_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insynclog/insync/internal/history"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var seeds = flag.Int("history.seeds", 3000, "number of correct histories that are judged")

func TestCorrectHistoriesPass(t *testing.T) {
	for seed := range uint64(*seeds) {
		h, o := modelHistory(seed, 20+int(seed%200))
		r := history.Check(h, o)
		require.Equal(t, history.Good, r.Verdict, "seed %d: %v", seed, r)
	}
}

// clone copies a history so deep that a mutation does not reach the original.
func clone(h history.History) history.History {
	h = slices.Clone(h)
	for i := range h {
		h[i].Items = slices.Clone(h[i].Items)
	}
	return h
}

type where struct{ op, item int }

// pick returns one of the items that want says, or false.
func pick(rng *rand.Rand, h history.History, want func(op *history.Op, item int) bool) (w where, ok bool) {
	var all []where
	for i := range h {
		if len(h[i].Items) == 0 && want(&h[i], -1) {
			all = append(all, where{i, -1})
		}
		for n := range h[i].Items {
			if want(&h[i], n) {
				all = append(all, where{i, n})
			}
		}
	}
	if len(all) == 0 {
		return w, false
	}
	return all[rng.IntN(len(all))], true
}

func polled(op *history.Op, item int) bool { return op.Kind == history.Poll && item >= 0 }
func acked(op *history.Op, item int) bool {
	return op.Kind == history.Send && op.Outcome == history.OK && item >= 0
}

// everywhere changes every sighting of a value in polls.
func everywhere(h history.History, v history.Value, change func(*history.Item) (keep bool)) {
	for i := range h {
		if h[i].Kind == history.Poll {
			var kept []history.Item
			for _, item := range h[i].Items {
				if item.Value != v || change(&item) {
					kept = append(kept, item)
				}
			}
			h[i].Items = kept
		}
	}
}

// mutations break a correct history in one way. rules are those of which one has to be found.
var mutations = []struct {
	name  string
	rules string
	do    func(rng *rand.Rand, h history.History) (history.History, bool)
}{
	{"acknowledged value vanishes everywhere", "C1 C2", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, acked)
		if ok {
			everywhere(h, h[w.op].Items[w.item].Value, func(*history.Item) bool { return false })
		}
		return h, ok
	}},
	{"final reader misses a value", "C2 C7 C9", func(rng *rand.Rand, h history.History) (history.History, bool) {
		promised := map[history.Value]bool{} // an unknown one that nobody else reads is not missed
		for _, op := range h {
			for i, item := range op.Items {
				if acked(&op, i) {
					promised[item.Value] = true
				}
			}
		}
		w, ok := pick(rng, h, func(op *history.Op, i int) bool { return polled(op, i) && op.Final && promised[op.Items[i].Value] })
		if ok {
			h[w.op].Items = slices.Delete(h[w.op].Items, w.item, w.item+1)
		}
		return h, ok
	}},
	{"consumer misses a value inside a poll", "C9", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, func(op *history.Op, i int) bool { return polled(op, i) && !op.Final && i > 0 && i+1 < len(op.Items) })
		if ok {
			h[w.op].Items = slices.Delete(h[w.op].Items, w.item, w.item+1)
		}
		return h, ok
	}},
	{"two values swap places in the log", "C3 C4 C11 C12 C13", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, func(op *history.Op, i int) bool { return polled(op, i) && i+1 < len(op.Items) })
		if !ok {
			return h, false
		}
		a, b := &h[w.op].Items[w.item].Value, &h[w.op].Items[w.item+1].Value
		*a, *b = *b, *a
		return h, true
	}},
	{"two items swap inside a poll", "C10", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, func(op *history.Op, i int) bool { return polled(op, i) && i+1 < len(op.Items) })
		if !ok {
			return h, false
		}
		items := h[w.op].Items
		items[w.item], items[w.item+1] = items[w.item+1], items[w.item]
		return h, true
	}},
	{"value is delivered twice in a poll", "C10", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, polled)
		if ok {
			h[w.op].Items = slices.Insert(h[w.op].Items, w.item, h[w.op].Items[w.item])
		}
		return h, ok
	}},
	{"poll is delivered twice", "C8 C18", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, polled)
		if ok {
			again := h[w.op]
			again.Invoke = again.Complete // nothing is between
			h = slices.Insert(h, w.op+1, again)
		}
		return h, ok
	}},
	{"value is appended twice", "C3 C4", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, func(op *history.Op, i int) bool { return acked(op, i) && !op.Retried })
		if ok {
			item := h[w.op].Items[w.item]
			item.Offset += 100000
			h = append(h, history.Op{Process: "x", Kind: history.Poll, Invoke: time.Hour, Complete: time.Hour, Items: []history.Item{item}})
		}
		return h, ok
	}},
	{"acknowledged offset is another", "C3 C4", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, func(op *history.Op, i int) bool { return acked(op, i) && !op.Retried })
		if ok {
			h[w.op].Items[w.item].Offset++
		}
		return h, ok
	}},
	{"offset of a read is another", "C3 C4", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, polled)
		if ok {
			h[w.op].Items[w.item].Offset++
		}
		return h, ok
	}},
	{"value is read from another partition", "C5", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, polled)
		if ok {
			h[w.op].Items[w.item].Place.Partition++
		}
		return h, ok
	}},
	{"value is read from another incarnation", "C5", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, polled)
		if ok {
			h[w.op].Items[w.item].Place.ID[1]++
		}
		return h, ok
	}},
	{"value is damaged", "C5", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, polled)
		if ok {
			h[w.op].Items[w.item].Damaged = "x"
		}
		return h, ok
	}},
	{"value that nobody sent", "C5", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, polled)
		if ok {
			h[w.op].Items[w.item].Value.Sequence += 1000000
		}
		return h, ok
	}},
	{"read value was refused", "C6", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, acked)
		if ok {
			h[w.op].Outcome = history.Fail
		}
		return h, ok
	}},
	{"send begins after a later one was acknowledged", "C13", func(rng *rand.Rand, h history.History) (history.History, bool) {
		var place history.Place
		w, ok := pick(rng, h, acked)
		if !ok {
			return h, false
		}
		place = h[w.op].Items[0].Place
		later, ok := pick(rng, h, func(op *history.Op, i int) bool {
			return acked(op, i) && op.Items[i].Place == place && op.Items[i].Offset > h[w.op].Items[w.item].Offset && op.Invoke > h[w.op].Invoke
		})
		if !ok {
			return h, false
		}
		h[w.op].Invoke = h[later.op].Complete + 1
		h[w.op].Complete = max(h[w.op].Complete, h[w.op].Invoke+1)
		return h, true
	}},
	{"listed end falls", "C14", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, func(op *history.Op, i int) bool { return op.Kind == history.List && !op.Final && op.Offset > 0 })
		if ok {
			again := h[w.op]
			again.Offset--
			again.Invoke = again.Complete + 1
			again.Complete += 2
			h = append(h, again)
		}
		return h, ok
	}},
	{"commit is below the last", "C15", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, func(op *history.Op, i int) bool {
			return op.Kind == history.Commit && op.Outcome == history.OK && op.Offset > 0
		})
		if ok {
			again := h[w.op]
			again.Offset--
			again.Invoke = again.Complete + 1
			again.Complete += 2
			h = append(h, again)
		}
		return h, ok
	}},
	{"fetch returns less than what was committed", "C15", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, func(op *history.Op, i int) bool { return op.Kind == history.Fetch && op.Offset >= 0 })
		if ok {
			h[w.op].Offset = -1
			for _, op := range h {
				if op.Kind == history.Commit && op.Outcome == history.OK && op.Place == h[w.op].Place && op.Complete < h[w.op].Invoke {
					return h, true
				}
			}
		}
		return h, false // it was one that nobody knows of
	}},
	{"ownership overlaps", "C16", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, func(op *history.Op, i int) bool { return op.Kind == history.Claim })
		if ok {
			again := h[w.op]
			again.Process = "other"
			again.Invoke = again.Complete + 1
			again.Complete += 2
			h = append(h, again)
		}
		return h, ok
	}},
	{"commit of an old generation", "C16", func(rng *rand.Rand, h history.History) (history.History, bool) {
		w, ok := pick(rng, h, func(op *history.Op, i int) bool { return op.Kind == history.Claim })
		if ok {
			op := h[w.op]
			h = append(h, history.Op{
				Process: "old", Kind: history.Commit, Group: op.Group, Place: op.Place, Generation: op.Generation - 1, Offset: 1 << 40,
				Invoke: op.Complete + 1, Complete: op.Complete + 2,
			})
		}
		return h, ok
	}},
}

// Every mutation is found by a rule that is about it, whenever it can be made.
func TestMutationsAreFound(t *testing.T) {
	for _, m := range mutations {
		made, missed := 0, 0
		by := map[string]int{}
		example := ""
		for seed := range uint64(250) {
			h, o := modelHistory(seed, 100)
			o.Plain = nil // all have idempotence
			if history.Check(h, o).Verdict != history.Good {
				continue
			}
			h, ok := m.do(rand.New(rand.NewPCG(seed, 2)), clone(h))
			if !ok {
				continue
			}
			made++
			r := history.Check(h, o)
			hit := false
			for _, rule := range slices.Compact(found(r)) {
				by[rule]++
				hit = hit || slices.Contains(strings.Fields(m.rules), rule)
			}
			if !hit {
				missed++
				if example == "" {
					example = fmt.Sprintf("seed %d: %v", seed, r)
				}
			}
		}
		t.Logf("%-48s %3d of %3d found: %v", m.name, made-missed, made, by)
		assert.Greater(t, made, 30, m.name)
		assert.Zero(t, missed, "%s: %s", m.name, example)
	}
}
