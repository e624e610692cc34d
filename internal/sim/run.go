package sim

import (
	"io"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/history"
)

// Config says what to run.
type Config struct {
	Seed   uint64
	Nodes  int           // 0: the seed decides
	Length time.Duration // of the time in which faults may begin, virtual; 0: the seed decides

	// Story is what clients do; nil: Load.
	Story func(*World)

	Sync Sync // of Load's topic; "": the seed decides

	Faults []Fault       // that the seed may draw; nil: any
	Times  map[Fault]int // how many times as often as usual a fault comes

	// Schedule takes the place of the faults that the seed would draw, if it is not nil.
	Schedule []Action

	// Node, if set, changes a node's configuration before it starts.
	Node func(*cluster.Config)

	Trace io.Writer // gets a line per event; nil: nobody
}

// Result is what a run was.
type Result struct {
	Digest   uint64 // of everything that happened, with its time: the same seed makes the same
	Events   int64
	Log      []string // for people
	Problems []string
	Schedule []Action
	Nodes    int
	Faults   map[Fault]int // that were injected
	Virtual  time.Duration
	History  history.History // what the clients of Load did and saw
}

// Run runs a cluster of its own in a bubble, through faults and to the end. t is failed by what is a mistake of the simulation's, or hangs; what went wrong in the cluster is in Result.Problems.
func Run(t *testing.T, c Config) (r Result) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // no collection changes the order of things
	runtime.GC()                                     // and this run takes the memory of the last
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, c.Seed)
		w := newWorld(c.Seed, plan{}, nil, nil)
		p := draw(w.rng, c.Nodes, c.Length, c.Faults, c.Times)
		if c.Schedule != nil {
			p.schedule = c.Schedule
		}
		p.rolls = newHash(c.Seed).string("rolls").sum()%3 == 0
		p.metadata = newHash(c.Seed).string("metadata").sum()%3 == 0
		p.scrubs = newHash(c.Seed).string("scrubs").sum()%6 == 0
		if p.scrubs && c.Faults == nil && c.Schedule == nil {
			drawRot(&p, c.Seed)
		}
		if p.sync, p.interval = drawSync(c.Seed); c.Sync != "" {
			p.sync, p.relaxed = c.Sync, c.Sync != SyncAlways
		}
		w = newWorld(c.Seed, p, c.Node, c.Trace)
		story := c.Story
		if story == nil {
			story = Load
		}
		w.run(story)
		r = Result{
			Digest: w.trace.digest, Events: w.trace.events, Log: w.mu.events, Problems: w.mu.problems,
			Schedule: p.schedule, Nodes: p.nodes, Faults: w.faults, Virtual: time.Since(w.begun), History: w.judged,
		}
	})
	return r
}

func (w *World) run(story func(*World)) {
	w.event("seed %d: %d nodes, tight %v, synced %s, %v of %s", w.seed, w.plan.nodes, w.plan.tight, w.plan.describeSync(), w.plan.length, w.plan.faults())
	stop, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		w.god.watch(stop)
	}()
	if w.heal() {
		told := make(chan struct{})
		go func() {
			defer close(told)
			story(w)
		}()
		<-told
	}
	w.Begin() // of no use any more, but for the end of what was begun
	<-w.healed
	w.closeClients()
	close(stop)
	<-watched
	w.closeAll()
	w.strays.Wait()
	if !w.failed() {
		w.compareLogs()
	}
}
