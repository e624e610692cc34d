package consumer

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/guard"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// joinPhase is where a classic member is in a rebalance.
type joinPhase int8

const (
	joining joinPhase = iota // it must join, or has asked to
	leading                  // it is the leader, and shares out
	syncing                  // it must ask for its share, or has asked
	joinedUp
)

// classic is a member of a classic group with cooperative-sticky (KIP-429): partitions are kept, and read, while the group rebalances.
//
//	         JoinGroup            (leader: share out)         SyncGroup
//	joining ──────────▶ leading ────────────────────▶ syncing ──────────▶ joinedUp ──┐ Heartbeat
//	   ▲                                                                     │  ▲─────┘
//	   └───── REBALANCE_IN_PROGRESS, partitions given up, topics changed ◀───┘
//
// Heartbeats go on while a join waits for the other members: their answers prove that the coordinator still counts this one among them, so that it may go on reading.
type classic struct {
	memberConfig
	id         string
	generation int32 // -1 without a membership
	phase      joinPhase
	busy       bool // a join, a sync or a leave is under way
	beating    bool // a heartbeat is
	beatAt     time.Time
	retry      retrying
	proved     time.Time
	share      []kmsg.SyncGroupRequestGroupAssignment // of the leader
	counts     map[string]int                         // of the leader: partitions of the topics that it shared out
	again      bool                                   // join again when this round is over: the join says what is no longer true

	leaving, parked, quitting, done bool
}

// sharing is what a leader has shared out, and the numbers of partitions that it knew.
type sharing struct {
	shares map[string][]key
	counts map[string]int
}

func newClassic(c memberConfig) *classic { return &classic{memberConfig: c, generation: -1} }

func (m *classic) kind() Protocol          { return ProtocolClassic }
func (m *classic) member() (string, int32) { return m.id, m.generation }
func (m *classic) confirmed() time.Time    { return m.proved }
func (m *classic) settled() bool           { return m.phase == joinedUp }
func (m *classic) gone() bool              { return m.done }
func (m *classic) watched() map[string]int { return m.counts }
func (m *classic) hurry(now time.Time)     { m.beatAt = now }
func (m *classic) unpark(time.Time)        { m.parked = false }

// interval is heartbeat.interval.ms, as Kafka's clients have it.
func (m *classic) interval() time.Duration { return min(3*time.Second, m.session/3) }

// gaveUp makes the group share out again: others wait for what is free now.
func (m *classic) gaveUp(time.Time) {
	if m.phase == joinedUp {
		m.phase, m.counts = joining, nil
		return
	}
	m.again = true
}

func (m *classic) reset(_ time.Time, leave, park bool) {
	m.leaving, m.parked = leave && m.instance == "" && m.id != "", park
	m.forget()
}

// quit leaves the group; a static member goes without a word, for it comes back.
func (m *classic) quit(time.Time) {
	if m.quitting {
		return
	}
	m.quitting = true
	m.leaving = m.instance == "" && m.id != ""
	m.done = !m.leaving
	m.forget()
}

// forget is the member without its membership.
func (m *classic) forget() {
	m.generation, m.phase, m.busy, m.beating, m.again, m.share, m.counts = -1, joining, false, false, false, nil, nil
	m.retry.worked()
}

func (m *classic) next(now time.Time, v view) (messageRequest, time.Time) {
	if m.done || m.parked && !m.leaving {
		return nil, time.Time{}
	}
	var at time.Time
	if wants := m.leaving || m.phase == joining || m.phase == syncing; wants && !m.busy {
		if !m.retry.at.After(now) {
			m.busy = true
			return m.request(v), time.Time{}
		}
		at = m.retry.at
	}
	if m.generation < 1 || m.beating || m.leaving {
		return nil, at
	}
	if m.beatAt.After(now) {
		if at.IsZero() || m.beatAt.Before(at) {
			at = m.beatAt
		}
		return nil, at
	}
	m.beating, m.beatAt = true, now.Add(m.interval())
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation, req.InstanceID = m.group, m.id, m.generation, optional(m.instance)
	return req, time.Time{}
}

func (m *classic) request(v view) messageRequest {
	switch {
	case m.leaving:
		return m.leaveRequest()
	case m.phase == syncing:
		return m.syncRequest()
	}
	m.again = false
	return m.joinRequest(v)
}

