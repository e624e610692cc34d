package controller

import (
	"slices"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
)

// campaign is a voter's waiting for its leader. Raft's own election timeout is not used: it draws from 10 to 20 whole ticks, so two of three voters often stand at the same
// time and lose a second, and its draw cannot be repeated by a simulator. Here each voter waits for one election timeout without its leader, then a little longer by its place
// in the list of voters. A follower whose time is not up ignores votes and pre-votes (raft's lease), so a voter that cannot hear a healthy leader disturbs nobody, and the election
// is over soon after the time of a majority is up.
//
// While no leader was ever known, as in a new cluster or after a total restart, there is nobody to disturb: voters ask at once, and again within short.
type campaign struct {
	timeout time.Duration // election timeout
	later   time.Duration // by this voter's place in the list
	place   int

	at    time.Time     // of the next attempt
	retry time.Duration // between attempts; a repeated pre-vote costs nothing
	max   time.Duration // of retry
	vote  time.Duration // that a real vote is given: to repeat it would forget votes that are on their way
}

const (
	firstRetry = 5 * time.Millisecond
	firstMax   = 50 * time.Millisecond
	firstLater = 15 * time.Millisecond
	firstVote  = 100 * time.Millisecond // the peers have to sync their votes
)

func newCampaign(c Config, place int, now time.Time) campaign {
	place = max(place, 0)
	return campaign{
		timeout: c.Tick * time.Duration(c.ElectionTicks), later: c.Tick / 2 * time.Duration(place), place: place,
		at: now.Add(firstLater * time.Duration(place)), retry: firstRetry, max: firstMax, vote: firstVote,
	}
}

// stand takes the node's place in the list of voters; -1 if it is not there.
func (v *campaign) stand(place int, tick time.Duration) {
	v.place = max(place, 0)
	v.later = tick / 2 * time.Duration(v.place)
}

// leaderSeen starts the wait anew.
func (v *campaign) leaderSeen(now time.Time, jitter time.Duration) {
	v.at = now.Add(v.timeout + v.later + jitter)
	v.retry, v.max, v.vote = firstRetry, v.timeout/2, firstVote
}

// voted gives the candidate that got this node's vote time to win and to be heard.
func (v *campaign) voted(now time.Time) { v.notBefore(now.Add(v.timeout/4 + v.later)) }

// standing gives this node's own candidacy time, every time more. If two stood at once and nobody won, the one with the lower place goes first, by as much as a vote may take.
func (v *campaign) standing(now time.Time, jitter time.Duration) {
	v.notBefore(now.Add(v.vote + v.vote*time.Duration(v.place) + jitter))
	v.vote = min(2*v.vote, v.timeout)
}

func (v *campaign) notBefore(t time.Time) {
	if v.at.Before(t) {
		v.at = t
	}
}

// due tells whether to ask for votes now, and sets the next time.
func (v *campaign) due(now time.Time, jitter time.Duration) bool {
	if now.Before(v.at) {
		return false
	}
	v.at = now.Add(v.retry + jitter)
	v.retry = min(2*v.retry, v.max)
	return true
}

// fromLeader tells whether a message comes from whoever leads in its term.
func fromLeader(m *pb.Message) bool {
	switch m.GetType() {
	case pb.MsgApp, pb.MsgHeartbeat, pb.MsgSnap:
		return true
	}
	return false
}

// asksForLeader tells whether a message comes from a voter that does not hear its leader.
func asksForLeader(m *pb.Message) bool { return m.GetType() == pb.MsgPreVote }

// here is a leader's heartbeat for one follower, out of turn. It says nothing about what is committed; raft goes on from the answer.
func here(from, to, term uint64) *pb.Message {
	return &pb.Message{Type: pb.MsgHeartbeat.Enum(), From: &from, To: &to, Term: &term}
}

// greeting is a new leader's effort to be heard. Its first messages are often lost, where connections are still being made, and raft would repeat them with the next heartbeats only.
// So it repeats itself to voters that have not answered in its term, ever more slowly, until heartbeats are as frequent; and it answers a voter that asks for votes.
type greeting struct {
	silent []uint64 // voters that have not answered yet
	asked  []uint64 // voters that ask
	at     time.Time
	gap    time.Duration
	max    time.Duration
}

const firstGreeting = 10 * time.Millisecond

func newGreeting(members []uint64, self uint64, now time.Time, heartbeat time.Duration) greeting {
	silent := slices.DeleteFunc(slices.Clone(members), func(id uint64) bool { return id == self })
	return greeting{silent: silent, at: now.Add(firstGreeting), gap: firstGreeting, max: heartbeat}
}

// heard notes a message from a voter in the leader's term, or one that asks who leads.
func (g *greeting) heard(m *pb.Message, term uint64) {
	if m.GetTerm() == term {
		g.silent = slices.DeleteFunc(g.silent, func(id uint64) bool { return id == m.GetFrom() })
	}
	if asksForLeader(m) {
		g.asked = append(g.asked, m.GetFrom())
	}
}

// active tells whether at counts.
func (g *greeting) active() bool { return len(g.silent) > 0 && g.gap < g.max }

// due returns whom to greet now.
func (g *greeting) due(now time.Time) (to []uint64) {
	to, g.asked = g.asked, nil
	if g.active() && !now.Before(g.at) {
		g.gap *= 2
		g.at = now.Add(g.gap)
		to = append(to, g.silent...)
	}
	return to
}
