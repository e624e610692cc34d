package clustertest_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// slowDisk makes the syncs of a disk take so long, from when set is called; but for those of files whose names have one of these parts.
func slowDisk(disk *vfs.Mem, but ...string) (set func(time.Duration)) {
	var d atomic.Int64
	disk.SetFault(func(op vfs.Op) error {
		switch op.Kind {
		case vfs.OpSync, vfs.OpSyncDir, vfs.OpSyncMap:
			time.Sleep(500 * time.Microsecond)
			if !slices.ContainsFunc(but, func(part string) bool { return strings.Contains(op.Name, part) }) {
				time.Sleep(time.Duration(d.Load()))
			}
		}
		return nil
	})
	return func(v time.Duration) { d.Store(int64(v)) }
}

// latencies are those of records with acks=all to one partition, by when they were handed over.
type latencies struct {
	mu   sync.Mutex
	list []latency
}

type latency struct {
	sent time.Time
	took time.Duration
}

// of tells p50, p99 and the longest of what was sent in [from, to).
func (l *latencies) of(from, to time.Time) (p50, p99, most time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var took []time.Duration
	for _, x := range l.list {
		if !x.sent.Before(from) && x.sent.Before(to) {
			took = append(took, x.took)
		}
	}
	if len(took) == 0 {
		return 0, 0, 0
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
}

// measured is a cluster of three with a topic led by each node, and one record every 50 ms to each.
type measured struct {
	*clustertest.Cluster
	t       *testing.T
	slow    map[int32]func(time.Duration)
	changes sync.Map // of each node: how often it said that its disk is slow, or is not any more
	took    [4]latencies
	stop    chan struct{}
	wg      sync.WaitGroup
}

func measure(t *testing.T) *measured {
	m := &measured{t: t, slow: map[int32]func(time.Duration){}, stop: make(chan struct{})}
	m.Cluster = clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 1, Node: func(c *cluster.Config) {
		count := new(atomic.Int64)
		m.changes.Store(c.NodeID, count)
		c.Events.SlowDisk = func(bool) { count.Add(1) }
	}})
	for id := int32(1); id <= 3; id++ {
		m.slow[id] = slowDisk(m.Disk(id))
		spec := cluster.TopicSpec{Name: fmt.Sprint("t", id), Assignment: [][]int32{{id, id%3 + 1, (id+1)%3 + 1}}}
		require.NoError(t, cluster.NewAdmin(m.Node(1).Client()).CreateTopic(t.Context(), spec))
	}
	for id := int32(1); id <= 3; id++ {
		p, err := producer.New(producer.Config{Client: m.Client(), DeliveryTimeout: 10 * time.Minute})
		require.NoError(t, err)
		m.wg.Go(func() { m.produce(p, id) })
	}
	return m
}

func (m *measured) produce(p *producer.Producer, id int32) {
	l := &m.took[id]
	for {
		select {
		case <-m.stop:
			assert.NoError(m.t, p.Flush(m.t.Context()))
			assert.NoError(m.t, p.Close())
			return
		case <-time.After(50 * time.Millisecond):
		}
		sent := time.Now()
		assert.NoError(m.t, p.Enqueue(m.t.Context(), &record.Record{Topic: fmt.Sprint("t", id), Value: []byte("v")}, func(_ producer.Metadata, err error) {
			assert.NoError(m.t, err)
			l.mu.Lock()
			defer l.mu.Unlock()
			l.list = append(l.list, latency{sent, time.Since(sent)})
		}))
	}
}

func (m *measured) end() {
	close(m.stop)
	m.wg.Wait()
}

func (m *measured) changed(id int32) int64 {
	n, _ := m.changes.Load(id)
	return n.(*atomic.Int64).Load()
}

