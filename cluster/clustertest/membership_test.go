package clustertest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// stubborn repeats an admin call until it is done, or says something that a repetition may say.
func stubborn(t *testing.T, c *clustertest.Cluster, what string, call func(context.Context, *cluster.Admin) error, done ...error) {
	t.Helper()
	admin := cluster.NewAdmin(c.Client())
	var last error
	for began := time.Now(); time.Since(began) < 5*time.Minute; time.Sleep(200 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		last = call(ctx, admin)
		cancel()
		if last == nil || slices.ContainsFunc(done, func(d error) bool { return asKafka(last, d) }) {
			return
		}
	}
	t.Fatalf("%s: %v", what, last)
}

func asKafka(err, want error) bool {
	for ; err != nil; err = unwrap(err) {
		if err == want {
			return true
		}
	}
	return false
}

func unwrap(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return nil
}

func addVoter(t *testing.T, c *clustertest.Cluster, id int32) {
	t.Helper()
	stubborn(t, c, fmt.Sprintf("add voter %d", id), func(ctx context.Context, a *cluster.Admin) error { return a.AddVoter(ctx, id) }, kerr.DuplicateVoter)
}

func removeNode(t *testing.T, c *clustertest.Cluster, id int32) {
	t.Helper()
	stubborn(t, c, fmt.Sprintf("remove node %d", id), func(ctx context.Context, a *cluster.Admin) error { return a.RemoveNode(ctx, id) })
}

func changeVoters(t *testing.T, c *clustertest.Cluster, voters ...int32) {
	t.Helper()
	stubborn(t, c, fmt.Sprintf("change voters to %v", voters), func(ctx context.Context, a *cluster.Admin) error { return a.ChangeVoters(ctx, voters...) })
	c.Await(fmt.Sprintf("%v vote", voters), func() bool { return slices.Equal(newest(c).Voters, voters) })
}

// reassign moves a partition and waits until it is there.
func reassign(t *testing.T, c *clustertest.Cluster, topic string, to ...int32) {
	t.Helper()
	tp := cluster.TopicPartition{Topic: topic}
	stubborn(t, c, "reassign", func(ctx context.Context, a *cluster.Admin) error {
		return a.Reassign(ctx, map[cluster.TopicPartition][]int32{tp: to})
	})
	c.Await(fmt.Sprintf("%s is on %v", topic, to), func() bool {
		s := newest(c)
		ts, ok := s.Topic(topic)
		return ok && slices.Equal(ts.Partitions[0].Replicas, to) && len(ts.Partitions[0].ISR) == len(to)
	})
}

// newest is the status of the node that has applied most.
func newest(c *clustertest.Cluster) (s cluster.Status) {
	for id := int32(1); int(id) <= len(c.Addrs()); id++ {
		if n := c.Node(id); n != nil {
			if st := n.Status(); s.NodeID == 0 || st.Metadata > s.Metadata {
				s = st
			}
		}
	}
	return s
}

// intact ends the load and checks that everything acknowledged is there, once.
func intact(t *testing.T, c *clustertest.Cluster, l *load, topic string) {
	t.Helper()
	require.Greater(t, l.end(), 100)
	there := map[string]int{}
	for _, r := range c.ReadAll(topic) {
		there[string(r.Value)]++
	}
	for v := range l.acked {
		require.Equal(t, 1, there[v], "acknowledged record %s", v)
	}
}

// One node becomes three while records are produced, the first of them dies, and the two that came go on; later it comes back, and all of them start again without a list of each other.
func TestOneNodeBecomesThree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Seed: 1})
		c.CreateTopic("t", 1, 1)
		c.CreateTopic("__consumer_offsets", 5, 1)
		require.Equal(t, []int32{2, 3}, []int32{c.Prospect(), c.Prospect()}) // the producer has their addresses, too
		l := startLoad(t, c, "t")
		time.Sleep(time.Second)
		c.Restart(2)
		c.Restart(3)
		s := newest(c)
		assert.Equal(t, [][]int32{{1}, {2, 3}}, [][]int32{s.Voters, s.Observers})
		addVoter(t, c, 2)
		addVoter(t, c, 3)
		s = newest(c)
		assert.Equal(t, [][]int32{{1, 2, 3}, nil}, [][]int32{s.Voters, s.Observers})
		reassign(t, c, "t", 1, 2, 3)
		c.Await("__consumer_offsets has grown by itself", func() bool {
			s := newest(c)
			ts, _ := s.Topic("__consumer_offsets")
			return !slices.ContainsFunc(ts.Partitions, func(p cluster.PartitionStatus) bool { return len(p.ISR) != 3 })
		})
		q, err := cluster.NewAdmin(c.Client()).Quorum(t.Context())
		require.NoError(t, err)
		require.Len(t, q.Voters, 3)
		for i, v := range q.Voters {
			assert.Equal(t, c.Addrs()[i], v.Addr)
			assert.NotZero(t, v.DirectoryID)
		}

		c.Crash(1)
		c.Await("another leads", func() bool { return c.Leader("t", 0) != 1 })
		time.Sleep(10 * time.Second)
		before := len(c.ReadAll("t"))
		time.Sleep(5 * time.Second)
		require.Greater(t, len(c.ReadAll("t")), before, "the cluster goes on")
		c.Restart(1)
		c.AwaitISR("t", 0, 3)
		for id := int32(1); id <= 3; id++ {
			c.Crash(id)
		}
		c.RestartAll()
		c.AwaitISR("t", 0, 3)
		assert.Equal(t, []int32{1, 2, 3}, newest(c).Voters)
		time.Sleep(time.Second)
		intact(t, c, l, "t")
	})
}

