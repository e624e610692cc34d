package machine

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Quorum is who follows the metadata log, and who of them votes. It is immutable.
type Quorum struct {
	Version int64    // how often it was changed; 0 is as it was founded
	Members []Member // by id
	// Outgoing is who voted before, in order, while several votes change at once (raft's joint consensus): a majority of them has to agree, too, beside one of the voters. The version after it has none.
	Outgoing []int32
}

// Joint tells whether the quorum is between two sets of voters.
func (q *Quorum) Joint() bool { return q != nil && len(q.Outgoing) > 0 }

// Member is one node of the quorum.
type Member struct {
	ID          int32
	Addr        string      // "host:port" as it was when the node joined; its registration as a broker is newer. "" if the node does not listen
	DirectoryID log.TopicID // of its data directory; zero for those that founded the cluster
	Voter       bool        // false: an observer, which follows without a vote
	Returning   bool        // an observer that had a vote, and whose disk is another now: it gets the vote back when it has caught up
}

// Member finds a member. A nil quorum has none.
func (q *Quorum) Member(id int32) (m Member, ok bool) {
	if q == nil {
		return Member{}, false
	}
	i, ok := slices.BinarySearchFunc(q.Members, id, func(m Member, id int32) int { return int(m.ID) - int(id) })
	if !ok {
		return Member{}, false
	}
	return q.Members[i], true
}

// Voters lists the ids of those that vote, in order.
func (q *Quorum) Voters() []int32 { return q.ids(true) }

// Observers lists the ids of those that do not vote, in order.
func (q *Quorum) Observers() []int32 { return q.ids(false) }

// Returning lists those that are to get their vote back.
func (q *Quorum) Returning() (list []Member) {
	if q != nil {
		for _, m := range q.Members {
			if m.Returning {
				list = append(list, m)
			}
		}
	}
	return list
}

