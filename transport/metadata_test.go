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

// askedTopics returns what the node was asked for, and forgets it.
func (n *fakeNode) askedTopics() (asked [][]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, q := range n.asked {
		names := []string{}
		for _, t := range q.Topics {
			name := *t.Topic
			if q.AllowAutoTopicCreation {
				name += "!"
			}
			names = append(names, name)
		}
		asked = append(asked, names)
	}
	n.asked = nil
	return asked
}

func TestMetadataCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(1)
		node.setBrokers("host-1:1", "host-2:2")
		node.setTopic("t", 1, 2)
		c := directClient(t, node)
		require.Nil(t, c.CachedTopic("t"))
		topic, err := c.Topic(t.Context(), "t", false)
		require.NoError(t, err)
		require.Equal(t, Partition{Leader: 2, LeaderEpoch: 5, Replicas: []int32{2}, ISR: []int32{2}}, topic.Partitions[1])
		require.Same(t, topic, c.CachedTopic("t"))
		again, err := c.Topic(t.Context(), "t", false)
		require.NoError(t, err)
		require.Same(t, topic, again)
		require.Equal(t, []Node{{ID: 1, Addr: "host-1:1"}, {ID: 2, Addr: "host-2:2"}}, c.Nodes())
		controller, err := c.Controller(t.Context())
		require.NoError(t, err)
		require.Equal(t, int32(1), controller)
		require.Equal(t, [][]string{{"t"}}, node.askedTopics())

		// An unknown topic is asked for each time, but no longer when others are refreshed.
		_, err = c.Topic(t.Context(), "nope", false)
		require.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
		_, err = c.Topic(t.Context(), "nope", false)
		require.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
		require.Equal(t, [][]string{{"nope", "t"}, {"nope", "t"}}, node.askedTopics())
		start := time.Now()
		<-c.Refresh()
		require.Equal(t, [][]string{{"t"}}, node.askedTopics())
		require.Equal(t, 100*time.Millisecond, time.Since(start)) // the back-off since the last question

		// The cache is asked for again when it is old.
		time.Sleep(11 * time.Minute)
		require.Equal(t, [][]string{{"t"}, {"t"}}, node.askedTopics())
	})
}

func TestMetadataCreate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(1)
		c := directClient(t, node)
		go func() {
			time.Sleep(250 * time.Millisecond)
			node.setTopic("new", 1)
		}()
		topic, err := c.Topic(t.Context(), "new", true)
		require.NoError(t, err)
		require.Len(t, topic.Partitions, 1)
		require.Equal(t, [][]string{{"new!"}, {"new!"}, {"new!"}}, node.askedTopics())

		// Nodes that do not create it say so for a while, and then it is an error.
		start := time.Now()
		_, err = c.Topic(t.Context(), "never", true)
		require.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
		require.GreaterOrEqual(t, time.Since(start), createPatience)
		require.Less(t, time.Since(start), 2*createPatience)

		bad := kmsg.NewMetadataResponseTopic()
		bad.Topic, bad.ErrorCode = kmsg.StringPtr("b/d"), kerr.InvalidTopicException.Code
		node.mu.Lock()
		node.topics["b/d"] = bad
		node.mu.Unlock()
		_, err = c.Topic(t.Context(), "b/d", true)
		require.ErrorIs(t, err, kerr.InvalidTopicException)
	})
}

// TestRefreshCoalesces has many callers at once: one question for those that came before it was asked, one for those that came while it was under way.
func TestRefreshCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(1)
		node.setTopic("a", 1)
		node.setTopic("b", 1)
		slow := func(ctx context.Context, r *Request, reply func(Reply)) {
			answer := node.answer(r)
			time.Sleep(time.Second)
			reply(Reply{Message: answer})
		}
		node.hook(3, slow)
		c := directClient(t, node)
		first := c.Refresh("a")
		synctest.Wait()
		start := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				<-c.Refresh("b")
				require.Equal(t, 2*time.Second, time.Since(start))
			})
		}
		<-first
		require.Equal(t, time.Second, time.Since(start))
		require.Nil(t, c.CachedTopic("b"))
		wg.Wait()
		require.NotNil(t, c.CachedTopic("b"))
		require.Equal(t, [][]string{{"a"}, {"a", "b"}}, node.askedTopics())
	})
}

