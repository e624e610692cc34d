package groups

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/insynclog/insync/internal/commit"
	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/internal/groups/partition"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTopic = "__consumer_offsets"

// store is a replica with what stands under it. Node 1 leads; other replicas are played by the test with confirm.
type store struct {
	t       testing.TB
	dir     *log.Directory
	engine  *commit.Engine
	replica *replication.Replica
	epoch   int32
	broken  bool // the disk was; it cannot be closed well
}

type storeConfig struct {
	fs       vfs.FS // nil: memory
	dir      string
	replicas []int32 // nil: 1 alone
	minISR   int
	isr      []int32 // nil: all
	flush    int64   // 0: 1
}

func newStore(t testing.TB, c storeConfig) *store {
	t.Helper()
	if c.fs == nil {
		c.fs, c.dir = vfs.NewMem(), "data"
	}
	if c.replicas == nil {
		c.replicas = []int32{1}
	}
	if c.isr == nil {
		c.isr = c.replicas
	}
	s := &store{t: t, engine: commit.New(commit.Config{})}
	var err error
	s.dir, err = log.OpenDirectory(c.dir, log.DirectoryConfig{FS: c.fs, NodeID: 1})
	require.NoError(t, err)
	l, err := s.dir.OpenLog(testTopic, 0, log.TopicID{1}, log.Config{FS: c.fs, SegmentBytes: 64 << 20, Compacted: true})
	require.NoError(t, err)
	s.replica, err = replication.New(replication.Config{
		NodeID: 1, Topic: testTopic, TopicID: log.TopicID{1}, Log: l, Commit: s.engine,
		Settings: replication.Settings{MinInSyncReplicas: max(1, c.minISR), FlushMessages: c.flush},
		Eligible: func(int32, int64) bool { return true }, BrokerEpoch: func(int32) int64 { return -1 },
		ProposeISR: func(replication.ISRProposal, func(replication.ISRResult)) {},
	})
	require.NoError(t, err)
	s.lead(c.replicas, c.isr)
	t.Cleanup(func() {
		require.NoError(t, s.replica.Close())
		s.engine.Close()
		if s.broken {
			s.dir.Abandon()
			return
		}
		require.NoError(t, s.dir.Close(-1))
	})
	return s
}

// lead makes node 1 leader under the next epoch.
func (s *store) lead(replicas, isr []int32) { s.apply(1, replicas, isr) }

func (s *store) apply(leader int32, replicas, isr []int32) {
	s.t.Helper()
	s.epoch++
	_, err := s.replica.Apply(replication.State{Leader: leader, LeaderEpoch: s.epoch, PartitionEpoch: s.epoch, Replicas: replicas, ISR: isr}, time.Now())
	require.NoError(s.t, err)
}

// confirm plays a follower that has everything.
func (s *store) confirm(follower int32) {
	s.t.Helper()
	end := s.replica.Log().Offsets().LogEndOffset
	res := s.replica.ReadFollower(replication.FollowerFetch{
		Follower: follower, BrokerEpoch: -1, FetchOffset: end, LastFetchedEpoch: -1, CurrentLeaderEpoch: s.epoch, Now: time.Now(),
	})
	require.NoError(s.t, res.Err)
	res.Slice.Release()
}

// owner owns the goroutines of Coordinators.
type owner struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

func (o *owner) spawn(f func()) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.wg.Go(f)
	return true
}

func (o *owner) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
}

const testTimeout = 5 * time.Second

func testMachineConfig() machine.Config {
	var ids atomic.Int64
	return machine.Config{
		MinSessionTimeout: 6 * time.Second, MaxSessionTimeout: 30 * time.Minute, MaxSize: 1000,
		ConsumerSessionTimeout: 45 * time.Second, ConsumerHeartbeatInterval: 5 * time.Second, ConsumerMaxSize: 1000, Assignors: []string{"uniform", "range"},
		OffsetsRetention: 7 * 24 * time.Hour, OffsetMetadataMaxBytes: 1 << 20,
		NewID: func() string { return "id" + strconv.FormatInt(ids.Add(1), 10) },
	}
}

// newCoordinators is closed in Cleanup, before the stores that were made earlier.
func newCoordinators(t testing.TB) *Coordinators {
	t.Helper()
	o := &owner{}
	cs, err := New(Config{
		Machine: testMachineConfig(), CommitTimeout: testTimeout, Partitions: func() int32 { return 1 }, Spawn: o.spawn,
		TopicNames: func() ([]string, int64) { return []string{"orders", "payments", "xorders"}, 7 },
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		o.close()
		cs.Close()
		o.wg.Wait()
	})
	return cs
}

// topics is metadata in which every topic exists.
type topics struct{}

func (topics) Topic(name string) (machine.Topic, bool) {
	return machine.Topic{Name: name, ID: partition.TopicID{1}, Partitions: 3}, true
}
func (topics) TopicByID(partition.TopicID) (machine.Topic, bool) { return machine.Topic{}, false }

// serve makes cs coordinator of the store's partition and waits until it serves.
func serve(t testing.TB, cs *Coordinators, s *store) {
	t.Helper()
	cs.Lead(0, s.epoch, s.replica, topics{})
	await(t, cs, Serving)
}

func await(t testing.TB, cs *Coordinators, p Phase) {
	t.Helper()
	for range 10_000 {
		if st := cs.Status(); len(st) == 1 && st[0].Phase == p {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("not %v: %+v", p, cs.Status())
}

// outcome is an answer as it came.
type reply struct {
	result any
	err    error
}

// submit hands a request in; a second answer panics.
func submit(cs *Coordinators, r machine.Request, group string) <-chan reply {
	ch := make(chan reply, 1)
	var answers atomic.Int32
	cs.Submit(group, r, func(result any, err error) {
		if answers.Add(1) > 1 {
			panic("answered twice")
		}
		ch <- reply{result, err}
	})
	return ch
}

func commitOf(group, topic string, offset int64, metadata string) *machine.Commit {
	return &machine.Commit{Group: group, Epoch: -1, Offsets: []machine.CommitOffset{{Topic: topic, Offset: offset, LeaderEpoch: -1, Metadata: metadata}}}
}

func mustCommit(t testing.TB, cs *Coordinators, group, topic string, offset int64) {
	t.Helper()
	r := <-submit(cs, commitOf(group, topic, offset, ""), group)
	require.NoError(t, r.err)
	require.Equal(t, []error{nil}, r.result.(*machine.Committed).Errs)
}

// offset is what a group has committed, -1 for nothing.
func offset(t testing.TB, cs *Coordinators, group, topic string) int64 {
	t.Helper()
	at := int64(-1)
	require.NoError(t, cs.Read(group, func(m *machine.Coordinator) {
		if o, ok := m.Offset(group, machine.TopicPartition{Topic: topic}); ok {
			at = o.Offset
		}
	}))
	return at
}

// all lists all offsets.
func all(t testing.TB, cs *Coordinators) (found map[string]int64) {
	t.Helper()
	require.NoError(t, cs.ReadAll(func(m *machine.Coordinator) { found = offsets(m) }))
	return found
}

func offsets(m *machine.Coordinator) map[string]int64 {
	found := map[string]int64{}
	for _, l := range m.List() {
		for _, o := range m.Offsets(l.ID) {
			found[fmt.Sprintf("%s/%s-%d", l.ID, o.Topic, o.Partition)] = o.Offset
		}
	}
	return found
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

const never = math.MaxInt64
