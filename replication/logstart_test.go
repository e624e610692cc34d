package replication

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
)

func isOutOfRange(err error) bool {
	_, ok := errors.AsType[*log.OffsetOutOfRangeError](err)
	return ok
}

// A leader raises its log start, its followers take it over, one that has crashed meanwhile and one that was away so long that its log ends below it included, and the next leader keeps it.
func TestAdvanceLogStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		for i := range 10 {
			c.produce(0, fmt.Sprint(i))
		}
		c.settled()
		lead := c.node(1).replica(0)
		assert.ErrorIs(t, c.node(2).replica(0).AdvanceLogStart(5, -1), ErrNotLeader)
		assert.ErrorIs(t, lead.AdvanceLogStart(5, lead.Status().State.LeaderEpoch+1), ErrUnknownEpoch)
		assert.True(t, isOutOfRange(lead.AdvanceLogStart(11, -1)))
		assert.True(t, isOutOfRange(lead.AdvanceLogStart(-1, -1)))
		require.NoError(t, lead.AdvanceLogStart(5, lead.Status().State.LeaderEpoch))
		require.NoError(t, lead.AdvanceLogStart(3, -1), "it does not fall")
		starts := func(want int64) {
			t.Helper()
			await(t, fmt.Sprintf("all start at %d", want), func() bool {
				for _, n := range c.nodes {
					if n.replica(0).Log().Offsets().LogStartOffset != want {
						return false
					}
				}
				return true
			})
		}
		starts(5)

		// A follower has written it down before it said so; a leader writes it down when it is asked to.
		c.node(2).crash(vfs.DropAll, nil)
		c.fence(2)
		c.node(2).start()
		assert.Equal(t, int64(5), c.node(2).replica(0).Log().Offsets().LogStartOffset)
		assert.Zero(t, lead.Log().SyncedLogStart())
		starts(5)
		c.settled()

		// Node 3 misses everything up to the next start.
		c.node(3).crash(vfs.DropAll, nil)
		c.fence(3)
		for i := range 5 {
			c.produce(0, fmt.Sprint(10+i))
		}
		require.NoError(t, lead.AdvanceLogStart(13, -1))
		c.node(3).start()
		starts(13)
		c.settled()
		_, end, ok := c.node(3).replica(0).Log().EndOffsetForEpoch(0)
		assert.Equal(t, []any{int64(15), true}, []any{end, ok})

		epoch := lead.Status().State.LeaderEpoch
		c.move(0, 3, []int32{1, 2, 3})
		next := c.node(3).replica(0)
		await(t, "both know the new leader", func() bool { return next.CheckLeader(epoch+1) == nil && lead.Status().State.LeaderEpoch > epoch })
		assert.ErrorIs(t, lead.AdvanceLogStart(14, epoch), ErrFencedEpoch)
		assert.ErrorIs(t, next.AdvanceLogStart(14, epoch), ErrFencedEpoch)
		require.NoError(t, next.AdvanceLogStart(15, epoch+1), "up to the high watermark")
		starts(15)
		c.produce(0, "on it goes")
		c.settled()
		require.NoError(t, next.Close())
		assert.ErrorIs(t, next.AdvanceLogStart(15, -1), ErrClosed)
		_, err := next.DeleteOldSegments()
		assert.ErrorIs(t, err, ErrClosed)
	})
}

// What is not committed cannot be declared away: the other replica that does not have it could be elected.
func TestLogStartIsBoundedByTheHighWatermark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		c.produce(0, "a")
		c.settled()
		for id := int32(2); id <= 3; id++ {
			c.node(id).crash(vfs.KeepAll, nil)
		}
		lead := c.node(1).replica(0)
		require.NoError(t, produceTo(t, lead, AcksLeader, "b").wait().Err)
		assert.True(t, isOutOfRange(lead.AdvanceLogStart(2, -1)))
		require.NoError(t, lead.AdvanceLogStart(1, -1))
		c.node(2).start()
		c.node(3).start()
		c.settled()
	})
}

