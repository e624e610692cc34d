package clustertest_test

import (
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
)

// Wall clocks jump, while nodes run and while they are down, back and for ever: nothing goes for an age that only such a clock tells, neither records nor commits. What is old by sound clocks does go.
func TestFault_F27_NothingIsDeletedForAJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var skews [4]atomic.Int64 // by node
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 27, Node: func(c *cluster.Config) {
			skew := &skews[c.NodeID]
			c.Wall = func(now time.Time) time.Time { return now.Add(time.Duration(skew.Load())) }
			c.Topic.RetentionAge, c.Groups.OffsetsRetention = 2*time.Hour, 2*time.Hour
			c.HeartbeatInterval, c.SessionTimeout, c.ElectionTimeout = 10*time.Second, time.Minute, 10*time.Second // hours go by: with the usual ones it is these that take the time
		}})
		set := func(by time.Duration, ids ...int32) {
			for _, id := range ids {
				skews[id].Store(int64(by))
			}
		}
		c.CreateTopic("t", 2, 3)
		numbers(t, c, "t", 0, 20)
		admin, tp := cluster.NewAdmin(c.Client()), cluster.TopicPartition{Topic: "t"}
		require.NoError(t, admin.SetGroupOffsets(t.Context(), "g", map[cluster.TopicPartition]int64{tp: 3}))
		committed := func() []cluster.GroupPartition {
			g, err := admin.Group(t.Context(), "g")
			require.NoError(t, err)
			return g.Partitions
		}
		all := make([]string, 20)
		for i := range all {
			all[i] = strconv.Itoa(i)
		}
		intact := func(when string) {
			t.Helper()
			assert.ElementsMatch(t, all, values(c, "t"), when)
			if left := committed(); assert.Len(t, left, 1, when) {
				assert.EqualValues(t, 3, left[0].Committed, when)
			}
		}
		time.Sleep(6 * time.Minute) // everything has looked at the clock

		set(30*time.Hour, 1, 2, 3)
		time.Sleep(30 * time.Minute)
		intact("all clocks are ahead")
		set(0, 3)
		set(-30*time.Hour, 1)
		set(30*time.Hour, 2)
		time.Sleep(20 * time.Minute)
		intact("they disagree")

		for id := int32(1); id <= 3; id++ {
			c.Stop(id)
			set(1000*time.Hour, id)
			c.Restart(id)
		}
		c.AwaitISR("t", 0, 3)
		c.AwaitISR("t", 1, 3)
		time.Sleep(30 * time.Minute)
		intact("they jumped while the nodes were down")

		set(0, 1, 2, 3)
		time.Sleep(70 * time.Minute)
		for id := int32(1); id <= 3; id++ {
			s := c.Node(id).Status()
			for _, r := range s.Replicas {
				if r.Topic == "t" {
					assert.EqualValues(t, r.Offsets.LogEndOffset, r.Offsets.LogStartOffset, "what is old by sound clocks goes")
				}
			}
		}
		assert.Empty(t, committed())
	})
}
