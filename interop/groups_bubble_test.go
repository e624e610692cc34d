//go:build synctests

package interop

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
)

var seeds = flag.Int("groups.seeds", 3, "how many seeds TestFranzGroupsInABubble runs for each kind of member")

// The same with franz-go in virtual time, in an order that a seed decides: members join, leave and vanish, nodes lose power and are cut off.
func TestFranzGroupsInABubble(t *testing.T) {
	for _, k := range [][]kind{
		{franzCooperative},
		{franzRange},
		{franzRangeAuto},
		{franzNext},
		{franzNextRange},
		{franzNextAuto},
		{franzRange, franzNext, franzRange, franzNextRange, franzRange, franzNext, franzRange},
	} {
		name := k[0].name
		if len(k) > 1 {
			name = "franz-go mixed"
		}
		for seed := range uint64(*seeds) {
			t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { groupInABubble(t, name, seed, k) })
			})
		}
	}
}

func groupInABubble(t *testing.T, name string, seed uint64, kinds []kind) {
	rng := rand.New(rand.NewPCG(seed, 848))
	s := bubble{clustertest.New(t, clustertest.Config{Nodes: 3, Seed: seed, Node: func(c *cluster.Config) { c.Groups = cluster.GroupSettings{OffsetsPartitions: 1} }})}
	c := newCrew(t, s, fmt.Sprintf("%s, seed %d", name, seed), 500*time.Millisecond, kinds...)
	p := newPress(t, s, c)
	defer p.client.Close()
	began := time.Now()
	down, alone := int32(0), int32(0)
	p.run(400, 2*crewPartitions, 2*time.Second, func(tick int) {
		if tick == 0 {
			c.join(2)
		}
		if tick%15 != 14 {
			return
		}
		if alone != 0 {
			s.Heal()
			c.note("node %d is heard again", alone)
			alone = 0
		}
		some := func() int32 { // a node, as often as not the coordinator
			if rng.IntN(2) == 0 {
				return s.leader("__consumer_offsets", 0)
			}
			return 1 + int32(rng.IntN(3))
		}
		switch n := rng.IntN(9); {
		case n <= 1 && len(c.members) < 5:
			c.join(1)
		case n == 2 && len(c.members) > 1:
			c.remove(rng.IntN(len(c.members)))
		case n <= 4 && len(c.members) > 1:
			c.kill(rng.IntN(len(c.members)))
		case n <= 6 && down == 0:
			down = some()
			s.crash(down)
			c.outage("node %d has crashed", down)
		case n == 7 && down == 0:
			alone = some()
			c.mu.Lock()
			c.cut = true
			c.mu.Unlock()
			s.Isolate(alone)
			c.outage("node %d is cut off", alone)
		case down != 0:
			s.restart(down)
			c.note("node %d is back", down)
			down = 0
		}
	})
	s.Heal()
	if down != 0 {
		s.restart(down)
	}
	if len(c.members) == 0 {
		c.join(1)
	}
	c.finish(5*time.Minute, func(n int) { p.print(c, n); p.flush() })
	t.Logf("%v of virtual time", time.Since(began))
}