// TestLeaderEpochsRise checks that neither an older answer nor an older hint takes a leader back, and that a topic made anew starts anew.
func TestLeaderEpochsRise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(1)
		node.setTopic("t", 1, 1)
		c := directClient(t, node)
		_, err := c.Topic(t.Context(), "t", false)
		require.NoError(t, err)
		leader := func(p int) [2]int32 {
			q := c.CachedTopic("t").Partitions[p]
			return [2]int32{q.Leader, q.LeaderEpoch}
		}
		c.LeaderHint("t", 1, 3, 4, nil)
		require.Equal(t, [2]int32{1, 5}, leader(1))
		c.LeaderHint("t", 1, 3, 5, nil)
		require.Equal(t, [2]int32{1, 5}, leader(1))
		before := c.CachedTopic("t")
		c.LeaderHint("t", 1, 3, 7, []Node{{ID: 3, Addr: "three:3"}})
		require.Equal(t, [2]int32{3, 7}, leader(1))
		require.Equal(t, int32(1), before.Partitions[1].Leader, "a topic that was handed out changed")
		require.Equal(t, "three:3", c.addr(3))
		c.LeaderHint("t", 9, 3, 7, nil)
		c.LeaderHint("t", -1, 3, 7, nil)
		c.LeaderHint("u", 0, 3, 7, nil)
		<-c.Refresh("t") // epoch 5 again
		require.Equal(t, [2]int32{3, 7}, leader(1))
		require.Equal(t, [2]int32{1, 5}, leader(0))

		// A topic that has no leader for a moment keeps its partitions; one that is gone does not.
		node.mu.Lock()
		rt := node.topics["t"]
		gone := rt
		gone.Partitions, gone.ErrorCode = nil, kerr.LeaderNotAvailable.Code
		node.topics["t"] = gone
		node.mu.Unlock()
		<-c.Refresh("t")
		require.ErrorIs(t, c.CachedTopic("t").Err, kerr.LeaderNotAvailable)
		require.Equal(t, [2]int32{3, 7}, leader(1))
		node.mu.Lock()
		rt.TopicID = [16]byte{99}
		node.topics["t"] = rt
		node.mu.Unlock()
		<-c.Refresh("t")
		require.Equal(t, [2]int32{1, 5}, leader(1))
		node.mu.Lock()
		delete(node.topics, "t")
		node.mu.Unlock()
		<-c.Refresh("t")
		require.Empty(t, c.CachedTopic("t").Partitions)
	})
}

// TestRebootstrap loses all nodes that the cluster named: the client finds it again through the addresses that it was given.
func TestRebootstrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := NewMem().Host("a")
		node := newFakeNode(1)
		addr, stop := startServer(t, network, "seed:9092", ServerConfig{Handler: node})
		other, stopOther := startServer(t, network, "other:9092", ServerConfig{Handler: node})
		node.setBrokers(other)
		node.setTopic("t", 1)
		c := newClient(t, ClientConfig{Bootstrap: []string{addr}, Network: network})
		_, err := c.Topic(t.Context(), "t", false)
		require.NoError(t, err)
		stop()
		<-c.Refresh("t")
		stopOther()
		start := time.Now()
		refreshed := c.Refresh("t")
		_, err = c.Topic(t.Context(), "u", false)
		require.ErrorIs(t, err, ErrTimeout)
		require.ErrorAs(t, err, new(*ConnError))
		require.Equal(t, 30*time.Second, time.Since(start))
		moved, _ := startServer(t, network, "seed:9092", ServerConfig{Handler: node})
		node.setBrokers(moved)
		<-refreshed
		require.Less(t, time.Since(start), 35*time.Second)
		require.Equal(t, []Node{{ID: 1, Addr: moved}}, c.Nodes())
		_, err = c.Request(t.Context(), 1, listOffsets(0))
		require.NoError(t, err)
	})
}

// TestRefreshAroundHungNode cuts the node that was asked first: its silence costs a refresh the time after which the next one is asked, once, and the others nothing but the pause between them.
func TestRefreshAroundHungNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMem()
		node := newFakeNode(1)
		one, _ := startServer(t, m.Host("one"), ":9092", ServerConfig{Handler: node})
		two, _ := startServer(t, m.Host("two"), ":9092", ServerConfig{Handler: node})
		c := newClient(t, ClientConfig{Bootstrap: []string{one}, Network: m.Host("client")})
		node.setBrokers(one, two)
		node.setTopic("t", 1)
		_, err := c.Topic(t.Context(), "t", false)
		require.NoError(t, err)
		m.SetLink("one", "client", Link{Cut: true})
		start := time.Now()
		for range 6 {
			<-c.Refresh("t")
		}
		require.LessOrEqual(t, time.Since(start), 6*c.cfg.BackoffMin+c.hedge())
	})
}

// A closed client names no topics, not even those it remembers: whoever asks would wait for a leader that it can never learn of.
func TestClosedClientForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(1)
		node.setBrokers("host-1:1")
		node.setTopic("t", 1)
		c := directClient(t, node)
		_, err := c.Topic(t.Context(), "t", false)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		_, err = c.Topic(t.Context(), "t", false)
		require.ErrorIs(t, err, ErrClosed)
	})
}

// A node whose broker is fenced may lead the metadata quorum: it is named as the controller, and its address is not told. Another one forwards what is for it.
func TestControllerWithoutAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMem()
		node := newFakeNode(7) // calls itself the controller, and is none of the brokers
		one, _ := startServer(t, m.Host("one"), ":9092", ServerConfig{Handler: node})
		node.setBrokers(one)
		c := newClient(t, ClientConfig{Bootstrap: []string{one}, Network: m.Host("client")})
		id, err := c.Controller(t.Context())
		require.NoError(t, err)
		require.Equal(t, int32(1), id)
		node.setBrokers(one, one, one, one, one, one, one)
		id, err = c.Controller(t.Context())
		require.NoError(t, err)
		require.Equal(t, int32(7), id, "as soon as it is known")
	})
}
