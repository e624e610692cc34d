package clustertest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// control is a cluster with a ledger and one partition, for faults that go beyond what is promised: what is lost then must not escape the ledger.
type control struct {
	t *testing.T
	c *clustertest.Cluster
	l *ledger
	p place
	n int
}

func newControl(t *testing.T, node func(*cluster.Config)) *control {
	x := &control{t: t, c: clustertest.New(t, clustertest.Config{Nodes: 3, Node: node}), l: newLedger(), p: place{"t", 0}}
	x.c.CreateTopic("t", 1, 3)
	return x
}

func (x *control) produce(config producer.Config, n int) {
	x.t.Helper()
	config.Client, config.Partitioner = x.c.Client(), numbered
	p, err := producer.New(config)
	require.NoError(x.t, err)
	defer p.Close()
	for range n {
		v := x.l.sent("p", x.n, x.p, 0)
		x.n++
		md, err := p.Produce(context.Background(), &record.Record{Topic: "t", Value: []byte(v)})
		x.l.settled(v, md, err)
		require.NoError(x.t, err)
	}
}

func (x *control) verdict() []string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	all := x.c.ReadAll("t")
	r := x.l.finalReader("r")
	for _, rec := range all {
		r.read(x.p, rec.Offset, string(rec.Value))
	}
	client := x.c.Client()
	end, err := endOf(ctx, client, x.p)
	for err != nil && ctx.Err() == nil { // after a lossy restart the leader may still be moving
		<-client.Refresh("t")
		end, err = endOf(ctx, client, x.p)
	}
	require.NoError(x.t, err)
	problems, _ := x.l.verdict(map[place]int64{x.p: end})
	return problems
}

func TestLedgerNoticesPowerLoss(t *testing.T) {
	crashAll := func(x *control) {
		for id := range int32(3) {
			x.c.Crash(id + 1)
		}
		x.c.RestartAll()
	}
	t.Run("synced records survive", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			x := newControl(t, nil)
			x.produce(producer.Config{}, 5)
			crashAll(x)
			x.produce(producer.Config{}, 1)
			assert.Empty(t, x.verdict())
		})
	})
	t.Run("records of the page cache do not", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			x := newControl(t, func(c *cluster.Config) { c.Topic.FlushMessages = -1 })
			x.produce(producer.Config{}, 5)
			crashAll(x)
			assert.True(t, has(x.verdict(), "C2"))
		})
	})
	t.Run("other records take their offsets", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			x := newControl(t, func(c *cluster.Config) { c.Topic.FlushMessages = -1 })
			x.produce(producer.Config{}, 5)
			crashAll(x)
			x.produce(producer.Config{}, 5)
			problems := x.verdict()
			for _, kind := range []string{"C3", "C1", "C13"} {
				assert.True(t, has(problems, kind), "%s: %q", kind, problems)
			}
		})
	})
}

// What a leader alone acknowledged goes with the leader.
func TestLedgerNoticesLostLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newControl(t, tight)
		x.produce(producer.Config{}, 2)
		leader := x.c.Leader("t", 0)
		for id := range int32(3) {
			if id+1 != leader {
				x.c.CutOneWay(leader, id+1) // nobody fetches any more, and its session runs out
			}
		}
		x.produce(producer.Config{Acks: producer.AcksLeader, DisableIdempotence: true}, 1)
		x.c.Isolate(leader)
		x.c.Await("another leader", func() bool {
			for id := range int32(3) {
				s := x.c.Node(id + 1).Status()
				if topic, ok := s.Topic("t"); ok && topic.Partitions[0].Leader != leader && topic.Partitions[0].Leader > 0 {
					return true
				}
			}
			return false
		})
		x.c.Heal()
		x.c.AwaitISR("t", 0, 3)
		assert.True(t, has(x.verdict(), "C2"))
	})
}