// waker notes that it was woken.
type waker struct{ woken chan struct{} }

func newWaker() *waker { return &waker{make(chan struct{}, 1)} }

func (w *waker) Wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// The low watermark is what all live replicas have deleted, durably: it is there after a power loss of all of them.
func TestLowWatermark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		for i := range 10 {
			c.produce(0, fmt.Sprint(i))
		}
		c.settled()
		lead := c.node(1).replica(0)
		all := func(int32) bool { return true }
		_, err := c.node(2).replica(0).LowWatermark(all)
		assert.ErrorIs(t, err, ErrNotLeader)
		_, err = c.node(2).replica(0).DeleteRecords(-1)
		assert.ErrorIs(t, err, ErrNotLeader)
		for _, bad := range []int64{-2, 11} {
			_, err = lead.DeleteRecords(bad)
			assert.True(t, isOutOfRange(err), "%d", bad)
		}
		w := newWaker()
		lead.WatchLowWatermark(w)
		reaches := func(want int64, alive func(int32) bool) {
			t.Helper()
			for {
				low, err := lead.LowWatermark(alive)
				require.NoError(t, err)
				if low >= want {
					require.Equal(t, want, low)
					return
				}
				<-w.woken
			}
		}

		to, err := lead.DeleteRecords(6)
		require.NoError(t, err)
		require.Equal(t, int64(6), to)
		low, err := lead.LowWatermark(all)
		require.NoError(t, err)
		require.Zero(t, low, "not even durable here")
		require.NoError(t, lead.SyncLogStart())
		reaches(6, all)
		for _, n := range c.nodes {
			assert.Equal(t, int64(6), n.replica(0).Log().SyncedLogStart())
		}

		// A follower that is down holds it up until it does not count.
		c.node(3).crash(vfs.DropAll, nil)
		to, err = lead.DeleteRecords(-1)
		require.NoError(t, err)
		require.Equal(t, int64(10), to)
		require.NoError(t, lead.SyncLogStart())
		reaches(10, func(id int32) bool { return id != 3 })
		low, err = lead.LowWatermark(all)
		require.NoError(t, err)
		assert.Equal(t, int64(6), low)
		c.fence(3)
		c.node(3).start()
		assert.Equal(t, int64(6), c.node(3).replica(0).Log().Offsets().LogStartOffset)
		reaches(10, all)

		// The power fails everywhere at once.
		lead.Unwatch(w)
		for id := int32(1); id <= 3; id++ {
			c.node(id).crash(vfs.DropAll, nil)
		}
		for id := int32(1); id <= 3; id++ {
			c.node(id).start()
			assert.Equal(t, int64(10), c.node(id).replica(0).Log().Offsets().LogStartOffset)
		}
	})
}

// What is not synced before it is confirmed does not make a log start less durable.
func TestLowWatermarkOfARelaxedTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 2, minISR: 1, flush: 1000})
		for i := range 10 {
			c.produce(0, fmt.Sprint(i))
		}
		c.settled()
		lead := c.node(1).replica(0)
		_, err := lead.DeleteRecords(7)
		require.NoError(t, err)
		require.NoError(t, lead.SyncLogStart())
		await(t, "both begin at 7", func() bool {
			low, err := lead.LowWatermark(func(int32) bool { return true })
			require.NoError(t, err)
			return low == 7
		})
		assert.Equal(t, int64(7), c.node(2).replica(0).Log().SyncedLogStart())
		c.produce(0, "on it goes")
		c.settled()
	})
}

