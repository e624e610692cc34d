package replication

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/insynclog/insync/internal/commit"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testTopic = "t"
	testLag   = 10 * time.Second
)

var testTopicID = log.TopicID{7}

// testCluster is nodes with real logs on memory disks, fetchers that talk to the other nodes' replicas directly, and a controller that elects from ISR and ELR.
// It is made for a synctest bubble.
type testCluster struct {
	tb         testing.TB
	partitions int
	latency    time.Duration
	minISR     int
	flush      int64
	wg         sync.WaitGroup

	mu struct {
		sync.Mutex
		states  []State // by partition
		fenced  map[int32]bool
		epochs  map[int32]int64
		cut     map[[2]int32]bool // from, to: requests get no answer
		refuse  error             // of AlterPartition, instead of looking at it
		isrSeen []string
	}
	nodes []*testNode
}

type testNode struct {
	c    *testCluster
	id   int32
	disk *vfs.Mem
	mu   sync.Mutex // guards what follows
	up   bool
	life *testLife
}

// testLife is a node from start to crash or stop.
type testLife struct {
	n        *testNode
	dir      *log.Directory
	engine   *commit.Engine
	replicas []*Replica
	states   chan stateOf
	applying sync.WaitGroup
	fetchers map[int32]*Fetcher

	mu       sync.Mutex
	offline  []error
	truncate []string
}

type stateOf struct {
	partition int
	state     State
}

type clusterConfig struct {
	nodes, partitions, minISR int
	flush                     int64
}

func newTestCluster(tb testing.TB, cfg clusterConfig) *testCluster {
	c := &testCluster{tb: tb, partitions: max(1, cfg.partitions), latency: 100 * time.Microsecond, minISR: cfg.minISR, flush: max(1, cfg.flush)}
	c.mu.fenced, c.mu.epochs, c.mu.cut = map[int32]bool{}, map[int32]int64{}, map[[2]int32]bool{}
	var ids []int32
	for i := range cfg.nodes {
		n := &testNode{c: c, id: int32(i + 1), disk: vfs.NewMem()}
		c.nodes = append(c.nodes, n)
		ids = append(ids, n.id)
	}
	for range c.partitions {
		c.mu.states = append(c.mu.states, State{Leader: 1, Replicas: ids, ISR: ids})
	}
	for _, n := range c.nodes {
		c.mu.epochs[n.id] = 1
		n.open()
	}
	c.publish()
	tb.Cleanup(c.close)
	return c
}

func (c *testCluster) close() {
	for _, n := range c.nodes {
		n.stop()
	}
	c.wg.Wait()
}

func (c *testCluster) node(id int32) *testNode { return c.nodes[id-1] }

func (c *testCluster) state(p int) State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.states[p]
}

// open starts a node on its disk.
func (n *testNode) open() {
	n.c.tb.Helper()
	l := &testLife{n: n, engine: commit.New(commit.Config{}), states: make(chan stateOf, 10000), fetchers: map[int32]*Fetcher{}}
	var err error
	l.dir, err = log.OpenDirectory("data", log.DirectoryConfig{FS: n.disk, NodeID: n.id})
	require.NoError(n.c.tb, err)
	for p := range n.c.partitions {
		lg, err := l.dir.OpenLog(testTopic, int32(p), testTopicID, log.Config{FS: n.disk})
		require.NoError(n.c.tb, err)
		r, err := New(Config{
			NodeID: n.id, Topic: testTopic, Partition: int32(p), TopicID: testTopicID, Log: lg, Commit: l.engine,
			Settings: n.c.settings(), Eligible: n.c.eligible, BrokerEpoch: n.c.brokerEpoch,
			ProposeISR: func(prop ISRProposal, done func(ISRResult)) { n.c.propose(n.id, prop, done) },
			Events:     l.events(),
		})
		require.NoError(n.c.tb, err)
		l.replicas = append(l.replicas, r)
	}
	l.applying.Go(l.apply)
	n.mu.Lock()
	n.up, n.life = true, l
	n.mu.Unlock()
}

