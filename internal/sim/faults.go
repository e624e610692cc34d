package sim

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/transport"
)

// moment is something that the goroutine of faults does at a time.
type moment struct {
	at time.Duration
	n  int64 // moments of the same time come in the order in which they were made
	do func()
}

// later has something done at a time since the faults began, and at an instant of its own.
func (w *World) later(at time.Duration, do func()) {
	w.made++
	m := moment{at + w.unique("moment", w.made), w.made, do}
	i, _ := slices.BinarySearchFunc(w.moments, m, func(a, b moment) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return int(a.n - b.n)
	})
	w.moments = slices.Insert(w.moments, i, m)
}

// runFaults does what is due until there is nothing more to do.
func (w *World) runFaults() {
	begun := time.Now()
	for len(w.moments) > 0 {
		m := w.moments[0]
		w.moments = w.moments[1:]
		time.Sleep(m.at - time.Since(begun))
		for _, n := range w.nodes {
			n.poll()
		}
		m.do()
	}
}

// inject begins a fault, and has it end.
func (w *World) inject(a Action) {
	n := w.nodes[a.Node-1]
	over := a.At + a.For
	rng := rand.New(rand.NewPCG(w.seed, a.Seed))
	w.count(a.Fault)
	w.event("- %v", a)
	switch a.Fault {
	case Kill, Power, Torn:
		w.down(n, modeOf(a.Fault), over)
	case KillAll, PowerAll, TornAll:
		for i := range w.nodes {
			w.down(w.nodes[(int(a.Node)+i)%len(w.nodes)], modeOf(a.Fault), over+time.Duration(rng.ExpFloat64()*float64(a.For)))
		}
	case Storm:
		at := a.At
		for range 1 + rng.IntN(5) {
			w.later(at, func() { w.down(n, vfs.KeepRandom, 0) })
			at += time.Duration(rng.ExpFloat64() * float64(a.For) / 8)
			w.later(at, func() { w.release(n) })
			at += time.Duration(rng.ExpFloat64() * float64(a.For) / 8)
		}
	case Stop, Close:
		if n.up.Load() == nil {
			return
		}
		n.holds++
		n.stop(a.Fault == Stop)
		w.later(over, func() { w.release(n) })
	case Cut, CutTo, Isolate, Split, Bridge, Ring, Latency, Stall, Pause:
		f := w.linkFault(a, rng)
		w.links = append(w.links, f)
		w.relink()
		w.later(over, func() {
			w.links = slices.DeleteFunc(w.links, func(g *linkFault) bool { return g == f })
			w.relink()
		})
	case Lossy:
		end := w.lose(a, rng)
		w.later(over, end)
	case Double:
		w.doubles.Add(1)
		w.later(over, func() { w.doubles.Store(max(0, w.doubles.Load()-1)) })
	case Clock:
		c := newWrongClock(rng)
		n.clock.Store(c)
		w.event("node %d: %v", n.id, c)
		w.later(over, func() { n.clock.CompareAndSwap(c, nil) })
	case Unvote:
		w.unvote(n, 1)
		w.later(over, func() { w.unvote(n, -1) })
	case Reset:
		w.network.Reset(n.host(), "*")
	case SlowDisk:
		slow := int64(rng.ExpFloat64() * float64(50*time.Millisecond))
		n.slow.Store(slow)
		w.later(over, func() { n.slow.CompareAndSwap(slow, 0) })
	case DiskFail:
		if !w.mayLose(n) {
			return
		}
		n.broken.Store(int64(1 + rng.IntN(20)))
		w.later(over, func() { w.down(n, vfs.KeepRandom, over+time.Duration(rng.ExpFloat64()*float64(a.For)/4)) })
	case Rot:
		w.rot(n, rng)
	case Wipe:
		if !w.mayLose(n) {
			return
		}
		w.down(n, vfs.DropAll, over)
		n.disk = vfs.NewMem()
	}
}

func modeOf(f Fault) vfs.CrashMode {
	switch f {
	case Kill, KillAll:
		return vfs.KeepAll
	case Power, PowerAll:
		return vfs.DropAll
	default:
		return vfs.KeepRandom
	}
}

