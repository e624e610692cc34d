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
	"github.com/insynclog/insync/log"
)

// TestReplicate: what is acknowledged with acks=all is on all replicas of the ISR, and their logs are equal byte for byte.
func TestReplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, partitions: 3, minISR: 2})
		for i := range 50 {
			for p := range c.partitions {
				res := c.produce(p, fmt.Sprintf("%d-%d", p, i))
				require.Equal(t, int64(i), res.BaseOffset)
				synced := 0
				for _, n := range c.nodes {
					if n.replica(p).Log().Offsets().SyncedEndOffset > res.BaseOffset {
						synced++
					}
				}
				require.Equal(t, 3, synced, "acknowledged means synced on the whole ISR")
			}
		}
		c.settled()
		// A follower serves consumers up to its own high watermark, and nothing that needs the leader.
		f := c.node(2).replica(0)
		res := f.Read(ReadOptions{Offset: 0, MaxBytes: 1 << 20, CurrentLeaderEpoch: -1})
		require.NoError(t, res.Err)
		assert.Equal(t, int64(50), res.Bound)
		res.Slice.Release()
		assert.ErrorIs(t, f.Read(ReadOptions{CurrentLeaderEpoch: -1, LeaderOnly: true}).Err, ErrNotLeader)
		assert.ErrorIs(t, f.CheckLeader(-1), ErrNotLeader)
		_, err := f.LatestVisible(ReadUncommitted, -1)
		assert.ErrorIs(t, err, ErrNotLeader)
		refused := produceTo(t, f, AcksAll, "x").wait()
		assert.ErrorIs(t, refused.Err, ErrNotLeader)
		assert.Equal(t, int64(-1), refused.BaseOffset)
		assert.Equal(t, int32(1), refused.Leader)
	})
}

// TestFollowerLeavesAndReturns: a crashed follower leaves the ISR after the lag time, appends go on, and it comes back complete.
func TestFollowerLeavesAndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		c.produce(0, "before")
		c.settled()
		c.node(3).crash(vfs.DropAll, nil)
		began := time.Now()
		res := c.produce(0, "while it is away")
		assert.GreaterOrEqual(t, time.Since(began), testLag/2, "the high watermark waits for the whole ISR")
		assert.LessOrEqual(t, time.Since(began), 2*testLag)
		assert.ElementsMatch(t, []int32{1, 2}, c.state(0).ISR)
		c.produce(0, "and more")
		c.node(3).start()
		c.settled()
		assert.Equal(t, "while it is away", values(t, c.node(3).replica(0).Log(), math.MaxInt64)[res.BaseOffset])
		c.mu.Lock()
		defer c.mu.Unlock()
		assert.Contains(t, c.mu.isrSeen, "[1 2]")
		assert.Contains(t, c.mu.isrSeen, "[1 2 3]")
	})
}

// TestZombieLeader: a leader that is cut off answers nothing with acks=all; its tail is cut when it hears of the new leader.
func TestZombieLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		c.produce(0, "committed")
		c.settled()
		// Nobody fetches from 1 any more, and it hears nothing.
		c.mu.Lock()
		c.mu.cut[[2]int32{2, 1}], c.mu.cut[[2]int32{3, 1}] = true, true
		c.mu.Unlock()
		zombie := c.node(1).replica(0)
		time.Sleep(time.Second) // fetches under way end without news
		lost := produceTo(t, zombie, AcksAll, "lost")
		weak := produceTo(t, zombie, AcksLeader, "acknowledged by the leader alone").wait()
		require.NoError(t, weak.Err)
		require.Equal(t, int64(2), weak.BaseOffset)

		c.node(1).mu.Lock()
		c.node(1).up = false // metadata does not reach it
		c.node(1).mu.Unlock()
		c.fence(1)
		res := c.produce(0, "by the new leader")
		require.Equal(t, int64(1), res.BaseOffset)
		require.Empty(t, lost.res, "not acknowledged")

		c.node(1).mu.Lock()
		c.node(1).up = true
		c.node(1).mu.Unlock()
		c.unfence(1)
		got := lost.wait()
		assert.ErrorIs(t, got.Err, ErrNotLeader)
		assert.Equal(t, int64(1), got.BaseOffset, "it was in the log")
		assert.Equal(t, int32(2), got.Leader)
		c.settled()
		l := c.node(1).current()
		assert.Equal(t, map[int64]string{0: "committed", 1: "by the new leader"}, values(t, zombie.Log(), 2))
		l.mu.Lock()
		defer l.mu.Unlock()
		assert.Equal(t, []string{"[1,3)"}, l.truncate)
	})
}

