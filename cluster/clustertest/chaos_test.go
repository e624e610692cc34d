package clustertest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/transport"
)

var (
	chaosSeeds = flag.Int("chaos.seeds", 4, "number of seeds that TestChaos runs")
	chaosFirst = flag.Uint64("chaos.first", 1, "first seed that TestChaos runs")
	chaosSeed  = flag.Uint64("chaos.seed", 0, "the one seed that TestChaos runs")
	chaosV     = flag.Bool("chaos.v", false, "print every event of TestChaos as it happens")
	chaosLog   = flag.Bool("chaos.log", false, "print the logs of TestChaos's nodes")
)

// TestChaos runs clusters through random faults, heals them, and asks a ledger, which is judged by package history, whether all promises were kept. A seed fixes the plan: cluster, load and faults; the goroutines of a bubble run
// freely, so a seed that failed may have to be repeated (-count) to fail again.
func TestChaos(t *testing.T) {
	first, n := *chaosFirst, *chaosSeeds
	if *chaosSeed != 0 {
		first, n = *chaosSeed, 1
	}
	for seed := first; seed < first+uint64(n); seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			defer watch(t, 2*time.Minute)()
			synctest.Test(t, func(t *testing.T) { newChaos(t, seed).run() })
			if t.Failed() {
				t.Logf("repeat (goroutines run freely, so more than one try may be needed):\n\tgo test ./cluster/clustertest -run TestChaos -chaos.seed=%d -count=20 -failfast", seed)
			}
		})
	}
}

// watch ends the process with all goroutines' stacks if a bubble hangs: one that waits for a mutex stops its clock, so that no deadline inside can help.
func watch(t *testing.T, limit time.Duration) (stop func()) {
	timer := time.AfterFunc(limit, func() {
		fmt.Fprintf(os.Stderr, "%s hangs\n%s\n", t.Name(), stacks())
		os.Exit(2)
	})
	return func() { timer.Stop() }
}

// chaos is one run. Its own goroutine injects the faults; producers, consumers and others work beside it.
type chaos struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand // of the goroutine that injects faults
	plan   plan
	c      *clustertest.Cluster
	l      *ledger
	judged bool    // by the ledger
	lives  []*life // of the goroutine that injects faults
	begun  time.Time
	side   *sideTopics

	stopping            chan struct{} // closed when producers and the like are to end
	quiet               chan struct{} // closed when consumers are to end
	stopOnce, quietOnce sync.Once
	workers, readers    sync.WaitGroup

	mu struct {
		sync.Mutex
		up     map[int32]*cluster.Node
		topics map[string]int32 // partitions of each topic that is written to
		events []string
	}
}

// plan is what a seed decides about a run besides the faults.
type plan struct {
	nodes, partitions, producers, consumers int
	tight                                   bool // short timeouts
	lazy                                    bool // records are acknowledged from the page cache
	padding                                 int  // bytes of a value, at most
	steps                                   int
	gap                                     time.Duration // mean time between faults
	settle                                  time.Duration // within which everything is well again after the last fault
	reopen                                  bool          // close all in the end and look again
	faults                                  []fault
}

// life is a node's.
type life struct {
	id      int32
	node    *cluster.Node // nil while it is down or starting
	cancel  context.CancelFunc
	started chan started // non-nil while it is starting
}

type started struct {
	node *cluster.Node
	err  error
}

func newChaos(t *testing.T, seed uint64) *chaos {
	x := &chaos{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0xc4a05)), l: newLedger(), begun: time.Now(),
		stopping: make(chan struct{}), quiet: make(chan struct{}),
	}
	x.mu.up, x.mu.topics = map[int32]*cluster.Node{}, map[string]int32{}
	r := x.rng
	p := plan{
		nodes: 3, partitions: 1 + r.IntN(3), producers: 1 + r.IntN(3), consumers: 1 + r.IntN(2), tight: r.IntN(3) > 0,
		steps: 15 + r.IntN(40), reopen: r.IntN(3) == 0, lazy: r.IntN(4) == 0,
	}
	if r.IntN(5) == 0 {
		p.nodes = 5
	}
	p.padding = 40
	if r.IntN(6) == 0 {
		p.padding = 20 << 10 // several segments
	}
	if p.tight {
		p.gap, p.settle = 100*time.Millisecond<<r.IntN(5), 30*time.Second
	} else {
		p.gap, p.settle = time.Second<<r.IntN(5), 90*time.Second
	}
	for _, f := range allFaults { // a swarm: each run leaves some faults out
		if f.always || r.IntN(4) > 0 {
			p.faults = append(p.faults, f)
		}
	}
	x.plan = p
	return x
}

