package controller

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/internal/controller/machine"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func inBubble(t *testing.T, voters int, config func(*Config), f func(t *testing.T, q *quorum)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, voters, config)
		f(t, q)
		q.close()
	})
}

// A leader's power loss costs no acknowledged change, and the others elect a new leader within the election timeout.
func TestLeaderCrash(t *testing.T) {
	for _, mode := range []vfs.CrashMode{vfs.DropAll, vfs.KeepAll, vfs.KeepRandom} {
		inBubble(t, 3, nil, func(t *testing.T, q *quorum) {
			q.start(1, 2, 3)
			n := q.leader()
			q.join(n, 1, 2, 3)
			for i := range 5 {
				old := n.c.NodeID
				q.create(n, fmt.Sprintf("before-%d", i), 3, 3)
				want := n.Image().TopicNames()
				began := time.Now()
				q.crash(old, mode)
				n = q.leader()
				require.NotEqual(t, old, n.c.NodeID)
				require.Less(t, time.Since(began), 3*time.Second)
				q.heartbeats(n)
				require.Equal(t, want, n.Image().TopicNames())
				q.start(old)
				q.create(n, fmt.Sprintf("after-%d", i), 3, 3)
				q.converge(n)
			}
		})
	}
}

// A leader whose process stood still for longer than an election timeout does not believe that it leads, even before it has heard from anybody: a broker in the same process would count on it.
func TestStoppedLeader(t *testing.T) {
	inBubble(t, 3, nil, func(t *testing.T, q *quorum) {
		q.start(1, 2, 3)
		old := q.leader()
		q.join(old, 1, 2, 3)
		b := old.Image().Brokers[old.c.NodeID]
		var stop atomic.Bool
		defer old.Subscribe(func(Delta) {
			if stop.Swap(false) {
				time.Sleep(5 * time.Second)
			}
		})()
		q.create(old, "a", 1, 3)
		stop.Store(true)
		go old.Handle(context.Background(), createTopic("b", 1, 3))
		time.Sleep(time.Second)
		q.isolate(old.c.NodeID, true)
		require.NotEqual(t, old, q.leader())
		resp := q.handle(old, heartbeat(b.ID, b.Epoch, old.Image().Offset)).(*kmsg.BrokerHeartbeatResponse)
		assert.Equal(t, kerr.NotController.Code, resp.ErrorCode)
		q.isolate(old.c.NodeID, false)
		q.converge(q.leader())
	})
}

// heartbeats lets all registered brokers tell the controller that they live.
func (q *quorum) heartbeats(n *Controller) {
	q.t.Helper()
	q.handle(n, kmsg.NewPtrDeleteTopicsRequest()) // judged on an image with everything committed in it
	for _, id := range n.Image().BrokerIDs() {
		b := n.Image().Brokers[id]
		h := q.handle(n, heartbeat(id, b.Epoch, n.Image().Offset)).(*kmsg.BrokerHeartbeatResponse)
		require.Zero(q.t, h.ErrorCode, "broker %d", id)
	}
}

// All voters lose power together and come back with what they had synced.
func TestTotalPowerLoss(t *testing.T) {
	for _, mode := range []vfs.CrashMode{vfs.DropAll, vfs.KeepRandom} {
		inBubble(t, 3, nil, func(t *testing.T, q *quorum) {
			q.start(1, 2, 3)
			n := q.leader()
			q.join(n, 1, 2, 3)
			q.create(n, "orders", 6, 3)
			want := n.Image()
			for range 3 {
				for _, id := range q.voters {
					q.crash(id, mode)
				}
				q.start(3, 2, 1)
				n = q.leader()
				q.heartbeats(n)
				require.True(t, sameMetadata(want, n.Image()), "%v %v: %v", mode, fmt.Sprint(n.Image()), machine.Diff(want, n.Image()))
			}
			q.converge(n)
		})
	}
}

