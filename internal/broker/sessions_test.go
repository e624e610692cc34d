package broker

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func newTestSessions(slots int) *fetchSessions {
	return newFetchSessions(slots, rand.New(rand.NewPCG(1, 2)))
}

var sessionTime = time.Unix(1_000_000, 0)

// opened opens a session of a consumer with n partitions and ends its request.
func opened(c *fetchSessions, n int, at time.Duration) *fetchSession {
	g := c.begin(sessionRequest{partitions: n, topicIDs: true, now: sessionTime.Add(at)})
	if g.session != nil {
		c.end(g.session, n, sessionTime.Add(at))
	}
	return g.session
}

func TestKIP227_Epochs(t *testing.T) {
	c := newTestSessions(10)
	s := opened(c, 3, 0)
	require.NotNil(t, s)
	require.Positive(t, s.id)
	ask := func(id, epoch int32) sessionGrant {
		g := c.begin(sessionRequest{id: id, epoch: epoch, topicIDs: true, now: sessionTime})
		if g.session != nil {
			c.end(g.session, 3, sessionTime)
		}
		return g
	}
	for epoch := int32(1); epoch < 4; epoch++ {
		g := ask(s.id, epoch)
		require.Equal(t, sessionOK, g.err)
		require.Same(t, s, g.session)
		require.True(t, g.incremental)
	}
	assert.Equal(t, sessionInvalidEpoch, ask(s.id, 3).err, "an epoch again")
	assert.Equal(t, sessionInvalidEpoch, ask(s.id, 5).err, "an epoch left out")
	assert.Equal(t, sessionNotFound, ask(s.id+1, 4).err)
	assert.Equal(t, sessionNotFound, ask(0, -7).err)
	assert.Equal(t, sessionOK, ask(s.id, 4).err, "errors do not move the epoch")

	s.next = math.MaxInt32
	require.Equal(t, sessionOK, ask(s.id, math.MaxInt32).err)
	require.Equal(t, sessionOK, ask(s.id, 1).err, "1 follows the largest epoch")
}

func TestKIP227_FullFetchReplacesSession(t *testing.T) {
	c := newTestSessions(10)
	s := opened(c, 1, 0)
	g := c.begin(sessionRequest{id: s.id, epoch: 0, partitions: 1, now: sessionTime})
	require.NotNil(t, g.session)
	assert.False(t, g.incremental)
	assert.NotEqual(t, s.id, g.session.id)
	assert.Equal(t, []*fetchSession{s}, g.free, "the old one is freed")
	assert.Equal(t, sessionNotFound, c.begin(sessionRequest{id: s.id, epoch: 1, now: sessionTime}).err)
	// Its request is still under way when the client gives it up: it is stopped, and frees itself.
	again := c.begin(sessionRequest{id: g.session.id, epoch: -1, partitions: 1, now: sessionTime})
	assert.Nil(t, again.session, "epoch -1 opens none")
	assert.Equal(t, []*fetchSession{g.session}, again.stop)
	assert.True(t, c.end(g.session, 1, sessionTime))
	assert.Empty(t, c.byID)
}

func TestKIP227_OneRequestAtATime(t *testing.T) {
	c := newTestSessions(10)
	s := opened(c, 1, 0)
	g := c.begin(sessionRequest{id: s.id, epoch: 1, topicIDs: true, now: sessionTime})
	require.Equal(t, sessionOK, g.err)
	assert.Equal(t, sessionInvalidEpoch, c.begin(sessionRequest{id: s.id, epoch: 2, topicIDs: true, now: sessionTime}).err)
	assert.False(t, c.end(s, 1, sessionTime))
	assert.Equal(t, sessionOK, c.begin(sessionRequest{id: s.id, epoch: 2, topicIDs: true, now: sessionTime}).err)
}

func TestKIP516_NamesAndIDsDoNotMix(t *testing.T) {
	c := newTestSessions(10)
	s := opened(c, 1, 0)
	assert.Equal(t, sessionTopicIDs, c.begin(sessionRequest{id: s.id, epoch: 1, now: sessionTime}).err)
	assert.Equal(t, sessionOK, c.begin(sessionRequest{id: s.id, epoch: 1, topicIDs: true, now: sessionTime}).err)
}

