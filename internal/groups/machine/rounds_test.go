package machine

import (
	"testing"
	"time"

	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/partition"
	"github.com/stretchr/testify/require"
)

// rounds is a coordinator whose calls are put into rounds by hand.
type rounds struct {
	t   *testing.T
	c   *Coordinator
	now time.Time
	fx  Effects
}

func newRounds(t *testing.T) *rounds {
	r := &rounds{t: t, c: New(testConfig()), now: time.UnixMilli(1_700_000_000_000)}
	r.c.Loaded(r.now, topicMap{"a": 4}, &r.fx)
	return r
}

// write ends a round with the outcome of its writes; what follows from them is written, too.
func (r *rounds) write(err error) {
	for len(r.c.Flush(r.now, &r.fx)) > 0 {
		r.c.Written(r.now, err, &r.fx)
		err = nil
	}
}

// reply is the only answer to a request.
func (r *rounds) reply(id uint64) Reply {
	r.t.Helper()
	var found []Reply
	for _, reply := range r.fx.Replies {
		if reply.ID == id {
			found = append(found, reply)
		}
	}
	require.Len(r.t, found, 1)
	return found[0]
}

func (r *rounds) step(id uint64, request Request) { r.c.Step(r.now, id, request, &r.fx) }

func (r *rounds) heartbeat(id uint64, member string, epoch int32) {
	beat := &ConsumerHeartbeat{Group: "g", MemberID: member, MemberEpoch: epoch, RebalanceTimeout: -1}
	if epoch == JoinEpoch {
		beat.RebalanceTimeout, beat.Topics, beat.Owned = time.Minute, []string{"a"}, new(partition.Set)
	}
	r.step(id, beat)
}

func (r *rounds) join(id uint64, member string, metadata []byte) {
	r.step(id, &Join{
		Group: "g", MemberID: member, ClientID: "c", SessionTimeout: time.Minute, RebalanceTimeout: 10 * time.Second, ProtocolType: "consumer", Protocols: []Protocol{{"range", metadata}},
	})
}

// An empty group expires in the round in which somebody joins: one of the two comes first, and a member's session ends in either case.
func TestJoinWhileExpiring(t *testing.T) {
	r := newRounds(t)
	r.heartbeat(1, "m1", JoinEpoch)
	r.write(nil)
	r.heartbeat(2, "m1", LeaveEpoch)
	r.write(nil)
	r.now = r.now.Add(expiryInterval)
	r.heartbeat(3, "m2", JoinEpoch)
	r.c.Tick(r.now, &r.fx)
	r.write(nil)
	require.NoError(t, r.reply(3).Err)
	d, ok := r.c.DescribeConsumer("g")
	require.True(t, ok)
	require.Len(t, d.Members, 1)
	r.now = r.now.Add(46 * time.Second)
	r.c.Tick(r.now, &r.fx)
	r.write(nil)
	d, _ = r.c.DescribeConsumer("g")
	require.Empty(t, d.Members, "nobody has heard of it for longer than a session")
}

// A time limit is over while a group stands still for a write, and what comes first afterwards makes it void.
func TestTimerPutOffAndStopped(t *testing.T) {
	r := newRounds(t)
	subscription := []byte{0, 0, 0, 0, 0, 0, 255, 255, 255, 255}
	r.join(1, "", subscription)
	r.join(2, "", subscription)
	leader, follower := "c-id-1", "c-id-2"
	r.join(3, leader, subscription)
	require.NoError(t, r.reply(2).Err)
	r.join(4, leader, append(subscription[:1:1], 0, 0, 0, 0, 0, 0, 0, 0, 0)) // a rebalance that waits for the follower
	r.now = r.now.Add(10 * time.Second)
	r.heartbeat(5, "m", JoinEpoch) // converts the group, if it can be written
	r.join(6, follower, subscription)
	r.c.Tick(r.now, &r.fx) // the join phase is over
	r.write(ErrCoordinatorNotAvailable)
	require.Error(t, r.reply(5).Err)
	require.NoError(t, r.reply(4).Err)
	require.NoError(t, r.reply(6).Err)
	require.EqualValues(t, 3, r.reply(6).Result.(*Joined).Generation)
	d, _ := r.c.Describe("g")
	require.Len(t, d.Members, 2, "all have joined in time")
}

// Of a group nothing is left but what a damaged log has of it; it is replaced like any empty one.
func TestJoinReplacesWhatDamageLeft(t *testing.T) {
	r := newRounds(t)
	r.c = New(testConfig())
	r.c.Replay(&entry.Target{Group: "g", Epoch: 3})
	r.c.Loaded(r.now, topicMap{"a": 4}, &r.fx)
	r.join(1, "", []byte{0, 0, 0, 0, 0, 0, 255, 255, 255, 255})
	r.write(nil)
	require.NoError(t, r.reply(1).Err)
}
