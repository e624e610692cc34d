package transport

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// answersCoordinator makes a node say who coordinates: each question takes the next of the answers, and the last one stays. It returns how often the node was asked.
func answersCoordinator(n *fakeNode, versions VersionRange, answers ...kmsg.FindCoordinatorResponseCoordinator) *int {
	n.versions[10] = versions
	asked := new(int)
	n.hook(10, func(_ context.Context, r *Request, reply func(Reply)) {
		req := r.Message.(*kmsg.FindCoordinatorRequest)
		a := answers[min(*asked, len(answers)-1)]
		*asked++
		resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
		if req.Version >= 4 {
			a.Key = req.CoordinatorKeys[0]
			resp.Coordinators = append(resp.Coordinators, a)
		} else {
			resp.ErrorCode, resp.NodeID, resp.Host, resp.Port = a.ErrorCode, a.NodeID, a.Host, a.Port
		}
		reply(Reply{Message: resp})
	})
	return asked
}

func coordinatorAt(node int32) kmsg.FindCoordinatorResponseCoordinator {
	return kmsg.FindCoordinatorResponseCoordinator{NodeID: node, Host: "host", Port: 9092}
}

func TestCoordinatorIsCachedUntilForgotten(t *testing.T) {
	for _, versions := range []VersionRange{{0, 3}, {4, 6}} {
		synctest.Test(t, func(t *testing.T) {
			node := newFakeNode(1)
			asked := answersCoordinator(node, versions, coordinatorAt(2), coordinatorAt(3))
			c := directClient(t, node)
			_, ok := c.CachedCoordinator(GroupCoordinator, "g")
			require.False(t, ok)
			for range 2 {
				got, err := c.Coordinator(t.Context(), GroupCoordinator, "g")
				require.NoError(t, err)
				require.Equal(t, int32(2), got)
			}
			require.Equal(t, 1, *asked)
			require.Equal(t, "host:9092", c.addr(2), "requests can be sent there")
			c.ForgetCoordinator(GroupCoordinator, "g", 7) // somebody with old news
			c.ForgetCoordinator(TransactionCoordinator, "g", 2)
			require.Equal(t, 1, *asked)
			c.ForgetCoordinator(GroupCoordinator, "g", 2)
			got, err := c.Coordinator(t.Context(), GroupCoordinator, "g")
			require.NoError(t, err)
			require.Equal(t, int32(3), got)
			cached, ok := c.CachedCoordinator(GroupCoordinator, "g")
			require.True(t, ok)
			require.Equal(t, int32(3), cached)
		})
	}
}

func TestCoordinatorThatIsNotThereYetIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(1)
		missing := kmsg.FindCoordinatorResponseCoordinator{NodeID: -1, ErrorCode: kerr.CoordinatorNotAvailable.Code}
		asked := answersCoordinator(node, VersionRange{4, 6}, missing, missing, missing, coordinatorAt(1))
		c := directClient(t, node)
		began := time.Now()
		_, err := c.Coordinator(t.Context(), GroupCoordinator, "g")
		require.NoError(t, err)
		require.Equal(t, 4, *asked)
		require.Equal(t, 700*time.Millisecond, time.Since(began), "100, 200 and 400 ms")
	})
}

func TestCoordinatorErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(1)
		c := directClient(t, node)
		_, err := c.Coordinator(t.Context(), GroupCoordinator, "g")
		var unsupported *UnsupportedVersionError
		require.ErrorAs(t, err, &unsupported)

		answersCoordinator(node, VersionRange{4, 6}, kmsg.FindCoordinatorResponseCoordinator{ErrorCode: kerr.GroupAuthorizationFailed.Code})
		_, err = c.Coordinator(t.Context(), GroupCoordinator, "g")
		require.ErrorIs(t, err, kerr.GroupAuthorizationFailed)

		answersCoordinator(node, VersionRange{4, 6}, kmsg.FindCoordinatorResponseCoordinator{ErrorCode: kerr.CoordinatorNotAvailable.Code})
		_, err = c.Coordinator(t.Context(), GroupCoordinator, "g")
		require.ErrorIs(t, err, ErrTimeout)
		require.ErrorIs(t, err, kerr.CoordinatorNotAvailable)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = c.Coordinator(ctx, GroupCoordinator, "g")
		require.Equal(t, context.DeadlineExceeded, err)

		require.NoError(t, c.Close())
		_, err = c.Coordinator(t.Context(), GroupCoordinator, "g")
		require.Equal(t, ErrClosed, err)
	})
}

// A JoinGroup is answered when all members have joined. Members that share a client must not wait for each other's connection, nor hold up other requests.
func TestJoinsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const members = 12
		node := newFakeNode(1)
		node.versions[11] = VersionRange{0, 9}
		var mu sync.Mutex
		var parked []func()
		node.hook(11, func(_ context.Context, r *Request, reply func(Reply)) {
			mu.Lock()
			defer mu.Unlock()
			parked = append(parked, func() { reply(Reply{Message: r.Message.ResponseKind()}) })
			if len(parked) == members {
				for _, answer := range parked {
					answer()
				}
			}
		})
		network := NewMem()
		addr, _ := startServer(t, network.Host("node"), "node:1", ServerConfig{Handler: node})
		c := newClient(t, ClientConfig{Network: network.Host("client")})
		c.SetNode(Node{ID: 1, Addr: addr})
		began := time.Now()
		var wg sync.WaitGroup
		for range members {
			wg.Go(func() {
				_, err := c.Request(t.Context(), 1, kmsg.NewPtrJoinGroupRequest())
				require.NoError(t, err)
			})
			if _, err := c.Request(t.Context(), 1, kmsg.NewPtrMetadataRequest()); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
		require.Zero(t, time.Since(began))
	})
}
