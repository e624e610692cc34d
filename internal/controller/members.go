package controller

import (
	"maps"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/controller/machine"
	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// Who votes is decided like all metadata: by a machine.QuorumRecord, which holds the whole list. Raft's own configuration follows the image:
//
//	proposed as a ConfChangeV2 whose context is the entry's records ──> committed ──> quorum-state: "committed up to here" ──> ApplyConfChange ──> image
//
// Raft counts by the newest configuration that was applied. A node that forgot one could believe that it is a majority by itself, so before a configuration takes effect quorum-state names its entry
// as committed: a start begins with the configuration of the checkpoint, or that of the founding, and applies up to there before anything else. One vote changes at a time.

// Several votes at once change by two records: a joint one, which has the voters before as Quorum.Outgoing, and the same without them. Raft's joint configurations are entered and left by these records
// alone (explicit, never by raft itself), so that image and raft cannot differ. In between whoever leads writes the second one before it judges anything else.

// membership is raft's configuration, as last applied.
type membership struct {
	voters   []uint64
	outgoing []uint64 // voters before, in a joint configuration
	learners []uint64 // those of outgoing that will be learners included
}

func newMembership(cs *pb.ConfState) membership {
	return membership{
		voters: slices.Sorted(slices.Values(cs.GetVoters())), outgoing: slices.Sorted(slices.Values(cs.GetVotersOutgoing())),
		learners: slices.Sorted(slices.Values(slices.Concat(cs.GetLearners(), cs.GetLearnersNext()))),
	}
}

// alone tells whether there is nobody but this node.
func (m membership) alone(id uint64) bool { return m.sole(id) && len(m.learners) == 0 }

// sole tells whether this node has the only vote.
func (m membership) sole(id uint64) bool {
	return len(m.voters) == 1 && m.voters[0] == id && !slices.ContainsFunc(m.outgoing, func(o uint64) bool { return o != id })
}

// votes tells whether a node has a vote, for as long as the configuration is joint at least.
func (m membership) votes(id uint64) bool {
	return slices.Contains(m.voters, id) || slices.Contains(m.outgoing, id)
}

// place is a node's place among those that vote, -1 if it does not.
func (m membership) place(id uint64) int {
	all := slices.Concat(m.voters, m.outgoing)
	slices.Sort(all)
	return slices.Index(slices.Compact(all), id)
}

// all lists everybody.
func (m membership) all() []uint64 { return slices.Concat(m.voters, m.learners) }

// changeTo is what makes a configuration that of a quorum, nil if it is: nodes are added before others go. old is what the quorum was: who comes back on another disk goes
// and comes, so that raft forgets what the old disk has confirmed.
func (m membership) changeTo(q, old *machine.Quorum) *pb.ConfChangeV2 {
	if len(m.outgoing) > 0 && !q.Joint() {
		return &pb.ConfChangeV2{} // which leaves the joint one
	}
	cc := &pb.ConfChangeV2{}
	change := func(t pb.ConfChangeType, id uint64) {
		cc.Changes = append(cc.Changes, &pb.ConfChangeSingle{Type: t.Enum(), NodeId: &id})
	}
	for _, n := range q.Members {
		id := raftID(n.ID)
		before, was := old.Member(n.ID)
		switch {
		case was && !n.Voter && before.DirectoryID != n.DirectoryID && slices.Contains(m.all(), id):
			change(pb.ConfChangeRemoveNode, id)
			change(pb.ConfChangeAddLearnerNode, id)
		case n.Voter && !slices.Contains(m.voters, id):
			change(pb.ConfChangeAddNode, id)
		case !n.Voter && !slices.Contains(m.learners, id):
			change(pb.ConfChangeAddLearnerNode, id)
		}
	}
	for _, id := range m.all() {
		if _, ok := q.Member(nodeID(id)); !ok {
			change(pb.ConfChangeRemoveNode, id)
		}
	}
	if len(cc.GetChanges()) == 0 {
		return nil
	}
	if q.Joint() {
		cc.Transition = pb.ConfChangeTransitionJointExplicit.Enum()
	}
	return cc
}

// confState is raft's name for a quorum.
func confState(q *machine.Quorum) *pb.ConfState {
	cs := &pb.ConfState{}
	for _, id := range q.Outgoing {
		cs.VotersOutgoing = append(cs.VotersOutgoing, raftID(id))
	}
	for _, m := range q.Members {
		switch id := raftID(m.ID); {
		case m.Voter:
			cs.Voters = append(cs.Voters, id)
		case slices.Contains(q.Outgoing, m.ID):
			cs.LearnersNext = append(cs.LearnersNext, id)
		default:
			cs.Learners = append(cs.Learners, id)
		}
	}
	return cs
}

// follow makes raft count by the quorums that committed entries up to index have brought, one after the other.
func (d *driver) follow(quorums []*machine.Quorum, index uint64) error {
	old := d.c.image.Load().Quorum
	for _, q := range quorums {
		change := d.members.changeTo(q, old)
		old = q
		if change == nil {
			continue
		}
		if q.Version == 0 && len(d.members.voters) > 0 {
			return &VotersError{Path: d.store.dir, Stored: q.Voters(), Given: d.store.founders}
		}
		if d.store.commit < index {
			d.store.commit, d.store.alone = index, false
			if err := d.patiently(func() error { return d.store.writeQuorumState(d.store.hard) }); err != nil {
				return err
			}
		}
		var cs *pb.ConfState
		if q.Joint() || len(change.GetChanges()) == 0 {
			cs = d.node.ApplyConfChange(change)
		}
		if !q.Joint() {
			for _, c := range change.GetChanges() {
				cs = d.node.ApplyConfChange(&pb.ConfChangeV2{Changes: []*pb.ConfChangeSingle{c}})
			}
		}
		d.enroll(newMembership(cs), time.Now())
		d.log.Info("metadata quorum: members changed", "version", q.Version, "voters", q.Voters(), "outgoing", q.Outgoing, "observers", q.Observers())
	}
	return nil
}

// enroll takes over a configuration that raft has.
func (d *driver) enroll(m membership, now time.Time) {
	before := d.members
	d.members = m
	d.store.alone = d.store.alone && m.alone(d.id) // not again before a start that finds nobody else in the log
	d.campaign.stand(m.place(d.id), d.c.c.Tick)
	if !d.leading {
		return
	}
	all := m.all()
	maps.DeleteFunc(d.contacts, func(id uint64, _ contact) bool { return !slices.Contains(all, id) })
	d.greeting.silent = slices.DeleteFunc(d.greeting.silent, func(id uint64) bool { return !slices.Contains(all, id) })
	for _, id := range all {
		if !slices.Contains(before.all(), id) {
			d.greeting.silent = append(d.greeting.silent, id)
			d.greeting.at, d.greeting.gap = now.Add(firstGreeting), firstGreeting
		}
	}
}

// introduce tells where the members are, as far as an image knows: as they registered, or as they have said since in a new record of the quorum, of which old is the one before. Who comes back elsewhere is
// reached there before it can register.
func (d *driver) introduce(img *Image, old *machine.Quorum) {
	if img.Quorum == nil {
		return
	}
	for _, m := range img.Quorum.Members {
		addr := m.Addr
		before, was := old.Member(m.ID)
		if b := img.Brokers[m.ID]; b != nil && b.Addr != "" && !(was && before.Addr != m.Addr) {
			addr = b.Addr
		}
		if addr != "" && m.ID != d.c.c.NodeID {
			d.c.c.Peer(m.ID, addr)
		}
	}
}

// caughtUpEntries is how far behind an observer may be that gets a vote: it must not hold up the quorum that will need it.
const caughtUpEntries = 1000

// admit looks at what only raft knows before a change of the quorum is judged. It returns why the change must wait, or nil; asking while members are asked whether they are there, after which it is looked at again.
func (d *driver) admit(l *call, now time.Time) *kerr.Error {
	if d.c.c.Low != nil && spends(l.req) && d.c.c.Low() {
		return noSpace
	}
	switch req := l.req.(type) {
	case *machine.JoinRequest:
		if e := d.settled(); e != nil || req.Purpose != machine.Return {
			return e
		}
		if id := raftID(req.NodeID); d.members.votes(id) {
			return d.spares(l, id, now)
		}
	case *kmsg.UnregisterBrokerRequest:
		return d.settled()
	case *kmsg.AddRaftVoterRequest:
		if e := d.settled(); e != nil {
			return e
		}
		id := raftID(req.VoterID)
		if !slices.Contains(d.members.learners, id) {
			return nil
		}
		if !d.heard(id, now) || d.match(id)+caughtUpEntries < d.lastIndex {
			return later("The node has not caught up with the metadata log yet")
		}
		return d.present(l, append(slices.Clone(d.members.voters), id), now)
	case *kmsg.RemoveRaftVoterRequest:
		if e := d.settled(); e != nil {
			return e
		}
		id := raftID(req.VoterID)
		if !d.members.votes(id) || len(d.members.voters) == 1 {
			return nil
		}
		if id == d.id {
			// Another voter leads before this one goes, so that nobody has to miss a leader to find the next.
			d.resign()
			return kerr.NotController
		}
		return d.spares(l, id, now)
	case *machine.VotersRequest:
		return d.admitVoters(l, req.Voters, now)
	}
	return nil
}

// later refuses what may be asked again.
func later(text string) *kerr.Error {
	e := kerr.RequestTimedOut
	return &kerr.Error{Message: e.Message, Code: e.Code, Retriable: e.Retriable, Description: text}
}

// tooFew is why a vote is not taken.
func tooFew() *kerr.Error { return later("Too few of the voters that would remain are there") }

// admitVoters looks at a change of several votes: who gets one has caught up, a majority of those to come is there, and if this node is not one of them it still may lead it through, and hands over before
// the joint phase ends.
func (d *driver) admitVoters(l *call, voters []int32, now time.Time) *kerr.Error {
	if e := d.settled(); e != nil {
		return e
	}
	there := 0
	ids := make([]uint64, 0, len(voters))
	for _, v := range voters {
		id := raftID(v)
		ids = append(ids, id)
		here := id == d.id || d.heard(id, now)
		if slices.Contains(d.members.learners, id) && (!here || d.match(id)+caughtUpEntries < d.lastIndex) {
			return later("A node has not caught up with the metadata log yet")
		}
		if here {
			there++
		}
	}
	if len(voters) > 0 && there <= len(voters)/2 && slices.ContainsFunc(d.members.voters, func(id uint64) bool { return !slices.Contains(voters, nodeID(id)) }) {
		return tooFew()
	}
	if slices.Sort(ids); len(ids) == 0 || slices.Equal(ids, d.members.voters) {
		return nil // nothing changes
	}
	return d.present(l, ids, now)
}

// spares tells whether enough voters are there without another one.
func (d *driver) spares(l *call, id uint64, now time.Time) *kerr.Error {
	rest := slices.DeleteFunc(slices.Clone(d.members.voters), func(v uint64) bool { return v == id })
	there := 0
	for _, v := range rest {
		if v == d.id || d.heard(v, now) {
			there++
		}
	}
	if there <= len(rest)/2 {
		return tooFew()
	}
	return d.present(l, rest, now)
}

// mayVote tells whether a vote that this node's id may have is its own. One that came back with an empty disk goes through a log in which its id had a vote before: that was another's, who knew what it had voted
// for. One that has caught up once may have got a vote that it does not know of yet.
func (d *driver) mayVote() bool {
	q := d.c.image.Load().Quorum
	if q == nil {
		return slices.Contains(d.store.founders, d.c.c.NodeID)
	}
	m, ok := q.Member(d.c.c.NodeID)
	switch {
	case !ok || m.DirectoryID == d.c.c.DirectoryID:
		return true
	case m.DirectoryID == log.TopicID{}: // a founder's
		return slices.Contains(d.store.founders, d.c.c.NodeID)
	}
	return false
}

// restoreVotes gives those their votes back that have come back and caught up.
func (d *driver) restoreVotes(now time.Time) {
	if !d.judging() || len(d.calls) > 0 {
		return
	}
	for _, m := range d.c.image.Load().Quorum.Returning() {
		if id := raftID(m.ID); slices.Contains(d.members.learners, id) && d.heard(id, now) && d.match(id) == d.lastIndex {
			req := kmsg.NewPtrAddRaftVoterRequest()
			req.VoterID, req.VoterDirectoryID = m.ID, m.DirectoryID
			d.calls = append(d.calls, &call{req: req, judged: make(chan struct{}), done: make(chan struct{})})
			return
		}
	}
}

// settled tells whether an entry of this node's own term is committed: only then are earlier changes of the quorum certainly known.
func (d *driver) settled() *kerr.Error {
	if uint64(d.c.image.Load().Epoch) != d.term {
		return kerr.NotController
	}
	return nil
}

// heard tells whether a member answered within an election timeout.
func (d *driver) heard(id uint64, now time.Time) bool {
	at := d.contacts[id].fetched
	return !at.IsZero() && now.Sub(at) <= d.campaign.timeout
}

// match is the last entry that a member has confirmed.
func (d *driver) match(id uint64) (index uint64) {
	d.node.WithProgress(func(other uint64, _ raft.ProgressType, p progress) {
		if other == id {
			index = p.Match
		}
	})
	return index
}
