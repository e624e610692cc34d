package replication

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// handingOver is a cluster whose leader, 1, is to hand over to 2, which has all but answers nothing to it: appends are held back.
func handingOver(t *testing.T) (c *testCluster, leader *Replica) {
	c = newTestCluster(t, clusterConfig{nodes: 3, minISR: 2})
	c.produce(0, "before")
	c.settled()
	c.mu.Lock()
	c.mu.refuse = context.DeadlineExceeded // the controller does not answer, whatever it does
	c.mu.Unlock()
	c.mark(0, 2)
	synctest.Wait()
	return c, c.node(1).replica(0)
}

func (c *testCluster) answers() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.refuse = nil
}

// A planned move with appends all the time: each is made by the old leader, or is told who leads now without having been made.
func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, leader := handingOver(t)
		held := produceTo(t, leader, AcksLeader, "held back")
		time.Sleep(100 * time.Millisecond)
		require.Empty(t, held.res, "nobody knows yet who will append it")
		read := leader.Read(ReadOptions{Offset: 0, MaxBytes: 1 << 20, CurrentLeaderEpoch: -1, LeaderOnly: true})
		require.ErrorIs(t, read.Err, ErrHandedOver, "another may lead already, and have more")
		assert.True(t, leader.HandedOver())
		c.answers()
		res := held.wait()
		assert.False(t, leader.HandedOver())
		assert.ErrorIs(t, res.Err, ErrNotLeader)
		assert.Equal(t, int32(2), res.Leader, "where to go")
		assert.Equal(t, int64(-1), res.BaseOffset)
		assert.Equal(t, int32(2), c.state(0).Leader)
		c.produce(0, "after")
		c.settled()
		assert.Equal(t, map[int64]string{0: "before", 1: "after"}, values(t, leader.Log(), math.MaxInt64))
	})
}

// While another may lead already nobody reads, and who waits is told when this one goes on.
func TestReadersWaitForTheEndOfAHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, leader := handingOver(t)
		o := ReadOptions{Offset: 1, MaxBytes: 1 << 20, CurrentLeaderEpoch: -1}
		w := make(chanWatcher, 1)
		leader.Watch(&w, ReadUncommitted)
		defer leader.Unwatch(&w)
		require.ErrorIs(t, leader.Read(o).Err, ErrHandedOver)
		time.Sleep(100 * time.Millisecond)
		require.Empty(t, w)
		c.mark(0)
		synctest.Wait()
		require.Len(t, w, 1)
		require.NoError(t, leader.Read(o).Err)
		c.answers()
	})
}

// A leader that steps down answers what waits, and leads under a later epoch only.
func TestStepDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, leader := handingOver(t)
		held := produceTo(t, leader, AcksLeader, "held back")
		epoch := c.state(0).LeaderEpoch
		leader.StepDown(epoch - 1)
		require.Empty(t, held.res)
		leader.StepDown(epoch)
		res := held.wait()
		assert.ErrorIs(t, res.Err, ErrNotLeader)
		assert.Equal(t, int64(-1), res.BaseOffset)
		assert.False(t, leader.HandedOver())
		assert.ErrorIs(t, leader.CheckLeader(-1), ErrNotLeader)
		assert.ErrorIs(t, leader.Read(ReadOptions{MaxBytes: 1, CurrentLeaderEpoch: -1}).Err, ErrNotLeader)
		_, err := leader.LatestVisible(ReadUncommitted, -1)
		assert.ErrorIs(t, err, ErrNotLeader)
		s := c.state(0)
		s.HandOver, s.PartitionEpoch = nil, s.PartitionEpoch+1
		role, err := leader.Apply(s, time.Now())
		require.NoError(t, err)
		assert.Equal(t, Idle, role)
		s.LeaderEpoch, s.PartitionEpoch = s.LeaderEpoch+1, s.PartitionEpoch+1
		role, err = leader.Apply(s, time.Now())
		require.NoError(t, err)
		assert.Equal(t, Leader, role)
		require.NoError(t, leader.Close())
		leader.StepDown(epoch + 1) // it is closed
		c.answers()
	})
}

// What was held back is made in the order of its coming, and before what comes later, when the leader stays; what was given up meanwhile is not.
func TestHandOverIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, leader := handingOver(t)
		var held []*produced
		for i := range 5 {
			held = append(held, produceTo(t, leader, []Acks{AcksLeader, AcksAll, AcksNone}[i%3], fmt.Sprint(i)))
		}
		require.True(t, held[2].pending.Fail(ErrTimedOut))
		require.False(t, held[2].pending.Fail(ErrTimedOut), "once")
		assert.ErrorIs(t, held[2].wait().Err, ErrTimedOut)
		late := AppendOptions{Acks: AcksLeader, RequiredLeaderEpoch: -1, Until: time.Now().Add(50 * time.Millisecond)}
		tooLate := make(chan AppendResult, 1)
		leader.Append(batchOf(t, "too late"), late, func(res AppendResult) { tooLate <- res })
		time.Sleep(100 * time.Millisecond)
		c.mark(0)
		for _, i := range []int{0, 1, 3, 4} {
			require.NoError(t, held[i].wait().Err)
		}
		assert.ErrorIs(t, (<-tooLate).Err, ErrNotLeader, "nobody knows whether the node still leads")
		c.answers()
		c.produce(0, "after")
		c.settled()
		assert.Equal(t, map[int64]string{0: "before", 1: "0", 2: "1", 3: "3", 4: "4", 5: "after"}, values(t, leader.Log(), math.MaxInt64))
	})
}

// Memory is bounded: what is too much is refused, and so is all that comes after it, until the end.
func TestHandOverHoldsSoMuchBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, leader := handingOver(t)
		var held []*produced
		for range maxHeld >> 20 {
			held = append(held, produceTo(t, leader, AcksLeader, strings.Repeat("x", 1<<20-200)))
		}
		assert.ErrorIs(t, produceTo(t, leader, AcksLeader, strings.Repeat("x", 1<<20-200)).wait().Err, ErrHandsOver)
		assert.ErrorIs(t, produceTo(t, leader, AcksLeader, "small").wait().Err, ErrHandsOver, "it does not overtake")
		c.mark(0)
		for _, h := range held {
			require.NoError(t, h.wait().Err)
		}
		require.NoError(t, produceTo(t, leader, AcksLeader, "small").wait().Err)
		c.answers()
	})
}

// A replica that is closed, or whose disk fails, while it hands over answers what it has held back.
func TestHandOverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, leader := handingOver(t)
		held := produceTo(t, leader, AcksLeader, "x")
		leader.Fail(assert.AnError)
		assert.ErrorIs(t, held.wait().Err, assert.AnError)
	})
	synctest.Test(t, func(t *testing.T) {
		_, leader := handingOver(t)
		held := produceTo(t, leader, AcksLeader, "x")
		require.NoError(t, leader.Close())
		assert.ErrorIs(t, held.wait().Err, ErrNotLeader)
	})
}
