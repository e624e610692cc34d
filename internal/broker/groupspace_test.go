package broker

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/insynclog/insync/internal/vfs"
)

// On a coordinator's disk that is full to the last byte commits are refused so that clients repeat them, members stay in their groups for as long as they say that they live, what was committed is told, and what waits is done when
// there is space: who has gone meanwhile goes then. No commit that was acknowledged is lost, over a loss of power neither.
func TestFault_F11_GroupsOnAFullDisk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const capacity = 64 << 20
		h := groupHarness(t, 1)
		n := h.coordinatorOf("g")
		n.disk.SetCapacity(capacity)
		time.Sleep(time.Minute)
		require.False(t, n.dir.Short())
		info, err := n.disk.Stat(n.dir.Path() + "/.ballast")
		require.NoError(t, err)
		require.EqualValues(t, capacity/64, info.Size())

		h.create(1, "others", 1, 1)
		join := func(member, topic string) (epoch int32, err error) {
			r := call[*kmsg.ConsumerGroupHeartbeatResponse](n, consumerHeartbeat("g", member, 0, topic))
			return r.MemberEpoch, kerr.ErrorForCode(r.ErrorCode)
		}
		epoch, err := join("m1", "orders")
		require.NoError(t, err)
		leader := n.join(9, "classic", subscription("orders"))
		require.Zero(t, call[*kmsg.SyncGroupResponse](n, syncRequest(5, "classic", leader.Generation, leader.MemberID)).ErrorCode)
		other, err := join("m2", "others")
		require.NoError(t, err)
		require.Greater(t, other, epoch)
		beat := func() {
			t.Helper()
			r := call[*kmsg.ConsumerGroupHeartbeatResponse](n, consumerHeartbeat("g", "m1", epoch))
			switch err := kerr.ErrorForCode(r.ErrorCode); {
			case errors.Is(err, kerr.CoordinatorNotAvailable): // its epoch would change, for others have gone: it stays, and says so again
			default:
				require.NoError(t, err)
				epoch = r.MemberEpoch
			}
			req := kmsg.NewPtrHeartbeatRequest()
			req.Version, req.Group, req.MemberID, req.Generation = 4, "classic", leader.MemberID, leader.Generation
			require.Zero(t, call[*kmsg.HeartbeatResponse](n, req).ErrorCode)
		}
		acked := map[string]int64{}
		commit := func(group string, offset int64) (code int16) {
			t.Helper()
			req := commitRequest(group, "orders", offset)
			switch group {
			case "g":
				req.MemberID, req.Generation = "m1", epoch
			case "classic":
				req.MemberID, req.Generation = leader.MemberID, leader.Generation
			}
			if code = n.commitCodes(req)[0]; code == 0 {
				acked[group] = offset
			}
			return code
		}
		told := func() {
			t.Helper()
			for group, want := range acked {
				at, code := n.committed(group, "orders", 0)
				require.Zero(t, code)
				require.Equal(t, want, at, group)
			}
		}
		all := []string{"g", "classic", "alone"}
		for _, group := range all {
			require.Zero(t, commit(group, 1))
		}
		beat()
		require.Zero(t, call[*kmsg.ConsumerGroupHeartbeatResponse](n, consumerHeartbeat("g", "m2", other)).ErrorCode)

		for round := range int64(2) {
			_, free, err := n.disk.Space("/")
			require.NoError(t, err)
			foreign, err := n.disk.Open("/foreign", vfs.Create)
			require.NoError(t, err)
			require.NoError(t, foreign.Preallocate(0, free))
			require.NoError(t, foreign.Close())
			offset := 10_000 * (round + 1)
			for _, group := range all {
				for commit(group, offset) == 0 { // into blocks that are written already
					require.Less(t, offset, 10_000*(round+2))
					offset++
				}
			}
			size, short := int64(0), false
			for range 60 {
				for _, group := range all {
					offset++
					code := commit(group, offset)
					require.Equal(t, kerr.CoordinatorNotAvailable.Code, code)
					require.True(t, kerr.IsRetriable(kerr.ErrorForCode(code)))
				}
				beat()
				told()
				_, err := join(fmt.Sprint("late", round), "orders")
				require.ErrorIs(t, err, kerr.CoordinatorNotAvailable)
				used, full := n.Space()
				require.True(t, full)
				if short {
					require.Equal(t, size, used, "what was given back is not for groups")
				}
				size, short = used, n.dir.Short()
				time.Sleep(3 * time.Second)
			}
			require.True(t, short, "checkpoints are written, in what is kept for that")
			if round == 0 {
				members := describeMembers(n, "g")
				require.Contains(t, members, "m2", "it has not been heard of for long, and what ends it cannot be written")
			}
			require.NoError(t, n.disk.Remove("/foreign"))
			h.await(func() bool { return commit("alone", offset) == 0 })
			for _, group := range all {
				require.Zero(t, commit(group, offset+1))
			}
			beat()
			told()
			h.await(func() bool { return len(describeMembers(n, "g")) == 1 })
			require.Equal(t, []string{"m1"}, describeMembers(n, "g"))
		}

		n.stop(true)
		n.disk = n.disk.Crash(vfs.DropAll, nil)
		h.start(n.id)
		for _, group := range all {
			n = h.coordinatorOf(group)
		}
		told()
	})
}

// describeMembers lists the members of a KIP-848 group.
func describeMembers(n *testNode, group string) (ids []string) {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Version, req.Groups = 1, []string{group}
	for _, m := range call[*kmsg.ConsumerGroupDescribeResponse](n, req).Groups[0].Members {
		ids = append(ids, m.MemberID)
	}
	return ids
}
