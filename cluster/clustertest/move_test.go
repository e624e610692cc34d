package clustertest_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
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
	"github.com/twmb/franz-go/pkg/kerr"
)

var plannedMoves = flag.Int("moves", int(few(30, 6)), "how many times TestPlannedMoves moves the leadership each way")

// aloneLoad produces a record each millisecond, acknowledged by the leader alone: there is always something that only the leader has.
type aloneLoad struct {
	gap
	mu    sync.Mutex
	acked []string
	wg    sync.WaitGroup
	p     *producer.Producer
	end   context.CancelFunc
}

func loadAlone(t *testing.T, c *clustertest.Cluster) *aloneLoad {
	p, err := producer.New(producer.Config{Client: c.Client(), Acks: producer.AcksLeader, DisableIdempotence: true})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	l := &aloneLoad{p: p, end: cancel}
	l.wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			v := fmt.Sprint(i)
			_ = p.Enqueue(t.Context(), &record.Record{Topic: "t", Value: []byte(v)}, func(_ producer.Metadata, err error) {
				if assert.NoError(t, err) {
					l.acknowledged(time.Now())
					l.mu.Lock()
					l.acked = append(l.acked, v)
					l.mu.Unlock()
				}
			})
			time.Sleep(time.Millisecond)
		}
	})
	return l
}

// stop ends the load, and tells which of the acknowledged records are gone.
func (l *aloneLoad) stop(t *testing.T, c *clustertest.Cluster) (lost []string, of int) {
	l.end()
	l.wg.Wait()
	require.NoError(t, l.p.Flush(t.Context()))
	require.NoError(t, l.p.Close())
	c.Produce("t", []byte("the last")) // acknowledged by all: whatever is in the log before it is committed, and can be read
	there := map[string]bool{}
	for _, v := range values(c, "t") {
		there[v] = true
	}
	for _, v := range l.acked {
		if !there[v] {
			lost = append(lost, v)
		}
	}
	return lost, len(l.acked)
}

// moves are the ways in which a leadership moves although its leader is well.
var moves = []struct {
	name  string
	move  func(t *testing.T, c *clustertest.Cluster, admin *cluster.Admin, leader int32)
	after func(c *clustertest.Cluster, old int32)
	pause time.Duration // of the producer, at most
}{
	{"preferred election", func(t *testing.T, c *clustertest.Cluster, admin *cluster.Admin, leader int32) {
		tp := cluster.TopicPartition{Topic: "t"}
		order := []int32{leader%3 + 1, (leader+1)%3 + 1, leader}
		require.NoError(t, admin.Reassign(t.Context(), map[cluster.TopicPartition][]int32{tp: order}))
		require.NoError(t, admin.ElectLeaders(t.Context(), cluster.PreferredElection, tp))
	}, nil, 20 * time.Millisecond},
	{"reassignment", func(t *testing.T, c *clustertest.Cluster, admin *cluster.Admin, leader int32) {
		to := slices.DeleteFunc([]int32{1, 2, 3, 4}, func(id int32) bool { return id == leader })
		require.NoError(t, admin.Reassign(t.Context(), map[cluster.TopicPartition][]int32{{Topic: "t"}: to}))
	}, nil, 20 * time.Millisecond},
	{"shutdown", func(t *testing.T, c *clustertest.Cluster, admin *cluster.Admin, leader int32) {
		c.Stop(leader)
	}, func(c *clustertest.Cluster, old int32) { c.Restart(old) }, 20 * time.Millisecond},
}

