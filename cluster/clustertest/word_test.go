package clustertest_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// witness produces with acks=all to the one partition of t, and asks one node after each acknowledgement where that partition ends: it may say nothing, but nothing that is too low.
type witness struct {
	gap
	c      *clustertest.Cluster
	client *transport.Client
	node   *cluster.Node
	id     int32
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu           sync.Mutex
	acked        int64 // the end of what was acknowledged
	lists, reads int   // that were answered with an end
	lows         []string
}

func watch(t *testing.T, c *clustertest.Cluster, node int32) *witness {
	ctx, cancel := context.WithCancel(t.Context())
	w := &witness{c: c, client: c.Client(), node: c.Node(node), id: node, stop: cancel}
	_, err := w.client.Topic(t.Context(), "t", false) // it learns where the nodes are
	require.NoError(t, err)
	p, err := producer.New(producer.Config{Client: c.Client(), DeliveryTimeout: 5 * time.Minute})
	require.NoError(t, err)
	w.wg.Go(func() {
		defer func() { assert.NoError(t, p.Close()) }()
		for ctx.Err() == nil {
			assert.NoError(t, p.Enqueue(t.Context(), &record.Record{Topic: "t", Value: []byte("v")}, func(m producer.Metadata, err error) {
				if !assert.NoError(t, err) {
					return
				}
				w.acknowledged(time.Now())
				w.mu.Lock()
				w.acked = max(w.acked, m.Offset+1)
				w.mu.Unlock()
			}))
			time.Sleep(10 * time.Millisecond)
		}
	})
	for _, ask := range []func(context.Context) (what string, end int64, ok bool){w.list, w.fetch} {
		w.wg.Go(func() {
			for ctx.Err() == nil {
				w.mu.Lock()
				acked := w.acked
				w.mu.Unlock()
				if what, end, ok := ask(ctx); ok && end < acked {
					w.mu.Lock()
					w.lows = append(w.lows, fmt.Sprintf("%v: %s ends at %d, but what lies below %d was acknowledged", time.Now().Format("05.000"), what, end, acked))
					w.mu.Unlock()
				}
				time.Sleep(7 * time.Millisecond)
			}
		})
	}
	return w
}

// request asks the node itself, and gives it a short time.
func (w *witness) request(ctx context.Context, req kmsg.Request) kmsg.Response {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	resp, err := w.client.Request(ctx, w.id, req)
	if err != nil {
		time.Sleep(20 * time.Millisecond)
		return nil
	}
	return resp
}

func (w *witness) list(ctx context.Context) (what string, end int64, ok bool) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = "t"
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Timestamp, rp.CurrentLeaderEpoch = -1, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	r, ok := w.request(ctx, req).(*kmsg.ListOffsetsResponse)
	if !ok || r.Topics[0].Partitions[0].ErrorCode != 0 {
		return "", 0, false
	}
	w.mu.Lock()
	w.lists++
	w.mu.Unlock()
	return "ListOffsets", r.Topics[0].Partitions[0].Offset, true
}

// leads tells whether the node takes itself for the leader: a follower may tell of an older high watermark.
func (w *witness) leads() bool {
	r, ok := w.node.Replica("t", 0)
	return ok && r.Role == "leader"
}

func (w *witness) fetch(ctx context.Context) (what string, end int64, ok bool) {
	status := w.c.Any().Status()
	topic, known := status.Topic("t")
	if !known {
		return "", 0, false
	}
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxBytes, req.SessionEpoch = -1, 1, -1
	req.ReplicaState.ID = -1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = "t", topic.ID
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.CurrentLeaderEpoch, rp.PartitionMaxBytes = -1, 1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	led := w.leads()
	r, ok := w.request(ctx, req).(*kmsg.FetchResponse)
	if !ok || !led || !w.leads() || r.ErrorCode != 0 || len(r.Topics) == 0 || r.Topics[0].Partitions[0].ErrorCode != 0 {
		return "", 0, false
	}
	w.mu.Lock()
	w.reads++
	w.mu.Unlock()
	return "Fetch", r.Topics[0].Partitions[0].HighWatermark, true
}

// end tells that nothing was ever too low, and that the node was asked, and answered, before the move.
func (w *witness) end(t *testing.T) {
	w.stop()
	w.wg.Wait()
	assert.Empty(t, w.lows[:min(len(w.lows), 5)], "%d of them", len(w.lows))
	assert.Greater(t, w.lists, 20)
	assert.Greater(t, w.reads, 20)
}