// One voter becomes three, three become three others, and three become one, each by one change, while records are produced.
func TestVotersChangeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Seed: 1})
		c.CreateTopic("t", 1, 1)
		for range 5 {
			c.Prospect()
		}
		l := startLoad(t, c, "t")
		for id := int32(2); id <= 6; id++ {
			c.Restart(id)
		}
		for _, voters := range [][]int32{{1, 2, 3}, {4, 5, 6}, {5}, {1, 2, 3}} {
			changeVoters(t, c, voters...)
		}
		time.Sleep(10 * time.Second)
		intact(t, c, l, "t")
	})
}

// Three nodes become five, the three that founded the cluster move their replicas away and go; the two that are left, and a third that comes, start again without them.
func TestFoundersGo(t *testing.T) {
	for seed := range few(3, 1) {
		synctest.Test(t, func(t *testing.T) {
			c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: seed})
			c.CreateTopic("t", 1, 3)
			l := startLoad(t, c, "t")
			for id := int32(4); id <= 5; id++ {
				require.Equal(t, id, c.Join())
				addVoter(t, c, id)
			}
			require.Equal(t, []int32{1, 2, 3, 4, 5}, newest(c).Voters)
			admin := cluster.NewAdmin(c.Client())
			err := admin.RemoveNode(t.Context(), 1)
			require.ErrorIs(t, err, kerr.InvalidRequest, "it has a replica")
			require.Contains(t, newest(c).Voters, int32(1), "and keeps its vote")

			require.Equal(t, int32(6), c.Join())
			addVoter(t, c, 6)
			reassign(t, c, "t", 4, 5, 6)
			for id := int32(1); id <= 3; id++ {
				removeNode(t, c, id)
				select {
				case <-c.Node(id).Done():
				case <-time.After(time.Minute):
					t.Fatalf("node %d does not notice that it was removed", id)
				}
				require.ErrorIs(t, c.Node(id).Err(), cluster.ErrRemoved)
				c.Adopt(id, nil)
			}
			s := newest(c)
			assert.Equal(t, [][]int32{{4, 5, 6}, nil}, [][]int32{s.Voters, s.Observers})
			require.Len(t, s.Brokers, 3)

			time.Sleep(time.Second)
			for id := int32(4); id <= 6; id++ {
				c.Crash(id)
			}
			start := make(chan error, 3)
			for id := int32(4); id <= 6; id++ {
				run := c.Prepare(id)
				go func() {
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					defer cancel()
					n, err := run(ctx)
					c.Adopt(id, n)
					start <- err
				}()
			}
			for range 3 {
				require.NoError(t, <-start)
			}
			c.AwaitISR("t", 0, 3)
			time.Sleep(time.Second)
			intact(t, c, l, "t")

			// One of those that went is started again: nobody lets it in unasked.
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err = c.Prepare(2)(ctx)
			require.ErrorIs(t, err, cluster.ErrRemoved)
		})
	}
}

