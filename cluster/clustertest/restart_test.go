package clustertest_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// guesses counts the elections of leaders that may lack acknowledged records, as the nodes log them.
type guesses struct{ n atomic.Int64 }

func (g *guesses) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (g *guesses) WithAttrs([]slog.Attr) slog.Handler           { return g }
func (g *guesses) WithGroup(string) slog.Handler                { return g }

func (g *guesses) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "unclean leader election") {
		g.n.Add(1)
	}
	return nil
}

// startInOrder starts nodes that are down, so far apart, and returns when all are ready: none may be before a majority runs.
func startInOrder(t *testing.T, c *clustertest.Cluster, order []int32, apart time.Duration) {
	t.Helper()
	var wg sync.WaitGroup
	nodes, errs := make([]*cluster.Node, len(order)), make([]error, len(order))
	for i, id := range order {
		start := c.Prepare(id)
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			nodes[i], errs[i] = start(ctx)
		})
		time.Sleep(apart)
	}
	wg.Wait()
	for i, id := range order {
		require.NoError(t, errs[i])
		c.Adopt(id, nodes[i])
	}
}

// epochs are the leader epochs of a topic's partitions.
func epochs(t *testing.T, c *clustertest.Cluster, topic string) (list []int32) {
	t.Helper()
	s := c.Any().Status()
	ts, ok := s.Topic(topic)
	require.True(t, ok)
	for _, p := range ts.Partitions {
		list = append(list, p.LeaderEpoch)
	}
	return list
}

// All nodes crash, with everything that was written or without what was not synced, and start in any order: nobody has to be elected who may lack records, all come back into the ISR, and no life
// leads in an epoch of an earlier one.
func TestTotalCrashNeedsNoUncleanElection(t *testing.T) {
	for name, down := range map[string]func(*clustertest.Cluster, int32){
		"kill": (*clustertest.Cluster).Kill, "power loss": (*clustertest.Cluster).Crash, "torn": (*clustertest.Cluster).CrashTorn,
	} {
		for i, order := range [][]int32{{1, 2, 3}, {1, 3, 2}, {2, 1, 3}, {2, 3, 1}, {3, 1, 2}, {3, 2, 1}} {
			apart := []time.Duration{0, 100 * time.Millisecond, 15 * time.Second}[i%3] // the last is beyond a session
			t.Run(fmt.Sprintf("%s, %v every %v", name, order, apart), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var g guesses
					c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: uint64(i), Node: func(c *cluster.Config) { c.Logger = slog.New(&g) }})
					c.CreateTopic("t", 3, 3)
					c.CreateTopic("one", 3, 1)
					want := map[string][]string{}
					for round := range 3 {
						before := map[string][]int32{}
						for _, topic := range []string{"t", "one"} {
							for n := range 10 {
								v := fmt.Sprint(round, n)
								c.Produce(topic, []byte(v))
								want[topic] = append(want[topic], v)
							}
							before[topic] = epochs(t, c, topic)
						}
						for _, id := range order {
							down(c, id)
						}
						startInOrder(t, c, order, apart)
						for p := range int32(3) {
							c.AwaitISR("t", p, 3)
							c.AwaitISR("one", p, 1)
						}
						for topic, old := range before {
							for p, e := range epochs(t, c, topic) {
								assert.Greater(t, e, old[p], "%s-%d is led in a new epoch", topic, p)
							}
							require.ElementsMatch(t, want[topic], values(c, topic))
						}
					}
					assert.Zero(t, g.n.Load(), "unclean elections")
				})
			})
		}
	}
}

// The only replica of a partition comes back by itself, unless it may lack what it acknowledged: then the election says so.
func TestRestartOfOnlyReplica(t *testing.T) {
	for _, tc := range []struct {
		name    string
		relaxed bool
		down    func(*clustertest.Cluster, int32)
		guess   bool
	}{
		{"synced, kill", false, (*clustertest.Cluster).Kill, false},
		{"synced, power loss", false, (*clustertest.Cluster).Crash, false},
		{"synced, torn", false, (*clustertest.Cluster).CrashTorn, false},
		{"synced, stop", false, (*clustertest.Cluster).Stop, false},
		{"relaxed, kill", true, (*clustertest.Cluster).Kill, false},
		{"relaxed, power loss", true, (*clustertest.Cluster).Crash, true},
		{"relaxed, torn", true, (*clustertest.Cluster).CrashTorn, true},
		{"relaxed, stop", true, (*clustertest.Cluster).Stop, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g guesses
				c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 7, Node: func(c *cluster.Config) {
					c.Logger = slog.New(&g)
					if tc.relaxed {
						c.Topic.FlushMessages = -1
					}
				}})
				c.CreateTopic("one", 1, 1)
				c.Produce("one", []byte("a"), []byte("b"))
				id := c.Leader("one", 0)
				tc.down(c, id)
				time.Sleep(20 * time.Second) // a session ends, so that there is no leader
				c.Restart(id)
				c.AwaitISR("one", 0, 1)
				assert.Equal(t, tc.guess, g.n.Load() > 0, "unclean elections: %d", g.n.Load())
				if !tc.guess {
					assert.Equal(t, []string{"a", "b"}, values(c, "one"))
				}
			})
		})
	}
}

// A log that is shorter than it must be shows only when it is opened, after the registration vouched for it: the node takes that back before it could lead, and the
// others mend the log.
func TestRestartWithDamagedLog(t *testing.T) {
	for _, how := range []struct {
		name string
		down func(*clustertest.Cluster, int32)
	}{{"kill", (*clustertest.Cluster).Kill}, {"stop", (*clustertest.Cluster).Stop}} {
		t.Run(how.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g guesses
				c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 9, Node: func(c *cluster.Config) { c.Logger = slog.New(&g) }})
				c.CreateTopic("t", 1, 3)
				want := []string{"a", "b", "c"}
				for _, v := range want {
					c.Produce("t", []byte(v))
				}
				time.Sleep(20 * time.Second) // beyond a checkpoint
				victim := c.Leader("t", 0)
				behind := victim%3 + 1
				last := behind%3 + 1
				c.Kill(behind)
				c.AwaitISR("t", 0, 2)
				how.down(c, victim)
				c.Kill(last)
				const name = "data/t-0/00000000000000000000.log"
				f, err := c.Disk(victim).Open(name, vfs.ReadWrite)
				require.NoError(t, err)
				require.NoError(t, f.Truncate(0))
				require.NoError(t, f.Close())
				// The victim would be elected as soon as the session of the last one ends.
				startInOrder(t, c, []int32{victim, behind, last}, 15*time.Second)
				c.AwaitISR("t", 0, 3)
				assert.NotEqual(t, victim, c.Leader("t", 0))
				for _, r := range c.Node(victim).Status().Repairs {
					assert.False(t, r.Mended.IsZero(), "%v", r)
				}
				assert.Equal(t, want, values(c, "t"))
				assert.Zero(t, g.n.Load(), "unclean elections")
			})
		})
	}
}
