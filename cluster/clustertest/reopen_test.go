package clustertest_test

import (
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/stretchr/testify/require"
)

// offlines counts what nodes told of logs that ended.
type offlines struct {
	mu sync.Mutex
	of map[int32]int
}

func (o *offlines) note(id int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.of[id]++
}

func (o *offlines) count(id int32) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.of[id]
}

// failOnce has the next operation of a kind on a partition's log fail.
func failOnce(c *clustertest.Cluster, id int32, partition string, kind vfs.OpKind, err error) {
	var once sync.Once
	c.Disk(id).SetFault(func(op vfs.Op) (bad error) {
		if op.Kind == kind && strings.Contains(op.Name, "/"+partition+"/") && strings.HasSuffix(op.Name, ".log") {
			once.Do(func() { bad = err })
		}
		return bad
	})
}

// A log that a failed sync, or write, has ended comes back by itself, as the node's lossy restart would have it, without one: it follows, is in sync again after a minute or two, and all that was acknowledged is there when all lose their power.
func TestEndedLogsComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		off := &offlines{of: map[int32]int{}}
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 21, Node: func(n *cluster.Config) {
			id := n.NodeID
			n.Events.ReplicaOffline = func(cluster.ReplicaError) { off.note(id) }
			n.Events.Stopped = func(err error) { t.Errorf("node %d stopped: %v", id, err) }
		}})
		c.CreateTopic("t", 1, 3)
		c.CreateTopic("others", 6, 3)
		acked := map[string]map[string]int{"t": {}, "others": {}}
		for i, of := range []struct {
			leader bool
			kind   vfs.OpKind
			err    error
		}{{true, vfs.OpSync, syscall.EIO}, {false, vfs.OpSync, syscall.ENOSPC}, {true, vfs.OpWrite, syscall.EIO}, {false, vfs.OpWrite, syscall.EIO}} {
			loads := map[string]*spaceLoad{"t": produceLoad(t, c, "t"), "others": produceLoad(t, c, "others")}
			progress := func(what string) {
				t.Helper()
				from := loads["t"].count()
				c.Await(what, func() bool { return loads["t"].count() > from+5 })
			}
			progress("the load")
			leader := c.Leader("t", 0)
			id := leader
			if !of.leader {
				id = leader%3 + 1
			}
			before := off.count(id)
			failOnce(c, id, "t-0", of.kind, of.err)
			c.Await("the log ends", func() bool { return off.count(id) == before+1 })
			c.AwaitISR("t", 0, 2)
			progress("two go on")
			time.Sleep(20 * time.Second)
			require.NotEqual(t, id, c.Leader("t", 0))
			for topic, l := range loads {
				l.stop()
				for _, key := range l.acked {
					acked[topic][key]++
				}
			}
			c.AwaitISR("t", 0, 2)
			time.Sleep(time.Minute << i) // the pause doubles each time, for they come so soon
			c.AwaitISR("t", 0, 3)
			for p := range int32(6) {
				c.AwaitISR("others", p, 3)
			}
			require.Equal(t, before+1, off.count(id))
			for _, r := range c.Node(id).Status().Replicas {
				require.NoError(t, r.Err)
			}
		}
		for id := int32(1); id <= 3; id++ {
			c.Crash(id)
		}
		c.RestartAll()
		for topic, keys := range acked {
			have := map[string]int{}
			for _, r := range c.ReadAll(topic) {
				have[string(r.Key)]++
			}
			for key, n := range keys {
				require.GreaterOrEqual(t, have[key], n, "%s of %s was acknowledged, and is lost", key, topic)
			}
		}
	})
}

// The only replica comes back, too, with all that it has, and says from where on it may lack something.
func TestOnlyReplicaComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		off := &offlines{of: map[int32]int{}}
		losses := make(chan cluster.Loss, 10)
		c := clustertest.New(t, clustertest.Config{Nodes: 1, Seed: 22, Node: func(n *cluster.Config) {
			n.Events.ReplicaOffline = func(cluster.ReplicaError) { off.note(1) }
			n.Events.PossibleLoss = func(l cluster.Loss) { losses <- l }
		}})
		c.CreateTopic("t", 1, 1)
		c.Produce("t", []byte("a"), []byte("b"))
		failOnce(c, 1, "t-0", vfs.OpSync, syscall.EIO)
		l := produceLoad(t, c, "t")
		c.Await("the log ends", func() bool { return off.count(1) == 1 })
		require.Error(t, c.Node(1).Status().Replicas[0].Err)
		time.Sleep(90 * time.Second)
		from := l.count()
		c.Await("the load goes on", func() bool { return l.count() > from+5 })
		l.stop()
		loss := <-losses
		require.Equal(t, "t", loss.Topic)
		c.Crash(1)
		c.Restart(1)
		records := c.ReadAll("t")
		require.Equal(t, "a", string(records[0].Value))
		require.Equal(t, "b", string(records[1].Value))
		have := map[string]bool{}
		for _, r := range records {
			have[string(r.Key)] = true
		}
		for _, key := range l.acked {
			require.True(t, have[key], key)
		}
	})
}

// A disk that stays bad is tried less and less often, and nobody but its node notices; when it is good its logs come back.
func TestBadDiskIsTriedLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		off := &offlines{of: map[int32]int{}}
		var mu sync.Mutex
		changes := 0
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 23, Node: func(n *cluster.Config) {
			id := n.NodeID
			n.Events.ReplicaOffline = func(cluster.ReplicaError) { off.note(id) }
			n.Events.ISRChanged = func(cluster.ISRChange) {
				mu.Lock()
				defer mu.Unlock()
				changes++
			}
		}})
		c.CreateTopic("t", 1, 3)
		c.Produce("t", []byte("a"))
		bad := c.Leader("t", 0)
		c.Disk(bad).SetFault(func(op vfs.Op) error {
			if op.Kind.Changes() && strings.Contains(op.Name, "/t-0/") {
				return syscall.EIO
			}
			return nil
		})
		c.Produce("t", []byte("b"))
		c.AwaitISR("t", 0, 2)
		c.Produce("t", []byte("c"))
		mu.Lock()
		before := changes
		mu.Unlock()
		began := time.Now()
		var tries []time.Duration
		for seen := off.count(bad); time.Since(began) < 2*time.Hour; time.Sleep(time.Second) {
			if n := off.count(bad); n > seen {
				seen = n
				tries = append(tries, time.Since(began).Round(time.Minute))
			}
		}
		require.Equal(t, []time.Duration{time.Minute, 3 * time.Minute, 7 * time.Minute, 15 * time.Minute, 31 * time.Minute, 63 * time.Minute}, tries)
		mu.Lock()
		require.Equal(t, before, changes)
		mu.Unlock()
		c.Disk(bad).SetFault(nil)
		time.Sleep(time.Hour)
		c.AwaitISR("t", 0, 3)
		c.Produce("t", []byte("d"))
		require.Len(t, c.ReadAll("t"), 4)
	})
}
