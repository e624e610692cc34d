package clustertest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const offsetsTopic = "__consumer_offsets"

// growing is a cluster of three whose nodes start when the test says so: two found it, the third joins and gets a vote.
type growing struct {
	t      *testing.T
	net    *transport.Mem
	voters []cluster.Voter
	disks  map[int32]*vfs.Mem
	nodes  map[int32]*cluster.Node
	client *transport.Client
	rng    *rand.Rand
}

func newGrowing(t *testing.T, seed uint64) *growing {
	g := &growing{t: t, net: transport.NewMem(), disks: map[int32]*vfs.Mem{}, nodes: map[int32]*cluster.Node{}, rng: rand.New(rand.NewPCG(seed, 1))}
	var addrs []string
	for id := int32(1); id <= 3; id++ {
		addr := fmt.Sprintf("node%d:9092", id)
		g.voters, addrs = append(g.voters, cluster.Voter{ID: id, Addr: addr}), append(addrs, addr)
		g.disks[id] = vfs.NewMem()
	}
	var err error
	// Only the brokers themselves, and Kafka's own tools by this name, may write to an internal topic.
	g.client, err = transport.NewClient(transport.ClientConfig{Bootstrap: addrs, Network: g.net.Host("client"), ClientID: "__admin_client"})
	require.NoError(t, err)
	t.Cleanup(func() {
		g.client.Close()
		for _, n := range g.nodes {
			require.NoError(t, n.Close())
		}
	})
	return g
}

func (g *growing) start(ids ...int32) {
	g.t.Helper()
	nodes, errs := make([]*cluster.Node, len(ids)), make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		c := cluster.Config{
			NodeID: id, Dir: "data", FS: g.disks[id], Listen: g.voters[id-1].Addr, Network: g.net.Host(fmt.Sprintf("node%d", id)), Rand: rand.New(rand.NewPCG(g.rng.Uint64(), 1)),
		}
		if c.Voters = g.voters[:2]; id == 3 {
			c.Voters, c.Join = nil, []string{g.voters[0].Addr, g.voters[1].Addr}
		}
		wg.Go(func() { nodes[i], errs[i] = cluster.Start(g.t.Context(), c) })
	}
	wg.Wait()
	for i, id := range ids {
		require.NoError(g.t, errs[i])
		g.nodes[id] = nodes[i]
	}
	if slices.Equal(ids, []int32{3}) {
		if err := cluster.NewAdmin(g.client).AddVoter(g.t.Context(), 3); !errors.Is(err, kerr.DuplicateVoter) { // it has come back
			require.NoError(g.t, err)
		}
	}
}

func (g *growing) kill(id int32) {
	g.disks[id] = g.disks[id].Crash(vfs.DropAll, nil)
	g.nodes[id].Kill()
	delete(g.nodes, id)
}

func (g *growing) create(partitions int32, rf int16) {
	g.t.Helper()
	require.NoError(g.t, cluster.NewAdmin(g.client).CreateTopic(g.t.Context(), cluster.TopicSpec{Name: offsetsTopic, Partitions: partitions, ReplicationFactor: rf}))
}

// awaitReplicas waits until every partition has n replicas, and all of them are in sync.
func (g *growing) awaitReplicas(n int) {
	g.t.Helper()
	var last cluster.TopicStatus
	for range 30_000 {
		for _, node := range g.nodes {
			s := node.Status()
			last, _ = s.Topic(offsetsTopic)
			break
		}
		if len(last.Partitions) > 0 && !slices.ContainsFunc(last.Partitions, func(p cluster.PartitionStatus) bool { return len(p.Replicas) != n || len(p.ISR) != n }) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	g.t.Fatalf("not %d replicas in sync within five minutes: %+v", n, last)
}

// produce writes one value with acks=all and returns the partition's error code; false if there was no answer.
func (g *growing) produce(partition int32, value string) (code int16, answered bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	topic, err := g.client.Topic(ctx, offsetsTopic, false)
	if err != nil || topic.Partitions[partition].Leader < 0 {
		return 0, false
	}
	b := record.NewBuilder(record.BuilderConfig{})
	b.Append(&record.Record{Key: []byte(value), Value: []byte(value), Timestamp: time.Now()})
	data, err := b.Build(nil)
	require.NoError(g.t, err)
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.TopicID = offsetsTopic, topic.ID
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = partition, data
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := g.client.Request(ctx, topic.Partitions[partition].Leader, req)
	if err != nil {
		g.client.Refresh(offsetsTopic)
		return 0, false
	}
	code = resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode
	if code != 0 {
		g.client.Refresh(offsetsTopic)
	}
	return code, true
}

// load writes to all partitions, one value after the other, until stop is called, which returns the values that were acknowledged and the errors.
func (g *growing) load(partitions int32) (stop func() (acked []string, codes map[int16]int)) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	var acked []string
	codes := map[int16]int{}
	wg.Go(func() {
		for i := int32(0); ; i++ {
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
			v := fmt.Sprint(i)
			switch code, answered := g.produce(i%partitions, v); {
			case answered && code == 0:
				acked = append(acked, v)
			case answered:
				codes[code]++
			}
		}
	})
	return func() ([]string, map[int16]int) {
		close(done)
		wg.Wait()
		return acked, codes
	}
}

