package clustertest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// starts are the log start offsets of a partition's replicas by node; -1 of a node that is down or has none.
func starts(c *clustertest.Cluster, nodes int32, topic string) (list []int64) {
	for id := int32(1); id <= nodes; id++ {
		at := int64(-1)
		if n := c.Node(id); n != nil {
			for _, r := range n.Status().Replicas {
				if r.Topic == topic && r.Partition == 0 {
					at = r.Offsets.LogStartOffset
				}
			}
		}
		list = append(list, at)
	}
	return list
}

// first is the value of the first record that a reader gets, and of how many.
func first(c *clustertest.Cluster, topic string) (string, int) {
	all := c.ReadAll(topic)
	if len(all) == 0 {
		return "", 0
	}
	return string(all[0].Value), len(all)
}

// What was deleted stays deleted: under another leader, on a node that was away, and after the power failed everywhere at once.
func TestDeleteRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 11})
		c.CreateTopic("t", 1, 3)
		numbers(t, c, "t", 0, 100)
		tp := cluster.TopicPartition{Topic: "t"}
		remote := cluster.NewAdmin(c.Client())
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		low, err := remote.DeleteRecords(ctx, map[cluster.TopicPartition]int64{tp: 50})
		require.NoError(t, err)
		require.Equal(t, map[cluster.TopicPartition]int64{tp: 50}, low)
		require.Equal(t, []int64{50, 50, 50}, starts(c, 3, "t"))

		// The leader loses power; the next one was told.
		was := c.Leader("t", 0)
		c.Crash(was)
		c.Await("another leader", func() bool { l := c.Leader("t", 0); return l >= 0 && l != was })
		v, n := first(c, "t")
		require.Equal(t, []any{"50", 50}, []any{v, n})

		// The one that is away does not count, and learns it when it comes back.
		low, err = cluster.NewAdmin(c.Any().Client()).DeleteRecords(ctx, map[cluster.TopicPartition]int64{tp: 80})
		require.NoError(t, err)
		require.Equal(t, int64(80), low[tp])
		c.Restart(was)
		c.AwaitISR("t", 0, 3)
		c.Await("all begin at 80", func() bool { return fmt.Sprint(starts(c, 3, "t")) == "[80 80 80]" })

		low, err = remote.DeleteRecords(ctx, map[cluster.TopicPartition]int64{tp: 90})
		require.NoError(t, err)
		require.Equal(t, int64(90), low[tp])
		for id := int32(1); id <= 3; id++ {
			c.Crash(id)
		}
		c.RestartAll()
		require.Equal(t, []int64{90, 90, 90}, starts(c, 3, "t"))
		v, n = first(c, "t")
		require.Equal(t, []any{"90", 10}, []any{v, n})
		low, err = remote.DeleteRecords(ctx, map[cluster.TopicPartition]int64{tp: cluster.AllRecords})
		require.NoError(t, err)
		require.Equal(t, int64(100), low[tp])
		require.Equal(t, []int64{100, 100, 100}, starts(c, 3, "t"))

		other := cluster.TopicPartition{Topic: "t", Partition: 7}
		low, err = remote.DeleteRecords(ctx, map[cluster.TopicPartition]int64{tp: 101, other: 0})
		assert.ErrorIs(t, err, kerr.OffsetOutOfRange)
		assert.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
		assert.ErrorContains(t, err, "t-7")
		assert.Empty(t, low)
	})
}

// The power fails on some nodes, or all, at any moment of a deletion. What was acknowledged by all live replicas holds on each of them afterwards.
func TestDeleteRecordsAndPowerLoss(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 1))
				c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: seed})
				c.CreateTopic("t", 1, 3)
				tp := cluster.TopicPartition{Topic: "t"}
				acked, answers := int64(0), 0
				for round := range 12 {
					numbers(t, c, "t", round*10, round*10+10)
					c.AwaitISR("t", 0, 3)
					admin := cluster.NewAdmin(c.Client())
					to, done := acked+rng.Int64N(int64(round+1)*10-acked+1), make(chan error, 1)
					go func() {
						// Before a node that is gone is fenced: it counts.
						ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
						defer cancel()
						_, err := admin.DeleteRecords(ctx, map[cluster.TopicPartition]int64{tp: to})
						done <- err
					}()
					time.Sleep(time.Duration(rng.Int64N(int64(6 * time.Millisecond))))
					for id := int32(1); id <= 3; id++ {
						if rng.IntN(3) > 0 {
							if rng.IntN(2) == 0 {
								c.Crash(id)
							} else {
								c.CrashTorn(id)
							}
						}
					}
					if <-done == nil {
						acked = max(acked, to)
						answers++
					}
					c.RestartAll()
					for id, start := range starts(c, 3, "t") {
						require.GreaterOrEqual(t, start, acked, "node %d", id+1)
					}
				}
				numbers(t, c, "t", 120, 121) // one that is there for sure
				require.Positive(t, answers, "none of the deletions was answered")
				all := c.ReadAll("t")
				for i, r := range all {
					require.Equal(t, strconv.FormatInt(all[0].Offset+int64(i), 10), string(r.Value), "nothing else is missing")
				}
			})
		})
	}
}