// TestMinISR: below min.insync.replicas acks=all is refused, the high watermark stands still, and what waits is answered when the ISR has grown again.
func TestMinISR(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		c.produce(0, "a")
		c.settled()
		lead := c.node(1).replica(0)
		c.node(2).crash(vfs.KeepAll, nil)
		c.node(3).crash(vfs.KeepAll, nil)
		waits := produceTo(t, lead, AcksAll, "waits")
		times := produceTo(t, lead, AcksAll, "times out")
		await(t, "ISR is the leader", func() bool { return len(lead.Status().State.ISR) == 1 })
		refused := produceTo(t, lead, AcksAll, "refused").wait()
		assert.ErrorIs(t, refused.Err, ErrNotEnoughReplicas)
		assert.Equal(t, int64(-1), refused.BaseOffset)
		weak := produceTo(t, lead, AcksLeader, "weak").wait()
		require.NoError(t, weak.Err)
		o := lead.Log().Offsets()
		assert.Equal(t, int64(1), o.HighWatermark)
		assert.Equal(t, int64(4), o.LogEndOffset)
		got := times.wait()
		assert.ErrorIs(t, got.Err, ErrTimedOut)
		assert.False(t, times.pending.Fail(ErrTimedOut), "once only")
		c.node(2).start()
		c.node(3).start()
		got = waits.wait()
		require.NoError(t, got.Err)
		c.settled()
		assert.Equal(t, "times out", values(t, lead.Log(), 4)[2], "the data stays in the log")
	})
}

// TestDiskError: a failed sync takes the replica down; what waits gets the error, another replica leads.
func TestDiskError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		c.produce(0, "a")
		c.settled()
		n := c.node(1)
		r := n.replica(0)
		w := make(chanWatcher, 1)
		r.Watch(&w, ReadUncommitted)
		defer r.Unwatch(&w)
		broken := errors.New("broken disk")
		n.disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync {
				return broken
			}
			return nil
		})
		got := produceTo(t, r, AcksAll, "b").wait()
		assert.ErrorIs(t, got.Err, broken)
		_, ok := errors.AsType[*log.StorageError](got.Err)
		assert.True(t, ok, "%T", got.Err)
		<-w
		for _, err := range []error{
			r.CheckLeader(-1), r.Read(ReadOptions{CurrentLeaderEpoch: -1}).Err, r.ReadFollower(FollowerFetch{Follower: 2, CurrentLeaderEpoch: -1}).Err,
			produceTo(t, r, AcksNone, "c").wait().Err,
		} {
			assert.ErrorIs(t, err, broken)
		}
		role, err := r.Apply(c.state(0), time.Now())
		assert.Equal(t, Offline, role)
		assert.ErrorIs(t, err, broken)
		st := r.Status()
		assert.Equal(t, Offline, st.Role)
		assert.ErrorIs(t, st.Err, broken)
		l := n.current()
		l.mu.Lock()
		assert.Len(t, l.offline, 1, "told once")
		l.mu.Unlock()
		c.fence(1)
		c.produce(0, "by another leader")
		n.crash(vfs.DropAll, nil)
		n.start()
		c.settled()
	})
}

