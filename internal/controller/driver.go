package controller

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/controller/machine"
	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// driver is the state of the controller's one goroutine. A round takes what arrived, lets time pass, judges requests, and then does what raft is ready for:
//
//	intake ──> clock ──> judge ──> ready: send entries │ sync │ send votes and acknowledgements │ apply │ answer
//	   ^                                  (leader only) │      │
//	   └── wake or timer <─────────────────────────────────────────────────────────────────────────┘
type driver struct {
	c     *Controller
	id    uint64
	store *storage
	node  *raft.RawNode
	log   *slog.Logger

	subscribers []*subscriber
	calls       []*call // taken, not judged

	term    uint64
	leading bool
	// activateAt is the last entry from before this node's term. An image with it applied holds every committed entry, and nobody else can commit one in this term.
	activateAt uint64
	lastIndex  uint64           // of the raft log while leading, what is not stored yet included
	machine    *machine.Machine // not nil while active
	flight     *flight
	unsure     []*unsure
	asked      uint64 // of the newest of unsure
	handed     bool   // in this term, a joint phase to somebody who will vote

	members  membership
	ticks    time.Time // when a leader's next raft tick is due
	campaign campaign
	running  bool      // it is the goroutine, and not Start, that runs
	planned  time.Time // when the timer was to wake the goroutine
	clocked  time.Time // when time passed last for raft

	nextCheckpoint time.Time // not before
	outgoing       map[uint64][][]byte
	greeting       greeting
	contacts       map[uint64]contact // while leading
	inquiry        inquiry
	absences       absences // while leading
}

// flight is the entry of ours that is not committed yet, and who waits for it.
type flight struct {
	index, term uint64
	members     bool // it changes them
	calls       []*call
	answers     []kmsg.Response
}

func newDriver(c *Controller, s *storage) (*driver, error) {
	d := &driver{c: c, id: raftID(c.c.NodeID), store: s, log: c.c.Logger, outgoing: map[uint64][][]byte{}}
	s.image = c.image.Load
	var err error
	d.node, err = raft.NewRawNode(&raft.Config{
		ID: d.id, ElectionTick: c.c.ElectionTicks, HeartbeatTick: c.c.HeartbeatTicks, Storage: s, Applied: uint64(c.image.Load().Offset + 1),
		MaxSizePerMsg: 1 << 20, MaxCommittedSizePerReady: 64 << 20, MaxInflightMsgs: 64,
		CheckQuorum: true, PreVote: true, StepDownOnRemoval: true, DisableProposalForwarding: true, Logger: raftLogger{d.log},
	})
	if err != nil {
		return nil, fmt.Errorf("raft: %w", err)
	}
	d.term = s.hard.GetTerm()
	now := time.Now()
	d.members = newMembership(s.initial)
	d.campaign = newCampaign(c.c, d.members.place(d.id), now)
	d.introduce(c.image.Load(), nil)
	for _, b := range s.registered {
		if b.Addr != "" && b.ID != c.c.NodeID {
			c.c.Peer(b.ID, b.Addr)
		}
	}
	s.registered = nil
	d.planned = now.Add(c.c.SessionTimeout)
	return d, nil
}

// first runs before Start returns: what is known to be committed is applied, the only voter elects itself and, in a new cluster, founds it.
func (d *driver) first() (err error) {
	defer d.recover(&err)
	if err := d.round(); err != nil || !d.members.sole(d.id) || !d.mayVote() {
		return err
	}
	if err := d.node.Campaign(); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	return d.round()
}

// run is the goroutine. It ends by Close, or when the log fails or something proves that this node can no longer be right.
func (d *driver) run() {
	d.running = true
	err := d.loop()
	if errors.Is(err, errStopping) {
		err = nil
	}
	d.end(err)
}

func (d *driver) loop() (err error) {
	defer d.recover(&err)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := d.round(); err != nil {
			return err
		}
		d.planned = d.deadline()
		timer.Reset(time.Until(d.planned))
		select {
		case <-d.c.stop:
			return nil
		case <-d.c.wake:
		case <-timer.C:
		}
	}
}

// recover turns a panic, of raft's or of a subscriber, into the end of this node's controller: the host lives.
func (d *driver) recover(err *error) {
	r := recover()
	switch {
	case r == nil:
	case d.store.err != nil: // raft panics when its storage fails it
		*err = d.store.err
	default:
		*err = fmt.Errorf("controller: %v\n%s", r, debug.Stack())
	}
}