func (x *chaos) run() {
	defer x.report()
	defer x.end()
	p := x.plan
	x.event("faults: %s", x.describe())
	x.event("seed %d: %d nodes, %d partitions, %d producers, %d consumers, tight %v, lazy %v, padding %d, %d steps every %v", x.seed, p.nodes, p.partitions, p.producers, p.consumers, p.tight, p.lazy, p.padding, p.steps, p.gap)
	x.c = clustertest.New(x.t, clustertest.Config{Nodes: p.nodes, Seed: x.seed, Timeout: 5 * time.Minute, Node: x.configure})
	for id := int32(1); id <= int32(p.nodes); id++ {
		x.lives = append(x.lives, &life{id: id, node: x.c.Node(id)})
		x.mu.up[id] = x.c.Node(id)
	}
	x.c.CreateTopic("t", int32(p.partitions), 3)
	x.mu.topics["t"] = int32(p.partitions)
	x.side = &sideTopics{x: x, wanted: map[string]bool{}}

	workers, readers := &x.workers, &x.readers
	for i := range p.producers {
		rng := x.fork()
		workers.Go(func() { x.produce(i, rng) })
	}
	listing, making := x.fork(), x.fork()
	workers.Go(func() { x.listEnds(listing) })
	workers.Go(func() { x.side.run(making) })
	follow := make([]*follower, p.consumers)
	for i := range follow {
		follow[i] = &follower{x: x, name: fmt.Sprintf("c%d", i), rng: x.fork()}
		readers.Go(follow[i].run)
	}

	for range p.steps {
		time.Sleep(time.Duration(x.rng.ExpFloat64() * float64(p.gap)))
		x.poll()
		x.step()
	}
	x.heal()
	x.awaitHealth()
	x.stopOnce.Do(func() { close(x.stopping) })
	x.within("producers end", 5*time.Minute, workers.Wait)
	ends := x.finalEnds()
	for _, f := range follow {
		// Consumers that share a node's client share its connections, and wait for each other's fetches: with small limits that takes a while.
		x.await(f.name+" reaches the ends", 5*time.Minute, func() bool { return f.reached(ends) }, f.String)
	}
	x.quietOnce.Do(func() { close(x.quiet) })
	x.within("consumers end", 5*time.Second, readers.Wait)
	x.awaitReplicas(ends)
	x.readAgain("final", ends)
	x.side.check()
	x.closeAll()
	x.compareLogs(ends)
	if p.reopen && !x.t.Failed() {
		x.event("reopen")
		x.startAll()
		x.awaitHealth()
		x.readAgain("reopened", ends)
		x.closeAll()
	}
	problems, report := x.l.verdict(ends)
	x.judged = true
	for _, problem := range problems {
		x.t.Error(problem)
	}
	report.Anomalies, report.Unreached = nil, nil // said above
	x.event("done: %v", report)
	if *chaosSeed == 0 && *chaosSeeds > 20 && x.seed%100 == 0 {
		fmt.Printf("seed %d: %v of virtual time, %v\n", x.seed, time.Since(x.begun).Round(time.Second), report)
	}
}

// end ends a run that failed half way.
func (x *chaos) end() {
	x.stopOnce.Do(func() { close(x.stopping) })
	x.quietOnce.Do(func() { close(x.quiet) })
	x.workers.Wait()
	x.readers.Wait()
}

func (x *chaos) configure(c *cluster.Config) {
	if x.plan.tight {
		tight(c)
	}
	if x.plan.padding > 1<<10 {
		c.Topic.SegmentBytes = 1 << 20
	}
	if x.plan.lazy {
		c.Topic.FlushMessages = -1
	}
	c.Events.Stopped = func(err error) { x.event("node %d stopped by itself: %v", c.NodeID, err) }
	c.Events.LeaderChanged = func(l cluster.LeaderChange) {
		x.event("node %d: %s-%d led by %d in epoch %d", c.NodeID, l.Topic, l.Partition, l.Leader, l.Epoch)
	}
	c.Events.ISRChanged = func(i cluster.ISRChange) {
		x.event("node %d: %s-%d ISR %v", c.NodeID, i.Topic, i.Partition, i.ISR)
	}
	c.Events.Truncated = func(e cluster.Truncation) {
		x.event("node %d: %s-%d cut from %d to %d", c.NodeID, e.Topic, e.Partition, e.From, e.To)
	}
	c.Events.ReplicaOffline = func(e cluster.ReplicaError) {
		x.event("node %d: %s-%d offline: %v", c.NodeID, e.Topic, e.Partition, e.Err)
	}
	if *chaosLog {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", c.NodeID)
	}
}

func (x *chaos) fork() *rand.Rand { return rand.New(rand.NewPCG(x.rng.Uint64(), x.rng.Uint64())) }