func (m *classic) leaveRequest() messageRequest {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = m.group, m.id
	l := kmsg.NewLeaveGroupRequestMember()
	l.MemberID = m.id
	req.Members = append(req.Members, l)
	return req
}

func (m *classic) joinRequest(v view) messageRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.InstanceID, req.ProtocolType = m.group, m.id, optional(m.instance), "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(m.session.Milliseconds()), int32(m.rebalance.Milliseconds())
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version, meta.Topics, meta.Rack = 3, slices.Sorted(slices.Values(m.topics)), optional(m.rack)
	meta.Generation = m.generation
	for _, o := range v.owned {
		n := len(meta.OwnedPartitions)
		if n == 0 || meta.OwnedPartitions[n-1].Topic != o.topic {
			meta.OwnedPartitions = append(meta.OwnedPartitions, kmsg.ConsumerMemberMetadataOwnedPartition{Topic: o.topic})
			n++
		}
		t := &meta.OwnedPartitions[n-1]
		t.Partitions = append(t.Partitions, o.number)
	}
	meta.UserData = binary.BigEndian.AppendUint32(nil, uint32(m.generation)) // where members that know older versions look for it
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = stickyName, meta.AppendTo(nil)
	req.Protocols = append(req.Protocols, p)
	return req
}

func (m *classic) syncRequest() messageRequest {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation, req.InstanceID = m.group, m.id, m.generation, optional(m.instance)
	req.ProtocolType, req.Protocol = optional("consumer"), optional(stickyName)
	req.GroupAssignment = m.share
	return req
}

func (m *classic) answer(now, sent time.Time, req messageRequest, resp messageResponse, err error) outcome {
	code := func(c int16) error {
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(c)
	}
	if b, ok := req.(*kmsg.HeartbeatRequest); ok {
		m.beating = false
		r, ok := resp.(*kmsg.HeartbeatResponse)
		switch {
		case err == nil && !ok:
			err = errAnswer
		case err == nil:
			err = kerr.ErrorForCode(r.ErrorCode)
		}
		if _, ok := errors.AsType[*kerr.Error](err); ok && b.Generation != m.generation {
			return outcome{} // a join that was sent after it was answered before it: it speaks of a generation that is over
		}
		return m.beat(now, sent, err)
	}
	switch r := resp.(type) {
	case *kmsg.JoinGroupResponse:
		m.busy = false
		return m.joined(now, sent, r, code(r.ErrorCode))
	case *kmsg.SyncGroupResponse:
		m.busy = false
		return m.synced(now, sent, r, code(r.ErrorCode))
	case *kmsg.LeaveGroupResponse: // whatever it says: the membership is over
		m.busy, m.leaving, m.id, m.done = false, false, "", m.quitting
		m.retry.worked()
		return outcome{}
	}
	if err == nil {
		err = errAnswer
	}
	m.busy = false
	return m.failed(now, err)
}

// beat takes the answer to a heartbeat. While the group rebalances, what a join or a sync is answered decides; a heartbeat then only proves that the session lives.
func (m *classic) beat(now, sent time.Time, err error) outcome {
	switch ke, ok := errors.AsType[*kerr.Error](err); {
	case err == nil:
		m.proved = sent
	case ke == kerr.RebalanceInProgress:
		m.proved = sent
		if m.phase == joinedUp {
			m.phase, m.counts = joining, nil
		}
	case !ok || ke == kerr.NotCoordinator || ke == kerr.CoordinatorNotAvailable:
		m.beatAt = now.Add(min(coordinatorBackoffMax, m.interval()))
		return outcome{relocate: true, trouble: err}
	case ke == kerr.CoordinatorLoadInProgress:
	case m.phase == joinedUp || ke == kerr.FencedInstanceID:
		return m.failed(now, err)
	}
	return outcome{}
}

func (m *classic) joined(now, sent time.Time, r *kmsg.JoinGroupResponse, err error) outcome {
	if errors.Is(err, kerr.MemberIDRequired) && r.MemberID != "" { // KIP-394: so that a join that is tried again makes no second member
		m.id = r.MemberID
		return outcome{}
	}
	if err == nil && (r.Protocol == nil || *r.Protocol != stickyName) {
		return outcome{end: &GroupError{Group: m.group, Err: kerr.InconsistentGroupProtocol}}
	}
	if err != nil {
		return m.failed(now, err)
	}
	m.retry.worked()
	m.id, m.generation, m.phase, m.share = r.MemberID, r.Generation, syncing, nil
	m.beatAt = now.Add(m.interval())
	if sent.After(m.proved) {
		m.proved = sent
	}
	if r.LeaderID != r.MemberID || r.SkipAssignment {
		return outcome{}
	}
	m.phase = leading
	o := outcome{lead: []subscriber{}}
	for _, member := range r.Members {
		o.lead = append(o.lead, parseSubscriber(member.MemberID, member.ProtocolMetadata))
	}
	return o
}

