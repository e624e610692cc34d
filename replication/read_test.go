package replication

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication/machine"
)

// TestFollowerFetch: what a leader answers to a follower's fetch, and which fetches count as progress (§5.4 of Kafka's replication; KIP-595, KIP-903).
func TestFollowerFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 1})
		c.produce(0, "a")
		c.produce(0, "b")
		c.node(3).crash(vfs.KeepAll, nil)
		c.fence(3)
		for range 2 { // nothing is written in epoch 1
			c.move(0, 1, []int32{1, 2})
			synctest.Wait()
		}
		c.produce(0, "c")
		r := c.node(1).replica(0)
		require.NoError(t, r.Log().AdvanceLogStart(1))
		epoch := r.Status().State.LeaderEpoch
		outOfRange := func(err error) bool {
			_, ok := errors.AsType[*log.OffsetOutOfRangeError](err)
			return ok
		}
		good := FollowerFetch{Follower: 3, BrokerEpoch: 1, FetchOffset: 2, LastFetchedEpoch: 0, CurrentLeaderEpoch: epoch, MaxBytes: 1 << 20, AtLeastOne: true, Now: time.Now()}
		for _, tt := range []struct {
			name     string
			change   func(f *FollowerFetch)
			refused  func(error) bool // nil: served
			diverges string
			bytes    bool
			progress bool
		}{
			{name: "in range", change: func(*FollowerFetch) {}, bytes: true, progress: true},
			{name: "at the end", change: func(f *FollowerFetch) { f.FetchOffset, f.LastFetchedEpoch = 3, epoch }, progress: true},
			{name: "no epochs known", change: func(f *FollowerFetch) { f.LastFetchedEpoch, f.CurrentLeaderEpoch, f.BrokerEpoch = -1, -1, -1 }, bytes: true, progress: true},
			{name: "older leader epoch", change: func(f *FollowerFetch) { f.CurrentLeaderEpoch-- }, refused: is(ErrFencedEpoch)},
			{name: "newer leader epoch", change: func(f *FollowerFetch) { f.CurrentLeaderEpoch++ }, refused: is(ErrUnknownEpoch)},
			{name: "no replica", change: func(f *FollowerFetch) { f.Follower = 9 }, refused: is(ErrUnknownEpoch)},
			{name: "no replica, no epoch", change: func(f *FollowerFetch) { f.Follower, f.CurrentLeaderEpoch = 9, -1 }, refused: is(ErrNotLeader)},
			{name: "an earlier life", change: func(f *FollowerFetch) { f.BrokerEpoch = 0 }, refused: is(ErrNotLeader)},
			{name: "below the log start", change: func(f *FollowerFetch) { f.FetchOffset = 0 }, refused: outOfRange},
			{name: "below the log start, empty", change: func(f *FollowerFetch) { f.FetchOffset, f.LastFetchedEpoch = 0, -1 }, refused: outOfRange},
			{name: "above the end, empty", change: func(f *FollowerFetch) { f.FetchOffset, f.LastFetchedEpoch = 4, -1 }, refused: outOfRange},
			{name: "an epoch of the future", change: func(f *FollowerFetch) { f.LastFetchedEpoch = epoch + 1 }, refused: outOfRange},
			{name: "longer in an older epoch", change: func(f *FollowerFetch) { f.FetchOffset = 3 }, diverges: "0 2"},
			{name: "longer in this epoch", change: func(f *FollowerFetch) { f.FetchOffset, f.LastFetchedEpoch = 4, epoch }, diverges: fmt.Sprint(epoch, " 3")},
			{name: "an epoch that the leader never had", change: func(f *FollowerFetch) { f.LastFetchedEpoch = epoch - 1 }, diverges: "0 2"},
		} {
			for _, again := range []bool{false, true} {
				f := good
				tt.change(&f)
				before := r.Status().Followers
				fetch := r.ReadFollower
				if again {
					fetch = r.Reread
				}
				res := fetch(f)
				if tt.refused != nil {
					assert.True(t, tt.refused(res.Err), "%s: %v", tt.name, res.Err)
					assert.Equal(t, int32(1), res.Leader)
				} else {
					assert.NoError(t, res.Err, tt.name)
				}
				assert.Equal(t, tt.diverges != "", res.Diverging, tt.name)
				if res.Diverging {
					assert.Equal(t, tt.diverges, fmt.Sprint(res.DivergingEpoch, " ", res.DivergingEnd), tt.name)
				}
				assert.Equal(t, tt.bytes, res.Slice.Len() > 0, tt.name)
				res.Slice.Release()
				if !tt.progress || again {
					assert.Equal(t, before, r.Status().Followers, "%s: counted", tt.name)
				} else {
					assert.Equal(t, f.FetchOffset, r.Status().Followers[1].FetchOffset, tt.name)
				}
				time.Sleep(time.Millisecond)
			}
		}
		c.unfence(3)
		c.node(3).start()
		c.settled()
	})
}

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