// A leader on the small side of a partition commits nothing, steps down within the election timeouts, and takes over what the others decided.
func TestPartitionedLeader(t *testing.T) {
	inBubble(t, 3, nil, func(t *testing.T, q *quorum) {
		q.start(1, 2, 3)
		old := q.leader()
		q.join(old, 1, 2, 3)
		q.isolate(old.c.NodeID, true)
		began := time.Now()
		resp, err := old.Handle(t.Context(), createTopic("lost", 1, 3))
		require.NoError(t, err)
		assert.Equal(t, kerr.RequestTimedOut.Code, resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode, "in flight when the leader stepped down: unknown")
		assert.Less(t, time.Since(began), 3*time.Second)
		_, _, ok := old.Leader()
		assert.False(t, ok)
		resp, err = old.Handle(t.Context(), createTopic("lost", 1, 3))
		require.NoError(t, err)
		assert.Equal(t, kerr.NotController.Code, resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)

		n := q.leader()
		require.NotEqual(t, old.c.NodeID, n.c.NodeID)
		q.heartbeats(n)
		q.create(n, "kept", 1, 3)
		_, term, _ := n.Leader()
		q.isolate(old.c.NodeID, false)
		q.converge(n)
		require.Equal(t, []string{"kept"}, old.Image().TopicNames())
		node, now, ok := n.Leader()
		assert.True(t, ok)
		assert.Equal(t, n.c.NodeID, node, "a node that comes back does not disturb the leader")
		assert.Equal(t, term, now)
	})
}

// A request in flight ends by its own timeout.
func TestRequestTimeout(t *testing.T) {
	inBubble(t, 3, nil, func(t *testing.T, q *quorum) {
		q.start(1, 2, 3)
		n := q.leader()
		q.join(n, 1, 2, 3)
		q.isolate(n.c.NodeID, true)
		req := createTopic("late", 1, 3)
		req.TimeoutMillis = 50
		began := time.Now()
		var wg sync.WaitGroup
		for _, name := range []string{"in-flight", "queued"} {
			req := createTopic(name, 1, 3)
			req.TimeoutMillis = 50
			wg.Go(func() {
				resp := q.handle(n, req).(*kmsg.CreateTopicsResponse)
				assert.Equal(t, kerr.RequestTimedOut.Code, resp.Topics[0].ErrorCode)
				req.Topics[0].Topic = "the caller has it back"
			})
			synctest.Wait()
		}
		wg.Wait()
		assert.Equal(t, 50*time.Millisecond, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := n.Handle(ctx, createTopic("x", 1, 3))
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		q.isolate(n.c.NodeID, false)
		time.Sleep(5 * time.Second)
		for _, name := range q.leader().Image().TopicNames() {
			assert.Equal(t, "in-flight", name, "what timed out in the queue has not happened")
		}
	})
}

// A follower that lags by more than the leader keeps gets a snapshot, and subscribers see one delta that leads to the same image.
func TestLaggingFollowerGetsSnapshot(t *testing.T) {
	inBubble(t, 3, func(c *Config) { c.SnapshotBytes = 2000 }, func(t *testing.T, q *quorum) {
		q.start(1, 2, 3)
		n := q.leader()
		q.join(n, 1, 2, 3)
		q.create(n, "early", 1, 3)
		q.create(n, "doomed", 1, 3)
		q.converge(n)
		lag := n.c.NodeID%3 + 1
		w := watch(q.nodes[lag])
		q.isolate(lag, true)
		for i := range 40 {
			q.create(n, fmt.Sprintf("topic-%d", i), 2, 3)
			if i%8 == 0 {
				q.heartbeats(n)
			}
		}
		del := kmsg.NewPtrDeleteTopicsRequest()
		del.TopicNames, del.TimeoutMillis = []string{"doomed"}, 1000
		q.handle(n, del)
		first, _ := n.d.store.FirstIndex()
		require.Greater(t, int64(first), q.nodes[lag].Image().Offset+2, "the leader has let the log go")
		q.isolate(lag, false)
		q.converge(n)
		synctest.Wait()
		w.check(t, q.nodes[lag].Image())

		// and the follower survives its own restart, with nothing but checkpoint and log
		q.crash(lag, vfs.DropAll)
		q.start(lag)
		q.create(n, "last", 1, 3)
		q.converge(n)
		for _, id := range q.voters {
			names, err := listCheckpoints(q.disks[id], "/data/__cluster_metadata-0")
			require.NoError(t, err)
			assert.LessOrEqual(t, len(names), 2, "node %d", id)
		}
	})
}

// watcher checks that a subscriber sees every delta once and in order.
type watcher struct {
	mu     sync.Mutex
	last   *Image
	broken string
	calls  int
	cancel func()
}

func watch(n *Controller) *watcher {
	w := &watcher{last: machine.Empty()}
	w.cancel = n.Subscribe(func(d Delta) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.calls++
		switch {
		case w.calls == 1 && d.Old.Offset != -1:
			w.broken = "the first delta does not begin with nothing"
		case w.calls > 1 && d.Old != w.last:
			w.broken = fmt.Sprintf("delta %d does not follow the one before", w.calls)
		}
		if want := machine.Diff(d.Old, d.New); fmt.Sprint(want.Topics, want.Brokers, len(want.Deleted), want.Configs) != fmt.Sprint(d.Topics, d.Brokers, len(d.Deleted), d.Configs) {
			// A delta may name what changed and changed back, but never less.
			if len(d.Topics) < len(want.Topics) || len(d.Brokers) < len(want.Brokers) || len(d.Deleted) < len(want.Deleted) || want.Configs && !d.Configs {
				w.broken = fmt.Sprintf("delta %d misses a change: %v, not %v", w.calls, d.Topics, want.Topics)
			}
		}
		w.last = d.New
	})
	return w
}