// parseSubscriber reads what a member has told of itself. One that cannot be read wants nothing.
func parseSubscriber(id string, metadata []byte) subscriber {
	s := subscriber{id: id, generation: -1}
	var meta kmsg.ConsumerMemberMetadata
	meta.Default()
	if guard.ConsumerMemberMetadata(metadata, guard.Budget(len(metadata))) != nil || meta.ReadFrom(metadata) != nil {
		return s
	}
	s.topics = meta.Topics
	if meta.Version >= 2 {
		s.generation = meta.Generation
	} else if len(meta.UserData) == 4 {
		s.generation = int32(binary.BigEndian.Uint32(meta.UserData))
	}
	for _, t := range meta.OwnedPartitions {
		for _, n := range t.Partitions {
			s.owned = append(s.owned, key{t.Topic, n})
		}
	}
	return s
}

func (m *classic) shared(_ time.Time, s sharing) {
	if m.phase != leading {
		return
	}
	m.phase, m.counts, m.share = syncing, s.counts, nil
	for id, keys := range s.shares {
		a := kmsg.NewConsumerMemberAssignment()
		for _, k := range keys {
			if n := len(a.Topics); n == 0 || a.Topics[n-1].Topic != k.topic {
				a.Topics = append(a.Topics, kmsg.ConsumerMemberAssignmentTopic{Topic: k.topic})
			}
			t := &a.Topics[len(a.Topics)-1]
			t.Partitions = append(t.Partitions, k.number)
		}
		g := kmsg.NewSyncGroupRequestGroupAssignment()
		g.MemberID, g.MemberAssignment = id, a.AppendTo(nil)
		m.share = append(m.share, g)
	}
}

func (m *classic) synced(now, sent time.Time, r *kmsg.SyncGroupResponse, err error) outcome {
	var share kmsg.ConsumerMemberAssignment
	if err == nil && len(r.MemberAssignment) > 0 {
		if err = guard.ConsumerMemberAssignment(r.MemberAssignment, guard.Budget(len(r.MemberAssignment))); err == nil {
			err = share.ReadFrom(r.MemberAssignment)
		}
	}
	if err != nil {
		return m.failed(now, err)
	}
	m.retry.worked()
	m.phase, m.share = joinedUp, nil
	if sent.After(m.proved) {
		m.proved = sent
	}
	if m.again {
		m.phase, m.counts = joining, nil
	}
	a := &assignment{generation: m.generation, memberID: m.id}
	for _, t := range share.Topics {
		a.topics = append(a.topics, assignedTopic{name: t.Topic, partitions: t.Partitions})
	}
	return outcome{assigned: a}
}

func (m *classic) failed(now time.Time, err error) outcome {
	ke, ok := errors.AsType[*kerr.Error](err)
	switch {
	case m.leaving:
		m.retry.failed(now)
		return outcome{relocate: true, trouble: err}
	case isUnsupported(err):
		return outcome{end: &GroupError{Group: m.group, Err: err}}
	case !ok, ke == kerr.NotCoordinator, ke == kerr.CoordinatorNotAvailable:
		m.retry.failed(now)
		return outcome{relocate: true, trouble: err}
	case ke == kerr.UnknownMemberID:
		m.forget()
		m.id = ""
		return outcome{lost: err}
	case ke == kerr.IllegalGeneration:
		m.forget()
		return outcome{lost: err}
	case ke == kerr.RebalanceInProgress:
		m.phase = joining
		return outcome{}
	case ke == kerr.FencedInstanceID:
		return outcome{end: &InstanceError{Group: m.group, InstanceID: m.instance, Err: err}}
	case ke.Retriable, ke == kerr.UnknownServerError:
		m.retry.failed(now)
		return outcome{trouble: err}
	}
	return outcome{end: &GroupError{Group: m.group, Err: err}}
}