func (x *chaos) event(format string, args ...any) {
	line := strings.ReplaceAll(fmt.Sprintf("%11.3fs %s", time.Since(x.begun).Seconds(), fmt.Sprintf(format, args...)), "\n", "\n             ")
	x.mu.Lock()
	x.mu.events = append(x.mu.events, line)
	x.mu.Unlock()
	if *chaosV {
		fmt.Println(line)
	}
}

// problem fails the run, which goes on: later events may tell why.
func (x *chaos) problem(format string, args ...any) {
	x.event("PROBLEM: "+format, args...)
	x.t.Errorf(format, args...)
}

// report prints the last events of a run that failed, and leaves its history in a file.
func (x *chaos) report() {
	if !x.t.Failed() {
		return
	}
	if !x.judged { // the run ended half way
		problems, _ := x.l.verdict(nil)
		x.t.Logf("problems until then:\n%s", strings.Join(problems, "\n"))
	}
	name := filepath.Join(os.TempDir(), fmt.Sprintf("chaos-seed-%d.history", x.seed))
	x.t.Logf("history in %s: error %v", name, x.l.write(name))
	if *chaosV {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.t.Logf("events:\n%s", strings.Join(x.mu.events, "\n"))
}

// within fails the run if f takes longer.
func (x *chaos) within(what string, limit time.Duration, f func()) {
	begun := time.Now()
	f()
	if took := time.Since(begun); took > limit {
		x.problem("%s: took %v, want at most %v", what, took, limit)
	}
}

func (x *chaos) await(what string, limit time.Duration, ok func() bool, more ...func() string) {
	for begun := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > limit {
			x.problem("not within %v: %s", limit, what)
			for _, n := range x.nodesUp() {
				x.event("%v%s", n.Status(), topicLines(n.Status()))
			}
			for _, f := range more {
				x.event("%s", f())
			}
			x.event("goroutines: %s", stacks())
			x.t.FailNow()
		}
	}
}

func stacks() []byte {
	b := make([]byte, 4<<20)
	return b[:runtime.Stack(b, true)]
}

func topicLines(s cluster.Status) string {
	var b strings.Builder
	for _, t := range s.Topics {
		for _, p := range t.Partitions {
			fmt.Fprintf(&b, "  %s-%d %+v\n", t.Name, p.Partition, p)
		}
	}
	fmt.Fprintf(&b, "  brokers %+v\n", s.Brokers)
	return b.String()
}

func (x *chaos) nodesUp() (nodes []*cluster.Node) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(x.mu.up)) {
		nodes = append(nodes, x.mu.up[id])
	}
	return nodes
}

// set notes that a node is up, or with nil down.
func (x *chaos) set(l *life, n *cluster.Node) {
	l.node = n
	x.c.Adopt(l.id, n)
	x.mu.Lock()
	defer x.mu.Unlock()
	if n == nil {
		delete(x.mu.up, l.id)
	} else {
		x.mu.up[l.id] = n
	}
}

// begin starts a node and does not wait for it: it may crash on the way.
func (x *chaos) begin(l *life) {
	x.event("start %d", l.id)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	start := x.c.Prepare(l.id)
	ch := make(chan started, 1)
	l.cancel, l.started = cancel, ch
	go func() {
		n, err := start(ctx)
		ch <- started{n, err}
	}()
}

// poll takes note of nodes that have started, or stopped by themselves.
func (x *chaos) poll() {
	for _, l := range x.lives {
		if l.node != nil {
			select {
			case <-l.node.Done():
				x.problem("node %d stopped by itself: %v", l.id, l.node.Err())
				x.set(l, nil)
			default:
			}
		}
		if l.started != nil {
			select {
			case s := <-l.started:
				x.took(l, s)
			default:
			}
		}
	}
}

func (x *chaos) took(l *life, s started) {
	l.cancel()
	l.started = nil
	switch {
	case s.err == nil:
		x.event("node %d is up", l.id)
		x.set(l, s.node)
	case errors.Is(s.err, context.DeadlineExceeded):
		x.event("node %d did not start: %v", l.id, s.err)
	default:
		x.problem("start %d: %v", l.id, s.err)
	}
}

// down stops a node, or its start, as a crash does.
func (x *chaos) down(l *life, mode vfs.CrashMode) {
	x.c.PowerOff(l.id, mode)
	if l.started != nil {
		l.cancel()
		if s := <-l.started; s.node != nil {
			l.node = s.node
		}
		l.started = nil
	}
	if l.node != nil {
		n := l.node
		x.set(l, nil)
		x.within(fmt.Sprintf("kill %d", l.id), 5*time.Second, n.Kill)
	}
}

func (x *chaos) isDown(l *life) bool { return l.node == nil && l.started == nil }

// heal ends all faults and has all nodes up.
func (x *chaos) heal() {
	x.event("heal everything")
	x.c.Heal()
	for _, l := range x.lives {
		x.c.Disk(l.id).SetFault(nil)
	}
	x.startAll()
}