func (c *testCluster) settings() Settings {
	return Settings{MinInSyncReplicas: c.minISR, FlushMessages: c.flush, LagTime: testLag}
}

func (l *testLife) events() Events {
	return Events{
		ISRChanged: func(_ string, p int32, isr []int32) {
			c := l.n.c
			c.mu.Lock()
			defer c.mu.Unlock()
			c.mu.isrSeen = append(c.mu.isrSeen, fmt.Sprint(isr))
		},
		Offline: func(_ string, _ int32, err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.offline = append(l.offline, err)
		},
		Truncated: func(_ string, _ int32, from, to int64) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.truncate = append(l.truncate, fmt.Sprintf("[%d,%d)", from, to))
		},
	}
}

// apply is the goroutine that takes metadata.
func (l *testLife) apply() {
	followed := map[int]*Fetcher{}
	epochs := map[int]int32{}
	tick := time.NewTicker(testLag / 2)
	defer tick.Stop()
	defer func() {
		for _, f := range l.fetchers {
			f.Close()
		}
	}()
	for {
		select {
		case <-tick.C:
			for _, r := range l.replicas {
				r.Tick(time.Now())
			}
		case s, ok := <-l.states:
			if !ok {
				return
			}
			r := l.replicas[s.partition]
			if s.state.PartitionEpoch < r.Status().State.PartitionEpoch {
				continue
			}
			f := l.fetcher(s.state.Leader)
			if old := followed[s.partition]; old != nil && old != f {
				old.Remove(r)
				delete(followed, s.partition)
			}
			role, _ := r.Apply(s.state, time.Now())
			if role == Follower && (followed[s.partition] == nil || epochs[s.partition] != s.state.LeaderEpoch) {
				f.Add(r)
				followed[s.partition] = f
			}
			epochs[s.partition] = s.state.LeaderEpoch
		}
	}
}

func (l *testLife) fetcher(leader int32) *Fetcher {
	if leader < 0 || leader == l.n.id {
		return nil
	}
	f := l.fetchers[leader]
	if f == nil {
		f = NewFetcher(FetcherConfig{Source: &memSource{c: l.n.c, from: l.n.id, to: leader, life: l}, Leader: leader})
		l.fetchers[leader] = f
	}
	return f
}

// end takes a life down without touching the disk any more than it does by itself.
func (n *testNode) end() *testLife {
	n.mu.Lock()
	l, up := n.life, n.up
	n.up = false
	n.mu.Unlock()
	if !up {
		return nil
	}
	close(l.states)
	l.applying.Wait()
	for _, r := range l.replicas {
		r.Close()
	}
	l.engine.Close()
	return l
}

// stop is a clean end.
func (n *testNode) stop() {
	if l := n.end(); l != nil {
		require.NoError(n.c.tb, l.dir.Close(1))
	}
}

// crash takes power (DropAll, KeepRandom) or the process (KeepAll) away.
func (n *testNode) crash(mode vfs.CrashMode, rng *rand.Rand) {
	disk := n.disk.Crash(mode, rng)
	if l := n.end(); l != nil {
		l.dir.Abandon()
	}
	n.disk = disk
}

func (n *testNode) current() *testLife {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up {
		return nil
	}
	return n.life
}

func (n *testNode) replica(p int) *Replica { return n.current().replicas[p] }

// start brings a crashed node back: a new registration, which takes leaderships away, then unfenced.
func (n *testNode) start() {
	n.c.fence(n.id)
	n.c.mu.Lock()
	n.c.mu.epochs[n.id]++
	n.c.mu.Unlock()
	n.open()
	n.c.unfence(n.id)
	n.c.publish()
}

// The controller.

func (c *testCluster) eligible(id int32, epoch int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.mu.fenced[id] && (epoch < 0 || c.mu.epochs[id] == epoch)
}

func (c *testCluster) brokerEpoch(id int32) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.epochs[id]
}

func (c *testCluster) fence(id int32) {
	c.mu.Lock()
	c.mu.fenced[id] = true
	for p := range c.mu.states {
		s := c.mu.states[p]
		if isr := without(s.ISR, id); len(isr) != len(s.ISR) || s.Leader == id {
			c.commitLocked(p, isr, s.Leader == id)
		}
	}
	c.mu.Unlock()
	c.publish()
}

