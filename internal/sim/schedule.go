package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Fault is one kind of trouble.
type Fault string

// The faults. Each begins and ends by itself, so that any subset of a schedule is one.
const (
	Kill     Fault = "kill"      // a node's process ends; everything written survives
	Power    Fault = "power"     // a node loses power: what was not synced is gone
	Torn     Fault = "torn"      // a node loses power: of what was not synced a random part survives, torn and out of order
	KillAll  Fault = "kill-all"  // all nodes
	PowerAll Fault = "power-all" // all nodes
	TornAll  Fault = "torn-all"  // all nodes
	Storm    Fault = "storm"     // a node loses power again and again while it starts
	Stop     Fault = "stop"      // a node hands over and stops
	Close    Fault = "close"     // a node stops without handing over
	Cut      Fault = "cut"       // a link, both ways
	CutTo    Fault = "cut-to"    // a link, one way
	Isolate  Fault = "isolate"   // a node from everybody
	Split    Fault = "split"     // the nodes into two halves; clients see both
	Bridge   Fault = "bridge"    // two halves with one node that sees both
	Ring     Fault = "ring"      // each node sees only its neighbours
	Latency  Fault = "latency"   // a link, both ways
	Stall    Fault = "stall"     // a link: bytes arrive when it is over
	Pause    Fault = "pause"     // a node hears nothing and is not heard, as a process that is stopped; everything arrives afterwards
	Reset    Fault = "reset"     // the connections of a node
	SlowDisk Fault = "slow-disk"
	Wipe     Fault = "wipe"      // a node comes back with an empty disk
	DiskFail Fault = "disk-fail" // one write or sync of a partition's log fails; the node's process ends some time later
	Lossy    Fault = "lossy"     // links of a node: segments come late and in bursts, up to 30 % of them are lost and sent again
	Double   Fault = "double"    // requests arrive a second time, later, over a connection of their own
	Clock    Fault = "clock"     // a node's wall clock jumps by hours and runs up to 10 % too fast or too slow; in the end it jumps back
	Unvote   Fault = "unvote"    // a node loses its vote in the metadata quorum, and gets it back
	Rot      Fault = "rot"       // a byte changes in a segment that was rolled, and nobody says so; it comes where everything stored is read again and again
)

// weights say how often a fault comes, beside others.
var weights = []struct {
	fault  Fault
	weight int
}{
	{Kill, 8},
	{Power, 8},
	{Torn, 8},
	{KillAll, 1},
	{PowerAll, 2},
	{TornAll, 2},
	{Storm, 5},
	{Stop, 6},
	{Close, 3},
	{Cut, 6},
	{CutTo, 6},
	{Isolate, 5},
	{Split, 3},
	{Bridge, 2},
	{Ring, 2},
	{Latency, 5},
	{Stall, 4},
	{Pause, 5},
	{Reset, 8},
	{SlowDisk, 5},
	{DiskFail, 4},
	{Wipe, 4},
	{Lossy, 5},
	{Double, 3},
	{Clock, 3},
	{Unvote, 3},
}

// Action is a fault at its time.
type Action struct {
	At    time.Duration // since the faults began
	For   time.Duration // how long
	Fault Fault
	Node  int32 // whom it is about; of KillAll and the like, who comes back first
	Peer  int32 // the other end of a link, 0 = the clients
	Seed  uint64
}

// String is one line, which ParseAction reads.
func (a Action) String() string {
	return fmt.Sprintf("%v %v %s %d %d %d", a.At, a.For, a.Fault, a.Node, a.Peer, a.Seed)
}

// ParseAction reads what String writes.
func ParseAction(s string) (a Action, err error) {
	var at, length string
	if _, err := fmt.Sscan(s, &at, &length, &a.Fault, &a.Node, &a.Peer, &a.Seed); err != nil {
		return a, fmt.Errorf("fault %q: %w", s, err)
	}
	if a.At, err = time.ParseDuration(at); err != nil {
		return a, fmt.Errorf("fault %q: %w", s, err)
	}
	if a.For, err = time.ParseDuration(length); err != nil {
		return a, fmt.Errorf("fault %q: %w", s, err)
	}
	if a.Fault != Rot && !slices.ContainsFunc(weights, func(w struct {
		fault  Fault
		weight int
	},
	) bool {
		return w.fault == a.Fault
	}) {
		return a, fmt.Errorf("fault %q: there is no %q", s, a.Fault)
	}
	return a, nil
}

// plan is what a seed decides about a run before it begins.
type plan struct {
	nodes    int
	tight    bool // short timeouts
	length   time.Duration
	sync     Sync
	interval time.Duration // of SyncInterval
	rolls    bool          // segments of the load's topic follow each other within a run
	metadata bool          // checkpoints of the metadata do, and segments of its log
	scrubs   bool          // what is stored is read again and again, and few files are open
	relaxed  bool          // another mode than SyncAlways is asked for
	schedule []Action
}

// has tells whether a fault is planned.
func (p *plan) has(f Fault) bool {
	return slices.ContainsFunc(p.schedule, func(a Action) bool { return a.Fault == f })
}

func (p *plan) faults() string {
	var names []string
	for _, a := range p.schedule {
		if !slices.Contains(names, string(a.Fault)) {
			names = append(names, string(a.Fault))
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// draw makes a plan: a swarm, in which each seed leaves some faults out, and has its own pace. One period in four has none. With only, these are the faults, and all of them; times says how many times as often as
// usual one comes.
func draw(rng *rand.Rand, nodes int, length time.Duration, only []Fault, times map[Fault]int) plan {
	p := plan{nodes: nodes, tight: rng.IntN(3) > 0, length: length}
	if five := rng.IntN(5) == 0; nodes == 0 { // the rest of the plan does not depend on who says it
		p.nodes = 3
		if five {
			p.nodes = 5
		}
	}
	gap := 100 * time.Millisecond << rng.IntN(5)
	if !p.tight {
		gap *= 8
	}
	if length == 0 {
		p.length = gap * time.Duration(15+rng.IntN(40))
	}
	chosen, sum := weights[:0:0], 0
	for _, w := range weights {
		if in := rng.IntN(4) > 0; only == nil && in || slices.Contains(only, w.fault) {
			w.weight *= max(1, times[w.fault])
			chosen = append(chosen, w)
			sum += w.weight
		}
	}
	for at := time.Duration(0); sum > 0; {
		at += time.Duration(rng.ExpFloat64() * float64(gap))
		if at >= p.length {
			break
		}
		a := Action{At: at.Truncate(time.Microsecond), For: time.Duration(rng.ExpFloat64() * float64(gap) * 4).Truncate(time.Microsecond), Seed: rng.Uint64N(1 << 20)}
		n := rng.IntN(sum)
		for _, w := range chosen {
			if n -= w.weight; n < 0 {
				a.Fault = w.fault
				break
			}
		}
		order := rng.Perm(p.nodes)
		a.Node = int32(order[0] + 1)
		if rng.IntN(4) > 0 {
			a.Peer = int32(order[1] + 1)
		}
		if int(at/(gap*8))%4 != 3 {
			p.schedule = append(p.schedule, a)
		}
	}
	slices.SortStableFunc(p.schedule, func(a, b Action) int { return cmp.Compare(a.At, b.At) })
	return p
}