func TestKIP227_EmptiedSessionIsClosed(t *testing.T) {
	c := newTestSessions(10)
	s := opened(c, 2, 0)
	g := c.begin(sessionRequest{id: s.id, epoch: 1, topicIDs: true, now: sessionTime})
	require.NotNil(t, g.session)
	assert.True(t, c.end(s, 0, sessionTime))
	assert.Equal(t, sessionNotFound, c.begin(sessionRequest{id: s.id, epoch: 2, topicIDs: true, now: sessionTime}).err)
	assert.Nil(t, opened(c, 0, 0), "nor is one opened for nothing")
}

func TestKIP227_Eviction(t *testing.T) {
	follower := func(c *fetchSessions, n int, at time.Duration) sessionGrant {
		return c.begin(sessionRequest{partitions: n, follower: true, now: sessionTime.Add(at)})
	}
	t.Run("full cache keeps what is as large", func(t *testing.T) {
		c := newTestSessions(2)
		opened(c, 5, 0)
		opened(c, 6, 0)
		assert.Nil(t, opened(c, 5, time.Second))
		assert.Len(t, c.byID, 2)
	})
	t.Run("a larger one takes the place of the smallest", func(t *testing.T) {
		c := newTestSessions(2)
		small, large := opened(c, 2, 0), opened(c, 5, 0)
		s := opened(c, 3, time.Second)
		require.NotNil(t, s)
		assert.True(t, small.closed)
		assert.False(t, large.closed)
	})
	t.Run("one unused for long goes first, whatever its size", func(t *testing.T) {
		c := newTestSessions(2)
		old := opened(c, 50, 0)
		opened(c, 2, 100*time.Second)
		require.NotNil(t, opened(c, 1, fetchSessionEviction+time.Second))
		assert.True(t, old.closed)
	})
	t.Run("a follower takes the place of any consumer, and of no larger follower", func(t *testing.T) {
		c := newTestSessions(2)
		consumer := opened(c, 50, 0)
		first := follower(c, 5, 0).session
		g := follower(c, 1, time.Second)
		require.NotNil(t, g.session)
		assert.Equal(t, []*fetchSession{consumer}, g.free)
		assert.Nil(t, follower(c, 1, 2*time.Second).session)
		assert.False(t, first.closed)
		assert.Nil(t, opened(c, 100, 2*time.Second), "a consumer never takes a follower's")
	})
}

// TestSessionCacheIsConsistent runs random requests against the cache and checks its structure.
func TestSessionCacheIsConsistent(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	c := newTestSessions(8)
	var busy, known []*fetchSession
	freed := make(map[*fetchSession]int)
	now := sessionTime
	for range 20_000 {
		now = now.Add(time.Duration(rng.IntN(20_000)) * time.Millisecond)
		switch rng.IntN(4) {
		case 0, 1:
			r := sessionRequest{epoch: 0, topicIDs: true, follower: rng.IntN(3) == 0, partitions: rng.IntN(5), now: now}
			if len(known) > 0 && rng.IntN(2) == 0 {
				s := known[rng.IntN(len(known))]
				r.id, r.epoch = s.id, []int32{0, -1, s.next, s.next + 1}[rng.IntN(4)]
			}
			g := c.begin(r)
			for _, s := range g.free {
				freed[s]++
				require.False(t, s.busy)
			}
			for _, s := range g.stop {
				require.True(t, s.busy)
			}
			if g.session != nil {
				busy = append(busy, g.session)
				known = append(known, g.session)
			}
		case 2:
			if len(busy) > 0 {
				i := rng.IntN(len(busy))
				s := busy[i]
				busy = append(busy[:i], busy[i+1:]...)
				if c.end(s, rng.IntN(4), now) {
					freed[s]++
				}
			}
		}
		require.LessOrEqual(t, len(c.byID), 8)
		n := 0
		var last *fetchSession
		for s := c.oldest; s != nil; s = s.newer {
			require.Same(t, s, c.byID[s.id])
			require.Same(t, last, s.older)
			require.False(t, s.closed)
			last = s
			n++
		}
		require.Same(t, last, c.newest)
		require.Len(t, c.byID, n)
	}
	for _, s := range busy {
		if c.end(s, 1, now) {
			freed[s]++
		}
	}
	g := c.closeAll()
	for _, s := range g.free {
		freed[s]++
	}
	require.Empty(t, g.stop)
	for _, s := range known {
		require.Equal(t, 1, freed[s], "every session is freed once")
	}
}

