package clustertest

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/sim"
	"github.com/insynclog/insync/transport"
)

// Exploration says what Explore runs. The zero value is ten runs of clusters that the seeds choose.
type Exploration struct {
	Seeds  int           // number of runs; 0 means 10
	First  uint64        // the first seed; 0 means 1
	Nodes  int           // 0: the seed decides, three or five
	Length time.Duration // of the virtual time in which faults may begin; 0: the seed decides, seconds to minutes

	// Node, if set, changes a node's configuration before it starts.
	Node func(*cluster.Config)

	// Faults take the place of those that the seed draws, if it is not nil: lines that a failed exploration has printed.
	Faults []string
}

// Explore runs a story again and again in clusters of its own, in virtual time, each time with other faults: nodes are killed, lose power, stop and come back; links are cut, one way and both, slowed and
// stalled; disks are slow, and fail. A seed decides all of it. Acknowledged records survive what is injected, so a story that finds its data in disorder has found a mistake, in itself or in insync. Besides
// the story, the simulation checks what must hold in any cluster at any time.
//
// The story is called in a bubble (testing/synctest) when all nodes are up. It lets the faults begin (Sim.Begin), does its work until they are over (Sim.Over), and checks. Its clients are its own
// code: they reach the cluster through Sim.Client or, foreign ones, by Sim.Network and Sim.Addrs.
//
// When a run fails, Explore looks for the fewest faults with which the seed still fails, and prints them, with what happened and how to repeat it. Other seeds are then not tried. A seed
// makes the same run each time with the runtime that go test -overlay="$(go run github.com/insynclog/insync/internal/sim/exact)" takes; with Go's own it does so often, for Explore uses one processor.
func Explore(t *testing.T, x Exploration, story func(*Sim)) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if x.Seeds == 0 {
		x.Seeds = 10
	}
	x.First = max(x.First, 1)
	c := sim.Config{Nodes: x.Nodes, Length: x.Length, Node: x.Node, Story: func(w *sim.World) { story(&Sim{w}) }}
	if x.Faults != nil {
		c.Schedule = []sim.Action{}
		for _, line := range x.Faults {
			a, err := sim.ParseAction(line)
			if err != nil {
				t.Fatalf("clustertest: %v", err)
			}
			c.Schedule = append(c.Schedule, a)
		}
	}
	var virtual time.Duration
	for c.Seed = x.First; c.Seed < x.First+uint64(x.Seeds); c.Seed++ {
		r := sim.Run(t, c)
		virtual += r.Virtual
		if len(r.Problems) > 0 {
			t.Errorf("clustertest: seed %d: %s", c.Seed, strings.Join(r.Problems, "\n"))
			c, r := sim.Shrink(t, c, r, shrinkRuns)
			t.Log(report(c, r, sim.Exact(t)))
			return
		}
	}
	t.Logf("clustertest: %d runs, %v of virtual time", x.Seeds, virtual.Round(time.Second))
}

// shrinkRuns is how many runs the search for the fewest faults takes at most.
const shrinkRuns = 100

// report tells a person how to repeat a run that failed, and whether that makes it the same.
func report(c sim.Config, r sim.Result, exact bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "it fails as well with %d faults:\n%s\nto repeat it:\n\tclustertest.Exploration{First: %d, Seeds: 1, Nodes: %d, Faults: []string{\n", len(c.Schedule), strings.Join(r.Log, "\n"), c.Seed, r.Nodes)
	for _, a := range c.Schedule {
		fmt.Fprintf(&b, "\t\t%q,\n", a.String())
	}
	b.WriteString("\t}}\nwith go test -overlay=\"$(go run github.com/insynclog/insync/internal/sim/exact)\"")
	if !exact {
		b.WriteString(", which this run was not built with: chance was in it, so that it may come back after some tries only, and without")
	}
	return b.String()
}

// Sim is one run of an exploration. Errorf, FailNow and Helper make it what testify's functions want.
type Sim struct{ w *sim.World }

// CreateTopic makes a topic and returns when every node knows it. For the time before Begin.
func (s *Sim) CreateTopic(name string, partitions int32, replicationFactor int16) {
	s.w.CreateTopic(cluster.TopicSpec{Name: name, Partitions: partitions, ReplicationFactor: replicationFactor})
}

// Client returns a client that reaches the cluster from a host of that name. It is closed with the run.
func (s *Sim) Client(host string) *transport.Client {
	return s.w.Client(host, transport.ClientConfig{})
}

// Network is the network as a host of that name sees it. Links of hosts that were named before Begin fail, too.
func (s *Sim) Network(host string) transport.Network { return s.w.Network(host) }

// Addrs are the addresses of all nodes: a bootstrap list.
func (s *Sim) Addrs() []string { return s.w.Addrs() }

// Rand is a source of randomness that the seed decides, for the story's own goroutine.
func (s *Sim) Rand() *rand.Rand { return s.w.Rand() }

// Begin lets the faults begin, and returns.
func (s *Sim) Begin() { s.w.Begin() }

// Over tells whether the faults are over and everything is healed: all nodes up, all replicas in sync.
func (s *Sim) Over() bool { return s.w.Over() }

// Healed is closed when Over.
func (s *Sim) Healed() <-chan struct{} { return s.w.Healed() }

// Logf notes what happens, for the log of a run that fails.
func (s *Sim) Logf(format string, args ...any) { s.w.Logf(format, args...) }

// Errorf fails the run.
func (s *Sim) Errorf(format string, args ...any) { s.w.Errorf(format, args...) }

// FailNow fails the run and ends the goroutine that calls it.
func (s *Sim) FailNow() { s.w.FailNow() }

// Helper does nothing.
func (s *Sim) Helper() {}
