package clustertest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startThese starts nodes side by side.
func startThese(t *testing.T, c *clustertest.Cluster, ids ...int32) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for _, id := range ids {
		start := c.Prepare(id)
		wg.Go(func() {
			n, err := start(ctx)
			assert.NoError(t, err)
			c.Adopt(id, n)
		})
	}
	wg.Wait()
}

// Power is lost everywhere, and one disk comes back as an older copy of itself, of the same life of the node. Nobody can tell that but by comparing: it is not led from it, whichever of the replicas it is, also where one of
// the others stays away.
func TestFault_F18_OlderCopyOfTheSameLife(t *testing.T) {
	for old := int32(1); old <= 3; old++ {
		for _, away := range []int32{0, 1, 2, 3} {
			if away == old {
				continue
			}
			t.Run(fmt.Sprintf("old=%d,away=%d", old, away), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: uint64(old)})
					c.CreateTopic("t", 3, 3)
					c.Produce("t", []byte("a"), []byte("b"), []byte("c"))
					copied := c.Disk(old).Clone()
					want := []string{"a", "b", "c"}
					for i := range 30 {
						want = append(want, fmt.Sprintf("later-%d", i))
						c.Produce("t", []byte(want[len(want)-1]))
					}
					for id := int32(1); id <= 3; id++ {
						c.Crash(id)
					}
					c.Replace(old, copied.Crash(vfs.DropAll, rand.New(rand.NewPCG(1, 1))))
					var back []int32
					for id := int32(1); id <= 3; id++ {
						if id != away {
							back = append(back, id)
						}
					}
					startThese(t, c, back...)
					for p := range int32(3) {
						c.AwaitISR("t", p, len(back))
					}
					assert.ElementsMatch(t, want, values(c, "t"))
					if away > 0 {
						c.Restart(away)
						c.AwaitISR("t", 0, 3)
						assert.ElementsMatch(t, want, values(c, "t"))
					}
				})
			})
		}
	}
}

// Records are acknowledged from the page cache, and power is lost everywhere. Of what is left of the three logs the longest is led from, so that nobody has anything to cut off, and that some may be lost is told, with the offset.
func TestLongestLogLeadsAfterALossOfPower(t *testing.T) {
	lost, torn := 0, 0
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			losses, truncated := map[int32]cluster.Loss{}, 0
			c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: seed, Node: func(c *cluster.Config) {
				c.Topic.FlushMessages = -1
				c.Events.PossibleLoss = func(l cluster.Loss) {
					mu.Lock()
					defer mu.Unlock()
					if l.Topic == "t" {
						losses[l.Partition] = l
					}
				}
				c.Events.Truncated = func(e cluster.Truncation) {
					mu.Lock()
					defer mu.Unlock()
					if e.Topic == "t" {
						truncated++
					}
				}
			}})
			c.CreateTopic("t", 1, 3)
			var want []string
			for i := range 40 {
				want = append(want, fmt.Sprintf("%d-%0*d", i, int(seed)*40+1, i))
				c.Produce("t", []byte(want[i]))
			}
			for id := int32(1); id <= 3; id++ {
				c.CrashTorn(id)
			}
			startThese(t, c, 1, 2, 3)
			c.AwaitISR("t", 0, 3)
			got := values(c, "t")
			require.Equal(t, want[:len(got)], got, "a prefix")
			mu.Lock()
			defer mu.Unlock()
			require.Contains(t, losses, int32(0), "the loss is told")
			assert.Equal(t, int64(len(got)), losses[0].From)
			assert.Zero(t, truncated, "replicas whose logs were cut: another one should have led")
			if len(got) < len(want) {
				lost++
			}
			if len(got) > 0 {
				torn++
			}
			recovering := func(p cluster.PartitionStatus) bool { return p.Recovering }
			assert.False(t, slices.ContainsFunc(c.Any().Status().Topics, func(s cluster.TopicStatus) bool { return slices.ContainsFunc(s.Partitions, recovering) }), "they have led since")
		})
	}
	assert.NotZero(t, lost)
	assert.NotZero(t, torn)
}
