package clustertest_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
)

// A compacted topic on three nodes that crash and lead in turn, each of which compacts its replica by itself, shows the last value of every key at all times; so does a node that has copied what was left.
func TestCompactedTopic(t *testing.T) {
	for seed := range few(3, 1) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { compactedTopic(t, seed) })
		})
	}
}

func compactedTopic(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 11))
	c := clustertest.New(t, clustertest.Config{Seed: seed, Nodes: 3})
	stubborn(t, c, "create", func(ctx context.Context, a *cluster.Admin) error {
		return a.CreateTopic(ctx, cluster.TopicSpec{Name: "t", Partitions: 1, ReplicationFactor: 3, Configs: map[string]string{
			"cleanup.policy": "compact", "internal.segment.bytes": "6000", "min.cleanable.dirty.ratio": "0.05", "delete.retention.ms": "20000",
		}})
	}, kerr.TopicAlreadyExists)
	c.AwaitISR("t", 0, 3)
	p, err := producer.New(producer.Config{Client: c.Client(), Codec: []record.Codec{record.None, record.LZ4, record.Zstd}[seed%3]})
	require.NoError(t, err)
	want := map[string]string{}
	produced := 0
	fill := func(n int) {
		t.Helper()
		for range n {
			r := record.Record{Topic: "t", Key: fmt.Appendf(nil, "k%d", rng.IntN(25))}
			delete(want, string(r.Key))
			if rng.IntN(5) > 0 {
				r.Value = fmt.Appendf(nil, "%d-%0100d", produced, rng.Int64())
				want[string(r.Key)] = string(r.Value)
			}
			_, err := p.Produce(t.Context(), &r)
			require.NoError(t, err)
			produced++
		}
	}
	check := func() (read int) {
		t.Helper()
		got := map[string]string{}
		last := int64(-1)
		for _, r := range c.ReadAll("t") {
			require.Greater(t, r.Offset, last)
			last = r.Offset
			read++
			delete(got, string(r.Key))
			if r.Value != nil {
				got[string(r.Key)] = string(r.Value)
			}
		}
		require.True(t, maps.Equal(want, got), "want %v, got %v", want, got)
		return read
	}
	for range 6 {
		fill(100 + rng.IntN(100))
		time.Sleep(time.Duration(1+rng.IntN(40)) * time.Second)
		check()
		victim := c.Leader("t", 0)
		if rng.IntN(3) == 0 {
			victim = 1 + rng.Int32N(3)
		}
		switch rng.IntN(3) {
		case 0:
			c.Stop(victim)
		case 1:
			c.Crash(victim)
		default:
			c.CrashTorn(victim)
		}
		fill(20)
		check()
		c.Restart(victim)
		c.AwaitISR("t", 0, 3)
		check()
	}
	time.Sleep(time.Minute)
	assert.Less(t, check(), produced/2)
	var passes int64
	for id := int32(1); id <= 3; id++ {
		for _, s := range c.Node(id).Status().Compactions {
			assert.NoError(t, s.Err)
			passes += s.Passes
		}
	}
	assert.Positive(t, passes)

	c.Join()
	reassign(t, c, "t", 4)
	check()
	fill(100)
	time.Sleep(time.Minute)
	check()
	p.Close()
}