// end answers everybody who still waits.
func (d *driver) end(err error) {
	c := d.c
	c.mu.Lock()
	c.mu.closed = true
	waiting := append(d.calls, c.mu.calls...)
	c.mu.calls, c.mu.inbox = nil, nil
	c.mu.Unlock()
	if err != nil {
		c.err = err
		close(c.done)
	}
	c.leader.Store(&leadership{node: -1, term: int64(d.term)})
	close(c.gone)
	c.changed()
	for _, l := range waiting {
		if l.state.CompareAndSwap(callQueued, callTaken) {
			close(l.judged)
		}
		l.answer(nil, c.endError())
	}
	if d.flight != nil {
		for _, l := range d.flight.calls {
			l.letGo()
			l.answer(nil, c.endError())
		}
	}
	d.disown(func(l *call) { l.answer(nil, c.endError()) })
}

// round works until nothing is left to do now.
func (d *driver) round() error {
	for {
		now := time.Now()
		d.intake(now)
		d.clock(now)
		d.role(now)
		if err := d.greet(now); err != nil {
			return err
		}
		if err := d.judge(now); err != nil {
			return err
		}
		if !d.node.HasReady() {
			d.describe()
			return nil
		}
		if err := d.ready(); err != nil {
			return err
		}
	}
}

// intake takes what callers and peers have left.
func (d *driver) intake(now time.Time) {
	c := d.c
	c.mu.Lock()
	inbox, calls, joining, refused, resign := c.mu.inbox, c.mu.calls, c.mu.joining, c.mu.refused, c.mu.resign
	c.mu.inbox, c.mu.inboxBytes, c.mu.calls, c.mu.joining, c.mu.refused, c.mu.resign = nil, 0, nil, nil, nil, false
	c.mu.Unlock()
	d.calls = append(d.calls, calls...)
	for _, s := range joining {
		d.subscribers = append(d.subscribers, s)
		if img := c.image.Load(); !s.gone.Load() {
			s.fn(machine.Diff(machine.Empty(), img))
		}
	}
	if d.leading {
		for _, node := range refused {
			d.absences.refused(node, now)
		}
	}
	for _, in := range inbox {
		m := in.Message
		d.absences.heard(nodeID(m.GetFrom()))
		if !d.expected(m) || !d.genuine(in) {
			continue
		}
		// The only error is that of a response from somebody who is no member.
		_ = d.node.Step(m)
		if d.leading {
			d.greeting.heard(m, d.term)
			d.contacted(m, now)
		}
		if fromLeader(m) && m.GetTerm() == d.node.BasicStatus().GetTerm() {
			d.campaign.leaderSeen(now, d.jitter())
		}
	}
	if resign {
		d.resign()
	}
}

// genuine tells whether a message is of the member that has the sender's id now, and not of one that had it before on another disk.
func (d *driver) genuine(in inbound) bool {
	m, ok := d.c.image.Load().Quorum.Member(nodeID(in.GetFrom()))
	return !ok || m.DirectoryID == log.TopicID{} || in.directory == log.TopicID{} || in.directory == m.DirectoryID
}

// expected tells whether a message can be for this node from another one. Raft itself trusts what it is given. Whom this node does not know as a member yet may be one all the same, and lead.
func (d *driver) expected(m *pb.Message) bool {
	if m.GetTo() != d.id || m.GetFrom() == d.id || nodeID(m.GetFrom()) < 0 {
		return false
	}
	switch m.GetType() {
	case pb.MsgApp, pb.MsgAppResp, pb.MsgVote, pb.MsgVoteResp, pb.MsgPreVote, pb.MsgPreVoteResp, pb.MsgSnap, pb.MsgHeartbeat, pb.MsgHeartbeatResp, pb.MsgTimeoutNow:
	default:
		return false
	}
	switch m.GetType() {
	case pb.MsgVote, pb.MsgPreVote, pb.MsgTimeoutNow:
		if !d.mayVote() {
			return false
		}
	case pb.MsgHeartbeat:
		if m.GetCommit() > d.store.last {
			m.Commit = nil // meant for whoever had this id before: this node has not confirmed so much
		}
	}
	if m.GetType() == pb.MsgSnap {
		// One that was damaged on its way must not stop this node: the leader sends another.
		// One that this node is too old for does stop it: no other will be different.
		if _, err := decodeCheckpoint(m.GetSnapshot().GetData(), d.c.c.Levels); err != nil && !errors.Is(err, machine.ErrUnknownRecord) {
			d.log.Warn("snapshot from the leader dropped", "from", nodeID(m.GetFrom()), "err", err)
			return false
		}
	}
	return true
}