func (q *Quorum) ids(voter bool) (ids []int32) {
	if q == nil {
		return nil
	}
	for _, m := range q.Members {
		if m.Voter == voter {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

func (q *Quorum) equal(r *Quorum) bool {
	return q == r || q != nil && r != nil && q.Version == r.Version && slices.Equal(q.Members, r.Members) && slices.Equal(q.Outgoing, r.Outgoing)
}

// with returns the next version with a member added or changed.
func (q *Quorum) with(m Member) *Quorum {
	members := slices.DeleteFunc(slices.Clone(q.Members), func(o Member) bool { return o.ID == m.ID })
	members = append(members, m)
	slices.SortFunc(members, func(a, b Member) int { return int(a.ID) - int(b.ID) })
	return &Quorum{Version: q.Version + 1, Members: members}
}

// without returns the next version without a member.
func (q *Quorum) without(id int32) *Quorum {
	return &Quorum{Version: q.Version + 1, Members: slices.DeleteFunc(slices.Clone(q.Members), func(o Member) bool { return o.ID == id })}
}

// voting returns the next version, in which exactly those vote, who all are members. If more than one vote changes it is a joint one.
func (q *Quorum) voting(voters []int32) *Quorum {
	next := &Quorum{Version: q.Version + 1, Members: slices.Clone(q.Members)}
	for i := range next.Members {
		m := &next.Members[i]
		if vote := slices.Contains(voters, m.ID); vote != m.Voter {
			m.Voter, m.Returning = vote, false
		}
	}
	if votesChanged(q, next) > 1 {
		next.Outgoing = q.Voters()
	}
	return next
}

// left returns the next version, for which those that voted before do not count any more.
func (q *Quorum) left() *Quorum { return &Quorum{Version: q.Version + 1, Members: q.Members} }

// QuorumRecord is the quorum as it is from here on, all of it: what Kafka's VotersRecord is, observers included. A node that begins with nothing learns from it who votes, and so whom to believe.
type QuorumRecord struct{ Quorum }

func (*QuorumRecord) kind() kind { return kindQuorum }

func (r *QuorumRecord) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Quorum version=%d", r.Version)
	for _, m := range r.Members {
		role := "observer"
		switch {
		case m.Voter:
			role = "voter"
		case m.Returning:
			role = "returning"
		}
		fmt.Fprintf(&b, " %s=%d@%s", role, m.ID, m.Addr)
	}
	if r.Joint() {
		fmt.Fprintf(&b, " outgoing=%v", r.Outgoing)
	}
	return b.String()
}

func (r *QuorumRecord) encode(dst []byte) []byte {
	dst = putInt(dst, r.Version)
	dst = binary.AppendUvarint(dst, uint64(len(r.Members)))
	for _, m := range r.Members {
		dst = putString(putInt(dst, int64(m.ID)), m.Addr)
		dst = append(append(dst, m.DirectoryID[:]...), m.flags())
	}
	return dst
}

func (r *QuorumRecord) decode(d *reader) {
	r.Version = d.int()
	n := d.count(19) // an id, an empty address, the directory's id, a flag
	for range n {
		m := Member{ID: d.int32(), Addr: d.string(), DirectoryID: d.id()}
		if flags := d.byte(); flags <= flagVoter|flagReturning {
			m.setFlags(flags)
		} else {
			d.fail("bad flags")
		}
		r.Members = append(r.Members, m)
	}
}

// The flags of a member in a record.
const (
	flagVoter     = 1
	flagReturning = 2
)

func (m *Member) flags() (b byte) {
	if m.Voter {
		b |= flagVoter
	}
	if m.Returning {
		b |= flagReturning
	}
	return b
}

func (m *Member) setFlags(b byte) { m.Voter, m.Returning = b&flagVoter != 0, b&flagReturning != 0 }

// tagOutgoing is a tag of a QuorumRecord. Format: never renumber.
const tagOutgoing = 0

// encodeTags writes who goes, which only a joint quorum has: records from before there were joint ones are read as they are.
func (r *QuorumRecord) encodeTags(dst []byte) []byte {
	if !r.Joint() {
		return append(dst, 0)
	}
	return putTag(append(dst, 1), tagOutgoing, putIDs(nil, r.Outgoing))
}

func (r *QuorumRecord) decodeTag(tag uint64, d *reader) {
	if tag == tagOutgoing {
		r.Outgoing = d.ids()
	}
}

// apply holds a change to what makes it safe: one after the other, and one vote at a time, or several through a joint quorum, so that every majority before shares a node with every majority after it.
// What follows a joint quorum is the same without Outgoing, nothing else.
func (r *QuorumRecord) apply(d *draft) error {
	q := r.Quorum
	old := d.img.Quorum
	votes := 0
	for i, id := range q.Outgoing {
		if _, ok := q.Member(id); !ok || i > 0 && q.Outgoing[i-1] >= id {
			return fmt.Errorf("outgoing voters %v are out of order, or no members", q.Outgoing)
		}
	}
	for i, m := range q.Members {
		if m.ID < 0 || i > 0 && q.Members[i-1].ID >= m.ID {
			return fmt.Errorf("members of the quorum are out of order at %d", m.ID)
		}
		if m.Voter {
			votes++
		}
	}
	switch {
	case votes == 0:
		return fmt.Errorf("a quorum without a voter")
	case old == nil:
	case q.Version != old.Version+1:
		return fmt.Errorf("version %d of the quorum follows version %d", q.Version, old.Version)
	case old.Joint():
		if q.Joint() || !slices.Equal(q.Members, old.Members) {
			return fmt.Errorf("version %d of the quorum is another change while voters %v are going", q.Version, old.Outgoing)
		}
	case q.Joint():
		if !slices.Equal(q.Outgoing, old.Voters()) {
			return fmt.Errorf("outgoing voters %v follow voters %v", q.Outgoing, old.Voters())
		}
	case votesChanged(old, &q) > 1:
		return fmt.Errorf("voters %v follow voters %v", q.Voters(), old.Voters())
	}
	d.img.Quorum, d.quorum = &q, true
	return nil
}

func votesChanged(a, b *Quorum) int {
	va, vb := a.Voters(), b.Voters()
	return len(without(va, vb...)) + len(without(vb, va...))
}

// foundQuorum writes down who votes, before anything can change it.
func (b *Batch) foundQuorum() {
	if b.d.img.Quorum == nil && len(b.m.c.Voters) > 0 {
		b.add(&QuorumRecord{Quorum{Members: b.m.c.Voters}})
	}
}

// changeQuorum decides a change of the quorum. There is at most one in a batch: the next is judged by what has come of this one.
func (b *Batch) changeQuorum(q *Quorum) {
	b.add(&QuorumRecord{*q})
	b.changed = true
}

// Settle ends the joint phase of a change of the voters, whoever began it. Nothing else is judged before that is committed.
func (b *Batch) Settle() {
	if q := b.d.img.Quorum; q.Joint() {
		b.changeQuorum(q.left())
	}
}

// changing refuses a second change of the quorum beside one in its joint phase.
func changing(q *Quorum) problem {
	return refuse(kerr.RequestTimedOut, "Another change of the voters is under way, from %v to %v", q.Outgoing, q.Voters())
}

// Changed tells whether the batch changes the quorum.
func (b *Batch) Changed() bool { return b.changed }

// sameDirectory tells whether a member lives in a data directory; a zero id is not known, or not asked for.
func (b *Batch) sameDirectory(m Member, dir log.TopicID) bool {
	known := m.DirectoryID
	if br := b.d.img.Brokers[m.ID]; br != nil {
		known = br.DirectoryID
	}
	return dir == log.TopicID{} || known == log.TopicID{} || known == dir
}

// join answers JoinRequest: a node that is not known becomes an observer. One with another data directory than the member of its id is somebody else, who must be removed first: a voter whose disk was
// lost would not know whom it voted for.
func (b *Batch) join(req *JoinRequest) kmsg.Response {
	resp := &JoinResponse{ClusterID: b.d.img.ClusterID}
	q := b.d.img.Quorum
	m, ok := q.Member(req.NodeID)
	switch {
	case req.ClusterID != "" && req.ClusterID != b.d.img.ClusterID:
		resp.ErrorCode = kerr.InconsistentClusterID.Code
	case q == nil:
		resp.ErrorCode = kerr.NotController.Code // the quorum was founded by an older version, and its record is on its way
	case req.NodeID < 0 || req.Addr == "" || req.DirectoryID == log.TopicID{}:
		resp.ErrorCode = kerr.InvalidRequest.Code
	case (req.Purpose == Join || req.Purpose == Return) && b.tooOld(req.Level):
		resp.ErrorCode, resp.Level = kerr.UnsupportedVersion.Code, b.d.img.Level
	case ok && req.Purpose == Return && q.Joint():
		resp.ErrorCode = kerr.RequestTimedOut.Code
	case ok && req.Purpose == Return:
		resp.ErrorCode = b.returned(m, req)
	case ok && m.DirectoryID != req.DirectoryID && !b.sameDirectory(m, req.DirectoryID): // one that has come back is a member before it has registered
		resp.ErrorCode = kerr.DuplicateVoter.Code
	case !ok && req.Purpose != Join:
		resp.ErrorCode = kerr.VoterNotFound.Code
	case q.Joint() && (!ok || req.Purpose == Join && m.Addr != req.Addr):
		resp.ErrorCode = kerr.RequestTimedOut.Code
	case !ok:
		b.changeQuorum(q.with(Member{ID: req.NodeID, Addr: req.Addr, DirectoryID: req.DirectoryID}))
	case req.Purpose == Join && m.Addr != req.Addr:
		m.Addr, m.DirectoryID = req.Addr, req.DirectoryID
		b.changeQuorum(q.with(m))
	}
	return resp
}

// returned takes a member back that has an empty directory. Whatever vote its id has belongs to whoever had it before, and forgot nothing: it is taken away, and raft forgets what that one has confirmed. When the
// node has caught up it gets one of its own.
func (b *Batch) returned(m Member, req *JoinRequest) (code int16) {
	if m.DirectoryID == req.DirectoryID {
		return 0 // asked again
	}
	if br := b.d.img.Brokers[m.ID]; br != nil && !br.Fenced && br.DirectoryID != req.DirectoryID {
		return kerr.RequestTimedOut.Code // its session has not ended: it may be somebody else
	}
	if m.Voter && len(b.d.img.Quorum.Voters()) == 1 {
		return kerr.InvalidRequest.Code
	}
	b.changeQuorum(b.d.img.Quorum.with(Member{ID: m.ID, Addr: req.Addr, DirectoryID: req.DirectoryID, Returning: m.Voter || m.Returning}))
	return 0
}

// addVoter answers AddRaftVoter: an observer gets a vote. That it has caught up is for the driver to see.
func (b *Batch) addVoter(req *kmsg.AddRaftVoterRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.AddRaftVoterResponse)
	q := b.d.img.Quorum
	m, ok := q.Member(req.VoterID)
	var p problem
	switch {
	case req.ClusterID != nil && *req.ClusterID != b.d.img.ClusterID:
		p = refuse(kerr.InconsistentClusterID, "The given id %q doesn't match the cluster id %q", *req.ClusterID, b.d.img.ClusterID)
	case req.VoterID < 0:
		p = refuse(kerr.InvalidRequest, "Add voter request didn't include a valid voter")
	case q.Joint():
		p = changing(q)
	case ok && m.Voter:
		p = refuse(kerr.DuplicateVoter, "The voter id %d is already part of the set of voters %v", req.VoterID, q.Voters())
	case !ok:
		p = refuse(kerr.RequestTimedOut, "Node %d does not follow the metadata log: start it so that it joins the cluster", req.VoterID)
	case !b.sameDirectory(m, req.VoterDirectoryID):
		p = refuse(kerr.InvalidVoterKey, "Node %d has another data directory", req.VoterID)
	default:
		m.Voter, m.Returning = true, false
		b.changeQuorum(q.with(m))
	}
	resp.ErrorCode, resp.ErrorMessage = p.code, p.text()
	return resp
}

// removeVoter answers RemoveRaftVoter: a voter becomes an observer.
func (b *Batch) removeVoter(req *kmsg.RemoveRaftVoterRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.RemoveRaftVoterResponse)
	q := b.d.img.Quorum
	m, ok := q.Member(req.VoterID)
	var p problem
	switch {
	case req.ClusterID != nil && *req.ClusterID != b.d.img.ClusterID:
		p = refuse(kerr.InconsistentClusterID, "The given id %q doesn't match the cluster id %q", *req.ClusterID, b.d.img.ClusterID)
	case req.VoterID < 0:
		p = refuse(kerr.InvalidRequest, "Remove voter request didn't include a valid voter")
	case q.Joint():
		p = changing(q)
	case !ok || !m.Voter || !b.sameDirectory(m, req.VoterDirectoryID):
		p = refuse(kerr.VoterNotFound, "Cannot remove voter %d from the set of voters %v", req.VoterID, q.Voters())
	case len(q.Voters()) == 1:
		p = refuse(kerr.InvalidRequest, "Cannot remove the last voter %d", req.VoterID)
	default:
		m.Voter, m.Returning = false, false
		b.changeQuorum(q.with(m))
	}
	resp.ErrorCode, resp.ErrorMessage = p.code, p.text()
	return resp
}