func (c *testCluster) unfence(id int32) {
	c.mu.Lock()
	c.mu.fenced[id] = false
	for p := range c.mu.states {
		if s := c.mu.states[p]; s.Leader < 0 {
			c.commitLocked(p, s.ISR, true)
		}
	}
	c.mu.Unlock()
	c.publish()
}

// move elects another leader, clean or not.
func (c *testCluster) move(p int, leader int32, isr []int32) {
	c.mu.Lock()
	s := &c.mu.states[p]
	s.Leader, s.ISR, s.LeaderEpoch, s.PartitionEpoch = leader, isr, s.LeaderEpoch+1, s.PartitionEpoch+1
	c.mu.Unlock()
	c.publish()
}

// mark has the leader hand over, or not any more.
func (c *testCluster) mark(p int, to ...int32) {
	c.mu.Lock()
	s := &c.mu.states[p]
	s.HandOver, s.PartitionEpoch = to, s.PartitionEpoch+1
	c.mu.Unlock()
	c.publish()
}

func without(ids []int32, id int32) []int32 {
	return slices.DeleteFunc(slices.Clone(ids), func(o int32) bool { return o == id })
}

func (c *testCluster) commitLocked(p int, isr []int32, elect bool) {
	s := c.mu.states[p]
	old := slices.Concat(s.ISR, s.ELR)
	s.ISR, s.ELR = isr, nil
	if elect {
		s.Leader = -1
		s.LeaderEpoch++
		for _, id := range s.Replicas {
			if slices.Contains(isr, id) && !c.mu.fenced[id] {
				s.Leader = id
				break
			}
		}
		for _, id := range s.Replicas {
			if s.Leader < 0 && len(isr) == 0 && slices.Contains(old, id) && !c.mu.fenced[id] {
				s.Leader, s.ISR = id, []int32{id}
			}
		}
	}
	for _, id := range old {
		if len(s.ISR) < c.minISR && !slices.Contains(s.ISR, id) && !slices.Contains(s.ELR, id) {
			s.ELR = append(s.ELR, id)
		}
	}
	s.PartitionEpoch++
	c.mu.states[p] = s
}

// publish sends the current states to all nodes that are up.
func (c *testCluster) publish() {
	c.mu.Lock()
	states := slices.Clone(c.mu.states)
	c.mu.Unlock()
	for _, n := range c.nodes {
		n.mu.Lock()
		if n.up {
			for p, s := range states {
				n.life.states <- stateOf{p, s}
			}
		}
		n.mu.Unlock()
	}
}

func (c *testCluster) propose(from int32, p ISRProposal, done func(ISRResult)) {
	c.wg.Go(func() {
		time.Sleep(c.latency)
		res := c.alter(from, p)
		time.Sleep(c.latency)
		done(res)
		if res.Err == nil || errors.Is(res.Err, ErrNewLeaderElected) {
			c.publish()
		}
	})
}

func (c *testCluster) alter(from int32, p ISRProposal) ISRResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.mu.states[p.Partition]
	switch {
	case c.mu.refuse != nil:
		return ISRResult{Err: c.mu.refuse}
	case p.LeaderEpoch != s.LeaderEpoch, s.Leader != from:
		return ISRResult{Err: ErrFencedEpoch}
	case p.PartitionEpoch != s.PartitionEpoch:
		return ISRResult{Err: ErrInvalidUpdateVersion}
	}
	var isr []int32
	for _, m := range p.ISR {
		if c.mu.fenced[m.ID] || (m.Epoch >= 0 && m.Epoch != c.mu.epochs[m.ID]) {
			return ISRResult{Err: ErrIneligibleReplica}
		}
		isr = append(isr, m.ID)
	}
	if len(p.HandOver) > 0 {
		if !slices.Equal(p.HandOver, s.HandOver) {
			return ISRResult{Err: ErrNotAttempted}
		}
		s.Leader, s.LeaderEpoch, s.PartitionEpoch, s.HandOver = p.HandOver[0], s.LeaderEpoch+1, s.PartitionEpoch+1, nil
		c.mu.states[p.Partition] = s
		return ISRResult{Err: ErrNewLeaderElected}
	}
	c.commitLocked(int(p.Partition), isr, false)
	s = c.mu.states[p.Partition]
	return ISRResult{State: State{Leader: s.Leader, LeaderEpoch: s.LeaderEpoch, PartitionEpoch: s.PartitionEpoch, ISR: s.ISR}}
}

