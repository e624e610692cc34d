package clustertest_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func values(c *clustertest.Cluster, topic string) (vs []string) {
	for _, r := range c.ReadAll(topic) {
		vs = append(vs, string(r.Value))
	}
	return vs
}

// tight makes failures visible soon.
func tight(c *cluster.Config) {
	c.HeartbeatInterval, c.SessionTimeout, c.ElectionTimeout, c.ReplicaLagTime = 50*time.Millisecond, 300*time.Millisecond, 200*time.Millisecond, time.Second
}

func TestThreeNodesOutsideABubble(t *testing.T) {
	c := clustertest.New(t, clustertest.Config{Nodes: 3, Node: tight})
	c.CreateTopic("t", 3, 3)
	c.Produce("t", []byte("a"), []byte("b"))
	assert.ElementsMatch(t, []string{"a", "b"}, values(c, "t"))
}

// Whatever way a leader goes, what was acknowledged stays, once and in order, and the node comes back into the ISR.
func TestLeaderFailures(t *testing.T) {
	for _, how := range []struct {
		name string
		down func(*clustertest.Cluster, int32)
	}{
		{"stop", (*clustertest.Cluster).Stop},
		{"kill", (*clustertest.Cluster).Kill},
		{"power loss", (*clustertest.Cluster).Crash},
		{"power loss, torn", (*clustertest.Cluster).CrashTorn},
	} {
		t.Run(how.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 1})
				c.CreateTopic("t", 1, 3)
				var want []string
				for round := range 4 {
					for i := range 5 {
						v := fmt.Sprintf("%d.%d", round, i)
						c.Produce("t", []byte(v))
						want = append(want, v)
					}
					leader := c.Leader("t", 0)
					how.down(c, leader)
					v := fmt.Sprintf("%d without %d", round, leader)
					c.Produce("t", []byte(v))
					want = append(want, v)
					require.Equal(t, want, values(c, "t"))
					c.Restart(leader)
					c.AwaitISR("t", 0, 3)
				}
				require.Equal(t, want, values(c, "t"))
			})
		})
	}
}

func TestAllNodesLosePower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 2})
		c.CreateTopic("t", 1, 3)
		c.Produce("t", []byte("a"), []byte("b"), []byte("c"))
		for id := int32(1); id <= 3; id++ {
			c.Crash(id)
		}
		c.RestartAll()
		assert.Equal(t, []string{"a", "b", "c"}, values(c, "t"))
		c.Produce("t", []byte("d"))
		assert.Equal(t, []string{"a", "b", "c", "d"}, values(c, "t"))
	})
}

// A leader that is cut off cannot acknowledge; the others go on; when the link heals it follows.
func TestIsolatedLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 3})
		c.CreateTopic("t", 1, 3)
		c.Produce("t", []byte("a"))
		old := c.Leader("t", 0)
		c.Isolate(old)
		c.Produce("t", []byte("b"))
		c.Heal()
		c.AwaitISR("t", 0, 3)
		assert.NotEqual(t, old, c.Leader("t", 0))
		assert.Equal(t, []string{"a", "b"}, values(c, "t"))
	})
}
