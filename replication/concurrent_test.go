package replication

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/commit"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
)

// countingWatcher counts.
type countingWatcher struct{ n atomic.Int64 }

func (w *countingWatcher) Wake() { w.n.Add(1) }

// TestConcurrentUse calls everything at once, from callbacks too, while the role changes and in the end the replica is closed: every append is answered once, and nothing is called after Close.
func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, engine := vfs.NewMem(), commit.New(commit.Config{})
		dir, err := log.OpenDirectory("data", log.DirectoryConfig{FS: disk, NodeID: 1})
		require.NoError(t, err)
		l, err := dir.OpenLog(testTopic, 0, testTopicID, log.Config{FS: disk, SegmentBytes: 1 << 16})
		require.NoError(t, err)
		var proposals sync.WaitGroup
		var closed, late atomic.Int64
		called := func() { late.Add(closed.Load()) }
		r, err := New(Config{
			NodeID: 1, Topic: testTopic, TopicID: testTopicID, Log: l, Commit: engine, Settings: Settings{LagTime: time.Millisecond},
			Eligible: func(int32, int64) bool { return true }, BrokerEpoch: func(int32) int64 { return 1 },
			ProposeISR: func(_ ISRProposal, done func(ISRResult)) {
				called()
				proposals.Go(func() { done(ISRResult{Err: ErrTimedOut}) })
			},
			Events: Events{ISRChanged: func(string, int32, []int32) { called() }},
		})
		require.NoError(t, err)

		stop := make(chan struct{})
		var wg sync.WaitGroup
		loop := func(f func(i int)) {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						f(i)
					}
					time.Sleep(time.Microsecond)
				}
			})
		}
		var appended, answered atomic.Int64
		batch := batchOf(t, "a", "b", "c")
		for n := range 4 {
			loop(func(i int) {
				appended.Add(1)
				p := r.Append(batch, AppendOptions{Acks: Acks(i%3 - 1), RequiredLeaderEpoch: -1}, func(res AppendResult) {
					if !errors.Is(res.Err, ErrClosed) {
						called()
					}
					answered.Add(1)
					r.Status() // a callback may call the replica
				})
				if p != nil && i%5 == n {
					p.Fail(ErrTimedOut)
				}
			})
		}
		ids := []int32{1, 2, 3}
		loop(func(i int) {
			e := int32(i)
			_, err := r.Apply(State{Leader: int32(i/8%4) - 1, LeaderEpoch: e, PartitionEpoch: e, Replicas: ids, ISR: ids[:1+i%3]}, time.Now())
			if err != nil && !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
			time.Sleep(20 * time.Microsecond)
		})
		for id := int32(2); id <= 3; id++ {
			loop(func(int) {
				res := r.ReadFollower(FollowerFetch{
					Follower: id, BrokerEpoch: -1, FetchOffset: l.Offsets().LogEndOffset, LastFetchedEpoch: -1, CurrentLeaderEpoch: -1, MaxBytes: 1000, Now: time.Now(),
				})
				res.Slice.Release()
			})
		}
		loop(func(int) {
			w := &countingWatcher{}
			r.Watch(w, ReadUncommitted)
			res := r.Read(ReadOptions{CurrentLeaderEpoch: -1, MaxBytes: 1000})
			if res.Err == nil && res.Bound > res.Offsets.LogEndOffset {
				t.Error("reads above the end")
			}
			res.Slice.Release()
			r.Unwatch(w)
		})
		loop(func(i int) {
			r.Tick(time.Now())
			r.SetSettings(Settings{LagTime: time.Millisecond, FlushMessages: int64(1 + i%2), MinInSyncReplicas: 1 + i%2})
			_, _ = r.LatestVisible(ReadCommitted, -1)
		})

		time.Sleep(20 * time.Millisecond)
		require.NoError(t, r.Close())
		closed.Store(1)
		time.Sleep(time.Millisecond)
		close(stop)
		wg.Wait()
		proposals.Wait()
		assert.Equal(t, appended.Load(), answered.Load())
		assert.Zero(t, late.Load(), "called after Close")
		assert.Greater(t, appended.Load(), int64(1000))
		assert.Greater(t, l.Offsets().HighWatermark, int64(100))
		engine.Close()
		require.NoError(t, dir.Close(1))
	})
}
