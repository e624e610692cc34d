package clustertest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/vfs"
)

// rotCluster is three nodes with a topic of some segments, all sealed but the active ones.
func rotCluster(t *testing.T, seed uint64) *Cluster {
	c := New(t, Config{Nodes: 3, Seed: seed, Node: func(c *cluster.Config) {
		c.Topic.MinInSyncReplicas, c.Topic.SegmentBytes = 2, 1<<20
		c.ScrubInterval, c.ScrubRate = time.Minute, -1
	}})
	c.CreateTopic("t", 1, 3)
	c.AwaitISR("t", 0, 3)
	for i := range 30 {
		c.Produce("t", []byte(fmt.Sprintf("%04d %s", i, strings.Repeat("x", 90_000))))
	}
	time.Sleep(3 * time.Minute) // scrubs have sealed
	return c
}

func filesOf(t *testing.T, disk *vfs.Mem, dir string) (names []string) {
	list, err := disk.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range list {
		if !e.IsDir() {
			names = append(names, dir+"/"+e.Name())
		}
	}
	slices.Sort(names)
	return names
}

func fileBytes(t *testing.T, disk *vfs.Mem, name string) []byte {
	h, err := disk.Open(name, vfs.ReadOnly)
	require.NoError(t, err)
	defer h.Close()
	size, err := h.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	if size > 0 {
		_, err = h.ReadAt(b, 0)
		require.NoError(t, err)
	}
	return b
}

// checkRead reads the topic and expects everything that was sent, in order.
func (c *Cluster) checkRead(t *testing.T, n int) {
	all := c.ReadAll("t")
	require.Len(t, all, n)
	for i, r := range all {
		require.Equal(t, fmt.Sprintf("%04d", i), string(r.Value[:4]))
		require.Equal(t, int64(i), r.Offset)
	}
}

// settled waits until nothing is damaged on a node.
func (c *Cluster) settled(id int32) {
	c.Await("everything is mended", func() bool {
		s := c.Node(id).Status()
		for _, r := range s.Repairs {
			if r.Mended.IsZero() {
				return false
			}
		}
		return true
	})
}

// TestFault_F13_RotOfOneReplicaIsMendedFromOthers flips a byte of a partition's files on one of three nodes while they run, the leader's among them: a scrub finds it, another node has good bytes, and consumers
// read what was sent, all the time.
func TestFault_F13_RotOfOneReplicaIsMendedFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := rotCluster(t, 5)
		rng := rand.New(rand.NewPCG(1, 5))
		kinds := map[string]int{}
		for id := int32(1); id <= 3; id++ {
			disk := c.Disk(id)
			files := filesOf(t, disk, "data/t-0")
			active := ""
			for _, name := range files {
				if base, ok := strings.CutSuffix(name, ".log"); ok {
					active = base
				}
			}
			for _, name := range files {
				if strings.HasPrefix(name, active) && strings.HasSuffix(name, "index") {
					continue // look-ups believe only what the batches confirm, and a scrub looks at it once it is rolled
				}
				b := fileBytes(t, disk, name)
				b = bytes.TrimRight(b, "\x00") // blocks written ahead mean nothing
				if len(b) == 0 {
					continue
				}
				suffix := name[strings.LastIndexByte(name, '.')+1:]
				kinds[suffix]++
				if kinds[suffix] > 4 && suffix != "log" {
					continue
				}
				before := len(c.Node(id).Status().Repairs)
				at, mask := rng.Int64N(int64(len(b))), byte(1+rng.IntN(255))
				require.NoError(t, disk.Corrupt(name, at, mask))
				c.checkRead(t, 30)
				c.Node(id).Scrub()
				c.Await(fmt.Sprintf("node %d found byte %d of %s", id, at, name), func() bool { return len(c.Node(id).Status().Repairs) > before })
				c.settled(id)
				c.checkRead(t, 30)
				if now := fileBytes(t, disk, name); suffix == "log" {
					assert.Equal(t, b, now[:len(b)], name)
				}
				if t.Failed() {
					t.Log(c.Node(id).Status())
					return
				}
			}
		}
		for _, kind := range []string{"log", "timeindex", "seal", "snapshot", "metadata"} {
			assert.Positive(t, kinds[kind], kind)
		}
		c.Produce("t", []byte("0030"))
		c.checkRead(t, 31)
		c.AwaitISR("t", 0, 3)
	})
}

// TestFault_F10_ReadErrorsAreMendedFromOthers has a disk give no bytes of a segment: the replica does not go offline, and writes the segment anew.
func TestFault_F10_ReadErrorsAreMendedFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := rotCluster(t, 6)
		leader := c.Leader("t", 0)
		disk := c.Disk(leader)
		name := "/data/t-0/00000000000000000000.log"
		bad := true
		disk.SetFault(func(op vfs.Op) error {
			if bad && op.Kind == vfs.OpRead && op.Name == name {
				return syscall.EIO
			}
			if op.Kind == vfs.OpRename && strings.HasPrefix(op.Name, name) {
				bad = false // other blocks
			}
			return nil
		})
		c.checkRead(t, 30)
		c.settled(leader)
		s := c.Node(leader).Status()
		require.NotEmpty(t, s.Repairs)
		c.checkRead(t, 30)
	})
}