// greet tells members who leads, if it still is this node.
func (d *driver) greet(now time.Time) error {
	if !d.leading {
		return nil
	}
	var msgs []*pb.Message
	for _, to := range d.greeting.due(now) {
		msgs = append(msgs, here(d.id, to, d.term))
	}
	return d.send(msgs)
}

// resign hands leadership to the voter that is furthest, if one is there; who votes only until a joint phase ends is not asked.
func (d *driver) resign() bool {
	if !d.leading {
		return false
	}
	var to, match uint64
	d.node.WithProgress(func(id uint64, _ raft.ProgressType, p progress) {
		if id != d.id && slices.Contains(d.members.voters, id) && p.RecentActive && p.Match >= match {
			to, match = id, p.Match
		}
	})
	if to != 0 {
		d.node.TransferLeader(to)
	}
	return to != 0
}

// clock lets time pass for raft.
func (d *driver) clock(now time.Time) {
	if d.machine != nil && now.Sub(d.planned) > d.c.c.SessionTimeout/2 {
		// This process, not the brokers, was away: their heartbeats may be waiting in its queues.
		d.machine.Refresh(now)
	}
	d.planned = now.Add(d.c.c.SessionTimeout)
	stood := !d.clocked.IsZero() && now.Sub(d.clocked) > d.campaign.timeout
	d.clocked = now
	switch {
	case d.leading && d.members.alone(d.id):
	case d.leading && stood:
		// Somebody else may lead by now. Two election timeouts at once: within the first, answers count that were there before.
		for range 2 * d.c.c.ElectionTicks {
			d.node.Tick()
		}
		d.ticks = now.Add(d.c.c.Tick)
	case d.leading:
		if !now.Before(d.ticks) {
			d.node.Tick()
			d.ticks = now.Add(d.c.c.Tick)
			d.inquiry.sent = 0
			d.restoreVotes(now)
		}
	case !d.campaign.due(now, d.jitter()):
	case d.members.votes(d.id) && d.mayVote():
		_ = d.node.Campaign()
	default:
		// It may have got a vote that it does not know of, and must not hold it back for a leader that is silent.
		_ = d.node.ForgetLeader()
		d.campaign.at = now.Add(d.campaign.timeout)
	}
}

// jitter keeps voters apart that woke together.
func (d *driver) jitter() time.Duration {
	return time.Duration(d.c.c.Rand.Int64N(int64(max(1, d.c.c.Tick/4))))
}

// deadline is when the goroutine has to do something by itself.
func (d *driver) deadline() time.Time {
	at := time.Now().Add(time.Hour)
	earlier := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	switch {
	case d.leading && d.members.alone(d.id):
	case d.leading:
		earlier(d.ticks)
		if d.greeting.active() {
			earlier(d.greeting.at)
		}
	default:
		earlier(d.campaign.at)
	}
	if d.judging() {
		earlier(d.machine.Deadline())
	}
	return at
}

// role follows raft's view of who leads.
func (d *driver) role(now time.Time) {
	st := d.node.BasicStatus()
	if st.RaftState == raft.StateCandidate && d.term != st.GetTerm() {
		d.campaign.standing(now, d.jitter())
	}
	// Who is told that this node leads no more has to find that it does not.
	if l := d.c.leader.Load(); l.node != nodeID(st.Lead) || l.term != int64(st.GetTerm()) {
		d.c.leader.Store(&leadership{node: nodeID(st.Lead), term: int64(st.GetTerm())})
		d.c.changed()
	}
	leading := st.RaftState == raft.StateLeader
	if d.leading && (!leading || st.GetTerm() != d.term) {
		d.stepDown()
		d.campaign.leaderSeen(now, d.jitter())
	}
	if leading && !d.leading {
		// Nothing of the new term is stored yet: raft has only just put its empty entry behind what is.
		d.handed = false
		d.leading, d.activateAt, d.lastIndex = true, d.store.last, d.store.last+1
		d.ticks, d.contacts, d.absences = now.Add(d.c.c.Tick), map[uint64]contact{}, absences{}
		d.greeting = newGreeting(d.members.all(), d.id, now, d.c.c.Tick*time.Duration(d.c.c.HeartbeatTicks))
		d.log.Info("metadata quorum: this node leads", "term", st.GetTerm(), "offset", d.store.last)
	}
	d.term = st.GetTerm()
	if d.leading && d.machine == nil && d.applied() >= d.activateAt {
		d.machine = machine.New(d.c.c.machine(d.store.founders, d.store.foundLevel), d.c.image.Load(), now)
	}
	if !d.leading && len(d.calls) > 0 {
		d.refuse(d.calls, kerr.NotController)
		d.calls = d.calls[:0]
	}
}