// At whatever moment a node dies while another joins and gets its vote, the newcomer, the active controller or all of them at once: it goes on when they are back, and nothing acknowledged is lost.
func TestMembershipThroughCrashes(t *testing.T) {
	for seed := range few(16, 4) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 6))
			nodes := 1 + int(seed%2)*2
			c := clustertest.New(t, clustertest.Config{Nodes: nodes, Seed: seed})
			c.CreateTopic("t", 1, int16(nodes))
			l := startLoad(t, c, "t")
			newcomer := c.Prospect()
			added := make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			client := c.Client()
			go func() { // an operator who tries until it is done
				defer close(added)
				for ctx.Err() == nil {
					ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
					err := cluster.NewAdmin(client).AddVoter(ctx, newcomer)
					cancel()
					if err == nil || asKafka(err, kerr.DuplicateVoter) {
						return
					}
					time.Sleep(100 * time.Millisecond)
				}
			}()
			up := func(id int32) {
				if c.Node(id) != nil {
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				if n, err := c.Prepare(id)(ctx); err == nil {
					c.Adopt(id, n)
				}
			}
			up(newcomer)
			for range 4 {
				time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
				switch rng.IntN(4) {
				case 0:
					c.Crash(newcomer)
				case 1:
					if id := newest(c).Controller; id > 0 {
						c.Crash(id)
					}
				case 2:
					for id := int32(1); id <= newcomer; id++ {
						c.Crash(id)
					}
				case 3:
					c.CrashTorn(rng.Int32N(newcomer) + 1)
				}
				time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
				c.RestartAll()
			}
			select {
			case <-added:
			case <-time.After(5 * time.Minute):
				t.Fatalf("seed %d: not added: %v", seed, newest(c))
			}
			c.Await("everybody votes", func() bool { return len(newest(c).Voters) == nodes+1 })
			time.Sleep(time.Second)
			intact(t, c, l, "t")
		})
	}
}

// A node whose disk was replaced is somebody else: it is let in under its id when the old one was removed.
func TestWipedMemberJoinsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3})
		id := c.Join()
		addVoter(t, c, id)
		c.Crash(id)
		c.Replace(id, clustertest.NewDisk())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.Prepare(id)(ctx)
		require.ErrorIs(t, err, kerr.DuplicateVoter)
		removeNode(t, c, id)
		c.Restart(id)
		addVoter(t, c, id)
		assert.Equal(t, []int32{1, 2, 3, 4}, newest(c).Voters)
	})
}

// A node that is cut off, or down, while it is removed finds out when it hears of the others again, whoever leads them by then; and nobody is disturbed.
func TestRemovedNodeNotices(t *testing.T) {
	for _, voter := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 4})
			id := c.Join()
			if voter {
				addVoter(t, c, id)
			}
			c.CreateTopic("t", 1, 3)
			reassign(t, c, "t", 1, 2, 3)
			for _, topic := range newest(c).Topics {
				require.False(t, slices.ContainsFunc(topic.Partitions, func(p cluster.PartitionStatus) bool { return slices.Contains(p.Replicas, id) }), topic.Name)
			}
			c.Isolate(id)
			time.Sleep(15 * time.Second)
			removeNode(t, c, id)
			old := newest(c).Controller
			c.Stop(old) // whom the removed node believes to lead
			c.Restart(old)
			c.Await("there is a controller", func() bool { return newest(c).Controller > 0 })
			before := newest(c)
			time.Sleep(time.Minute)
			require.NoError(t, c.Node(id).Err(), "nobody has told it")
			c.Heal()
			select {
			case <-c.Node(id).Done():
			case <-time.After(2 * time.Minute):
				t.Fatalf("it does not notice: %v", c.Node(id).Status())
			}
			require.ErrorIs(t, c.Node(id).Err(), cluster.ErrRemoved)
			c.Adopt(id, nil)
			after := newest(c)
			assert.Equal(t, []any{before.Controller, before.Term}, []any{after.Controller, after.Term}, "nobody was disturbed")
			assert.Equal(t, []int32{1, 2, 3}, after.Voters)

			require.Equal(t, []int32(nil), after.Observers)
			c.Restart(id) // it is started with addresses to join through
			assert.Equal(t, []int32{id}, newest(c).Observers)
		})
	}
}

// Nodes of a cluster with authentication let in whom they know by the nodes' secret, and nobody else.
func TestJoinNeedsTheSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := "a secret that nodes share among themselves"
		c := clustertest.New(t, clustertest.Config{Node: func(n *cluster.Config) {
			n.Security = &cluster.Security{SASL: []string{cluster.SASLScramSHA256}, PeerSecret: secret}
		}})
		id := c.Join()
		require.NoError(t, cluster.NewAdmin(c.Node(1).Client()).AddVoter(t.Context(), id))
		assert.Equal(t, []int32{1, 2}, newest(c).Voters)

		secret = "another secret, of somebody from outside"
		stranger := c.Prospect()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := c.Prepare(stranger)(ctx)
		require.Error(t, err)
		assert.Empty(t, newest(c).Observers)
		assert.Len(t, newest(c).Brokers, 2)
	})
}