// TestReadBounds: consumers see what is below the high watermark or the last stable offset; between there and the end is nothing, beyond is an error.
func TestReadBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
		c.produce(0, "a")
		c.settled()
		c.node(2).crash(vfs.KeepAll, nil)
		r := c.node(1).replica(0)
		waits := produceTo(t, r, AcksAll, "b")
		for _, as := range []Reader{ReadUncommitted, ReadCommitted} {
			res := r.Read(ReadOptions{Offset: 1, MaxBytes: 100, As: as, CurrentLeaderEpoch: 0, LeaderOnly: true})
			require.NoError(t, res.Err)
			assert.Equal(t, int64(1), res.Bound)
			assert.Zero(t, res.Slice.Len())
			assert.Equal(t, int64(2), res.Offsets.LogEndOffset)
		}
		res := r.Read(ReadOptions{Offset: 1, MaxBytes: 1, AtLeastOne: true, As: ReadAsReplica, CurrentLeaderEpoch: -1})
		require.NoError(t, res.Err)
		assert.Positive(t, res.Slice.Len())
		res.Slice.Release()
		for _, offset := range []int64{-1, 3} {
			_, ok := errors.AsType[*log.OffsetOutOfRangeError](r.Read(ReadOptions{Offset: offset, CurrentLeaderEpoch: -1}).Err)
			assert.True(t, ok, "offset %d", offset)
		}
		assert.ErrorIs(t, r.Read(ReadOptions{CurrentLeaderEpoch: 1}).Err, ErrUnknownEpoch)
		require.True(t, waits.pending.Fail(context.Canceled))
		assert.ErrorIs(t, waits.wait().Err, context.Canceled)
		c.node(2).start()
		c.settled()
	})
}

// TestWatch: a watcher is woken when its own bound moves, and for everything that changes the answer.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 1, minISR: 1})
		c.produce(0, "a")
		synctest.Wait()
		r := c.node(1).replica(0)
		var w [numReaders]countingWatcher
		for as := range w {
			r.Watch(&w[as], Reader(as))
		}
		woken := func() (n [numReaders]int64) {
			for as := range w {
				n[as] = w[as].n.Swap(0)
			}
			return n
		}
		produceTo(t, r, AcksNone, "b")
		assert.Equal(t, [numReaders]int64{ReadAsReplica: 1}, woken(), "appended")
		synctest.Wait()
		assert.Equal(t, [numReaders]int64{ReadUncommitted: 1, ReadCommitted: 1}, woken(), "synced, hence committed")
		c.move(0, 1, []int32{1})
		synctest.Wait()
		assert.Equal(t, [numReaders]int64{1, 1, 1}, woken(), "a new epoch")
		for as := range w {
			r.Unwatch(&w[as])
		}
		c.produce(0, "c")
		assert.Zero(t, woken())
	})
}

// TestReadError: bytes that a disk does not give are damage, which others may mend; the replica goes on. Who finds that nothing helps takes it down, so that somebody else leads.
func TestReadError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, clusterConfig{nodes: 1, minISR: 1})
		for i := range 2000 {
			c.produce(0, fmt.Sprint(i))
		}
		r := c.node(1).replica(0)
		broken := errors.New("broken")
		c.node(1).disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpRead {
				return broken
			}
			return nil
		})
		res := r.Read(ReadOptions{Offset: 1001, MaxBytes: 100, CurrentLeaderEpoch: -1})
		require.ErrorIs(t, res.Err, broken)
		require.True(t, isDamage(res.Err))
		require.NoError(t, r.CheckLeader(-1))
		require.Len(t, r.Log().Damage(), 1)
		r.Fail(broken)
		assert.ErrorIs(t, r.CheckLeader(-1), broken)
		assert.Equal(t, "offline", r.Status().Role.String())
		c.node(1).disk.SetFault(nil)
		c.node(1).crash(vfs.KeepAll, nil)
	})
}

// TestAnswerOf: the classes of a controller's errors.
func TestAnswerOf(t *testing.T) {
	for err, want := range map[error]machine.Answer{
		nil: machine.Applied, ErrIneligibleReplica: machine.NotApplied, ErrNotAttempted: machine.NotApplied,
		ErrFencedEpoch: machine.AwaitUpdate, ErrUnknownTopic: machine.AwaitUpdate, ErrInvalidUpdateVersion: machine.AwaitUpdate,
		ErrInvalidRequest: machine.AwaitUpdate, ErrNewLeaderElected: machine.AwaitUpdate,
		ErrTimedOut: machine.Unanswered, context.DeadlineExceeded: machine.Unanswered,
	} {
		assert.Equal(t, want, answerOf(err), "%v", err)
		if err != nil {
			assert.Equal(t, want, answerOf(fmt.Errorf("node 3: %w", err)))
		}
	}
}
