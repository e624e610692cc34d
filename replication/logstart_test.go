package replication

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
)

func isOutOfRange(err error) bool {
	_, ok := errors.AsType[*log.OffsetOutOfRangeError](err)
	return ok
}

// A leader raises its log start, its followers take it over, one that has lost it in a crash and one that was away so long that its log ends below it included, and the next leader keeps it.
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

		// No checkpoint was written: the power takes the log start of node 2 back, the leader gives it again.
		c.node(2).crash(vfs.DropAll, nil)
		c.fence(2)
		c.node(2).start()
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
