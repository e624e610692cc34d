package clustertest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/consumer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// One call says why a partition is being read or not, as its reasons come and go.
func TestExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 5})
		c.CreateTopic("t", 2, 3)
		c.CreateTopic("alone", 1, 1)
		w := newCrew(t, c, consumer.Config{Group: "g", Topics: []string{"t", "alone"}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		told := cluster.Reason(-1)
		explain := func(topic string, partition int32) cluster.Explanation {
			t.Helper()
			e, err := w.admin.Explain(ctx, "g", topic, partition)
			require.NoError(t, err)
			if s := e.String(); e.Reason != told {
				told = e.Reason
				t.Log(s)
			}
			return e
		}
		becomes := func(reason cluster.Reason, topic string, partition int32) (e cluster.Explanation) {
			t.Helper()
			c.Await(reason.String(), func() bool { e = explain(topic, partition); return e.Reason == reason })
			return e
		}
		numbers(t, c, "t", 0, 50)
		time.Sleep(10 * time.Second)
		assert.Equal(t, cluster.NoMembers, explain("t", 0).Reason)
		assert.Equal(t, cluster.UnknownTopic, explain("nonsense", 0).Reason)
		assert.Equal(t, cluster.UnknownTopic, explain("t", 7).Reason)

		x := w.add()
		w.settle()
		e := becomes(cluster.AtEnd, "t", 0)
		assert.Equal(t, x.GroupStatus().MemberID, e.Partition.Member)
		assert.Equal(t, e.Partition.End, e.Partition.Committed)
		assert.Zero(t, e.Partition.Lag)

		require.NoError(t, x.Pause("t", 0))
		numbers(t, c, "t", 50, 100)
		e = becomes(cluster.Paused, "t", 0)
		time.Sleep(time.Minute)
		e = explain("t", 0)
		assert.Positive(t, e.Partition.Lag)
		assert.InDelta(t, 60, e.Partition.LagTime.Seconds(), 10, "how old the first record is that is not committed")
		require.NoError(t, x.Resume("t", 0))
		becomes(cluster.AtEnd, "t", 0)

		leader := c.Leader("alone", 0)
		c.Crash(leader)
		becomes(cluster.NoLeader, "alone", 0)
		c.Restart(leader)
		becomes(cluster.AtEnd, "t", 0)

		w.close(x)
		becomes(cluster.NoMembers, "t", 0)
		require.NoError(t, w.admin.SetGroupOffsets(ctx, "g", map[cluster.TopicPartition]int64{{Topic: "t", Partition: 0}: 1 << 40}))
		becomes(cluster.OutOfRange, "t", 0)
	})
}

// Groups are listed, their offsets set and deleted, dead members removed, and groups deleted when they are empty.
func TestGroupAdmin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 6})
		c.CreateTopic("t", 2, 3)
		c.CreateTopic("other", 1, 3)
		w := newCrew(t, c, consumer.Config{Group: "g", Topics: []string{"t"}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		p0, other := cluster.TopicPartition{Topic: "t"}, cluster.TopicPartition{Topic: "other"}
		numbers(t, c, "t", 0, 100)
		require.NoError(t, w.admin.SetGroupOffsets(ctx, "g", map[cluster.TopicPartition]int64{p0: 3, other: 0}))
		groups, err := w.admin.Groups(ctx)
		require.NoError(t, err)
		assert.Equal(t, []cluster.GroupListing{{ID: "g", Protocol: cluster.ClassicProtocol, State: "Empty"}}, groups, "it only commits")

		x := w.add()
		g := w.settle()
		assert.Equal(t, cluster.ConsumerProtocol, g.Protocol)
		s := c.Node(g.Coordinator).Status()
		require.NotEmpty(t, s.Coordinators)
		for _, co := range s.Coordinators {
			assert.Equal(t, "serving", co.State)
			assert.NoError(t, co.Err)
		}
		assert.ErrorIs(t, w.admin.DeleteGroup(ctx, "g"), kerr.NonEmptyGroup)
		assert.ErrorIs(t, w.admin.SetGroupOffsets(ctx, "g", map[cluster.TopicPartition]int64{p0: 0}), kerr.UnknownMemberID)
		assert.ErrorIs(t, w.admin.DeleteGroupOffsets(ctx, "g", p0), kerr.GroupSubscribedToTopic)
		require.NoError(t, w.admin.DeleteGroupOffsets(ctx, "g", other))
		distinct := 0
		c.Await("all is processed but what was skipped", func() bool { distinct, _ = w.processed(); return distinct == 97 })

		w.close(x)
		g = w.status()
		assert.Equal(t, "Empty", g.State)
		require.Len(t, g.Partitions, 2, "of topic t")
		require.NoError(t, w.admin.DeleteGroup(ctx, "g"))
		assert.ErrorIs(t, w.admin.DeleteGroup(ctx, "g"), kerr.GroupIDNotFound)
		assert.Equal(t, "Dead", w.status().State)
	})
}

// A static member that dies keeps its partitions until its session ends, or until an administrator removes it.
func TestRemoveDeadStaticMember(t *testing.T) {
	for _, protocol := range []consumer.Protocol{consumer.ProtocolConsumer, consumer.ProtocolClassic} {
		t.Run(protocol.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := clustertest.New(t, clustertest.Config{Nodes: 1})
				c.CreateTopic("t", 4, 1)
				w := newCrew(t, c, consumer.Config{Group: "g", Topics: []string{"t"}, Protocol: protocol})
				w.config.InstanceID = "a"
				a := w.add()
				w.config.InstanceID = "b"
				b := w.add()
				w.settle()
				w.kill(a)
				time.Sleep(20 * time.Second)
				g := w.status()
				require.Len(t, g.Members, 2, "it may come back")
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				require.NoError(t, w.admin.RemoveMembers(ctx, "g", cluster.GroupMember{InstanceID: "a"}))
				w.settle()
				c.Await("b has all", func() bool { return len(b.Status()) == 4 })
			})
		})
	}
}