func (d *driver) applied() uint64 { return uint64(d.c.image.Load().Offset + 1) }

// stepDown ends this node's time as active controller. What is in flight may still be committed by another leader.
func (d *driver) stepDown() {
	d.log.Info("metadata quorum: this node leads no more", "term", d.term)
	d.leading, d.machine = false, nil
	d.disown(func(l *call) { l.answer(machine.Refuse(l.req, kerr.NotController), nil) })
	if f := d.flight; f != nil {
		d.flight = nil
		for _, l := range f.calls {
			l.answer(machine.Refuse(l.req, kerr.RequestTimedOut), nil)
		}
	}
}

// refuse answers calls that were not judged.
func (d *driver) refuse(calls []*call, why *kerr.Error) {
	for _, l := range calls {
		if l.state.CompareAndSwap(callQueued, callTaken) {
			resp := machine.Refuse(l.req, why)
			close(l.judged)
			l.answer(resp, nil)
		}
	}
}

// judging tells whether requests may be judged now: this node is active, nothing of it is in flight, and it is not handing leadership over.
func (d *driver) judging() bool {
	return d.machine != nil && d.flight == nil && d.node.BasicStatus().LeadTransferee == 0
}

// judge lets the machine decide on what waits and on what is due, and proposes the records as one entry.
func (d *driver) judge(now time.Time) error {
	if !d.judging() {
		return nil
	}
	d.bury(now)
	due := !now.Before(d.machine.Deadline())
	img := d.c.image.Load()
	joint := img.Quorum.Joint() && d.settled() == nil
	if len(d.calls) == 0 && !due && !joint && img.ClusterID != "" && img.Quorum != nil {
		return nil
	}
	if joint && !slices.Contains(d.members.voters, d.id) && !d.handed {
		// One of those that will vote ends the joint phase, so that nobody has to miss a leader to find the next. If none takes over this node ends it, and its leading.
		if d.handed = true; d.resign() {
			return nil
		}
	}
	b := d.machine.Begin(d.c.image.Load(), offsetOf(d.lastIndex+1), now)
	b.Found()
	if joint {
		b.Settle()
	}
	if due {
		b.Tick()
	}
	f := &flight{index: d.lastIndex + 1, term: d.term}
	kept := d.calls[:0]
	d.inquiry.waiting = false
	for i, l := range d.calls {
		if b.Full() {
			kept = append(kept, d.calls[i:]...)
			break
		}
		if !l.state.CompareAndSwap(callQueued, callTaken) {
			continue // its caller has given up
		}
		switch e := d.admit(l, now); {
		case e == asking:
			// Whoever gives up at this very instant waits until it is looked at again.
			l.state.Store(callQueued)
			kept = append(kept, l)
			continue
		case e != nil:
			resp := machine.Refuse(l.req, e)
			close(l.judged)
			l.answer(resp, nil)
			continue
		}
		switch req := l.req.(type) {
		case *kmsg.BrokerHeartbeatRequest:
			d.absences.heard(req.BrokerID)
		case *kmsg.BrokerRegistrationRequest:
			d.absences.heard(req.BrokerID)
		}
		resp, err := b.Handle(l.req)
		if err != nil {
			close(l.judged)
			l.answer(nil, err)
			continue
		}
		f.calls, f.answers = append(f.calls, l), append(f.answers, resp)
	}
	clear(d.calls[len(kept):])
	d.calls = kept
	if err := d.inquire(); err != nil {
		d.flight = f // answered by end
		return err
	}
	records, err := b.Records()
	if err != nil {
		d.flight = f // answered by end
		return fmt.Errorf("controller: %w", err)
	}
	return d.propose(f, b, records)
}