// Planned moves lose nothing that was acknowledged by the leader alone, and a producer hardly notices them: the leader takes no more, lets the next one catch up, and then hands over.
func TestPlannedMoves(t *testing.T) {
	for _, m := range moves {
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := clustertest.New(t, clustertest.Config{Nodes: 4, Seed: 21})
				c.Network().SetDelay(func(transport.Delivery) time.Duration { return 500 * time.Microsecond })
				admin := cluster.NewAdmin(c.Client())
				require.NoError(t, admin.CreateTopic(t.Context(), cluster.TopicSpec{Name: "t", Assignment: [][]int32{{1, 2, 3}}}))
				c.AwaitISR("t", 0, 3)
				l := loadAlone(t, c)
				var pauses []time.Duration
				for i := range *plannedMoves {
					c.AwaitISR("t", 0, 3)
					time.Sleep(time.Duration(100+i*37%50) * time.Millisecond)
					old := c.Leader("t", 0)
					l.take()
					m.move(t, c, admin, old)
					c.Await("another one leads", func() bool { return c.Leader("t", 0) != old })
					c.Await("the producer is heard", l.after(time.Now()))
					pauses = append(pauses, l.take())
					if m.after != nil {
						m.after(c, old)
					}
				}
				c.AwaitISR("t", 0, 3)
				lost, of := l.stop(t, c)
				slices.Sort(pauses)
				t.Logf("%d moves, %d records, pauses: median %v, longest %v", len(pauses), of, pauses[len(pauses)/2], pauses[len(pauses)-1])
				assert.Empty(t, lost[:min(len(lost), 50)], "acknowledged and gone: %d", len(lost))
				assert.Greater(t, of, 50*len(pauses))
				assert.Less(t, pauses[len(pauses)-1], m.pause)
			})
		})
	}
}

// The one that is to lead next is cut off from the leader, or its disk hangs, at some moment of a planned move: the leader goes on within the time that a move may take, nothing is lost, and the next attempt is a good one.
func TestPlannedMoveToOneThatStalls(t *testing.T) {
	for name, stall := range map[string]func(c *clustertest.Cluster, next, leader int32) func(){
		"cut": func(c *clustertest.Cluster, next, leader int32) func() {
			c.Cut(next, leader)
			return c.Heal
		},
		"disk": func(c *clustertest.Cluster, next, _ int32) func() { return hang(c.Disk(next), hangs[0].which) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 22})
				c.Network().SetDelay(func(transport.Delivery) time.Duration { return 500 * time.Microsecond })
				admin := cluster.NewAdmin(c.Client())
				require.NoError(t, admin.CreateTopic(t.Context(), cluster.TopicSpec{Name: "t", Assignment: [][]int32{{1, 2, 3}}}))
				c.AwaitISR("t", 0, 3)
				l := loadAlone(t, c)
				tp := cluster.TopicPartition{Topic: "t"}
				stayed, of16 := 0, int(few(16, 8))
				for n := range of16 {
					i := n * 16 / of16
					leader := c.Leader("t", 0)
					next := leader%3 + 1
					if c.Node(1).Status().Controller == next && name == "cut" {
						next = next%3 + 1
					}
					order := []int32{next, leader, 6 - next - leader}
					require.NoError(t, admin.Reassign(t.Context(), map[cluster.TopicPartition][]int32{tp: order}))
					time.Sleep(100 * time.Millisecond)
					l.take()
					ended := make(chan error, 1)
					began := time.Now()
					go func() { ended <- admin.ElectLeaders(t.Context(), cluster.PreferredElection, tp) }()
					time.Sleep(time.Duration(i) * 500 * time.Microsecond) // the whole takes 3 to 6 ms
					mend := stall(c, next, leader)
					time.Sleep(1500 * time.Millisecond)
					if c.Leader("t", 0) == leader {
						stayed++
						assert.Less(t, l.take(), 1100*time.Millisecond, "%d: the leader goes on", i)
						assert.True(t, l.after(began.Add(1400*time.Millisecond))())
					}
					stays := c.Leader("t", 0) == leader
					mend()
					if err := <-ended; stays {
						assert.ErrorIs(t, err, kerr.PreferredLeaderNotAvailable, "%d", i)
					}
					c.Await("all are in sync, and the move is made", func() bool {
						p := c.Any().Status()
						topic, _ := p.Topic("t")
						return len(topic.Partitions[0].ISR) == 3 && (topic.Partitions[0].Leader == next || admin.ElectLeaders(t.Context(), cluster.PreferredElection, tp) == nil)
					})
				}
				lost, of := l.stop(t, c)
				t.Logf("%d of %d leaders stayed, %d records", stayed, of16, of)
				assert.Empty(t, lost[:min(len(lost), 50)], "acknowledged and gone: %d", len(lost))
				assert.Greater(t, stayed, of16/8)
				assert.Less(t, stayed, of16*7/8)
			})
		})
	}
}

