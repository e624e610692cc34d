package replication

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// TestRandomFaults runs a cluster for a minute while nodes crash and lose power, links are cut, disks are slow, brokers are fenced by mistake and leaders are moved. What was acknowledged is on
// all replicas in the end, at its offset, once.
func TestRandomFaults(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) { runRandomFaults(t, seed) })
	}
}

type faultRun struct {
	*testCluster
	seed uint64
	rng  *rand.Rand

	acks struct {
		sync.Mutex
		byOffset map[int64]string
	}
}

func runRandomFaults(t *testing.T, seed uint64) {
	f := &faultRun{testCluster: newTestCluster(t, clusterConfig{nodes: 3, minISR: 2}), seed: seed, rng: rand.New(rand.NewPCG(seed, 2))}
	f.acks.byOffset = map[int64]string{}
	stop := make(chan struct{})
	var producers sync.WaitGroup
	for p := range 3 {
		producers.Go(func() { f.keepProducing(p, stop) })
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		time.Sleep(time.Duration(f.rng.Int64N(int64(2 * time.Second))))
		f.fault()
	}
	f.heal()
	f.produce(0, "healed")
	close(stop)
	producers.Wait()
	f.settled()
	f.acks.Lock()
	defer f.acks.Unlock()
	require.NotEmpty(t, f.acks.byOffset)
	for _, n := range f.nodes {
		got := values(t, n.replica(0).Log(), math.MaxInt64)
		for o, v := range f.acks.byOffset {
			require.Equal(t, v, got[o], "seed %d, node %d, offset %d", seed, n.id, o)
		}
	}
}

// keepProducing appends to whoever leads as far as the controller knows, and sometimes to somebody who thinks so.
func (f *faultRun) keepProducing(p int, stop chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(3+p) * time.Millisecond):
		}
		id := f.state(0).Leader
		if i%7 == 0 {
			id = int32(i%3) + 1
		}
		if id < 0 {
			continue
		}
		life := f.node(id).current()
		if life == nil {
			continue
		}
		v := fmt.Sprintf("%d-%d", p, i)
		if res := produceTo(f.tb, life.replicas[0], AcksAll, v).wait(); res.Err == nil {
			f.acks.Lock()
			if old, ok := f.acks.byOffset[res.BaseOffset]; ok {
				f.tb.Errorf("seed %d: %q and %q acknowledged at offset %d", f.seed, old, v, res.BaseOffset)
			}
			f.acks.byOffset[res.BaseOffset] = v
			f.acks.Unlock()
		}
	}
}

func (f *faultRun) fault() {
	n := f.nodes[f.rng.IntN(len(f.nodes))]
	other := f.nodes[f.rng.IntN(len(f.nodes))]
	switch f.rng.IntN(8) {
	case 0, 1:
		if n.current() != nil {
			n.crash([]vfs.CrashMode{vfs.KeepAll, vfs.DropAll, vfs.KeepRandom}[f.rng.IntN(3)], f.rng)
		}
	case 2, 3:
		for _, n := range f.nodes {
			if n.current() == nil {
				n.start()
			}
		}
	case 4:
		f.mu.Lock()
		f.mu.cut[[2]int32{n.id, other.id}] = true
		f.mu.Unlock()
	case 5:
		f.healLinks()
	case 6:
		if f.rng.IntN(2) == 0 {
			f.fence(n.id)
		} else if s := f.state(0); len(s.ISR) > 0 && s.Leader > 0 {
			if next := s.ISR[f.rng.IntN(len(s.ISR))]; f.eligible(next, -1) {
				f.move(0, next, s.ISR)
			}
		}
	case 7:
		delay := time.Duration(f.rng.Int64N(int64(500 * time.Millisecond)))
		n.disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync {
				time.Sleep(delay)
			}
			return nil
		})
	}
	for _, n := range f.nodes { // those fenced by mistake come back
		if n.current() != nil && f.rng.IntN(2) == 0 {
			f.unfence(n.id)
		}
	}
}

func (f *faultRun) healLinks() {
	f.mu.Lock()
	clear(f.mu.cut)
	f.mu.Unlock()
}

func (f *faultRun) heal() {
	f.healLinks()
	for _, n := range f.nodes {
		n.disk.SetFault(nil)
		if n.current() == nil {
			n.start()
		}
		f.unfence(n.id)
	}
}

// TestDiskFailsAtEveryOperation fails the i-th operation that changes a node's disk, for every i until the workload runs without: the error surfaces as an offline replica and in what waits there
// (unless the log can do without what failed, as with blocks written ahead), never as a lost record, and the others go on.
func TestDiskFailsAtEveryOperation(t *testing.T) {
	for _, victim := range []int32{1, 2} { // the leader, a follower
		offline := 0
		for i, failed := int64(1), true; failed; i++ {
			synctest.Test(t, func(t *testing.T) {
				var off bool
				if failed, off = runDiskFailure(t, victim, i); off {
					offline++
				}
			})
		}
		assert.Greater(t, offline, 8, "replicas that went offline")
	}
}

func runDiskFailure(t *testing.T, victim int32, at int64) (failed, offline bool) {
	c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
	first := c.produce(0, "first")
	c.settled()
	n := c.node(victim)
	broken := errors.New("broken")
	count, hit := int64(0), false
	var mu sync.Mutex
	n.disk.SetFault(func(op vfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if !op.Kind.Changes() {
			return nil
		}
		if count++; count == at {
			hit = true
			return broken
		}
		return nil
	})
	acked := map[int64]string{first.BaseOffset: "first"}
	r := n.replica(0)
	step := func(v string) {
		l := c.state(0).Leader
		if l < 0 {
			return
		}
		if res := produceTo(t, c.node(l).replica(0), AcksAll, v).wait(); res.Err == nil {
			acked[res.BaseOffset] = v
		}
	}
	step("a")
	step("b")
	c.move(0, 2, []int32{1, 2, 3}) // an epoch begins
	synctest.Wait()
	step("c")
	// The other one leads again; what it wrote in between goes.
	c.mu.Lock()
	c.mu.cut[[2]int32{1, 2}], c.mu.cut[[2]int32{3, 2}] = true, true
	c.mu.Unlock()
	time.Sleep(time.Second)
	produceTo(t, c.node(2).replica(0), AcksLeader, "truncated").wait()
	c.mu.Lock()
	clear(c.mu.cut)
	c.mu.Unlock()
	c.move(0, 1, []int32{1, 2, 3})
	synctest.Wait()
	step("d")
	time.Sleep(time.Second)
	mu.Lock()
	failed = hit
	mu.Unlock()
	n.disk.SetFault(nil)
	st := r.Status()
	offline = st.Role == Offline
	assert.Equal(t, r.Log().Err() != nil, offline, "operation %d", at)
	if offline {
		assert.ErrorIs(t, st.Err, broken)
		l := n.current()
		l.mu.Lock()
		assert.Len(t, l.offline, 1)
		l.mu.Unlock()
		// It restarts from its synced point, as one that may have lost something.
		c.fence(victim)
		c.produce(0, "by the others")
		n.crash(vfs.DropAll, nil)
		c.mu.Lock()
		c.mu.states[0].ELR = without(c.mu.states[0].ELR, victim)
		c.mu.Unlock()
		n.start()
	}
	c.settled()
	for _, n := range c.nodes {
		got := values(t, n.replica(0).Log(), math.MaxInt64)
		for o, v := range acked {
			assert.Equal(t, v, got[o], "operation %d, node %d, offset %d", at, n.id, o)
		}
	}
	return failed, offline
}