func (w *watcher) check(t *testing.T, want *Image) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	assert.Empty(t, w.broken)
	assert.Same(t, want, w.last)
}

func TestSubscribers(t *testing.T) {
	inBubble(t, 3, nil, func(t *testing.T, q *quorum) {
		q.start(1, 2, 3)
		early := []*watcher{watch(q.nodes[1]), watch(q.nodes[2]), watch(q.nodes[3])}
		n := q.leader()
		q.join(n, 1, 2, 3)
		q.create(n, "a", 2, 3)
		late := watch(n)
		q.create(n, "b", 2, 3)
		gone := watch(n)
		gone.cancel()
		q.create(n, "c", 2, 3)
		q.converge(n)
		time.Sleep(time.Second)
		for i, w := range early {
			w.check(t, q.nodes[int32(i+1)].Image())
		}
		late.check(t, n.Image())
		assert.LessOrEqual(t, gone.calls, 1)
	})
}

// Requests that arrive while an entry is in flight share the next one.
func TestGroupCommit(t *testing.T) {
	inBubble(t, 3, nil, func(t *testing.T, q *quorum) {
		q.start(1, 2, 3)
		n := q.leader()
		q.join(n, 1, 2, 3)
		synctest.Wait()
		before := n.Image().Offset
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() { q.create(n, fmt.Sprintf("topic-%02d", i), 1, 3) })
		}
		wg.Wait()
		assert.Len(t, n.Image().Topics, 50)
		assert.LessOrEqual(t, n.Image().Offset-before, int64(3))
	})
}

// Sessions: a broker that is silent is fenced when its session ends, one that speaks is not; after an election everybody gets a fresh session.
func TestSessionExpiry(t *testing.T) {
	inBubble(t, 3, nil, func(t *testing.T, q *quorum) {
		q.start(1, 2, 3)
		n := q.leader()
		q.join(n, 1, 2, 3)
		q.create(n, "orders", 3, 3)
		silent := n.c.NodeID%3 + 1
		beat := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				for _, id := range n.Image().BrokerIDs() {
					if id != silent {
						q.handle(n, heartbeat(id, n.Image().Brokers[id].Epoch, n.Image().Offset))
					}
				}
			}
		}
		beat(8 * time.Second)
		assert.False(t, n.Image().Brokers[silent].Fenced)
		beat(2 * time.Second)
		assert.True(t, n.Image().Brokers[silent].Fenced)
		for id, b := range n.Image().Brokers {
			assert.Equal(t, id == silent, b.Fenced)
		}
		for _, p := range n.Image().Topics["orders"].Partitions {
			assert.NotContains(t, p.ISR, silent)
			assert.NotEqual(t, silent, p.Leader)
		}
		beat(8 * time.Second)
		old := n.c.NodeID
		q.crash(old, vfs.DropAll)
		n = q.leader()
		silent = old
		beat(8 * time.Second)
		assert.False(t, n.Image().Brokers[old].Fenced, "a fresh session")
		beat(3 * time.Second)
		assert.True(t, n.Image().Brokers[old].Fenced)
	})
}

func TestResign(t *testing.T) {
	inBubble(t, 3, nil, func(t *testing.T, q *quorum) {
		q.start(1, 2, 3)
		n := q.leader()
		q.join(n, 1, 2, 3)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		n.Resign(ctx)
		require.Less(t, time.Since(began), 100*time.Millisecond)
		other := q.leader()
		require.NotEqual(t, n.c.NodeID, other.c.NodeID)
		q.create(other, "orders", 1, 3)
		q.converge(other)
	})
}

