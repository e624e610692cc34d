package controller

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A follower that is always one answer behind a busy leader counts as caught up, as of the answer before.
func TestContact(t *testing.T) {
	base := time.Unix(1000, 0)
	at := func(s int) time.Time { return base.Add(time.Duration(s) * time.Second) }
	var c contact
	c.answered(5, 10, at(1))
	assert.Equal(t, contact{fetched: at(1), end: 10}, c, "behind since this node leads")
	c.answered(10, 20, at(2))
	assert.Equal(t, contact{fetched: at(2), caughtUp: at(1), end: 20}, c)
	c.answered(19, 30, at(3))
	assert.Equal(t, contact{fetched: at(3), caughtUp: at(1), end: 30}, c, "it falls behind")
	c.answered(30, 30, at(4))
	assert.Equal(t, contact{fetched: at(4), caughtUp: at(4), end: 30}, c)
	c.answered(29, 31, at(5))
	assert.Equal(t, at(4), c.caughtUp)
}

func TestQuorumStatus(t *testing.T) {
	inBubble(t, 3, nil, func(t *testing.T, q *quorum) {
		q.start(1, 2, 3)
		n := q.leader()
		q.join(n, 1, 2, 3)
		q.create(n, "t", 1, 3)
		time.Sleep(2 * time.Second)
		st := n.Status()
		require.Equal(t, n.c.NodeID, st.Leader)
		require.Len(t, st.Voters, 3)
		require.Positive(t, st.HighWatermark)
		for _, v := range st.Voters {
			assert.Equal(t, st.HighWatermark, v.LogEndOffset, "%d", v.ID)
			if v.ID == n.c.NodeID {
				assert.Zero(t, v.LastFetch)
				continue
			}
			assert.Less(t, time.Since(v.LastFetch), time.Second, "%d", v.ID)
			assert.Equal(t, v.LastFetch, v.LastCaughtUp)
		}
		away := n.c.NodeID%3 + 1
		q.isolate(away, true)
		cutAt := time.Now()
		q.create(n, "u", 1, 3)
		time.Sleep(3 * time.Second)
		for _, v := range n.Status().Voters {
			switch v.ID {
			case n.c.NodeID:
			case away:
				assert.Less(t, v.LogEndOffset, n.Status().HighWatermark)
				assert.False(t, v.LastFetch.After(cutAt.Add(10*time.Millisecond)))
			default:
				assert.Equal(t, n.Status().HighWatermark, v.LogEndOffset)
				assert.Less(t, time.Since(v.LastCaughtUp), time.Second)
			}
		}
		// A new leader begins anew: it does not know what an earlier one heard.
		q.isolate(away, false)
		n.Resign(t.Context())
		next := q.leader()
		require.NotEqual(t, n.c.NodeID, next.c.NodeID)
		for _, v := range n.Status().Voters {
			assert.Zero(t, v.LastFetch, "not the leader any more")
		}
	})
}
