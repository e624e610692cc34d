package broker

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Defaults of the session cache.
const (
	defaultFetchSessions = 1000              // max.incremental.fetch.session.cache.slots
	fetchSessionEviction = 120 * time.Second // a session unused for longer makes room
)

// Outcomes of a look-up in the session cache that are errors of the whole request (KIP-227, KIP-516).
type sessionError int8

const (
	sessionOK           sessionError = iota
	sessionNotFound                  // FETCH_SESSION_ID_NOT_FOUND
	sessionInvalidEpoch              // INVALID_FETCH_SESSION_EPOCH
	sessionTopicIDs                  // FETCH_SESSION_TOPIC_ID_ERROR
)

// fetchKey names a partition as the request does: by id from version 13 on, by name before.
type fetchKey struct {
	id        log.TopicID
	topic     string
	partition int32
}

// fetchWant is what a request wants of a partition.
type fetchWant struct {
	offset             int64
	logStart           int64 // the follower's log start offset
	maxBytes           int32
	currentLeaderEpoch int32
	lastFetchedEpoch   int32
}

func wantOf(p *kmsg.FetchRequestTopicPartition) fetchWant {
	return fetchWant{
		offset: p.FetchOffset, logStart: p.LogStartOffset, maxBytes: p.PartitionMaxBytes,
		currentLeaderEpoch: p.CurrentLeaderEpoch, lastFetchedEpoch: p.LastFetchedEpoch,
	}
}

// fetchSession is one incremental fetch session (KIP-227).
//
//	epoch 0, full request ──▶ open, answers carry its id ──▶ epochs 1, 2, … MaxInt32, 1, … ──▶ closed
//
// Its request under way owns it (busy); the cache's lock guards the fields up to the blank line, the owner the others.
type fetchSession struct {
	id         int32
	next       int32 // the epoch that the next request must have
	privileged bool  // a follower's
	topicIDs   bool  // speaks of topics by id
	size       int   // partitions, as of the last request
	lastUsed   time.Time
	busy       bool // a request is under way
	closed     bool // no longer in the cache; whoever is done with it last frees its partitions
	older      *fetchSession
	newer      *fetchSession

	set fetchSet
}

// fetchSessions is the cache of fetch sessions: a state machine without lock, clock or I/O. It lists the sessions by their last use, so that it never depends on the order of a map.
type fetchSessions struct {
	slots  int
	rng    *rand.Rand // ids
	byID   map[int32]*fetchSession
	oldest *fetchSession
	newest *fetchSession
}

func newFetchSessions(slots int, rng *rand.Rand) *fetchSessions {
	return &fetchSessions{slots: slots, rng: rng, byID: make(map[int32]*fetchSession)}
}

// sessionRequest is what the cache needs to know of a fetch.
type sessionRequest struct {
	id, epoch  int32
	topicIDs   bool
	follower   bool
	partitions int // listed in the request
	now        time.Time
}

// sessionGrant is what the cache decided for one fetch.
type sessionGrant struct {
	err         sessionError
	session     *fetchSession // nil: a fetch without a session
	incremental bool
	free        []*fetchSession // sessions that were closed and are not busy: their partitions are to be freed
	stop        []*fetchSession // sessions that were closed and are busy: their requests wait for nothing
}

// begin decides what becomes of a fetch; a session granted is the caller's until end.
//
//	epoch 0: a full fetch; the named session is closed, a new one opened if there is room
//	epoch -1: a full fetch; the named session is closed, none is opened
//	epoch > 0: incremental, in a session
func (c *fetchSessions) begin(r sessionRequest) (g sessionGrant) {
	if r.epoch == 0 || r.epoch == -1 {
		if old := c.byID[r.id]; old != nil {
			c.close(&g, old)
		}
		if r.epoch == 0 && r.partitions > 0 {
			g.session = c.open(&g, r)
		}
		return g
	}
	s := c.byID[r.id]
	switch {
	case s == nil:
		g.err = sessionNotFound
	case s.next != r.epoch || s.busy:
		// A session has one request at a time. A second one is from a client that gave up on the first: it starts anew.
		g.err = sessionInvalidEpoch
	case s.topicIDs != r.topicIDs:
		g.err = sessionTopicIDs
	default:
		s.next = nextSessionEpoch(s.next)
		s.busy = true
		c.touch(s, r.now)
		g.session, g.incremental = s, true
	}
	return g
}

// nextSessionEpoch follows an epoch: 1 comes after MaxInt32.
func nextSessionEpoch(epoch int32) int32 {
	if epoch == math.MaxInt32 {
		return 1
	}
	return epoch + 1
}

// end gives a session back with its present number of partitions. An emptied session is closed. It returns true when the caller must free the session's partitions.
func (c *fetchSessions) end(s *fetchSession, size int, now time.Time) (free bool) {
	s.busy = false
	s.size = size
	if s.closed {
		return true
	}
	if size == 0 {
		c.remove(s)
		return true
	}
	c.touch(s, now)
	return false
}

// open adds a session if there is or can be made room.
func (c *fetchSessions) open(g *sessionGrant, r sessionRequest) *fetchSession {
	if len(c.byID) >= c.slots {
		victim := c.victim(r)
		if victim == nil {
			return nil
		}
		c.close(g, victim)
	}
	s := &fetchSession{id: c.newID(), next: 1, privileged: r.follower, topicIDs: r.topicIDs, size: r.partitions, busy: true}
	c.byID[s.id] = s
	c.touch(s, r.now)
	return s
}

// victim chooses a session that makes room for r, nil if r is not worth it: any that was not used for long, else the smallest that is of a lower class or smaller than r. Followers are the higher class.
func (c *fetchSessions) victim(r sessionRequest) *fetchSession {
	if s := c.oldest; s != nil && r.now.Sub(s.lastUsed) > fetchSessionEviction {
		return s
	}
	var best *fetchSession
	for s := c.oldest; s != nil; s = s.newer {
		if s.privileged && !r.follower {
			continue
		}
		lower := r.follower && !s.privileged
		if !lower && s.size >= r.partitions {
			continue
		}
		if best == nil || best.privileged && !s.privileged || best.privileged == s.privileged && s.size < best.size {
			best = s
		}
	}
	return best
}

func (c *fetchSessions) newID() int32 {
	for {
		id := c.rng.Int32N(math.MaxInt32) + 1
		if c.byID[id] == nil {
			return id
		}
	}
}

// close takes a session out of the cache; the grant says what is to be done with it.
func (c *fetchSessions) close(g *sessionGrant, s *fetchSession) {
	c.remove(s)
	if s.busy {
		g.stop = append(g.stop, s)
		return
	}
	g.free = append(g.free, s)
}

func (c *fetchSessions) remove(s *fetchSession) {
	c.unlink(s)
	delete(c.byID, s.id)
	s.closed = true
}

// touch makes s the newest.
func (c *fetchSessions) touch(s *fetchSession, now time.Time) {
	s.lastUsed = now
	c.unlink(s)
	s.older = c.newest
	if c.newest != nil {
		c.newest.newer = s
	}
	c.newest = s
	if c.oldest == nil {
		c.oldest = s
	}
}

func (c *fetchSessions) unlink(s *fetchSession) {
	if c.oldest == s {
		c.oldest = s.newer
	}
	if c.newest == s {
		c.newest = s.older
	}
	if s.older != nil {
		s.older.newer = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	}
	s.older, s.newer = nil, nil
}

// closeAll closes every session.
func (c *fetchSessions) closeAll() (g sessionGrant) {
	for c.oldest != nil {
		c.close(&g, c.oldest)
	}
	return g
}
