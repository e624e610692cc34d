package clustertest_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/consumer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var groupSeeds = flag.Int("groups.seeds", int(few(4, 2)), "how many seeds TestGroupUnderFaults runs for each protocol")

// offsetLedger knows what members were told is committed. It is what P11 promises: an acknowledged commit is found by every later look, or a later one is.
type offsetLedger struct {
	mu    sync.Mutex
	acked map[cluster.TopicPartition]int64
}

// note takes what workers know to be committed.
func (l *offsetLedger) note(workers []*worker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range workers {
		for _, p := range x.Status() {
			tp := cluster.TopicPartition{Topic: p.Topic, Partition: p.Partition}
			l.acked[tp] = max(l.acked[tp], p.Committed)
		}
	}
}

// check compares an answer with what was acknowledged before it was asked for.
func (l *offsetLedger) check(t *testing.T, before map[cluster.TopicPartition]int64, g *cluster.GroupStatus) {
	for _, p := range g.Partitions {
		if acked := before[p.TopicPartition]; acked > 0 && p.Committed < acked { // without a commit there is nothing to compare
			t.Errorf("%v: offset %d was acknowledged, and %d is what the group has", p.TopicPartition, acked, p.Committed)
		}
	}
}

func (l *offsetLedger) snapshot() map[cluster.TopicPartition]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := make(map[cluster.TopicPartition]int64, len(l.acked))
	for tp, o := range l.acked {
		m[tp] = o
	}
	return m
}

// Nodes lose power, are cut off and come back, workers join, leave and die: no record is missed, no acknowledged commit is ever seen to go back, and in the end everything is committed.
func TestGroupUnderFaults(t *testing.T) {
	for _, protocol := range []consumer.Protocol{consumer.ProtocolConsumer, consumer.ProtocolClassic} {
		for seed := range uint64(*groupSeeds) {
			t.Run(fmt.Sprintf("%v/%d", protocol, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { groupFaults(t, protocol, seed) })
			})
		}
	}
}

func groupFaults(t *testing.T, protocol consumer.Protocol, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 11))
	c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: seed, Timeout: 10 * time.Minute})
	c.CreateTopic("t", 5, 3)
	w := newCrew(t, c, consumer.Config{Group: "g", Topics: []string{"t"}, Protocol: protocol, CommitInterval: 500 * time.Millisecond})
	l := &offsetLedger{acked: map[cluster.TopicPartition]int64{}}
	w.add()
	w.add()
	const records = 600
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; i < records; i += 20 {
			numbers(t, c, "t", i, i+20)
			time.Sleep(3 * time.Second)
		}
	})
	watching, stop := context.WithCancel(t.Context())
	wg.Go(func() {
		for watching.Err() == nil {
			l.note(w.list())
			before := l.snapshot()
			ctx, cancel := context.WithTimeout(watching, 20*time.Second)
			if g, err := w.admin.Group(ctx, "g"); err == nil {
				l.check(t, before, &g)
			}
			cancel()
			time.Sleep(200 * time.Millisecond)
		}
	})
	down := int32(0)
	for range 14 {
		switch n := rng.IntN(7); {
		case n == 0 && len(w.list()) < 5:
			w.add()
		case n == 1 && len(w.list()) > 1:
			l.note(w.list())
			w.close(w.list()[rng.IntN(len(w.list()))])
		case n == 2 && len(w.list()) > 1:
			l.note(w.list())
			w.kill(w.list()[rng.IntN(len(w.list()))])
		case n <= 4 && down == 0:
			down = 1 + int32(rng.IntN(3))
			c.CrashTorn(down)
		case n == 5 && down == 0:
			c.Isolate(1 + int32(rng.IntN(3)))
			time.Sleep(time.Duration(rng.IntN(20)) * time.Second)
			c.Heal()
		case down != 0:
			c.Restart(down)
			down = 0
		}
		time.Sleep(time.Duration(rng.IntN(15000)) * time.Millisecond)
	}
	if down != 0 {
		c.Restart(down)
	}
	distinct := 0
	c.Await("all is processed", func() bool { distinct, _ = w.processed(); return distinct == records })
	stop()
	wg.Wait()
	for _, x := range slices.Clone(w.list()) {
		l.note(w.list())
		w.close(x)
	}
	g := w.status()
	l.check(t, l.snapshot(), &g)
	require.Len(t, g.Partitions, 5)
	for _, p := range g.Partitions {
		require.NoError(t, p.Err)
		assert.Zero(t, p.Lag, "%v", p)
	}
}