// F19: the syncs of one node, which leads, follows, and may be the active controller, take from 100 ms to 30 s. Nobody waits for it after a while: neither those whose leader it was nor those that it follows. With its
// disk as fast as before it is back in every in-sync set, and leads again. Its own say of a slow disk comes and goes once.
func TestFault_F19_SlowDiskIsNotWaitedFor(t *testing.T) {
	for _, x := range []struct {
		slow   time.Duration
		active bool // the active controller's disk
		noted  bool
	}{{time.Second, false, true}, {5 * time.Second, true, true}, {100 * time.Millisecond, false, false}, {5 * time.Second, false, true}, {30 * time.Second, false, true}, {600 * time.Millisecond, true, true}}[:few(6, 2)] {
		t.Run(fmt.Sprintf("%v, controller %v", x.slow, x.active), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := measure(t)
				time.Sleep(5 * time.Second)
				victim := m.Any().Status().Controller
				if !x.active {
					victim = victim%3 + 1
				}
				begun := time.Now()
				m.slow[victim](x.slow)
				time.Sleep(60 * time.Second)
				assert.Equal(t, x.noted, m.Node(victim).Status().SlowDisk)
				if x.noted {
					m.AwaitISR(fmt.Sprint("t", victim), 0, 2)
					assert.NotEqual(t, victim, m.Leader(fmt.Sprint("t", victim), 0))
					assert.NotEqual(t, victim, m.Node(victim%3+1).Status().Controller)
				}
				m.slow[victim](0)
				over := time.Now()
				time.Sleep(50 * time.Second)
				assert.False(t, m.Node(victim).Status().SlowDisk)
				if x.noted {
					assert.Equal(t, int64(2), m.changed(victim))
				}
				for id := int32(1); id <= 3; id++ {
					m.AwaitISR(fmt.Sprint("t", id), 0, 3)
					if id != victim {
						assert.Zero(t, m.changed(id), "node %d is as fast as ever", id)
					}
				}
				m.end()
				time.Sleep(5 * time.Minute)
				assert.Equal(t, victim, m.Leader(fmt.Sprint("t", victim), 0), "the preferred leader leads again")
				for id := int32(1); id <= 3; id++ {
					for _, phase := range []struct {
						name     string
						from, to time.Time
						bound    time.Duration
					}{
						{"before", begun.Add(-4 * time.Second), begun, 5 * time.Millisecond},
						// The longest of 360 runs took 22.9 s where the slow node is the active controller, too, and all but one in a hundred 19.8 s: ten until it says that it is slow, a session until another controller
						// has heard of it, and the sync that is under way.
						{"first 25 s", begun, begun.Add(25 * time.Second), map[bool]time.Duration{true: 30 * time.Second, false: 20 * time.Second}[x.active]},
						{"then", begun.Add(25 * time.Second), over, map[bool]time.Duration{true: 10 * time.Millisecond, false: time.Second}[x.noted]},
						{"after", over.Add(5 * time.Second), over.Add(50 * time.Second), 100 * time.Millisecond},
					} {
						p50, p99, most := m.took[id].of(phase.from, phase.to)
						t.Logf("led by the slow node %v: %-10s p50 %v p99 %v longest %v", id == victim, phase.name, p50, p99, most)
						assert.Less(t, p99, phase.bound, phase.name)
					}
				}
			})
		})
	}
}

// A slow replica stays where it is needed: an in-sync set does not become too small for its sake, and one that did without takes it back when it must.
func TestSlowDiskIsWaitedForWhereItIsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := measure(t)
		m.slow[1] = slowDisk(m.Disk(1), "__cluster_metadata") // two voters will be left, and both are needed to elect one
		admin := cluster.NewAdmin(m.Node(1).Client())
		two := "2"
		require.NoError(t, admin.CreateTopic(t.Context(), cluster.TopicSpec{Name: "pair", Assignment: [][]int32{{1, 2}}, Configs: map[string]string{"min.insync.replicas": two}}))
		m.slow[1](time.Second)
		m.Await("the slow node is out of what can spare it", func() bool {
			s := m.Node(2).Status()
			p, ok := s.Topic("t1")
			return ok && !slices.Contains(p.Partitions[0].ISR, int32(1))
		})
		s := m.Node(2).Status()
		pair, _ := s.Topic("pair")
		assert.Equal(t, []int32{1, 2}, pair.Partitions[0].ISR)
		m.Produce("pair", []byte("a"))
		m.end()

		m.Kill(3)
		for id := int32(1); id <= 3; id++ {
			m.Produce(fmt.Sprint("t", id), []byte("b")) // with two of three, of which one is slow
			m.AwaitISR(fmt.Sprint("t", id), 0, 2)
		}
		m.slow[1](0)
		m.Restart(3)
		for id := int32(1); id <= 3; id++ {
			m.AwaitISR(fmt.Sprint("t", id), 0, 3)
		}
	})
}
