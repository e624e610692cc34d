package clustertest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// load produces numbers until it is stopped, and knows which were acknowledged.
type load struct {
	mu    sync.Mutex
	acked map[string]bool
	stop  chan struct{}
	wg    sync.WaitGroup
}

func startLoad(t *testing.T, c *clustertest.Cluster, topic string) *load {
	p, err := producer.New(producer.Config{Client: c.Client(), DeliveryTimeout: 10 * time.Minute})
	require.NoError(t, err)
	l := &load{acked: map[string]bool{}, stop: make(chan struct{})}
	l.wg.Go(func() {
		defer p.Close()
		for i := 0; ; i++ {
			select {
			case <-l.stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			v := strconv.Itoa(i)
			if _, err := p.Produce(t.Context(), &record.Record{Topic: topic, Value: []byte(v)}); err == nil {
				l.mu.Lock()
				l.acked[v] = true
				l.mu.Unlock()
			}
		}
	})
	return l
}

// end stops the load and returns how many were acknowledged.
func (l *load) end() int {
	close(l.stop)
	l.wg.Wait()
	return len(l.acked)
}

// hosts lists the nodes that have a replica of a topic's only partition.
func hosts(c *clustertest.Cluster, nodes int32, topic string) (ids []int32) {
	for id := int32(1); id <= nodes; id++ {
		if n := c.Node(id); n != nil && slices.ContainsFunc(n.Status().Replicas, func(r cluster.ReplicaStatus) bool { return r.Topic == topic }) {
			ids = append(ids, id)
		}
	}
	return ids
}

// TestReassignUnderLoad moves a partition from nodes 1, 2, 3 to 3, 4, 5 while records are produced, a node dies that matters, and the controller does.
func TestReassignUnderLoad(t *testing.T) {
	for seed := range few(8, 3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 5))
				c := clustertest.New(t, clustertest.Config{Nodes: 5, Seed: seed})
				admin := cluster.NewAdmin(c.Client())
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				require.NoError(t, admin.CreateTopic(ctx, cluster.TopicSpec{Name: "t", Assignment: [][]int32{{1, 2, 3}}}))
				c.AwaitISR("t", 0, 3)
				l := startLoad(t, c, "t")
				time.Sleep(2 * time.Second)
				tp := cluster.TopicPartition{Topic: "t"}
				require.NoError(t, admin.Reassign(ctx, map[cluster.TopicPartition][]int32{tp: {3, 4, 5}}))
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
				var down []int32
				if rng.IntN(2) == 0 {
					if leader := c.Leader("t", 0); leader > 0 {
						down = append(down, leader)
						c.Crash(leader)
					}
				}
				if controller := c.Any().Status().Controller; rng.IntN(2) == 0 && controller > 0 && !slices.Contains(down, controller) {
					down = append(down, controller)
					c.Crash(controller)
				}
				time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
				for _, id := range down {
					c.Restart(id)
				}
				c.Await("the partition has moved", func() bool {
					list, err := cluster.NewAdmin(c.Any().Client()).Reassignments(ctx)
					return err == nil && len(list) == 0 && slices.Equal(hosts(c, 5, "t"), []int32{3, 4, 5})
				})
				c.AwaitISR("t", 0, 3)
				time.Sleep(time.Second)
				n := l.end()
				require.Greater(t, n, 100)
				there := map[string]int{}
				for _, r := range c.ReadAll("t") {
					there[string(r.Value)]++
				}
				for v := range l.acked {
					require.Equal(t, 1, there[v], "acknowledged record %s", v)
				}
				// What left deleted its files.
				for _, id := range []int32{1, 2} {
					entries, err := c.Disk(id).ReadDir("data")
					require.NoError(t, err)
					for _, e := range entries {
						assert.False(t, strings.HasPrefix(e.Name(), "t-0"), "node %d has %s", id, e.Name())
					}
				}
			})
		})
	}
}

// TestReassignBack goes back in the middle, and says no to what cannot be.
func TestReassignBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 4, Seed: 3})
		admin := cluster.NewAdmin(c.Node(1).Client()) // one that asks the node that is cut off would wait for it
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		third, other := int32(3), int32(4)
		if c.Node(1).Status().Controller == other { // which is not the one to be cut off
			third, other = other, third
		}
		require.NoError(t, admin.CreateTopic(ctx, cluster.TopicSpec{Name: "t", Assignment: [][]int32{{1, 2, third}}}))
		c.AwaitISR("t", 0, 3)
		tp := cluster.TopicPartition{Topic: "t"}
		to := func(ids ...int32) error {
			return admin.Reassign(ctx, map[cluster.TopicPartition][]int32{tp: ids})
		}
		require.ErrorIs(t, to(), kerr.NoReassignmentInProgress)
		require.ErrorIs(t, to(1, 1), kerr.InvalidReplicaAssignment)
		require.ErrorIs(t, to(9), kerr.InvalidReplicaAssignment)
		err := admin.Reassign(ctx, map[cluster.TopicPartition][]int32{{Topic: "nope"}: {1}, tp: {third, 2, 1}})
		require.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
		var refused *cluster.AdminError
		require.True(t, errors.As(err, &refused))

		c.Isolate(other) // it cannot come into sync
		require.NoError(t, to(other, 2))
		list, err := admin.Reassignments(ctx)
		require.NoError(t, err)
		require.Len(t, list, 1)
		assert.Equal(t, []int32{other}, list[0].Adding)
		assert.ElementsMatch(t, []int32{1, third}, list[0].Removing)
		c.Produce("t", []byte("meanwhile"))
		require.NoError(t, to())
		list, err = admin.Reassignments(ctx)
		require.NoError(t, err)
		require.Empty(t, list)
		c.Heal()
		c.AwaitISR("t", 0, 3)
		require.NoError(t, to(other, 2))
		c.Await("it has moved", func() bool { return slices.Equal(hosts(c, 4, "t"), slices.Sorted(slices.Values([]int32{2, other}))) })
		c.Await("the first of the list leads", func() bool {
			return admin.ElectLeaders(ctx, cluster.PreferredElection, tp) == nil && c.Leader("t", 0) == other
		})
		require.Len(t, c.ReadAll("t"), 1)
	})
}