// Who waits for the low watermark hears that this replica does not lead any more.
func TestLowWatermarkEndsWithLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 2, minISR: 1})
		c.produce(0, "a")
		c.settled()
		lead, w := c.node(1).replica(0), newWaker()
		lead.WatchLowWatermark(w)
		c.move(0, 2, []int32{1, 2})
		for {
			<-w.woken
			if _, err := lead.LowWatermark(func(int32) bool { return true }); err != nil {
				assert.ErrorIs(t, err, ErrNotLeader)
				break
			}
		}
		lead.Unwatch(w)
		require.NoError(t, lead.Close())
		_, err := lead.LowWatermark(nil)
		assert.ErrorIs(t, err, ErrClosed)
		assert.ErrorIs(t, lead.SyncLogStart(), ErrClosed)
	})
}

// A leader whose disk fails it while the log start is stored is offline, and answers nobody that records are deleted.
func TestSyncLogStartFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 1, minISR: 1})
		c.produce(0, "a")
		c.settled()
		lead := c.node(1).replica(0)
		_, err := lead.DeleteRecords(1)
		require.NoError(t, err)
		c.node(1).disk.SetFault(func(vfs.Op) error { return syscall.EIO })
		assert.ErrorIs(t, lead.SyncLogStart(), syscall.EIO)
		c.node(1).disk.SetFault(nil)
		_, err = lead.LowWatermark(func(int32) bool { return true })
		assert.True(t, isStorageError(err), "%v", err)
		c.node(1).crash(vfs.DropAll, nil)
		c.node(1).start()
		assert.Zero(t, c.node(1).replica(0).Log().Offsets().LogStartOffset)
	})
}

// A follower without space for the checkpoint of its log start does not go offline, goes on replicating, and stores the start when there is space.
func TestLogStartWaitsForSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		for i := range 6 {
			c.produce(0, fmt.Sprint(i))
		}
		c.settled()
		var hits atomic.Int32
		c.node(2).disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, ".tmp") {
				hits.Add(1)
				return vfs.ErrNoSpace
			}
			return nil
		})
		require.NoError(t, c.node(1).replica(0).AdvanceLogStart(4, -1))
		c.produce(0, "goes on")
		full := c.node(2).replica(0)
		await(t, "the follower is told", func() bool { return full.Log().Offsets().LogStartOffset == 4 })
		time.Sleep(time.Second)
		require.Greater(t, hits.Load(), int32(3), "it tries again")
		require.Less(t, hits.Load(), int32(30), "in its own time")
		require.NoError(t, full.Status().Err)
		assert.Zero(t, full.Log().SyncedLogStart())

		c.node(2).disk.SetFault(nil)
		await(t, "it is stored", func() bool { return full.Log().SyncedLogStart() == 4 })
		c.settled()
		c.produce(0, "and on")
		c.settled()
	})
}

// A follower that has no space for what its leader sends, or takes none of it in, still learns where the log begins by now: that is what makes space for it.
func TestFollowerWithoutSpaceTakesLogStart(t *testing.T) {
	for _, held := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFollowing(t, 1)
			r := f.replicas[0]
			for i := range int64(4) {
				_, err := r.Log().AppendReplicated(replicated(t, i, 1, "v"), 1)
				require.NoError(t, err)
			}
			answered := 0
			f.source.set(func(_ context.Context, _ scriptedCall, resp *FetchResponse) error {
				answered++
				p := FetchedPartition{TopicID: testTopicID, HighWatermark: 4, LogStartOffset: 3, Records: replicated(t, 4, 1, "w")}
				if held {
					p.Records, p.Held = nil, &log.FullError{Op: "append", Err: vfs.ErrNoSpace}
				}
				resp.Partitions = append(resp.Partitions, p)
				return nil
			})
			f.disk.SetFault(func(op vfs.Op) error {
				if op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, ".log") {
					return vfs.ErrNoSpace
				}
				return nil
			})
			f.fetcher.Add(r)
			time.Sleep(10 * time.Second)
			o := r.Log().Offsets()
			assert.Equal(t, []int64{3, 4, 4}, []int64{o.LogStartOffset, o.HighWatermark, o.LogEndOffset})
			assert.Less(t, answered, 100, "it pauses")
			assert.NoError(t, r.Status().Err)
		})
	}
}