// No planned move takes effect before its leader knows, or serves nobody any more: until then clients that still ask it would be shown a partition that ends before what others have acknowledged meanwhile. The leader hears nothing
// from the controller, which hears it (cut), at some moment of the move; or it hears of everything late, because its disk is slow, and the move was tried in vain for long enough.
func TestPlannedMoveWaitsForTheWord(t *testing.T) {
	prefer := func(t *testing.T, c *clustertest.Cluster, old, next int32) {
		admin, tp := cluster.NewAdmin(c.Client()), cluster.TopicPartition{Topic: "t"}
		require.NoError(t, admin.Reassign(t.Context(), map[cluster.TopicPartition][]int32{tp: {next, old, 6 - next - old}}))
		_ = admin.ElectLeaders(t.Context(), cluster.PreferredElection, tp) // it may end in vain
	}
	reassign := func(t *testing.T, c *clustertest.Cluster, old, next int32) {
		assert.NoError(t, cluster.NewAdmin(c.Client()).Reassign(t.Context(), map[cluster.TopicPartition][]int32{{Topic: "t"}: {next, 6 - next - old}}))
	}
	stop := func(_ *testing.T, c *clustertest.Cluster, old, _ int32) { c.Stop(old) }
	slow := func(sync time.Duration, but ...string) func(c *clustertest.Cluster, id int32) func() {
		return func(c *clustertest.Cluster, id int32) (mend func()) {
			set := slowDisk(c.Disk(id), but...)
			set(sync)
			return func() { set(0) }
		}
	}
	for _, tc := range []struct {
		name  string
		slow  func(c *clustertest.Cluster, id int32) (mend func()) // before the move
		move  func(t *testing.T, c *clustertest.Cluster, old, next int32)
		cut   []time.Duration // after the move began
		limit time.Duration   // until another one leads
		stays bool            // it may: the move is given up
	}{
		{"shutdown, cut", nil, stop, []time.Duration{0, 3 * time.Millisecond}, 20 * time.Second, false},
		{"reassignment, cut", nil, reassign, []time.Duration{3 * time.Millisecond}, 20 * time.Second, false},
		{"preferred election, cut", nil, prefer, []time.Duration{6 * time.Millisecond, 8 * time.Millisecond}, 20 * time.Second, true},
		{"shutdown, slow disk", slow(2*time.Second, "/t-0/"), stop, nil, 5 * time.Second, false},
		{"reassignment, slow disk", slow(6*time.Second, "/t-0/"), reassign, nil, 40 * time.Second, false},
		{"slow disk", slow(5 * time.Second), func(*testing.T, *clustertest.Cluster, int32, int32) {}, nil, 40 * time.Second, false},
	} {
		if tc.cut == nil {
			tc.cut = []time.Duration{-1}
		}
		for _, after := range tc.cut {
			t.Run(strings.TrimSuffix(fmt.Sprint(tc.name, " ", after), " -1ns"), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 26, Node: func(cc *cluster.Config) {
						if tc.name != "slow disk" {
							cc.SlowSync = -1
						}
					}})
					c.Network().SetDelay(func(transport.Delivery) time.Duration { return 500 * time.Microsecond })
					controller := c.Any().Status().Controller
					old, next := controller%3+1, controller
					require.NoError(t, cluster.NewAdmin(c.Client()).CreateTopic(t.Context(), cluster.TopicSpec{Name: "t", Assignment: [][]int32{{old, next, 6 - next - old}}}))
					c.AwaitISR("t", 0, 3)
					w := watch(t, c, old)
					time.Sleep(2 * time.Second)
					mend := c.Heal
					if tc.slow != nil {
						mend = tc.slow(c, old)
						time.Sleep(3 * time.Second)
					}
					began := time.Now()
					var wg sync.WaitGroup
					wg.Go(func() { tc.move(t, c, old, next) })
					if after >= 0 {
						time.Sleep(after)
						c.CutOneWay(controller, old)
					}
					other := c.Node(6 - next - old)
					leader := func() int32 {
						status := other.Status()
						topic, _ := status.Topic("t")
						return topic.Partitions[0].Leader
					}
					for leader() == old && time.Since(began) < tc.limit {
						time.Sleep(10 * time.Millisecond)
					}
					took := time.Since(began)
					if !tc.stays {
						require.NotEqual(t, old, leader())
					}
					time.Sleep(10 * time.Second)
					mend()
					time.Sleep(10 * time.Second)
					wg.Wait()
					assert.Less(t, time.Since(began), 90*time.Second)
					c.Await("the producer is heard", w.after(time.Now()))
					w.end(t)
					t.Logf("another one leads after %v; the producer heard nothing for %v at most; %d lists, %d reads", took, w.take(), w.lists, w.reads)
				})
			})
		}
	}
}
