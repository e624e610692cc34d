package clustertest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/vfs"
)

// identity are the files that cannot be made up again: a node that cannot read them stops, and says which it is. Of these the metadata log and its checkpoints could be had from others, but a voter must not
// forget what it has promised.
var identity = []string{"/meta.properties", "/quorum-state", "__cluster_metadata-0/"}

func isIdentity(name string) bool {
	for _, s := range identity {
		if strings.Contains(name, s) {
			return true
		}
	}
	return false
}

// TestFault_F14_DamageIsMendedAtTheNextStart damages each file of one node of three while that node is down: a byte, the end, all of it. The node starts, and with it everything is back, without anybody having
// done anything; or, F15, it is one of the files that say who the node is and what it voted for, and the node says so and does not start. The others go on in any case, and nobody reads anything wrong.
func TestFault_F14_DamageIsMendedAtTheNextStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := rotCluster(t, 7)
		rng := rand.New(rand.NewPCG(2, 7))
		const id = 2
		m := c.member(id)
		sent := 30
		started, refused := map[string]int{}, map[string]int{}
		var names []string
		for _, dir := range []string{"data", "data/t-0", "data/__cluster_metadata-0"} {
			names = append(names, filesOf(t, m.disk, dir)...)
		}
		for _, name := range names {
			for _, what := range []string{"flipped", "cut", "removed"} {
				if strings.HasSuffix(name, ".lock") {
					continue
				}
				c.Stop(id)
				before := m.disk.Clone()
				if _, err := m.disk.Stat(name); err != nil {
					c.Restart(id) // it went meanwhile
					continue
				}
				size := int64(len(fileBytes(t, m.disk, name)))
				if what != "removed" && size == 0 {
					c.Restart(id)
					continue
				}
				switch what {
				case "flipped":
					require.NoError(t, m.disk.Corrupt(name, rng.Int64N(size), byte(1+rng.IntN(255))))
				case "cut":
					h, err := m.disk.Open(name, vfs.ReadWrite)
					require.NoError(t, err)
					require.NoError(t, h.Truncate(size/2))
					require.NoError(t, h.Close())
				case "removed":
					require.NoError(t, m.disk.Remove(name))
				}
				c.Produce("t", []byte(fmt.Sprintf("%04d", sent))) // the others go on
				sent++
				kind := name[strings.LastIndexAny(name, "./")+1:]
				if err := c.start(m); err != nil {
					require.True(t, isIdentity(name), "%s %s: %v", name, what, err)
					require.ErrorContains(t, err, "data", "which file it is")
					refused[kind]++
					m.node, m.disk = nil, before
					c.Restart(id)
				} else {
					started[kind]++
				}
				c.AwaitISR("t", 0, 3)
				c.Node(id).Scrub()
				time.Sleep(2 * time.Second)
				c.settled(id)
				c.checkRead(t, sent)
				if t.Failed() {
					t.Log(name, what)
					return
				}
			}
		}
		t.Log("started:", started)
		t.Log("refused:", refused)
		for _, kind := range []string{"log", "index", "timeindex", "seal", "snapshot", "leader-epoch-checkpoint", "metadata", "replication-offset-checkpoint", "recovery-point-offset-checkpoint"} {
			require.Positive(t, started[kind], kind)
		}
		for _, kind := range []string{"properties", "quorum-state"} {
			require.Positive(t, refused[kind], kind)
		}
		// What leads now is what was mended.
		c.Stop(1)
		c.Stop(3)
		c.RestartAll()
		c.AwaitISR("t", 0, 3)
		c.checkRead(t, sent)
	})
}

// TestFault_F15_AVoterWithDamageStops damages what one voter of three has promised and knows: it stops voting, by not starting, and names the file; the quorum goes on without it, and nothing is deleted. With
// the bytes back it is a member as before.
func TestFault_F15_AVoterWithDamageStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := rotCluster(t, 8)
		rng := rand.New(rand.NewPCG(3, 8))
		const id = 3
		m := c.member(id)
		n := 0
		for _, name := range filesOf(t, m.disk, "data/__cluster_metadata-0") {
			if !strings.HasSuffix(name, "quorum-state") && !strings.HasSuffix(name, ".log") {
				continue
			}
			for range 10 {
				c.Stop(id)
				before := m.disk.Clone()
				size := int64(len(fileBytes(t, m.disk, name)))
				require.NoError(t, m.disk.Corrupt(name, rng.Int64N(size), byte(1+rng.IntN(255))))
				err := c.start(m)
				n++
				// The quorum decides. A client of the test's may take the node that has just gone for the controller.
				require.NoError(t, cluster.NewAdmin(c.Node(1).Client()).CreateTopic(t.Context(), cluster.TopicSpec{Name: fmt.Sprintf("after-%d", n), Partitions: 1, ReplicationFactor: 2}))
				if err != nil {
					require.ErrorContains(t, err, "__cluster_metadata-0")
					m.node, m.disk = nil, before
					c.Restart(id)
				} else {
					// Bytes that no check covers and no reader needs: what the node knows is what the others know.
					t.Log("started with a damaged", name)
				}
				c.Await("the node knows all topics", func() bool {
					s := c.Node(id).Status()
					return len(s.Topics) == n+1
				})
				c.AwaitISR("t", 0, 3)
			}
		}
		c.checkRead(t, 30)
	})
}
