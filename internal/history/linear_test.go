package history_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/history"
)

var longest = flag.Int("history.longest", 100_000, "operations of the longest history of TestCheckIsLinear: up to 1000000")

// histories of about n operations: how each is made, and the rules that it must keep.
var histories = []struct {
	name string
	make func(n int) (history.History, history.Options)
}{
	{"model", func(n int) (history.History, history.Options) { return modelHistory(3, n) }},
	{"losses", lossyHistory},
	{"claims", claimsHistory},
}

// lossyHistory has losses all the way, and a reader who passes each of them.
func lossyHistory(n int) (h history.History, o history.Options) {
	p := history.Place{Topic: "t"}
	at := time.Duration(0)
	note := func(op history.Op) {
		op.Invoke, op.Complete = at, at+1
		at += 2
		h = append(h, op)
	}
	for i := range int64(n / 3) {
		v := history.Value{Producer: "p", Sequence: i, Place: p}
		item := history.Item{Place: p, Offset: i, Value: v}
		note(history.Op{Process: "p", Kind: history.Send, Items: []history.Item{item}})
		if i%10 == 9 {
			note(history.Op{Process: "p", Kind: history.Lost, Place: p, Offset: i, To: i + 1})
			continue
		}
		note(history.Op{Process: "c", Kind: history.Poll, Items: []history.Item{item}})
		note(history.Op{Process: "final", Kind: history.Poll, Final: true, Items: []history.Item{item}})
	}
	return h, history.Options{AllowLoss: true}
}

// claimsHistory has many members that claim one partition after the other and crash now and then, and commits of all of them.
func claimsHistory(n int) (h history.History, o history.Options) {
	rng := rand.New(rand.NewPCG(1, 2))
	p := history.Place{Topic: "t"}
	at := time.Duration(0)
	note := func(op history.Op) {
		op.Invoke, op.Complete, op.Group, op.Place = at, at+1, "g", p
		at += 2
		h = append(h, op)
	}
	for i := int64(0); len(h) < n; i++ {
		member := fmt.Sprintf("m%d", i%100)
		note(history.Op{Process: member, Kind: history.Claim, Generation: i})
		note(history.Op{Process: member, Kind: history.Commit, Generation: i, Offset: i})
		note(history.Op{Process: "watcher", Kind: history.Fetch, Offset: i})
		if rng.IntN(50) == 0 {
			note(history.Op{Process: member, Kind: history.Crash})
		} else {
			note(history.Op{Process: member, Kind: history.Revoke})
		}
	}
	return h, o
}

// A judgement takes no more for each operation of a long history than of a short one: rounds of loops are counted, and bytes.
func TestCheckIsLinear(t *testing.T) {
	for _, kind := range histories {
		t.Run(kind.name, func(t *testing.T) {
			var first float64
			for n := 10_000; n <= *longest; n *= 10 {
				h, o := kind.make(n)
				items := 0
				for _, op := range h {
					items += 1 + len(op.Items)
				}
				r := history.Check(h, o)
				require.Empty(t, r.Anomalies)
				each := float64(r.Steps()) / float64(items)
				t.Logf("%d operations, %d items: %d steps, %.2f each", len(h), items-len(h), r.Steps(), each)
				if first == 0 {
					first = each
				}
				require.LessOrEqual(t, each, 1.2*first, "not linear")
				require.LessOrEqual(t, each, 10.0)
			}
		})
	}
}