func fetchOf(topic byte, partition int32, offset int64) replication.FetchPartition {
	return replication.FetchPartition{TopicID: log.TopicID{topic}, Topic: string(rune(topic)), Partition: partition, FetchOffset: offset, MaxBytes: 100}
}

// said renders a request for comparison: "a/0@5 a/1@7 -b/2".
func said(req *kmsg.FetchRequest) (out string) {
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			out += fmt.Sprintf("%s/%d@%d ", t.Topic, p.Partition, p.FetchOffset)
		}
	}
	for _, t := range req.ForgottenTopics {
		for _, p := range t.Partitions {
			out += fmt.Sprintf("-%s/%d ", t.Topic, p)
		}
	}
	return out
}

func TestClientSessionSaysWhatChanged(t *testing.T) {
	var c clientSession
	req := kmsg.NewPtrFetchRequest()
	ask := func(want ...replication.FetchPartition) string {
		c.fill(req, want)
		return fmt.Sprintf("%d:%d %s", req.SessionID, req.SessionEpoch, said(req))
	}
	assert.Equal(t, "0:0 a/0@5 a/1@7 b/0@0 ", ask(fetchOf('a', 0, 5), fetchOf('a', 1, 7), fetchOf('b', 0, 0)))
	c.answered(9)
	assert.Equal(t, "9:1 ", ask(fetchOf('a', 0, 5), fetchOf('a', 1, 7), fetchOf('b', 0, 0)), "nothing changed")
	c.answered(9)
	assert.Equal(t, "9:2 a/1@8 ", ask(fetchOf('a', 0, 5), fetchOf('a', 1, 8), fetchOf('b', 0, 0)))
	c.answered(9)
	assert.Equal(t, "9:3 -a/0 ", ask(fetchOf('b', 0, 0), fetchOf('a', 1, 8)), "in another order, one less")
	c.answered(9)
	assert.Equal(t, "9:4 a/0@5 ", ask(fetchOf('a', 0, 5), fetchOf('b', 0, 0), fetchOf('a', 1, 8)), "one that comes back is new")
	c.answered(9)
	assert.Equal(t, "9:5 c/0@1 -a/1 -b/0 -a/0 ", ask(fetchOf('c', 0, 1)))
	c.lost()
	assert.Equal(t, "9:0 c/0@1 ", ask(fetchOf('c', 0, 1)), "a full request closes the session that may still be there")
	c.answered(0)
	assert.Equal(t, "0:0 c/0@1 ", ask(fetchOf('c', 0, 1)), "without a session every request is full")
	c.answered(3)
	c.epoch = math.MaxInt32
	assert.Equal(t, "3:2147483647 ", ask(fetchOf('c', 0, 1)))
	c.answered(3)
	assert.Equal(t, "3:1 ", ask(fetchOf('c', 0, 1)))
}

// TestClientSessionAgainstModel has the client's requests applied to a model of the server's session: after every request that must hold exactly what is wanted.
func TestClientSessionAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var c clientSession
	req := kmsg.NewPtrFetchRequest()
	model := make(map[sessionKey]int64)
	for range 5000 {
		var want []replication.FetchPartition
		for _, i := range rng.Perm(12)[:rng.IntN(12)] {
			want = append(want, fetchOf(byte('a'+i/4), int32(i%4), int64(rng.IntN(3))))
		}
		c.fill(req, want)
		if req.SessionEpoch == 0 {
			clear(model)
		}
		for _, topic := range req.Topics {
			for _, p := range topic.Partitions {
				model[sessionKey{topic.TopicID, p.Partition}] = p.FetchOffset
			}
		}
		for _, topic := range req.ForgottenTopics {
			for _, p := range topic.Partitions {
				_, ok := model[sessionKey{topic.TopicID, p}]
				require.True(t, ok, "forgets what it never had")
				delete(model, sessionKey{topic.TopicID, p})
			}
		}
		require.Len(t, model, len(want))
		for _, w := range want {
			require.Equal(t, w.FetchOffset, model[sessionKey{w.TopicID, w.Partition}])
		}
		if rng.IntN(20) == 0 {
			c.lost()
		} else {
			c.answered(7)
		}
	}
}