// Operators and failures at random: nodes join, get votes and lose them, replicas move, nodes are removed, crash and are cut off, all of them lose power; nothing acknowledged is lost, and in the end
// everybody agrees on who belongs to the cluster.
func TestMembershipAtRandom(t *testing.T) {
	for seed := range few(3, 1) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 8))
			c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: seed})
			const nodes = 6
			for range nodes - 3 {
				c.Prospect()
			}
			c.CreateTopic("t", 1, 3)
			l := startLoad(t, c, "t")
			client := c.Client()
			admin := cluster.NewAdmin(client)
			try := func(call func(context.Context) error) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(4000))*time.Millisecond)
				defer cancel()
				_ = call(ctx)
			}
			gone := map[int32]bool{} // founders that were removed: they have nobody to ask
			up := func(id int32) {
				if n := c.Node(id); n != nil {
					select {
					case <-n.Done():
						require.ErrorIs(t, n.Err(), cluster.ErrRemoved, "seed %d, node %d", seed, id)
						c.Adopt(id, nil)
					default:
						return
					}
				}
				if gone[id] {
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				n, err := c.Prepare(id)(ctx)
				if err == nil {
					c.Adopt(id, n)
				}
				if asKafka(err, cluster.ErrRemoved) {
					require.LessOrEqual(t, id, int32(3), "seed %d", seed)
					gone[id] = true
				}
			}
			all := func() { // side by side: none of them is ready alone
				done := make(chan struct{}, nodes)
				for id := int32(1); id <= nodes; id++ {
					if n := c.Node(id); n == nil && !gone[id] {
						run := c.Prepare(id)
						go func() {
							defer func() { done <- struct{}{} }()
							ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
							defer cancel()
							if n, err := run(ctx); err == nil {
								c.Adopt(id, n)
							}
						}()
					} else {
						done <- struct{}{}
					}
				}
				for range nodes {
					<-done
				}
			}
			for range few(40, 20) {
				id := rng.Int32N(nodes) + 1
				switch rng.IntN(10) {
				case 0, 1:
					up(id)
				case 2, 3:
					try(func(ctx context.Context) error { return admin.AddVoter(ctx, id) })
				case 4:
					try(func(ctx context.Context) error { return admin.RemoveVoter(ctx, id) })
				case 5:
					try(func(ctx context.Context) error { return admin.RemoveNode(ctx, id) })
				case 6:
					to := rng.Perm(nodes)[:3]
					try(func(ctx context.Context) error {
						return admin.Reassign(ctx, map[cluster.TopicPartition][]int32{{Topic: "t"}: {int32(to[0]) + 1, int32(to[1]) + 1, int32(to[2]) + 1}})
					})
				case 7:
					switch rng.IntN(3) {
					case 0:
						c.CrashTorn(id)
					case 1:
						c.Crash(id)
					case 2:
						for id := int32(1); id <= nodes; id++ {
							c.Crash(id)
						}
						all()
					}
				case 8:
					c.Isolate(id)
					time.Sleep(time.Duration(rng.IntN(20_000)) * time.Millisecond)
					c.Heal()
				case 9:
					time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
				}
			}
			c.Heal()
			for range 10 {
				all()
				for id := int32(1); id <= nodes; id++ {
					up(id)
				}
				time.Sleep(5 * time.Second)
			}
			c.Await("everybody has the same members, and replicas in sync", func() bool {
				s := newest(c)
				ts, _ := s.Topic("t")
				for _, id := range slices.Concat(s.Voters, s.Observers) {
					n := c.Node(id)
					if n == nil {
						return false
					}
					if o := n.Status(); !slices.Equal(o.Voters, s.Voters) || !slices.Equal(o.Observers, s.Observers) {
						return false
					}
				}
				return len(ts.Partitions) == 1 && len(ts.Partitions[0].ISR) == len(ts.Partitions[0].Replicas)
			})
			time.Sleep(time.Second)
			s := newest(c)
			t.Logf("seed %d: voters %v, observers %v, removed founders %d, metadata %d", seed, s.Voters, s.Observers, len(gone), s.Metadata)
			intact(t, c, l, "t")
		})
	}
}

// A node that joined and comes back at another address is found there, though all others know the old one.
func TestJoinedNodeMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Node: tight})
		id := c.Join()
		c.CreateTopic("t", 1, 4)
		c.Kill(id)
		c.Move(id, "node4:9999")
		c.Restart(id)
		c.AwaitISR("t", 0, 4)
		s := c.Node(1).Status()
		for _, b := range s.Brokers {
			if b.ID == id {
				require.Equal(t, "node4:9999", b.Addr)
			}
		}
	})
}