// down crashes a node and has it start again at a time, unless another fault holds it down; 0: somebody else releases it.
func (w *World) down(n *node, mode vfs.CrashMode, until time.Duration) {
	n.holds++
	n.crash(mode)
	if until > 0 {
		w.later(until, func() { w.release(n) })
	}
}

func (w *World) release(n *node) {
	n.holds--
	if n.holds == 0 {
		w.restart(n)
	}
}

// restart starts a node, once it is down.
func (w *World) restart(n *node) {
	if n.leaving != nil {
		<-n.leaving
		n.leaving = nil
	}
	if n.isDown() {
		n.begin()
	}
}

// mayLose tells whether this node may lose what the others have now: what is promised holds for one such replica at a time, the next after it is back in sync. Of the metadata quorum that is one of all
// voters: while another's vote is taken, those that are left may be two, who need each other.
func (w *World) mayLose(n *node) bool {
	for _, other := range w.nodes {
		if other.holds > 0 || other.up.Load() == nil || other.broken.Load() > 0 {
			return false
		}
	}
	if len(w.links) > 0 || !w.healthy() || !w.allVote() || w.votes.underWay() {
		return false
	}
	w.event("node %d may lose what it has", n.id)
	w.mayHaveLost.Store(true)
	return true
}

// clients are the hosts of the story.
func (w *World) clients() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.mu.clients)
}

// linkFault says what it does to a direction.
type linkFault struct {
	of func(from, to string) transport.Link
}

func (w *World) linkFault(a Action, rng *rand.Rand) *linkFault {
	n := w.nodes[a.Node-1].host()
	peers := []string{} // of the other end
	if a.Peer == 0 {
		peers = append(peers, w.clients()...)
	} else {
		peers = append(peers, w.nodes[a.Peer-1].host())
	}
	pick := func(f func(from, to string) bool, l transport.Link) *linkFault {
		return &linkFault{func(from, to string) transport.Link {
			if f(from, to) {
				return l
			}
			return transport.Link{}
		}}
	}
	to := func(from, to string) bool { return from == n && slices.Contains(peers, to) }
	between := func(x, y string) bool { return to(x, y) || to(y, x) }
	cut := transport.Link{Cut: true}
	place := map[string]int{} // of nodes, around a table
	for i, p := range rng.Perm(len(w.nodes)) {
		place[w.nodes[p].host()] = i
	}
	both := func(x, y string, f func(i, j int) bool) bool {
		i, ok := place[x]
		j, too := place[y]
		return ok && too && f(i, j)
	}
	half := len(w.nodes) / 2
	switch a.Fault {
	case Cut:
		return pick(between, cut)
	case CutTo:
		return pick(to, cut)
	case Isolate:
		return pick(func(x, y string) bool { return x == n || y == n }, cut)
	case Split:
		return pick(func(x, y string) bool { return both(x, y, func(i, j int) bool { return (i <= half) != (j <= half) }) }, cut)
	case Bridge:
		return pick(func(x, y string) bool {
			return both(x, y, func(i, j int) bool { return i != half && j != half && (i < half) != (j < half) })
		}, cut)
	case Ring:
		return pick(func(x, y string) bool {
			return both(x, y, func(i, j int) bool {
				d := (i - j + len(place)) % len(place)
				return d != 1 && d != len(place)-1 && d != 0
			})
		}, cut)
	case Latency:
		l := transport.Link{Latency: time.Duration(rng.ExpFloat64() * float64(20*time.Millisecond))}
		return pick(between, l)
	case Stall:
		return pick(between, transport.Link{Stall: true})
	default: // Pause
		return pick(func(x, y string) bool { return x == n || y == n }, transport.Link{Stall: true})
	}
}

// relink sets every direction to what all faults together do to it.
func (w *World) relink() {
	hosts := w.clients()
	for _, n := range w.nodes {
		hosts = append(hosts, n.host())
	}
	for _, from := range hosts {
		for _, to := range hosts {
			var sum transport.Link
			for _, f := range w.links {
				l := f.of(from, to)
				sum.Cut, sum.Stall, sum.Latency = sum.Cut || l.Cut, sum.Stall || l.Stall, sum.Latency+l.Latency
			}
			if sum != w.linkOf[[2]string{from, to}] {
				w.linkOf[[2]string{from, to}] = sum
				w.network.SetLink(from, to, sum)
			}
		}
	}
}