// read reads until it has seen every one of the values.
func (g *growing) read(want []string) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 2*time.Minute)
	defer cancel()
	cons, err := consumer.New(consumer.Config{Client: g.client, Topics: []string{offsetsTopic}})
	require.NoError(g.t, err)
	defer cons.Close()
	missing := map[string]bool{}
	for _, v := range want {
		missing[v] = true
	}
	for b, err := range cons.Batches(ctx) {
		require.NoError(g.t, err, "%d of %d values missing", len(missing), len(want))
		for i := range b.Records {
			delete(missing, string(b.Records[i].Value))
		}
		if len(missing) == 0 {
			return
		}
	}
	require.Empty(g.t, missing)
}

// What was created with the nodes that were there gets more replicas from those that come, and nobody who writes meanwhile notices.
func TestInternalTopicGrows(t *testing.T) {
	for _, rf := range []int16{-1, 1} {
		t.Run(fmt.Sprintf("rf=%d", rf), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const partitions = 5
				g := newGrowing(t, 1)
				g.start(1, 2)
				g.create(partitions, rf)
				stop := g.load(partitions)
				g.awaitReplicas(2)
				time.Sleep(5 * time.Second)
				g.start(3)
				g.awaitReplicas(3)
				time.Sleep(time.Second)
				acked, codes := stop()
				require.Greater(t, len(acked), 500)
				require.Empty(t, codes, "no append is refused for want of replicas")

				time.Sleep(time.Second)
				ends := map[string]int64{}
				for id, n := range g.nodes {
					replicas := 0
					for _, r := range n.Status().Replicas {
						name := fmt.Sprintf("%s-%d", r.Topic, r.Partition)
						replicas++
						require.Equal(t, r.Offsets.LogEndOffset, r.Offsets.HighWatermark, "node %d %s", id, name)
						if end, seen := ends[name]; seen {
							require.Equal(t, end, r.Offsets.LogEndOffset, "node %d %s", id, name)
						}
						ends[name] = r.Offsets.LogEndOffset
					}
					require.Equal(t, partitions, replicas, "node %d", id)
				}
				g.kill(1)
				g.read(acked)
			})
		})
	}
}

// At whatever moment of the growth a node dies, the active controller or the newcomer among them, it goes on when the node is back.
func TestInternalTopicGrowsThroughCrashes(t *testing.T) {
	for seed := range few(6, 2) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const partitions = 3
				g := newGrowing(t, seed)
				g.start(1, 2)
				g.create(partitions, 1)
				stop := g.load(partitions)
				g.start(3)
				for range 3 {
					time.Sleep(time.Duration(g.rng.IntN(4000)) * time.Millisecond)
					victim := int32(3)
					if g.rng.IntN(3) > 0 {
						victim = g.nodes[3].Status().Controller
					}
					if g.nodes[victim] == nil {
						continue
					}
					g.kill(victim)
					time.Sleep(time.Duration(g.rng.IntN(12000)) * time.Millisecond)
					g.start(victim)
				}
				g.awaitReplicas(3)
				acked, codes := stop()
				require.Greater(t, len(acked), 50)
				for code := range codes {
					require.True(t, kerr.IsRetriable(kerr.ErrorForCode(code)), "%v", kerr.ErrorForCode(code))
				}
				g.read(acked)
			})
		})
	}
}