// Lossy, slow links with nodes that come and go: what was acknowledged stays, and images are equal in the end.
func TestStorm(t *testing.T) {
	for seed := range uint64(5) {
		inBubble(t, 3, func(c *Config) { c.SnapshotBytes = 4000 }, func(t *testing.T, q *quorum) {
			rng := rand.New(rand.NewPCG(seed, 1)) // of this goroutine; q.rng belongs to the links
			q.start(1, 2, 3)
			n := q.leader()
			q.join(n, 1, 2, 3)
			q.setLoss(0.1)
			acked := map[string]bool{}
			down := int32(0)
			for i := range 60 {
				name := fmt.Sprintf("topic-%d", i)
				n := q.leader()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				q.heartbeatsLoosely(ctx, n)
				resp, err := n.Handle(ctx, createTopic(name, 1, 1))
				cancel()
				if err == nil && resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode == 0 {
					acked[name] = true
				}
				switch rng.IntN(6) {
				case 0:
					if down == 0 {
						down = int32(rng.IntN(3) + 1)
						q.crash(down, []vfs.CrashMode{vfs.DropAll, vfs.KeepAll, vfs.KeepRandom}[rng.IntN(3)])
					}
				case 1:
					if down != 0 {
						q.start(down)
						down = 0
					}
				case 2:
					q.isolate(q.voters[rng.IntN(3)], true)
					time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
					for _, id := range q.voters {
						q.isolate(id, false)
					}
				}
			}
			if down != 0 {
				q.start(down)
			}
			q.setLoss(0)
			n = q.leader()
			q.heartbeatsLoosely(t.Context(), n)
			q.create(n, "last", 1, 1)
			q.converge(n)
			require.NotEmpty(t, acked)
			for name := range acked {
				require.Contains(t, n.Image().Topics, name, "seed %d", seed)
			}
		})
	}
}

func (q *quorum) heartbeatsLoosely(ctx context.Context, n *Controller) {
	_, _ = n.Handle(ctx, kmsg.NewPtrDeleteTopicsRequest())
	for _, id := range n.Image().BrokerIDs() {
		_, _ = n.Handle(ctx, heartbeat(id, n.Image().Brokers[id].Epoch, n.Image().Offset))
	}
}