// memSource is a Source that calls the other node's replicas.
type memSource struct {
	c        *testCluster
	from, to int32
	life     *testLife
}

var errUnreachable = errors.New("test: node cannot be reached")

func (s *memSource) reach(ctx context.Context) (*testLife, error) {
	s.c.mu.Lock()
	cut := s.c.mu.cut[[2]int32{s.from, s.to}]
	s.c.mu.Unlock()
	if cut {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	time.Sleep(s.c.latency)
	l := s.c.node(s.to).current()
	if l == nil {
		return nil, errUnreachable
	}
	return l, nil
}

func (s *memSource) Fetch(ctx context.Context, req *FetchRequest, resp *FetchResponse) error {
	to, err := s.reach(ctx)
	if err != nil {
		return err
	}
	w := make(chanWatcher, 1)
	for _, p := range req.Partitions {
		to.replicas[p.Partition].Watch(&w, ReadAsReplica)
		defer to.replicas[p.Partition].Unwatch(&w)
	}
	deadline := time.NewTimer(req.MaxWait)
	defer deadline.Stop()
	for first, late := true, false; ; first = false {
		if s.read(to, req, resp, first) || late {
			time.Sleep(s.c.latency)
			return nil
		}
		select {
		case <-w:
		case <-deadline.C:
			late = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// read fills resp; it tells whether there is something to answer.
func (s *memSource) read(to *testLife, req *FetchRequest, resp *FetchResponse, record bool) (news bool) {
	resp.Partitions = resp.Partitions[:0]
	for _, p := range req.Partitions {
		r := to.replicas[p.Partition]
		f := FollowerFetch{
			Follower: s.from, BrokerEpoch: s.brokerEpoch(), FetchOffset: p.FetchOffset, LogStartOffset: p.LogStartOffset, LastFetchedEpoch: p.LastFetchedEpoch,
			CurrentLeaderEpoch: p.CurrentLeaderEpoch, MaxBytes: p.MaxBytes, AtLeastOne: true, Now: time.Now(),
		}
		var res ReadResult
		if record {
			res = r.ReadFollower(f)
		} else {
			res = r.Reread(f)
		}
		out := FetchedPartition{
			TopicID: p.TopicID, Partition: p.Partition, Err: res.Err, HighWatermark: res.Offsets.HighWatermark, LogStartOffset: res.Offsets.LogStartOffset,
			Diverging: res.Diverging, DivergingEpoch: res.DivergingEpoch, DivergingEnd: res.DivergingEnd,
		}
		if res.Slice.Len() > 0 {
			data, err := res.Slice.Append(nil)
			res.Slice.Release()
			if err != nil {
				out.Err = err
			}
			out.Records = data
		}
		news = news || out.Err != nil || out.Diverging || len(out.Records) > 0
		resp.Partitions = append(resp.Partitions, out)
	}
	return news
}

func (s *memSource) brokerEpoch() int64 { return s.c.brokerEpoch(s.from) }

func (s *memSource) Offsets(ctx context.Context, _ string, partition, epoch int32) (start, end int64, err error) {
	to, err := s.reach(ctx)
	if err != nil {
		return -1, -1, err
	}
	r := to.replicas[partition]
	if err := r.CheckLeader(epoch); err != nil {
		return -1, -1, err
	}
	o := r.Log().Offsets()
	return o.LogStartOffset, o.LogEndOffset, nil
}

// chanWatcher is a Watcher that remembers one wake-up.
type chanWatcher chan struct{}

func (w *chanWatcher) Wake() {
	select {
	case *w <- struct{}{}:
	default:
	}
}

// What tests do.

// batchOf builds a batch of one record per value.
func batchOf(tb testing.TB, values ...string) record.Batch {
	tb.Helper()
	b := record.NewBuilder(record.BuilderConfig{})
	for _, v := range values {
		b.Append(&record.Record{Value: []byte(v), Timestamp: time.Now()})
	}
	out, err := b.Build(nil)
	require.NoError(tb, err)
	return out
}

// produced is an append under way.
type produced struct {
	value   string
	pending *Pending
	res     chan AppendResult
}

// produceTo appends to one replica.
func produceTo(tb testing.TB, r *Replica, acks Acks, value string) *produced {
	tb.Helper()
	p := &produced{value: value, res: make(chan AppendResult, 2)}
	p.pending = r.Append(batchOf(tb, value), AppendOptions{Acks: acks, RequiredLeaderEpoch: -1}, func(res AppendResult) { p.res <- res })
	return p
}

// wait returns the outcome, or gives the append up after a while.
func (p *produced) wait() AppendResult {
	select {
	case res := <-p.res:
		return res
	case <-time.After(2 * time.Second):
		if p.pending == nil || !p.pending.Fail(ErrTimedOut) {
			return <-p.res
		}
		return <-p.res
	}
}

// produce appends to the leader with acks=all, again and again until it is acknowledged.
func (c *testCluster) produce(p int, value string) AppendResult {
	c.tb.Helper()
	for range 5000 { // a fetch on a link that was cut ends with the time-out, 30 s
		if l := c.state(p).Leader; l > 0 {
			if life := c.node(l).current(); life != nil {
				if res := produceTo(c.tb, life.replicas[p], AcksAll, value).wait(); res.Err == nil {
					return res
				}
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.tb.Fatalf("%q was never acknowledged; state %+v", value, c.state(p))
	return AppendResult{}
}

// raw is a log's bytes from its start up to end, or to its own end.
func raw(tb testing.TB, l *log.Log, end int64) []byte {
	tb.Helper()
	var out []byte
	end = min(end, l.Offsets().LogEndOffset)
	for from := l.Offsets().LogStartOffset; from < end; {
		sl, err := l.Read(from, end, 1<<20, true)
		require.NoError(tb, err)
		require.NotZero(tb, sl.Len())
		at := len(out)
		out, err = sl.Append(out)
		require.NoError(tb, err)
		sl.Release()
		for b, err := range record.Batches(out[at:]) {
			require.NoError(tb, err)
			from = b.NextOffset()
		}
	}
	return out
}

// values is what a log holds below end, by offset.
func values(tb testing.TB, l *log.Log, end int64) map[int64]string {
	tb.Helper()
	out := map[int64]string{}
	for b, err := range record.Batches(raw(tb, l, end)) {
		require.NoError(tb, err)
		for r, err := range b.All() {
			require.NoError(tb, err)
			out[r.Offset] = string(r.Value)
		}
	}
	return out
}

// await waits until cond holds, in virtual time.
func await(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	for range 6000 {
		if cond() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	tb.Fatalf("never came true: %s", what)
}

// settled waits until all nodes are in the ISR with equal logs, all committed, and compares the bytes.
func (c *testCluster) settled() {
	c.tb.Helper()
	for p := range c.partitions {
		await(c.tb, "all in sync and equal", func() bool {
			s := c.state(p)
			if len(s.ISR) != len(c.nodes) || s.Leader < 0 {
				return false
			}
			want := c.node(s.Leader).replica(p).Log().Offsets()
			for _, n := range c.nodes {
				o := n.replica(p).Log().Offsets()
				if o.LogEndOffset != want.LogEndOffset || o.HighWatermark != want.LogEndOffset {
					return false
				}
			}
			return true
		})
		lead := c.node(c.state(p).Leader).replica(p).Log()
		want := raw(c.tb, lead, lead.Offsets().HighWatermark)
		for _, n := range c.nodes {
			l := n.replica(p).Log()
			require.Equal(c.tb, want, raw(c.tb, l, l.Offsets().HighWatermark), "node %d, partition %d", n.id, p)
		}
	}
}
