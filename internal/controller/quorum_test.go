package controller

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// quorum is a metadata quorum in memory: disks that can crash, links that can be cut or lose messages. It is used in a synctest bubble.
type quorum struct {
	t       testing.TB
	voters  []int32
	config  func(*Config)
	mu      sync.Mutex
	rng     *rand.Rand
	nodes   map[int32]*Controller
	disks   map[int32]*vfs.Mem
	cut     map[[2]int32]bool // links that lose everything
	loss    float64
	latency time.Duration
	sent    int
	wg      sync.WaitGroup
}

func newQuorum(t testing.TB, voters int, config func(*Config)) *quorum {
	q := &quorum{t: t, config: config, rng: rand.New(rand.NewPCG(1, 2)), nodes: map[int32]*Controller{}, disks: map[int32]*vfs.Mem{}, cut: map[[2]int32]bool{}, latency: time.Millisecond}
	for i := range voters {
		q.voters = append(q.voters, int32(i+1))
		disk := vfs.NewMem()
		require.NoError(t, disk.MkdirAll("/data"))
		require.NoError(t, disk.SyncDir("/"))
		q.disks[int32(i+1)] = disk
	}
	return q
}

func (q *quorum) start(ids ...int32) {
	q.t.Helper()
	for _, id := range ids {
		require.NoError(q.t, q.tryStart(id))
	}
}

func (q *quorum) tryStart(id int32) error {
	c := Config{
		NodeID: id, Voters: q.voters, FS: q.disks[id], Dir: "/data/__cluster_metadata-0", DirectoryID: dirID(id),
		Send: func(to int32, msgs [][]byte) { q.send(id, to, msgs) }, Rand: rand.New(rand.NewPCG(uint64(id), 7)),
	}
	if testing.Verbose() && os.Getenv("CONTROLLER_LOG") != "" {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", id)
	}
	if q.config != nil {
		q.config(&c)
	}
	n, err := Start(c)
	if err != nil {
		return err
	}
	q.mu.Lock()
	q.nodes[id] = n
	q.mu.Unlock()
	return nil
}

func dirID(id int32) log.TopicID { return log.TopicID{0: 0xd1, 14: byte(id), 15: 0xff} }

func (q *quorum) send(from, to int32, msgs [][]byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sent += len(msgs)
	if q.cut[[2]int32{from, to}] || q.rng.Float64() < q.loss {
		return
	}
	delay := q.latency
	q.wg.Go(func() {
		time.Sleep(delay)
		q.mu.Lock()
		n := q.nodes[to]
		q.mu.Unlock()
		if n != nil {
			n.Step(log.TopicID{}, msgs)
		}
	})
}

// isolate cuts, or heals, all links of a node.
func (q *quorum) isolate(id int32, cut bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, other := range q.voters {
		q.cut[[2]int32{id, other}], q.cut[[2]int32{other, id}] = cut, cut
	}
}

func (q *quorum) setLoss(p float64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.loss = p
}

// drop forgets a node that stopped by itself.
func (q *quorum) drop(id int32) {
	q.mu.Lock()
	n := q.nodes[id]
	delete(q.nodes, id)
	q.mu.Unlock()
	if n != nil {
		_ = n.Close(true)
	}
}

// crash stops a node as a power loss does.
func (q *quorum) crash(id int32, mode vfs.CrashMode) {
	q.mu.Lock()
	n := q.nodes[id]
	delete(q.nodes, id)
	q.mu.Unlock()
	q.disks[id] = q.disks[id].Crash(mode, rand.New(rand.NewPCG(uint64(id), uint64(mode))))
	n.Close(true)
}

func (q *quorum) close() {
	q.mu.Lock()
	nodes := q.nodes
	q.nodes = map[int32]*Controller{}
	q.mu.Unlock()
	for _, n := range nodes {
		require.NoError(q.t, n.Close(false))
	}
	q.wg.Wait()
}

// leader waits until exactly one node is leader in its own eyes and all others in reach agree.
func (q *quorum) leader() *Controller {
	q.t.Helper()
	for range 10_000 {
		q.mu.Lock()
		var leaders []*Controller
		for id, n := range q.nodes {
			if node, _, ok := n.Leader(); ok && node == id && !q.alone(id) {
				leaders = append(leaders, n)
			}
		}
		q.mu.Unlock()
		if len(leaders) == 1 {
			return leaders[0]
		}
		time.Sleep(time.Millisecond)
	}
	q.t.Fatal("no leader")
	return nil
}

