package clustertest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// upgrade is from one version to the next, and what the next brings.
type upgrade struct {
	from, to *controller.Levels
	level    int16
	use      func(ctx context.Context, a *cluster.Admin) error // nil: nothing but the level
}

// upgrades are the one to this version from what there was before there were levels, and one to a version to come, for which client quotas are new.
func upgrades() map[string]upgrade {
	later := []controller.Row{{Kind: 14, Tag: controller.Whole, Level: controller.Newest + 1}}
	return map[string]upgrade{
		"from the first": {from: &controller.Levels{Known: controller.LevelBase}, level: controller.LevelBase + 1},
		"to the next": {
			from: &controller.Levels{Known: controller.Newest, Later: later}, to: &controller.Levels{Known: controller.Newest + 1, Later: later}, level: controller.Newest + 1,
			use: func(ctx context.Context, a *cluster.Admin) error {
				return a.AlterClientQuotas(ctx, cluster.ClientQuota{QuotaEntity: cluster.QuotaEntity{User: "u"}, Values: map[string]float64{cluster.QuotaProducerByteRate: 1e9}})
			},
		},
	}
}

// mixed is a cluster under load whose nodes are of two versions.
type mixed struct {
	*clustertest.Cluster
	t       *testing.T
	ctx     context.Context
	up      upgrade
	rng     *rand.Rand
	stopped atomic.Int64 // nodes that stopped by themselves
	made    int          // topics
}

func (m *mixed) admin() *cluster.Admin { return cluster.NewAdmin(m.Any().Client()) }

// change restarts a node as another version.
func (m *mixed) change(id int32, to *controller.Levels) {
	m.t.Helper()
	switch m.rng.IntN(3) {
	case 0:
		m.Stop(id)
	case 1:
		m.Kill(id)
	default:
		m.CrashTorn(id)
	}
	time.Sleep(time.Duration(m.rng.IntN(12)) * time.Second)
	m.Version(id, to)
	m.Restart(id)
	m.work()
	if m.rng.IntN(2) == 0 { // another one takes over, which may be of the other version
		if active := m.Any().Status().Controller; active > 0 && m.Node(active) != nil {
			m.Kill(active)
			m.Restart(active)
		}
	}
}

// work has the controller write: what was there in both versions goes on.
func (m *mixed) work() {
	m.t.Helper()
	m.made++
	name := fmt.Sprint("made-", m.made)
	m.CreateTopic(name, 2, 3)
	retention := "1000000"
	require.NoError(m.t, m.admin().AlterTopicConfigs(m.ctx, name, map[string]*string{"retention.ms": &retention}))
	m.AwaitISR(name, 0, 3)
	require.NoError(m.t, m.admin().DeleteTopic(m.ctx, name))
	m.AwaitISR("t", 0, 3)
	m.AwaitISR("t", 1, 3)
}

// refused asks for what is new, and is refused.
func (m *mixed) refused() {
	m.t.Helper()
	if m.up.use != nil {
		require.ErrorIs(m.t, m.up.use(m.ctx, m.admin()), kerr.UnsupportedVersion)
	}
	for id := int32(1); id <= 3; id++ {
		require.Equal(m.t, m.up.from.Known, m.Node(id).Status().Level)
	}
}

// F41: a cluster is upgraded node by node under load, goes back, and is upgraded again: as long as a node of the old version may come back nothing is written that it cannot read, and what would be is refused. Once the new level is
// finalized what is new works; an old node that comes, or comes back, is told so, and harms nobody.
func TestFault_F41_OldAndNewVersions(t *testing.T) {
	for name, up := range upgrades() {
		for seed := range few(4, 1) {
			t.Run(fmt.Sprint(name, "/", seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { rollingUpgrade(t, up, seed) })
			})
		}
	}
}