func TestStartRefuses(t *testing.T) {
	inBubble(t, 3, nil, func(t *testing.T, q *quorum) {
		q.start(1, 2, 3)
		q.join(q.leader(), 1)
		q.crash(1, vfs.DropAll)

		voters := q.voters
		q.voters = []int32{1, 2}
		err := q.tryStart(1)
		var ve *VotersError
		require.ErrorAs(t, err, &ve)
		assert.Contains(t, err.Error(), "this node belongs to a quorum of voters [1 2 3], not [1 2]")
		q.voters = voters

		flip := func(name string, at int64) {
			f, err := q.disks[1].Open(path.Join("/data/__cluster_metadata-0", name), vfs.ReadWrite)
			require.NoError(t, err)
			b := make([]byte, 1)
			_, err = f.ReadAt(b, at)
			require.NoError(t, err)
			b[0] ^= 0x10
			_, err = f.WriteAt(b, at)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
		flip(quorumStateFile, 30)
		var ce *log.CorruptError
		require.ErrorAs(t, q.tryStart(1), &ce)
		assert.True(t, strings.HasSuffix(ce.Path, quorumStateFile))
		flip(quorumStateFile, 30)
		q.start(1)
		q.converge(q.leader())
	})

	_, err := Start(Config{NodeID: -1, Voters: []int32{1, 1}, SessionTimeout: -1, Static: map[string]string{"no.such": "1"}})
	var ce *ConfigError
	require.ErrorAs(t, err, &ce)
	assert.Len(t, ce.Problems, 6)
}

// F15: a damaged checkpoint stops the node, and nothing is deleted.
func TestDamagedCheckpoint(t *testing.T) {
	inBubble(t, 1, func(c *Config) { c.SnapshotBytes = 500 }, func(t *testing.T, q *quorum) {
		const dir = "/data/__cluster_metadata-0"
		q.start(1)
		n := q.nodes[1]
		q.join(n, 1)
		for i := range 10 {
			q.create(n, fmt.Sprintf("topic-%d", i), 1, 1)
		}
		want := n.Image()
		q.crash(1, vfs.DropAll)
		q.start(1)
		require.True(t, sameMetadata(want, q.nodes[1].Image()), "from checkpoint and log")
		q.crash(1, vfs.DropAll)
		names, err := listCheckpoints(q.disks[1], dir)
		require.NoError(t, err)
		require.NotEmpty(t, names) // the removal of an older one may have been undone
		name := path.Join(dir, names[len(names)-1])
		b, err := readFile(q.disks[1], name)
		require.NoError(t, err)
		f, err := q.disks[1].Open(name, vfs.ReadWrite)
		require.NoError(t, err)
		for _, at := range []int{0, 9, 20, 30, 60, len(b) / 2, len(b) - 1} {
			bad := append([]byte(nil), b...)
			bad[at] ^= 1
			_, err = f.WriteAt(bad, 0)
			require.NoError(t, err)
			var ce *log.CorruptError
			require.ErrorAs(t, q.tryStart(1), &ce, "byte %d", at)
		}
		_, err = f.WriteAt(b, 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		q.start(1)
		require.True(t, sameMetadata(want, q.nodes[1].Image()))
	})
}

func TestClosed(t *testing.T) {
	inBubble(t, 1, nil, func(t *testing.T, q *quorum) {
		q.start(1)
		n := q.nodes[1]
		require.NoError(t, n.Close(false))
		require.NoError(t, n.Close(false))
		_, err := n.Handle(t.Context(), createTopic("a", 1, 1))
		assert.ErrorIs(t, err, ErrClosed)
		_, err = n.WaitOffset(t.Context(), 1000)
		assert.ErrorIs(t, err, ErrClosed)
		_, err = n.WaitLeader(t.Context())
		assert.ErrorIs(t, err, ErrClosed)
		n.Resign(t.Context())
		n.Step(log.TopicID{}, [][]byte{{1, 2, 3}})
		_, err = n.Handle(t.Context(), kmsg.NewPtrMetadataRequest())
		assert.ErrorIs(t, err, machine.ErrUnknownRequest)
	})
}

// Garbage and forged messages neither stop the node nor change anything.
func TestHostileMessages(t *testing.T) {
	inBubble(t, 3, nil, func(t *testing.T, q *quorum) {
		q.start(1, 2, 3)
		n := q.leader()
		q.join(n, 1, 2, 3)
		rng := rand.New(rand.NewPCG(3, 4))
		for i := range 200 {
			b := make([]byte, rng.IntN(100))
			for j := range b {
				b[j] = byte(rng.Uint32())
			}
			b = append([]byte{8, byte(i % 30)}, b...)
			n.Step(log.TopicID{}, [][]byte{b})
		}
		time.Sleep(time.Second)
		require.NoError(t, n.Err())
		q.create(q.leader(), "still", 1, 3)
	})
}

// A disk that fails stops this node's controller and tells why; the other voters go on.
func TestDiskFailure(t *testing.T) {
	inBubble(t, 3, nil, func(t *testing.T, q *quorum) {
		q.start(1, 2, 3)
		n := q.leader()
		q.join(n, 1, 2, 3)
		// The disk is gone: every later operation fails.
		q.disks[n.c.NodeID].Crash(vfs.DropAll, nil)
		_, err := n.Handle(t.Context(), createTopic("a", 1, 3))
		require.Error(t, err)
		<-n.Done()
		var se *log.StorageError
		assert.True(t, errors.As(n.Err(), &se), "%v", n.Err())
		q.drop(n.c.NodeID)
		other := q.leader()
		q.heartbeats(other)
		q.create(other, "b", 1, 3)
		q.converge(other)
	})
}

// F19, F24: slow disks and slow links delay an election, and do not unsettle the leader that comes out of it.
func TestSlowElections(t *testing.T) {
	for _, tc := range []struct{ sync, latency time.Duration }{
		{100 * time.Millisecond, time.Millisecond}, {time.Millisecond, 80 * time.Millisecond}, {150 * time.Millisecond, 60 * time.Millisecond},
	} {
		inBubble(t, 3, nil, func(t *testing.T, q *quorum) {
			q.latency = tc.latency
			for _, disk := range q.disks {
				disk.SetFault(func(op vfs.Op) error {
					if op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncDir {
						time.Sleep(tc.sync)
					}
					return nil
				})
			}
			began := time.Now()
			var wg sync.WaitGroup
			for _, id := range q.voters {
				wg.Go(func() { q.start(id) })
			}
			wg.Wait()
			n := q.leader()
			q.join(n, 1, 2, 3)
			assert.Less(t, time.Since(began), 8*time.Second, "%v", tc)
			n = q.leader()
			_, term, _ := n.Leader()
			for range 30 {
				q.heartbeats(n)
				time.Sleep(time.Second)
			}
			_, now, _ := n.Leader()
			assert.Equal(t, term, now, "%v: another election", tc)
			old := n.c.NodeID
			began = time.Now()
			q.crash(old, vfs.DropAll)
			n = q.leader()
			q.heartbeats(n)
			assert.Less(t, time.Since(began), 8*time.Second, "%v", tc)
			for _, id := range q.voters {
				q.disks[id].SetFault(nil)
			}
		})
	}
}