// alone tells whether all links of a node are cut.
func (q *quorum) alone(id int32) bool {
	for _, other := range q.voters {
		if other != id && !q.cut[[2]int32{id, other}] {
			return false
		}
	}
	return len(q.voters) > 1
}

func (q *quorum) handle(n *Controller, req kmsg.Request) kmsg.Response {
	q.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	resp, err := n.Handle(ctx, req)
	require.NoError(q.t, err)
	return resp
}

func register(n *Controller, id int32, incarnation byte, previous int64) *kmsg.BrokerRegistrationRequest {
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.Version = 4
	req.BrokerID, req.ClusterID, req.PreviousBrokerEpoch = id, n.Image().ClusterID, previous
	req.IncarnationID = log.TopicID{0: incarnation, 1: byte(id)}
	req.LogDirs = [][16]byte{dirID(id)}
	l := kmsg.NewBrokerRegistrationRequestListener()
	l.Name, l.Host, l.Port = "PLAINTEXT", "host", uint16(9090+id)
	req.Listeners = append(req.Listeners, l)
	n.c.Levels.SetKnown(req)
	return req
}

func heartbeat(id int32, epoch, offset int64) *kmsg.BrokerHeartbeatRequest {
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.BrokerID, req.BrokerEpoch, req.CurrentMetadataOffset = id, epoch, offset
	return req
}

func createTopic(name string, partitions int32, replicas int16) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, 60_000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replicas
	req.Topics = append(req.Topics, t)
	return req
}

// join registers and unfences brokers.
func (q *quorum) join(n *Controller, ids ...int32) {
	q.t.Helper()
	_, err := n.WaitOffset(context.Background(), 1) // the cluster has its id
	require.NoError(q.t, err)
	for _, id := range ids {
		r := q.handle(n, register(n, id, 1, -1)).(*kmsg.BrokerRegistrationResponse)
		require.Zero(q.t, r.ErrorCode)
		h := q.handle(n, heartbeat(id, r.BrokerEpoch, n.Image().Offset)).(*kmsg.BrokerHeartbeatResponse)
		require.Zero(q.t, h.ErrorCode)
		require.False(q.t, h.IsFenced)
	}
}

func (q *quorum) create(n *Controller, name string, partitions int32, replicas int16) {
	q.t.Helper()
	r := q.handle(n, createTopic(name, partitions, replicas)).(*kmsg.CreateTopicsResponse)
	require.Zero(q.t, r.Topics[0].ErrorCode, "%v", r.Topics[0].ErrorMessage)
}

func TestSingleVoter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, 1, nil)
		q.start(1)
		n := q.nodes[1]
		node, _, ok := n.Leader()
		require.True(t, ok)
		require.Equal(t, int32(1), node)
		require.NotEmpty(t, n.Image().ClusterID)
		q.join(n, 1)
		q.create(n, "orders", 3, 1)
		before := n.Image()
		require.Len(t, before.Topics["orders"].Partitions, 3)

		for i, mode := range []vfs.CrashMode{vfs.DropAll, vfs.KeepAll, vfs.KeepRandom} {
			q.crash(1, mode)
			q.start(1)
			n = q.nodes[1]
			after := n.Image()
			require.Equal(t, before.ClusterID, after.ClusterID)
			require.True(t, sameMetadata(before, after), "crash %d: %+v %+v", i, before, after)
		}
		require.NoError(t, n.Close(false))
		q.start(1)
		require.True(t, sameMetadata(before, q.nodes[1].Image()))
		q.close()
	})
}

func sameMetadata(a, b *Image) bool {
	c := *b
	c.Offset, c.Epoch = a.Offset, a.Epoch
	return a.Equal(&c)
}

func TestThreeVoters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, 3, nil)
		began := time.Now()
		q.start(1, 2, 3)
		n := q.leader()
		require.Less(t, time.Since(began), 20*time.Millisecond)
		q.join(n, 1, 2, 3)
		for i := range 10 {
			q.create(n, fmt.Sprintf("topic-%d", i), 3, 3)
		}
		q.converge(n)
		q.close()
	})
}

// converge waits until all nodes have applied what n has, and compares.
func (q *quorum) converge(n *Controller) {
	q.t.Helper()
	want := n.Image()
	for id, other := range q.nodes {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		got, err := other.WaitOffset(ctx, want.Offset)
		cancel()
		require.NoError(q.t, err, "node %d", id)
		if got.Offset == want.Offset {
			require.True(q.t, got.Equal(want), "node %d differs", id)
		}
	}
}
