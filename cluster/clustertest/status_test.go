package clustertest_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A leader tells which state it acts on and what it knows of its followers, also of one that is away; asking for one replica gives what Status does.
func TestStatusOfReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 13})
		c.CreateTopic("t", 1, 3)
		numbers(t, c, "t", 0, 10)
		c.AwaitISR("t", 0, 3)
		leader := c.Leader("t", 0)
		replica := func(id int32) cluster.ReplicaStatus {
			n := c.Node(id)
			r, ok := n.Replica("t", 0)
			require.True(t, ok)
			s := n.Status()
			require.True(t, slices.ContainsFunc(s.Replicas, func(o cluster.ReplicaStatus) bool { return assert.ObjectsAreEqual(r, o) }), "%+v is not among %+v", r, s.Replicas)
			require.Equal(t, s.Metadata, n.Metadata())
			topic, ok := s.Topic("t")
			require.True(t, ok)
			p := topic.Partitions[0]
			require.Equal(t, []any{p.LeaderEpoch, p.PartitionEpoch, p.ISR}, []any{r.LeaderEpoch, r.PartitionEpoch, r.ISR})
			return r
		}
		r := replica(leader)
		require.Len(t, r.Followers, 2)
		for _, f := range r.Followers {
			assert.NotEqual(t, leader, f.ID)
			assert.Equal(t, []any{int64(10), true, true}, []any{f.Confirmed, f.InSync, f.Counts})
			assert.Equal(t, c.Node(f.ID).Status().BrokerEpoch, f.BrokerEpoch)
			assert.Empty(t, replica(f.ID).Followers, "of a follower")
		}
		for id := int32(1); id <= 3; id++ {
			assert.False(t, c.Node(id).Fenced())
			assert.False(t, c.Node(id).Status().Fenced)
		}
		away := r.Followers[0].ID
		c.Crash(away)
		c.AwaitISR("t", 0, 2)
		for _, f := range replica(leader).Followers {
			assert.Equal(t, f.ID != away, f.Counts, "node %d", f.ID)
			assert.Equal(t, f.Counts, f.InSync)
		}
		_, ok := c.Node(leader).Replica("t", 1)
		assert.False(t, ok)
		for id := int32(1); id <= 3; id++ {
			if id != leader && id != away {
				c.Crash(id)
			}
		}
		c.Await("one alone is fenced", func() bool { return c.Node(leader).Fenced() && c.Node(leader).Status().Fenced })
	})
}