func (x *chaos) startAll() {
	x.poll()
	for _, l := range x.lives {
		if x.isDown(l) {
			x.begin(l)
		}
	}
	for _, l := range x.lives {
		for attempt := 0; l.node == nil && attempt < 2; attempt++ { // a start that began in the faults may come to its end before it has seen that they are over
			if l.started == nil {
				x.begin(l)
			}
			x.within(fmt.Sprintf("start of node %d", l.id), x.plan.settle, func() { x.took(l, <-l.started) })
		}
		if l.node == nil {
			x.t.FailNow()
		}
	}
}

// awaitHealth waits until every partition has all replicas in sync, and every node knows.
func (x *chaos) awaitHealth() {
	x.await("every replica in sync", x.plan.settle, func() bool {
		for _, n := range x.nodesUp() {
			s := n.Status()
			if len(s.Topics) == 0 || s.Metadata != x.nodesUp()[0].Status().Metadata {
				return false
			}
			for _, t := range s.Topics {
				for _, p := range t.Partitions {
					if p.Leader < 0 || len(p.ISR) != len(p.Replicas) {
						return false
					}
				}
			}
		}
		return true
	})
	x.event("every replica in sync")
}

// awaitReplicas waits until every replica holds, and knows as committed, all up to the ends.
func (x *chaos) awaitReplicas(ends map[place]int64) {
	x.await("every replica complete", x.plan.settle, func() bool {
		for _, n := range x.nodesUp() {
			for _, r := range n.Status().Replicas {
				end, ok := ends[place{r.Topic, r.Partition}]
				if ok && (r.Offsets.HighWatermark != end || r.Offsets.LogEndOffset != end) {
					return false
				}
			}
		}
		return true
	})
}

func (x *chaos) closeAll() {
	var wg sync.WaitGroup
	for _, l := range x.lives {
		n := l.node
		x.set(l, nil)
		wg.Go(func() {
			x.within(fmt.Sprintf("close node %d", l.id), 5*time.Second, func() {
				if err := n.Close(); err != nil {
					x.problem("close node %d: %v", l.id, err)
				}
			})
		})
	}
	wg.Wait()
}

// compareLogs compares the files of all replicas byte for byte.
func (x *chaos) compareLogs(ends map[place]int64) {
	for p, end := range ends {
		first, firstID := []byte(nil), int32(0)
		for _, l := range x.lives {
			files, err := segmentFiles(x.c.Disk(l.id), "data/"+p.String())
			if errors.Is(err, fs.ErrNotExist) {
				continue // not a replica
			}
			if err != nil {
				x.problem("read %v of node %d: %v", p, l.id, err)
				continue
			}
			b, err := batchesBelow(files, end)
			if err != nil {
				x.problem("%v of node %d: %v", p, l.id, err)
			}
			if firstID == 0 {
				first, firstID = b, l.id
				continue
			}
			if at := firstDifference(first, b); at >= 0 {
				x.problem("%v: the logs of nodes %d and %d differ from byte %d of %d and %d on", p, firstID, l.id, at, len(first), len(b))
			}
		}
	}
}

func segmentFiles(disk *vfs.Mem, dir string) (files [][]byte, err error) {
	entries, err := disk.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries { // sorted, as base offsets are
		if !strings.HasSuffix(e.Name(), ".log") {
			continue
		}
		f, err := disk.Open(dir+"/"+e.Name(), vfs.ReadOnly)
		if err != nil {
			return nil, err
		}
		size, err := f.Size()
		b := make([]byte, size)
		if err == nil && size > 0 {
			_, err = f.ReadAt(b, 0)
		}
		f.Close()
		if err != nil {
			return nil, err
		}
		files = append(files, b)
	}
	return files, nil
}

// client makes one of the test's own, or takes a node's.
func (x *chaos) client(rng *rand.Rand) (c *transport.Client, release func()) {
	if nodes := x.nodesUp(); len(nodes) > 0 && rng.IntN(2) == 0 {
		return nodes[rng.IntN(len(nodes))].Client(), func() {}
	}
	c, err := transport.NewClient(transport.ClientConfig{
		Bootstrap: x.c.Addrs(), Network: x.c.Network().Host("client"), RequestTimeout: time.Second << rng.IntN(5), DialTimeout: time.Second << rng.IntN(4),
	})
	if err != nil {
		x.problem("client: %v", err)
	}
	return c, func() { x.within("close a client", 5*time.Second, func() { c.Close() }) }
}

// places lists the partitions that are written to.
func (x *chaos) places() (all []place) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, t := range slices.Sorted(maps.Keys(x.mu.topics)) {
		for i := range x.mu.topics[t] {
			all = append(all, place{t, i})
		}
	}
	return all
}