// TestSlowDisk: a follower whose syncs take half a minute leaves the ISR, and everything goes on without it; nothing waits for a lock meanwhile (the bubble would stand still).
func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		c.produce(0, "a")
		c.settled()
		c.node(3).disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync {
				time.Sleep(30 * time.Second)
			}
			return nil
		})
		c.produce(0, "b")
		assert.ElementsMatch(t, []int32{1, 2}, c.state(0).ISR)
		for i := range 20 {
			began := time.Now()
			c.produce(0, fmt.Sprint(i))
			assert.Less(t, time.Since(began), time.Second)
		}
		// A change of leader while the sync is under way: to the slow one too, which has to wait for it before it truncates or leads.
		c.move(0, 2, []int32{1, 2})
		c.produce(0, "by 2")
		c.node(3).disk.SetFault(nil)
		c.settled()
	})
}

// TestPowerLoss: whatever the disks keep, what was acknowledged survives the loss of power on all nodes at once (P1), and replicas end up equal.
func TestPowerLoss(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
			acked := map[int64]string{}
			var mu sync.Mutex
			for round := range 4 {
				var wg sync.WaitGroup
				for w := range 4 {
					wg.Go(func() {
						for i := range 1 + w*3 {
							v := fmt.Sprintf("%d-%d-%d", round, w, i)
							l := c.state(0).Leader
							if l < 0 {
								return
							}
							life := c.node(l).current()
							if life == nil {
								return
							}
							if res := produceTo(t, life.replicas[0], AcksAll, v).wait(); res.Err == nil {
								mu.Lock()
								acked[res.BaseOffset] = v
								mu.Unlock()
							}
						}
					})
				}
				time.Sleep(time.Duration(rng.Int64N(int64(5 * time.Millisecond))))
				if round%2 == 0 { // all at once
					for _, n := range c.nodes {
						n.crash(vfs.KeepRandom, rng)
					}
					wg.Wait()
					for _, n := range c.nodes {
						n.start()
					}
				} else { // the leader only
					l := c.node(max(1, c.state(0).Leader))
					l.crash(vfs.KeepRandom, rng)
					c.fence(l.id)
					wg.Wait()
					l.start()
				}
				c.produce(0, fmt.Sprint("after round ", round))
			}
			c.settled()
			for _, n := range c.nodes {
				got := values(t, n.replica(0).Log(), math.MaxInt64)
				for o, v := range acked {
					require.Equal(t, v, got[o], "seed %d, node %d, offset %d", seed, n.id, o)
				}
			}
		})
	}
}

// TestFlushSettings: with flush.messages above 1 an offset is confirmed when it is written, and syncs come after that many messages or after flush.ms.
func TestFlushSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 1, minISR: 1, flush: math.MaxInt64})
		c.produce(0, "a")
		r := c.node(1).replica(0)
		time.Sleep(time.Hour)
		assert.Equal(t, int64(0), r.Log().Offsets().SyncedEndOffset, "never synced")
		r.SetSettings(Settings{MinInSyncReplicas: 1, FlushMessages: 3})
		c.produce(0, "b")
		synctest.Wait()
		assert.Equal(t, int64(0), r.Log().Offsets().SyncedEndOffset, "two are not three")
		c.produce(0, "c")
		synctest.Wait()
		assert.Equal(t, int64(3), r.Log().Offsets().SyncedEndOffset)
		r.SetSettings(Settings{MinInSyncReplicas: 1, FlushMessages: math.MaxInt64, FlushInterval: time.Minute})
		c.produce(0, "d")
		time.Sleep(50 * time.Second)
		c.produce(0, "e")
		assert.Equal(t, int64(3), r.Log().Offsets().SyncedEndOffset)
		time.Sleep(11 * time.Second)
		assert.Equal(t, int64(5), r.Log().Offsets().SyncedEndOffset, "within a minute of the first")
		c.produce(0, "f")
		time.Sleep(61 * time.Second)
		assert.Equal(t, int64(6), r.Log().Offsets().SyncedEndOffset)
		// Back to group commit: what is not synced yet is asked for at once.
		r.SetSettings(Settings{MinInSyncReplicas: 1, FlushMessages: math.MaxInt64})
		c.produce(0, "g")
		r.SetSettings(Settings{MinInSyncReplicas: 1})
		synctest.Wait()
		assert.Equal(t, int64(7), r.Log().Offsets().SyncedEndOffset)
	})
}