func rollingUpgrade(t *testing.T, up upgrade, seed uint64) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	m := &mixed{t: t, ctx: ctx, up: up, rng: rand.New(rand.NewPCG(seed, 41))}
	m.Cluster = clustertest.New(t, clustertest.Config{Nodes: 3, Seed: seed, Node: func(c *cluster.Config) {
		c.Levels = up.from
		c.Events.Stopped = func(error) { m.stopped.Add(1) }
	}})
	m.CreateTopic("t", 2, 3)
	h := clustertest.NewHistory(m.Cluster)
	end := startHistory(t, m.Cluster, h)

	ids := []int32{1, 2, 3}
	m.rng.Shuffle(3, func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	m.refused()
	for i, id := range ids {
		m.change(id, up.to)
		if i < 2 {
			require.ErrorIs(t, m.admin().RaiseLevel(ctx, up.level), kerr.InvalidUpdateVersion, "an old node is there")
		}
		m.refused()
	}
	for _, id := range ids {
		m.change(id, up.from)
		require.ErrorIs(t, m.admin().RaiseLevel(ctx, up.level), kerr.InvalidUpdateVersion)
		m.refused()
	}
	for _, id := range ids {
		m.change(id, up.to)
	}
	m.Await("all nodes say what they know", func() bool {
		for _, b := range m.Any().Status().Brokers {
			if b.Known != up.level {
				return false
			}
		}
		return true
	})
	m.refused()
	old := ids[0]
	m.Stop(old)
	require.NoError(t, m.admin().RaiseLevel(ctx, up.level), "a node that is down is known by its registration")
	require.NoError(t, m.admin().RaiseLevel(ctx, up.level), "it may be asked again")
	if up.use != nil {
		require.NoError(t, up.use(ctx, m.admin()))
	}
	require.Zero(t, m.stopped.Load(), "a node met what it cannot read")

	// An old node comes back, and another one comes.
	m.Version(old, up.from)
	other := m.Prospect()
	for _, id := range []int32{old, other, old} {
		before := m.Any().Status()
		began := time.Now()
		_, err := m.Prepare(id)(ctx)
		require.ErrorIs(t, err, cluster.ErrTooOld, "node %d", id)
		if tooOld, ok := errors.AsType[*cluster.LevelError](err); ok || up.from.Known > controller.LevelBase { // without levels there is no such error for what is read
			require.True(t, ok, "node %d: %v", id, err)
			require.Equal(t, cluster.LevelError{Level: up.level, Known: up.from.Known}, *tooOld)
		}
		require.Less(t, time.Since(began), 20*time.Second)
		after := m.Any().Status()
		require.Equal(t, before.Observers, after.Observers)
		require.Equal(t, []int32{1, 2, 3}, after.Voters)
	}
	m.Replace(old, clustertest.NewDisk())
	_, err := m.Prepare(old)(ctx)
	require.ErrorIs(t, err, cluster.ErrTooOld, "with an empty disk")
	require.Equal(t, []int32{1, 2, 3}, m.Any().Status().Voters, "its vote is still its own")

	m.Version(old, up.to)
	m.Restart(old)
	m.work()
	m.Version(other, up.to)
	m.Restart(other)
	for _, id := range []int32{1, 2, 3, other} {
		id := id
		m.Await("the level is everywhere", func() bool { return m.Node(id).Status().Level == up.level })
	}
	end()
	h.Check()
}

// startHistory produces to both partitions of t and reads them in a group, until the function that is returned is called.
func startHistory(t *testing.T, c *clustertest.Cluster, h *clustertest.History) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var acked, read atomic.Int64
	for p := range int32(2) {
		name := fmt.Sprint("p", p)
		pr, err := producer.New(producer.Config{Client: c.Client(), DeliveryTimeout: 10 * time.Minute, Partitioner: producer.PartitionerFunc(func(r *record.Record, _ int) int { return int(r.Partition) })})
		require.NoError(t, err)
		wg.Go(func() {
			defer pr.Close()
			for ctx.Err() == nil {
				r, settled := h.Record(name, "t", p)
				md, err := pr.Produce(t.Context(), r)
				settled(md, err)
				if err == nil {
					acked.Add(1)
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	con, err := consumer.New(consumer.Config{Client: c.Client(), Group: "g", Topics: []string{"t"}})
	require.NoError(t, err)
	wg.Go(func() {
		for b, err := range con.Batches(ctx) {
			if err != nil {
				continue
			}
			read.Add(int64(len(b.Records)))
		}
	})
	stop := sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		assert.NoError(t, con.Close())
	})
	t.Cleanup(stop)
	return func() {
		time.Sleep(5 * time.Second)
		stop()
		assert.Greater(t, acked.Load(), int64(100))
		assert.Greater(t, read.Load(), int64(100))
	}
}

// A new cluster begins at the highest level that all of its founders know.
func TestFoundersAgreeOnALevel(t *testing.T) {
	old := &controller.Levels{Known: controller.LevelBase}
	for name, x := range map[string]struct {
		old  []int32
		want int16
	}{"new": {nil, controller.Newest}, "one old": {[]int32{2}, controller.LevelBase}, "old": {[]int32{1, 2, 3}, controller.LevelBase}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := clustertest.New(t, clustertest.Config{Nodes: 3, Node: func(c *cluster.Config) {
					for _, id := range x.old {
						if c.NodeID == id {
							c.Levels = old
						}
					}
				}})
				for id := int32(1); id <= 3; id++ {
					s := c.Node(id).Status()
					assert.Equal(t, x.want, s.Level)
				}
				for _, id := range x.old {
					assert.Equal(t, controller.LevelBase, c.Node(id).Status().Known)
					c.Stop(id)
					c.Version(id, nil)
					c.Restart(id)
				}
				c.Await("everybody says what it knows", func() bool {
					for _, b := range c.Any().Status().Brokers {
						if b.Known != controller.Newest {
							return false
						}
					}
					return true
				})
				require.NoError(t, cluster.NewAdmin(c.Any().Client()).RaiseLevel(t.Context(), controller.Newest))
				for id := int32(1); id <= 3; id++ {
					c.Await("the level is raised", func() bool { return c.Node(id).Status().Level == controller.Newest })
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		alone := clustertest.New(t, clustertest.Config{})
		assert.Equal(t, controller.Newest, alone.Any().Status().Level)
	})
}