func (d *driver) propose(f *flight, b *machine.Batch, records []machine.Record) error {
	if len(records) == 0 {
		d.land(f)
		return nil
	}
	for _, r := range records {
		d.report(r)
	}
	data := machine.EncodeRecords(nil, records)
	var change *pb.ConfChangeV2
	if b.Changed() {
		change = d.members.changeTo(b.Image().Quorum, d.c.image.Load().Quorum) // nil if only an address changed
	}
	var err error
	if f.members = change != nil; f.members {
		if err := d.patiently(d.store.expectOthers); err != nil {
			d.flight = f // answered by end
			return err
		}
		change.Context = data
		err = d.node.ProposeConfChange(change)
	} else {
		err = d.node.Propose(data)
	}
	if err != nil {
		// Nothing happened. The machine has seen heartbeats that are not answered; a new one knows no less than after an election.
		d.log.Info("metadata quorum: proposal dropped", "err", err)
		d.machine = nil
		for _, l := range f.calls {
			resp := machine.Refuse(l.req, kerr.NotController)
			close(l.judged)
			l.answer(resp, nil)
		}
		return nil
	}
	for _, l := range f.calls {
		close(l.judged)
	}
	d.lastIndex++
	d.flight = f
	return nil
}

// land gives the answers, or asks a majority first.
func (d *driver) land(f *flight) {
	u := &unsure{}
	for i, l := range f.calls {
		l.letGo()
		if d.counts(f.answers[i]) {
			u.calls, u.answers = append(u.calls, l), append(u.answers, f.answers[i])
			continue
		}
		l.answer(f.answers[i], nil)
	}
	d.ask(u)
}

// report tells the operator of decisions that can lose data.
func (d *driver) report(r machine.Record) {
	if p, ok := r.(*machine.PartitionChange); ok && p.Has&machine.HasRecovering != 0 && p.Recovering {
		d.log.Warn("unclean leader election: acknowledged records may be lost", "topic_id", p.TopicID, "partition", p.Number, "leader", p.Leader)
	}
}

// send encodes messages and hands them over, one call per peer.
func (d *driver) send(msgs []*pb.Message) error {
	for _, m := range msgs {
		b, err := proto.Marshal(m)
		if err != nil {
			return fmt.Errorf("raft message: %w", err)
		}
		d.outgoing[m.GetTo()] = append(d.outgoing[m.GetTo()], b)
	}
	for _, to := range slices.Sorted(maps.Keys(d.outgoing)) {
		d.c.c.Send(nodeID(to), d.outgoing[to])
		delete(d.outgoing, to)
	}
	for _, m := range msgs {
		if m.GetType() == pb.MsgSnap {
			// Nobody tells how it went. If it got lost the follower refuses what comes next, and gets another.
			d.node.ReportSnapshot(m.GetTo(), raft.SnapshotFinish)
		}
	}
	return nil
}

// describe publishes what Status returns if it has changed.
func (d *driver) describe() {
	st := d.node.BasicStatus()
	s := QuorumStatus{Untouched: st.GetTerm() == 0 && d.store.last == 0, Leader: nodeID(st.Lead), Term: int64(st.GetTerm()), HighWatermark: int64(st.GetCommit())}
	all := make([]VoterStatus, 0, len(d.members.voters)+len(d.members.learners))
	for _, v := range d.members.all() {
		end := int64(-1)
		if v == d.id {
			end = int64(d.store.last)
		}
		all = append(all, VoterStatus{ID: nodeID(v), LogEndOffset: end})
	}
	if d.leading {
		d.node.WithProgress(func(id uint64, _ raft.ProgressType, p progress) {
			for i := range all {
				v := &all[i]
				if v.ID != nodeID(id) || id == d.id {
					continue
				}
				if p.Match > 0 {
					v.LogEndOffset = int64(p.Match)
				}
				v.LastFetch, v.LastCaughtUp = d.contacts[id].fetched, d.contacts[id].caughtUp
			}
		})
	}
	n := len(d.members.voters)
	s.Voters, s.Observers = all[:n:n], all[n:]
	d.c.status.Store(&s)
}