// changeVoters answers VotersRequest: exactly those vote. That they have caught up is for the driver to see.
func (b *Batch) changeVoters(req *VotersRequest) kmsg.Response {
	q := b.d.img.Quorum
	var p problem
	switch voters := req.Voters; {
	case req.ClusterID != "" && req.ClusterID != b.d.img.ClusterID:
		p = refuse(kerr.InconsistentClusterID, "The given id %q doesn't match the cluster id %q", req.ClusterID, b.d.img.ClusterID)
	case q == nil:
		p = refuse(kerr.NotController, "The quorum is not written down yet")
	case len(voters) == 0:
		p = refuse(kerr.InvalidRequest, "A quorum without a voter")
	case q.Joint():
		p = changing(q)
	default:
		for i, id := range voters {
			if slices.Contains(voters[:i], id) {
				p = refuse(kerr.InvalidRequest, "Voter %d is named twice", id)
			} else if _, ok := q.Member(id); !ok {
				p = refuse(kerr.RequestTimedOut, "Node %d does not follow the metadata log: start it so that it joins the cluster", id)
			}
			if p.code != 0 {
				break
			}
		}
		if next := q.voting(voters); p.code == 0 && votesChanged(q, next) > 0 {
			b.changeQuorum(next)
		}
	}
	resp := &VotersResponse{ErrorCode: p.code}
	if text := p.text(); text != nil {
		resp.ErrorMessage = *text
	}
	return resp
}

// TagIfUnused is the tagged field of UnregisterBroker by which this package's own Admin asks that nothing happens while the node votes or has replicas. Kafka ignores it.
const TagIfUnused = 32100

// ifUnused tells whether an unregistration has the tag.
func ifUnused(req *kmsg.UnregisterBrokerRequest) (yes bool) {
	req.UnknownTags.Each(func(tag uint32, _ []byte) { yes = yes || tag == TagIfUnused })
	return yes
}

// used tells what a node is still needed for: INVALID_REQUEST for replicas, else DUPLICATE_VOTER for a vote.
func (b *Batch) used(id int32) problem {
	for _, name := range b.d.img.TopicNames() {
		for n, p := range b.d.img.Topics[name].Partitions {
			if slices.Contains(p.Replicas, id) {
				return refuse(kerr.InvalidRequest, "Node %d has a replica of %s-%d", id, name, n)
			}
		}
	}
	if m, ok := b.d.img.Quorum.Member(id); ok && m.Voter {
		return refuse(kerr.DuplicateVoter, "Node %d votes in the metadata quorum", id)
	}
	return problem{}
}
