package transport

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// three are three nodes on a network, of which the first leads topic "t" in epoch 5, and a client that has met them.
func three(t *testing.T) (m *Mem, nodes [4]*fakeNode, c *Client) {
	m = NewMem()
	var addrs []string
	for id := int32(1); id <= 3; id++ {
		n := newFakeNode(id)
		n.versions[10] = VersionRange{4, 6}
		addr, _ := startServer(t, m.Host(fmt.Sprint("node", id)), fmt.Sprintf("node%d:9092", id), ServerConfig{Handler: n})
		nodes[id], addrs = n, append(addrs, addr)
	}
	for _, n := range nodes[1:] {
		n.setBrokers(addrs...)
		n.setTopic("t", 1)
	}
	c = newClient(t, ClientConfig{Bootstrap: addrs[:1], Network: m.Host("client")})
	_, err := c.Topic(t.Context(), "t", false)
	require.NoError(t, err)
	return m, nodes, c
}

// move has a node name another leader.
func (n *fakeNode) move(leader int32) {
	n.setTopic("t", leader)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.topics["t"].Partitions[0].LeaderEpoch = 6
}

func toTopic(req kmsg.Request) kmsg.Request {
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		r.Topics[0].Topic = "t"
	case *kmsg.FetchRequest:
		r.Topics = []kmsg.FetchRequestTopic{{Topic: "t", Partitions: []kmsg.FetchRequestTopicPartition{{CurrentLeaderEpoch: 5}}}}
	}
	return req
}

func consumerFetch(wait time.Duration) *kmsg.FetchRequest {
	r := kmsg.NewPtrFetchRequest()
	r.ReplicaID, r.MaxWaitMillis = -1, int32(wait.Milliseconds())
	return r
}

// A node that is cut off says nothing. The others are asked, and what waits for it ends when they name another leader, long before its time is over.
func TestWaitsForLeaderEndWhenItHasMoved(t *testing.T) {
	for name, request := range map[string]func() kmsg.Request{
		"produce": func() kmsg.Request { return toTopic(produceRequest(-1, nil)) },
		"fetch":   func() kmsg.Request { return toTopic(consumerFetch(500 * time.Millisecond)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, nodes, c := three(t)
				_, err := c.Request(t.Context(), 1, request())
				require.NoError(t, err)
				m.SetLink("node1", "*", Link{Cut: true})
				m.SetLink("*", "node1", Link{Cut: true})
				began := time.Now()
				const moves = 3*time.Second + 50*time.Millisecond // not at the instant of a question
				time.AfterFunc(moves, func() {
					nodes[2].move(2)
					nodes[3].move(2)
				})
				_, err = c.Request(t.Context(), 1, request())
				require.ErrorIs(t, err, ErrMoved)
				var ce *ConnError
				require.ErrorAs(t, err, &ce)
				require.True(t, ce.Sent, "it may have had its effect")
				took := time.Since(began)
				require.Greater(t, took, moves, "nobody knew better")
				require.Less(t, took, moves+2*c.doubtAfter())
				require.Equal(t, int32(2), c.CachedTopic("t").Partitions[0].Leader)

				// The next one finds no connection, and is not kept for long either.
				began = time.Now()
				_, err = c.Request(t.Context(), 1, request())
				require.ErrorIs(t, err, ErrMoved)
				require.LessOrEqual(t, time.Since(began), c.doubtAfter()+500*time.Millisecond)
			})
		})
	}
}

// A leader that is slow, and leads, is waited for. So is one that has just lost the lead and answers at once.
func TestSlowLeaderIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, c := three(t)
		nodes[1].hook(0, func(_ context.Context, r *Request, reply func(Reply)) {
			go func() {
				time.Sleep(20 * time.Second)
				reply(Reply{Message: produced(r.Message.(*kmsg.ProduceRequest))})
			}()
		})
		began := time.Now()
		_, err := c.Request(t.Context(), 1, toTopic(produceRequest(-1, nil)))
		require.NoError(t, err)
		require.Equal(t, 20*time.Second, time.Since(began))
		require.Less(t, len(nodes[1].askedTopics())+len(nodes[2].askedTopics())+len(nodes[3].askedTopics()), 110, "not asked all the time")

		nodes[1].hook(0, nil)
		for _, n := range nodes[1:] {
			n.move(2)
		}
		<-c.Refresh("t")
		_, err = c.Request(t.Context(), 1, toTopic(produceRequest(-1, nil)))
		require.NoError(t, err, "its answer counts")
	})
}

// A node that is silent costs the time after which the next one is asked, not that of a request.
func TestMetadataOfWhoeverAnswersFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, nodes, c := three(t)
		m.SetLink("node1", "client", Link{Cut: true}) // the one that the client has a connection to
		began := time.Now()
		nodes[2].setTopic("u", 2)
		nodes[3].setTopic("u", 2)
		_, err := c.Topic(t.Context(), "u", false)
		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(began), c.hedge())

		answersCoordinator(nodes[2], VersionRange{4, 6}, coordinatorAt(3))
		answersCoordinator(nodes[3], VersionRange{4, 6}, coordinatorAt(3))
		answersCoordinator(nodes[1], VersionRange{4, 6}, coordinatorAt(3))
		time.Sleep(time.Minute) // nobody is suspected any more
		began = time.Now()
		_, err = c.Coordinator(t.Context(), GroupCoordinator, "g")
		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(began), c.hedge())
	})
}

// A node that hears no metadata any more answers with what it knows. Whoever asks again asks somebody else, in process and over the network.
func TestStaleNodeIsNotAskedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, nodes, c := three(t)
		local := newClient(t, ClientConfig{Local: &Local{NodeID: 1, Handler: nodes[1]}, Network: m.Host("node1")})
		_, err := local.Topic(t.Context(), "t", false)
		require.NoError(t, err)
		nodes[2].move(2)
		nodes[3].move(2)
		for _, c := range []*Client{c, local} {
			<-c.Refresh("t")
			<-c.Refresh("t")
			require.Equal(t, int32(2), c.CachedTopic("t").Partitions[0].Leader, "%v", c == local)
		}

		asked := answersCoordinator(nodes[1], VersionRange{4, 6}, coordinatorAt(1)) // it does not know better
		answersCoordinator(nodes[2], VersionRange{4, 6}, coordinatorAt(2))
		answersCoordinator(nodes[3], VersionRange{4, 6}, coordinatorAt(2))
		for _, c := range []*Client{c, local} {
			for range 2 {
				node, err := c.Coordinator(t.Context(), GroupCoordinator, "g")
				require.NoError(t, err)
				if node == 2 {
					break
				}
				c.ForgetCoordinator(GroupCoordinator, "g", node)
			}
			node, err := c.Coordinator(t.Context(), GroupCoordinator, "g")
			require.NoError(t, err)
			require.Equal(t, int32(2), node)
		}
		require.Positive(t, *asked)
	})
}
