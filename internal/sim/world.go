package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/history"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/transport"
)

// World is one run: a cluster, its disks and its network, the faults, and what was seen.
type World struct {
	seed    uint64
	plan    plan
	rng     *rand.Rand // of the goroutine that injects faults
	network *transport.Mem
	nodes   []*node
	begun   time.Time
	story   *rand.Rand
	trace   trace
	god     *god
	history *history.Recorder
	judged  history.History

	// Of the goroutine that injects faults.
	moments []moment
	made    int64
	links   []*linkFault
	linkOf  map[[2]string]transport.Link
	faults  map[Fault]int
	outages []outage // when disks lost what was not synced
	votes   *votes   // nil until a node loses its vote

	lossy   atomic.Pointer[[]*lossyLink]
	doubles atomic.Int64   // faults that double requests
	strays  sync.WaitGroup // requests that are sent once more

	beginOnce   sync.Once
	healed      chan struct{}
	quiet       atomic.Bool // no more faults come
	mayHaveLost atomic.Bool // a node has had a fault that may take what it had
	rotten      *node       // whose bytes change; nil: nobody's did

	mu struct {
		sync.Mutex
		clients  []string // their hosts
		made     []*transport.Client
		events   []string
		problems []string
	}
}

func newWorld(seed uint64, p plan, configure func(*cluster.Config), out io.Writer) *World {
	w := &World{
		seed: seed, plan: p, rng: rand.New(rand.NewPCG(seed, 0x51b)), network: transport.NewMem(), begun: time.Now(),
		linkOf: map[[2]string]transport.Link{}, faults: map[Fault]int{}, healed: make(chan struct{}), history: history.NewRecorder(),
	}
	w.story = w.fork()
	w.trace.begun, w.trace.out = w.begun, out
	w.god = newGod(w)
	w.network.SetDelay(func(d transport.Delivery) time.Duration {
		w.trace.add("send", d.From+">"+d.To+" "+d.Conn, d.N, d.Bytes, 0)
		return newHash(seed).string(d.From).string(d.To).string(d.Conn).uint(uint64(d.N)).between(50*time.Microsecond, 900*time.Microsecond) + w.lateness(d)
	})
	var voters []cluster.Voter
	for id := int32(1); id <= int32(p.nodes); id++ {
		n := &node{w: w, id: id, disk: vfs.NewMem()}
		w.nodes = append(w.nodes, n)
		voters = append(voters, cluster.Voter{ID: id, Addr: n.addr()})
	}
	for _, n := range w.nodes {
		c := cluster.Config{
			NodeID: n.id, Rack: n.host(), Dir: "data", Listen: n.addr(), Network: w.host(n.host()), Wall: n.wall, Voters: voters,
			Groups: cluster.GroupSettings{InitialRebalanceDelay: -1, OffsetsPartitions: 3, SessionTimeout: 3 * time.Second, HeartbeatInterval: time.Second},
		}
		if p.tight {
			c.HeartbeatInterval, c.SessionTimeout, c.ElectionTimeout, c.ReplicaLagTime = 50*time.Millisecond, 300*time.Millisecond, 200*time.Millisecond, time.Second
		}
		if p.metadata {
			c.MetadataSnapshotBytes, c.MetadataSegmentBytes = 2<<10, 8<<10
		}
		if p.scrubs {
			c.ScrubInterval, c.ScrubRate, c.MaxOpenSegments = scrubEvery, 1<<20, 4
		}
		if configure != nil {
			configure(&c)
		}
		n.listen(&c)
		n.config = c
	}
	return w
}

// listen has the node's events told in the trace.
func (n *node) listen(c *cluster.Config) {
	c.Events.LeaderChanged = func(e cluster.LeaderChange) { n.w.event("node %d: %v", n.id, e); n.w.god.changed() }
	c.Events.ISRChanged = func(e cluster.ISRChange) { n.w.event("node %d: %v", n.id, e); n.w.god.changed() }
	c.Events.Truncated = func(e cluster.Truncation) { n.w.event("node %d: %v", n.id, e); n.w.god.truncated(n.id, e) }
	c.Events.ReplicaOffline = func(e cluster.ReplicaError) { n.w.event("node %d: offline: %v", n.id, e) }
	c.Events.PossibleLoss = func(e cluster.Loss) {
		n.w.event("node %d: %v", n.id, e)
		n.w.god.lost(e, time.Since(n.w.begun))
	}
	c.Events.Repair = func(r cluster.RepairStatus) { n.w.event("node %d: %v", n.id, r) }
	c.Events.Fenced = func() { n.w.event("node %d: fenced", n.id) }
	c.Events.Stopped = func(err error) { n.w.event("node %d: stopped by itself: %v", n.id, err) }
}

// fork makes a source of its own for somebody.
func (w *World) fork() *rand.Rand { return rand.New(rand.NewPCG(w.rng.Uint64(), w.rng.Uint64())) }

// unique is a short time that what it is named by decides: two things that are to happen at the same time do not happen at the same instant.
func (w *World) unique(what string, a ...int64) time.Duration {
	h := newHash(w.seed).string(what)
	for _, x := range a {
		h = h.uint(uint64(x))
	}
	return h.between(0, 300*time.Microsecond)
}