// TestNewLeaderHighWatermark: "latest" is refused until a new leader's high watermark has reached the start of its epoch (R6, KIP-207).
func TestNewLeaderHighWatermark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		c.produce(0, "a")
		c.settled()
		c.produce(0, "b") // 2 and 3 have it, but do not know that it is committed: their polls have no news for half a second
		require.Equal(t, int64(1), c.node(2).replica(0).Log().Offsets().HighWatermark)
		c.mu.Lock()
		c.mu.cut[[2]int32{1, 2}], c.mu.cut[[2]int32{3, 2}] = true, true
		c.mu.Unlock()
		c.move(0, 2, []int32{1, 2, 3})
		synctest.Wait()
		r := c.node(2).replica(0)
		require.Equal(t, Leader, r.Status().Role)
		_, err := r.LatestVisible(ReadUncommitted, -1)
		assert.ErrorIs(t, err, ErrOffsetNotAvailable)
		_, err = r.LatestVisible(ReadUncommitted, 0)
		assert.ErrorIs(t, err, ErrFencedEpoch)
		_, err = r.LatestVisible(ReadUncommitted, 9)
		assert.ErrorIs(t, err, ErrUnknownEpoch)
		end, err := r.LatestVisible(ReadAsReplica, -1)
		assert.NoError(t, err)
		assert.Equal(t, int64(2), end)
		c.mu.Lock()
		clear(c.mu.cut)
		c.mu.Unlock()
		c.settled()
		end, err = r.LatestVisible(ReadUncommitted, 1)
		assert.NoError(t, err)
		assert.Equal(t, int64(2), end)
	})
}

// TestUncleanElection: a follower that has more than the new leader truncates, below its high watermark too.
func TestUncleanElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 1})
		c.produce(0, "kept")
		c.settled()
		c.node(3).crash(vfs.DropAll, nil)
		c.fence(3)
		c.produce(0, "lost")
		c.produce(0, "lost too")
		time.Sleep(time.Second)
		c.node(1).crash(vfs.KeepAll, nil)
		c.node(2).crash(vfs.KeepAll, nil)
		c.node(3).start()
		c.move(0, 3, []int32{3})
		c.produce(0, "new")
		c.node(1).start()
		c.node(2).start()
		c.settled()
		assert.Equal(t, map[int64]string{0: "kept", 1: "new"}, values(t, c.node(1).replica(0).Log(), 2))
	})
}

// TestLeaderWithoutRecords: a leader of one epoch that appended nothing has an entry in its epoch cache that its successors do not know. It must not keep it from following them.
func TestLeaderWithoutRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		c.produce(0, "a")
		c.settled()
		for _, leader := range []int32{2, 3, 1, 3} {
			c.move(0, leader, []int32{1, 2, 3})
			synctest.Wait()
			own := c.node(leader).replica(0).Log()
			epoch, end, ok := own.EndOffsetForEpoch(c.state(0).LeaderEpoch)
			assert.Equal(t, []any{c.state(0).LeaderEpoch, own.Offsets().LogEndOffset, true}, []any{epoch, end, ok}, "it tells that its epoch has begun")
			c.mu.Lock()
			c.mu.cut[[2]int32{1, leader}], c.mu.cut[[2]int32{2, leader}], c.mu.cut[[2]int32{3, leader}] = true, true, true // nobody hears of the epoch from it
			c.mu.Unlock()
			time.Sleep(time.Second)
		}
		c.mu.Lock()
		clear(c.mu.cut)
		c.mu.Unlock()
		c.move(0, 1, []int32{1, 2, 3})
		c.produce(0, "b")
		c.settled()
	})
}