// What an administrator reads, in this process and over the network.
func TestAdminReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 12})
		c.CreateTopic("t", 1, 3)
		c.CreateTopic("u", 5, 1)
		numbers(t, c, "t", 0, 10)
		c.AwaitISR("t", 0, 3)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for name, admin := range map[string]*cluster.Admin{"local": cluster.NewAdmin(c.Node(1).Client()), "remote": cluster.NewAdmin(c.Client())} {
			q, err := admin.Quorum(ctx)
			require.NoError(t, err, name)
			st := c.Node(1).Status()
			assert.Equal(t, []int64{int64(st.Controller), st.Term}, []int64{int64(q.Leader), int64(q.Term)})
			require.Len(t, q.Voters, 3)
			assert.Empty(t, q.Observers)
			for i, v := range q.Voters {
				assert.Equal(t, int32(i+1), v.ID)
				assert.Equal(t, fmt.Sprintf("node%d:9092", i+1), v.Addr)
				assert.NotZero(t, v.DirectoryID)
				assert.Less(t, time.Since(v.LastCaughtUp), time.Minute)
				assert.False(t, v.LastFetch.IsZero())
			}

			for id := int32(1); id <= 3; id++ {
				dirs, err := admin.LogDirs(ctx, id)
				require.NoError(t, err, name)
				require.Len(t, dirs, 1)
				require.NoError(t, dirs[0].Err)
				assert.Equal(t, "data", dirs[0].Path)
				assert.Positive(t, dirs[0].UsableBytes)
				require.NotEmpty(t, dirs[0].Replicas)
				assert.Equal(t, cluster.TopicPartition{Topic: "t"}, dirs[0].Replicas[0].TopicPartition)
				assert.Positive(t, dirs[0].Replicas[0].Bytes)
			}
			_, err = admin.LogDirs(ctx, 9)
			assert.Error(t, err)

			producers, err := admin.Producers(ctx, cluster.TopicPartition{Topic: "t"})
			require.NoError(t, err, name)
			require.Len(t, producers, 1)
			assert.Equal(t, []int64{9, -1}, []int64{int64(producers[0].LastSequence), producers[0].TxnStartOffset})
			_, err = admin.Producers(ctx, cluster.TopicPartition{Topic: "t", Partition: 1})
			assert.ErrorIs(t, err, kerr.UnknownTopicOrPartition)

			topics, err := admin.DescribeTopics(ctx)
			require.NoError(t, err, name)
			require.Len(t, topics, 2)
			assert.Equal(t, []string{"t", "u"}, []string{topics[0].Name, topics[1].Name})
			assert.Len(t, topics[0].Partitions[0].ISR, 3)
			assert.Len(t, topics[1].Partitions, 5)
			_, err = admin.DescribeTopics(ctx, "t", "none")
			assert.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
		}
	})
}

// Who left the ISR while it was too small may lead, and is shown (KIP-966).
func TestDescribeTopicsELR(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 13})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		admin := cluster.NewAdmin(c.Node(1).Client())
		require.NoError(t, admin.CreateTopic(ctx, cluster.TopicSpec{Name: "t", Assignment: [][]int32{{1, 2}}, Configs: map[string]string{"min.insync.replicas": "2"}}))
		numbers(t, c, "t", 0, 1)
		c.AwaitISR("t", 0, 2)
		describe := func() cluster.PartitionStatus {
			topics, err := admin.DescribeTopics(ctx, "t")
			require.NoError(t, err)
			require.Len(t, topics, 1)
			require.Len(t, topics[0].Partitions, 1)
			return topics[0].Partitions[0]
		}
		assert.Empty(t, describe().ELR)
		c.Stop(2)
		c.Await("2 is eligible", func() bool { return len(describe().ELR) > 0 })
		p := describe()
		assert.Equal(t, [][]int32{{1}, {2}}, [][]int32{p.ISR, p.ELR})
		assert.Empty(t, p.LastKnownELR)
		st := c.Node(1).Status()
		ts, _ := st.Topic("t")
		assert.Equal(t, p.ELR, ts.Partitions[0].ELR, "the node says the same")
	})
}