func (w *World) event(format string, args ...any) {
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n             ")
	w.trace.add("event", line, 0, 0, 0)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.events = append(w.mu.events, fmt.Sprintf("%12.6fs %s", time.Since(w.begun).Seconds(), line))
}

// problem fails the run, which goes on: later events may tell why.
func (w *World) problem(format string, args ...any) {
	w.event("PROBLEM: "+format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.problems = append(w.mu.problems, fmt.Sprintf(format, args...))
}

func (w *World) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.mu.problems) > 0
}

func (w *World) count(f Fault) { w.faults[f]++ }

// within makes it a problem if f takes longer.
func (w *World) within(what string, limit time.Duration, f func()) {
	begun := time.Now()
	f()
	if took := time.Since(begun); took > limit {
		w.problem("%s: took %v, want at most %v", what, took, limit)
	}
}

// await looks every few milliseconds whether something has come about, and makes it a problem if it has not in time.
func (w *World) await(what string, limit time.Duration, ok func() bool) bool {
	for begun := time.Now(); !ok(); time.Sleep(10*time.Millisecond + w.unique(what)) {
		if time.Since(begun) > limit {
			w.problem("not within %v: %s", limit, what)
			for _, n := range w.nodes {
				if up := n.up.Load(); up != nil {
					w.event("%v", up.Status())
				}
			}
			return false
		}
	}
	return true
}

// settle is how long it may take until all is well after the last fault.
func (w *World) settle() time.Duration {
	if w.plan.tight {
		return 30 * time.Second
	}
	return 90 * time.Second
}

// strict has god hold topics of Load's against the rules for those whose acknowledgements are durable, where they are: two in sync are wanted of each, of three replicas. Where one topic may lose records with
// the power, a node that did counts as one that lost something of the others as well.
func (w *World) strict() {
	if w.nodes[0].config.Topic.FlushMessages < 0 || w.plan.sync != SyncAlways {
		return
	}
	w.god.strict.Store(&map[string]int{"t": 2, "u": 2, "__consumer_offsets": 2})
}

// pace makes a story's waits longer where faults are far apart.
func (w *World) pace(wait time.Duration) time.Duration {
	if w.plan.tight {
		return wait
	}
	return 6 * wait
}

// heal ends all faults, has every node up, and gives all votes back. Whoever gives them comes to its end also when all is not well.
func (w *World) heal() bool {
	well := w.revive() && w.await("every replica in sync", w.settle(), w.healthy)
	if w.rotten != nil {
		time.Sleep(3 * scrubEvery) // what is damaged is found, and mended from the others
	}
	return w.everybodyVotes() && well
}

// revive ends all faults and starts every node.
func (w *World) revive() bool {
	w.event("heal")
	w.links = nil
	w.relink()
	w.lossy.Store(nil)
	w.doubles.Store(0)
	for _, n := range w.nodes {
		n.slow.Store(0)
		n.clock.Store(nil)
		n.hung.Store(false)
		if n.broken.Swap(0) == 0 && !w.anyOffline(n) {
			continue
		}
		n.crash(vfs.KeepAll) // its log has met an error, perhaps: it has to start again
	}
	for _, n := range w.nodes {
		n.holds = 0
		w.restart(n)
	}
	for _, n := range w.nodes {
		for attempt := 0; n.up.Load() == nil && attempt < 3; attempt++ { // a start that began in the faults may come to its end before it has seen that they are over
			if n.starting == nil {
				n.begin()
			}
			w.within(fmt.Sprintf("start of node %d", n.id), w.settle(), func() { n.took(<-n.starting) })
		}
		if n.up.Load() == nil {
			w.problem("node %d does not start", n.id)
			return false
		}
		n.poll()
	}
	return true
}

func (w *World) anyOffline(n *node) bool {
	up := n.up.Load()
	return up != nil && slices.ContainsFunc(up.Status().Replicas, func(r cluster.ReplicaStatus) bool { return r.Err != nil })
}

// healthy tells whether every node is up and knows all replicas to be in sync.
func (w *World) healthy() bool {
	var metadata int64
	for i, n := range w.nodes {
		up := n.up.Load()
		if up == nil {
			return false
		}
		s := up.Status()
		if i > 0 && s.Metadata != metadata {
			return false
		}
		metadata = s.Metadata
		for _, t := range s.Topics {
			for _, p := range t.Partitions {
				if p.Leader < 0 || len(p.ISR) != len(p.Replicas) {
					return false
				}
			}
		}
		for _, b := range s.Brokers {
			if b.Fenced {
				return false
			}
		}
		if len(s.Brokers) != len(w.nodes) {
			return false
		}
	}
	return true
}

// closeAll closes every node.
func (w *World) closeAll() {
	var wg sync.WaitGroup
	for _, n := range w.nodes {
		if n.starting != nil {
			n.cancel()
			n.took(<-n.starting)
		}
		if n.leaving != nil {
			<-n.leaving
			n.leaving = nil
		}
		up := n.up.Swap(nil)
		if up == nil {
			continue
		}
		wg.Go(func() {
			time.Sleep(w.unique("close", int64(n.id)))
			w.within(fmt.Sprintf("close of node %d", n.id), 5*time.Second, func() {
				if err := up.Close(); err != nil {
					w.problem("close node %d: %v", n.id, err)
				}
			})
		})
	}
	wg.Wait()
}