// TestRetention: a follower that is behind its leader's log start begins anew there, and follows the log start from then on.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		c.produce(0, "a")
		c.settled()
		c.node(3).crash(vfs.KeepAll, nil)
		c.fence(3)
		for i := range 5 {
			c.produce(0, fmt.Sprint(i))
		}
		require.NoError(t, c.node(1).replica(0).Log().AdvanceLogStart(4))
		c.node(3).start()
		await(t, "3 in the ISR", func() bool { return len(c.state(0).ISR) == 3 })
		c.produce(0, "b")
		c.settled()
		for _, n := range c.nodes {
			assert.Equal(t, int64(4), n.replica(0).Log().Offsets().LogStartOffset, "node %d", n.id)
		}
		progress := c.node(1).replica(0).Status().Followers
		for _, f := range progress {
			assert.Equal(t, int64(4), f.LogStartOffset)
			assert.Equal(t, int64(7), f.FetchOffset)
			assert.True(t, f.InSync)
		}
	})
}

// TestStartInsideBatch: a log start inside of a batch; a follower that begins there keeps the whole batch.
func TestStartInsideBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		c.node(3).crash(vfs.KeepAll, nil)
		c.fence(3)
		synctest.Wait()
		lead := c.node(1).replica(0)
		done := make(chan AppendResult, 1)
		lead.Append(batchOf(t, "a", "b", "c"), AppendOptions{Acks: AcksAll, RequiredLeaderEpoch: -1}, func(r AppendResult) { done <- r })
		require.NoError(t, (<-done).Err)
		require.NoError(t, lead.Log().AdvanceLogStart(2))
		c.node(3).start()
		await(t, "3 in the ISR", func() bool { return len(c.state(0).ISR) == 3 })
		c.produce(0, "d")
		await(t, "3 has the log start", func() bool { return c.node(3).replica(0).Log().Offsets().LogStartOffset == 2 })
		c.settled()
	})
}

// TestProposalsAreRepeated: a controller that cannot be reached is asked again until it answers.
func TestProposalsAreRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		c.produce(0, "a")
		c.settled()
		c.mu.Lock()
		c.mu.refuse = errors.New("nobody there")
		c.mu.Unlock()
		c.node(3).crash(vfs.KeepAll, nil)
		waits := produceTo(t, c.node(1).replica(0), AcksAll, "b")
		time.Sleep(3 * testLag)
		assert.True(t, c.node(1).replica(0).Status().ProposalOut)
		assert.Len(t, c.state(0).ISR, 3)
		assert.Empty(t, waits.res)
		c.mu.Lock()
		c.mu.refuse = nil
		c.mu.Unlock()
		began := time.Now()
		require.NoError(t, (<-waits.res).Err)
		assert.LessOrEqual(t, time.Since(began), 2*time.Second)
		assert.Len(t, c.state(0).ISR, 2)
	})
}

// TestCloseFailsWhatWaits also while nothing else happens.
func TestCloseFailsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		c.produce(0, "a")
		c.node(2).crash(vfs.KeepAll, nil)
		r := c.node(1).replica(0)
		waits := produceTo(t, r, AcksAll, "b")
		c.node(1).stop()
		assert.ErrorIs(t, (<-waits.res).Err, ErrNotLeader)
		assert.False(t, waits.pending.Fail(ErrTimedOut))
		require.NoError(t, r.Close())
		assert.ErrorIs(t, produceTo(t, r, AcksAll, "c").wait().Err, ErrClosed)
		assert.ErrorIs(t, r.Read(ReadOptions{CurrentLeaderEpoch: -1}).Err, ErrClosed)
		assert.ErrorIs(t, r.CheckLeader(-1), ErrClosed)
		_, err := r.Apply(State{}, time.Now())
		assert.ErrorIs(t, err, ErrClosed)
		r.Tick(time.Now())
		r.SetSettings(Settings{})
	})
}

// TestConfig: what is missing is named.
func TestConfig(t *testing.T) {
	_, err := New(Config{})
	for _, name := range []string{"Topic", "Log", "Commit", "Eligible", "BrokerEpoch", "ProposeISR"} {
		assert.ErrorContains(t, err, name)
	}
}
