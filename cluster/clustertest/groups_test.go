package clustertest_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// crew is the workers of a group, and what they have processed.
type crew struct {
	t      *testing.T
	c      *clustertest.Cluster
	config consumer.Config
	admin  *cluster.Admin
	wg     sync.WaitGroup

	mu      sync.Mutex
	workers []*worker
	hired   int
	quiet   bool                // nothing is told of who gets what
	seen    map[string][]string // records by value: who processed it, and where it was
}

type worker struct {
	*consumer.Consumer
	name string
	stop context.CancelFunc
	done chan struct{}
}

func newCrew(t *testing.T, c *clustertest.Cluster, config consumer.Config) *crew {
	w := &crew{t: t, c: c, config: config, admin: cluster.NewAdmin(c.Client()), seen: map[string][]string{}}
	t.Cleanup(func() {
		for _, x := range slices.Clone(w.workers) {
			w.close(x)
		}
	})
	return w
}

// add has a worker join.
func (w *crew) add() *worker {
	w.t.Helper()
	cfg := w.config
	cfg.Client = w.c.Client()
	w.hired++
	name, began := "worker-"+strconv.Itoa(w.hired), time.Now()
	tell := func(what string) func(context.Context, []consumer.TopicPartition) {
		return func(_ context.Context, tps []consumer.TopicPartition) {
			w.t.Log(name, "after", time.Since(began), what, tps)
		}
	}
	if !w.quiet {
		cfg.OnAssigned, cfg.OnRevoked, cfg.OnLost = tell("gets"), tell("gives up"), tell("loses")
	}
	con, err := consumer.New(cfg)
	require.NoError(w.t, err)
	ctx, stop := context.WithCancel(context.Background())
	x := &worker{Consumer: con, name: name, stop: stop, done: make(chan struct{})}
	w.mu.Lock()
	w.workers = append(w.workers, x)
	w.mu.Unlock()
	w.wg.Go(func() {
		defer close(x.done)
		for r, err := range con.Records(ctx) {
			if err != nil {
				if ctx.Err() == nil {
					w.t.Errorf("%s: %v", x.name, err)
				}
				return
			}
			w.mu.Lock()
			w.seen[string(r.Value)] = append(w.seen[string(r.Value)], fmt.Sprintf("%s at %s-%d@%d", x.name, r.Topic, r.Partition, r.Offset))
			w.mu.Unlock()
			if cfg.Commit == consumer.AtLeastOnce {
				_ = con.MarkProcessed(r) // what is lost by now comes again elsewhere
			}
		}
	})
	return x
}

// close has a worker leave in good order: it finishes the record in its hands first.
func (w *crew) close(x *worker) {
	x.stop()
	<-x.done
	w.end(x, (*consumer.Consumer).Close)
}

// kill has a worker die: nothing is committed, nobody is told.
func (w *crew) kill(x *worker) { w.end(x, (*consumer.Consumer).Kill) }

func (w *crew) end(x *worker, how func(*consumer.Consumer) error) {
	w.mu.Lock()
	i := slices.Index(w.workers, x)
	if i >= 0 {
		w.workers = slices.Delete(w.workers, i, i+1)
	}
	w.mu.Unlock()
	if i < 0 {
		return
	}
	assert.NoError(w.t, how(x.Consumer))
	x.stop()
	<-x.done
}

// list is the workers that are there.
func (w *crew) list() []*worker {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.workers)
}

// processed counts distinct records and repetitions.
func (w *crew) processed() (distinct, repeated int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, by := range w.seen {
		repeated += len(by) - 1
	}
	return len(w.seen), repeated
}

// twice lists who processed what was processed more than once.
func (w *crew) twice() (list [][]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, by := range w.seen {
		if len(by) > 1 {
			list = append(list, by)
		}
	}
	return list
}

// status describes the crew's group.
func (w *crew) status() cluster.GroupStatus {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	g, err := w.admin.Group(ctx, w.config.Group)
	require.NoError(w.t, err)
	return g
}

// settle waits until the group is stable with all workers in it.
func (w *crew) settle() (g cluster.GroupStatus) {
	w.t.Helper()
	w.c.Await(fmt.Sprintf("group of %d is stable", len(w.workers)), func() bool {
		g = w.status()
		return g.State == "Stable" && len(g.Members) == len(w.workers)
	})
	return g
}

// numbers produces the values [from, to) to a topic.
func numbers(t *testing.T, c *clustertest.Cluster, topic string, from, to int) {
	t.Helper()
	p, err := producer.New(producer.Config{Client: c.Client()})
	require.NoError(t, err)
	defer p.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	for i := from; i < to; i++ {
		require.NoError(t, p.Enqueue(ctx, &record.Record{Topic: topic, Key: strconv.AppendInt(nil, int64(i), 10), Value: strconv.AppendInt(nil, int64(i), 10)}, func(_ producer.Metadata, err error) {
			assert.NoError(t, err)
		}))
	}
	require.NoError(t, p.Flush(ctx))
}

// Members join, leave and die, the group's coordinator loses power, and comes back: every record is processed, only what a death left uncommitted comes twice, and the group's offsets are at the end.
func TestGroup(t *testing.T) {
	for _, protocol := range []consumer.Protocol{consumer.ProtocolConsumer, consumer.ProtocolClassic} {
		t.Run(fmt.Sprint(protocol), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { groupStory(t, protocol) })
		})
	}
}

func groupStory(t *testing.T, protocol consumer.Protocol) {
	c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 3})
	c.CreateTopic("t", 6, 3)
	w := newCrew(t, c, consumer.Config{Group: "g", Topics: []string{"t"}, Protocol: protocol})
	w.add()
	w.settle()
	numbers(t, c, "t", 0, 100)
	w.add()
	w.add()
	g := w.settle()
	for _, m := range g.Members {
		assert.Len(t, m.Assigned, 2, "6 partitions over 3 members")
	}
	numbers(t, c, "t", 100, 200)
	w.close(w.workers[0])
	w.settle()
	numbers(t, c, "t", 200, 300)
	coordinator := w.status().Coordinator
	c.Crash(coordinator)
	numbers(t, c, "t", 300, 400)
	w.settle()
	c.Restart(coordinator)
	distinct, repeated := 0, 0
	c.Await("all is processed", func() bool { distinct, repeated = w.processed(); return distinct == 400 })
	assert.Empty(t, w.twice(), "nobody has died")
	w.kill(w.workers[0])
	numbers(t, c, "t", 400, 500)
	c.Await("the other one has taken over", func() bool { distinct, repeated = w.processed(); return distinct == 500 })
	t.Logf("processed %d, of them %d twice", distinct, repeated)
	w.close(w.workers[0])
	lag := int64(0)
	for _, p := range w.status().Partitions {
		require.NoError(t, p.Err)
		lag += p.Lag
	}
	assert.Zero(t, lag, "all is committed")
}
