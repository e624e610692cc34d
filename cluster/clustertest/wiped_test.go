package clustertest_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func wipe(c *clustertest.Cluster, id int32) {
	c.Crash(id)
	c.Replace(id, vfs.NewMem())
}

func awaitVoters(c *clustertest.Cluster, want ...int32) {
	c.Await("everybody votes", func() bool {
		for _, id := range want {
			if s := c.Node(id).Status(); !slices.Equal(s.Voters, want) || len(s.Observers) > 0 {
				return false
			}
		}
		return true
	})
}

// A voter whose disk was wiped has forgotten what it voted for and what it confirmed. It comes back as somebody new: without the vote of its id, until it has caught up.
func TestFault_F17_WipedVoterComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Node: tight})
		c.CreateTopic("t", 1, 3)
		c.Produce("t", []byte("a"))
		for _, id := range []int32{3, 1, 2, c.Any().Status().Controller} {
			wipe(c, id)
			c.Produce("t", []byte("b"))
			c.Restart(id)
			awaitVoters(c, 1, 2, 3)
			c.AwaitISR("t", 0, 3)
		}
		assert.Equal(t, []string{"a", "b", "b", "b", "b"}, values(c, "t"))
		// Its vote counts: it and one other are a majority.
		c.Kill(1)
		c.Produce("t", []byte("c"))
		c.Restart(1)
		for id := range int32(3) {
			c.Crash(id + 1)
		}
		c.RestartAll()
		c.AwaitISR("t", 0, 3)
		assert.Len(t, values(c, "t"), 6)
	})
}

// Two of three that lost their disks are more than is promised. They do not found a cluster of their own beside the one that has the data: they wait, and say for whom.
func TestTwoWipedFounders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Node: tight})
		c.CreateTopic("t", 1, 3)
		c.Produce("t", []byte("a"))
		c.Kill(1)
		wipe(c, 2)
		wipe(c, 3)
		errs := make(chan error, 2)
		for _, id := range []int32{2, 3} {
			start := c.Prepare(id)
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := start(ctx)
				errs <- err
			}()
		}
		for range 2 {
			err := <-errs
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Contains(t, err.Error(), "no word from nodes [1]")
		}
	})
}

// A founder that comes late finds a cluster that the others have founded, and takes part.
func TestLateFounder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Node: func(c *cluster.Config) { tight(c) }})
		wipe(c, 2) // it has hardly begun
		c.Restart(2)
		awaitVoters(c, 1, 2, 3)
	})
}