// The leader dies at some moment of a planned move: a failover as any other, and nothing that was acknowledged by all is lost.
func TestPlannedMoveOfOneThatDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 23})
		c.Network().SetDelay(func(transport.Delivery) time.Duration { return 500 * time.Microsecond })
		admin := cluster.NewAdmin(c.Client())
		require.NoError(t, admin.CreateTopic(t.Context(), cluster.TopicSpec{Name: "t", Assignment: [][]int32{{1, 2, 3}}}))
		l := startLoad(t, c, "t")
		tp := cluster.TopicPartition{Topic: "t"}
		for i := range 16 {
			c.AwaitISR("t", 0, 3)
			leader := c.Leader("t", 0)
			next := leader%3 + 1
			require.NoError(t, admin.Reassign(t.Context(), map[cluster.TopicPartition][]int32{tp: {next, leader, 6 - next - leader}}))
			time.Sleep(100 * time.Millisecond)
			var wg sync.WaitGroup
			wg.Go(func() { _ = admin.ElectLeaders(t.Context(), cluster.PreferredElection, tp) }) // its answer may be lost with the controller
			time.Sleep(time.Duration(i) * 500 * time.Microsecond)
			c.Kill(leader)
			began := time.Now()
			c.Await("another one leads", func() bool { return c.Leader("t", 0) != leader })
			assert.Less(t, time.Since(began), 2*9*time.Second)
			c.Restart(leader)
			wg.Wait()
		}
		c.AwaitISR("t", 0, 3)
		require.Greater(t, l.end(), 100)
		there := map[string]int{}
		for _, r := range c.ReadAll("t") {
			there[string(r.Value)]++
		}
		for v := range l.acked {
			require.Equal(t, 1, there[v], "acknowledged record %s", v)
		}
	})
}

// A node that shuts down waits for nobody where there is nobody, and for half a second where the next one does not answer and nobody knows it yet: then the one after it gets what there is.
func TestShutdownWaitsForTheLiving(t *testing.T) {
	for _, tc := range []struct {
		name            string
		nodes, replicas int
		cut             bool
		least, limit    time.Duration
	}{
		{"alone", 1, 1, false, 0, 20 * time.Millisecond},
		{"the only replica", 5, 1, false, 0, 100 * time.Millisecond},
		{"both well", 5, 2, false, 0, 100 * time.Millisecond},
		{"cut off from the next one", 5, 3, true, 500 * time.Millisecond, 700 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := clustertest.New(t, clustertest.Config{Nodes: tc.nodes, Seed: 24})
				admin := cluster.NewAdmin(c.Client())
				ids := []int32{1, 2, 3, 4, 5}
				ids = slices.DeleteFunc(ids, func(id int32) bool { return tc.nodes > 1 && id == c.Any().Status().Controller })[:tc.replicas]
				require.NoError(t, admin.CreateTopic(t.Context(), cluster.TopicSpec{Name: "t", Assignment: [][]int32{ids}}))
				c.AwaitISR("t", 0, tc.replicas)
				c.Produce("t", []byte("a"))
				if tc.cut {
					c.Cut(ids[0], ids[1])
					p, err := producer.New(producer.Config{Client: c.Client(), Acks: producer.AcksLeader, DisableIdempotence: true})
					require.NoError(t, err)
					_, err = p.Produce(t.Context(), &record.Record{Topic: "t", Value: []byte("b")})
					require.NoError(t, err)
					require.NoError(t, p.Close())
				}
				began := time.Now()
				c.Stop(ids[0])
				assert.GreaterOrEqual(t, time.Since(began), tc.least)
				assert.LessOrEqual(t, time.Since(began), tc.limit)
				t.Log(time.Since(began))
				if tc.cut {
					assert.Equal(t, []string{"a", "b"}, values(c, "t"))
				}
			})
		})
	}
}
