package consumer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fakeCoordinator is the coordinator of one group with the fake's topic: small, but with the rules that a member can run into. KIP-848: three epochs, a partition goes to its next owner only when the one
// before has given it up. Classic: joins wait for all members.
type fakeCoordinator struct {
	f       *fake
	no848   bool // the API is not there
	refuse  bool // it is there, and answers UNSUPPORTED_VERSION
	mu      sync.Mutex
	node    int32
	session time.Duration
	deaf    bool // requests of members get no answer
	members []*fakeMember
	epoch   int32
	script  map[int16][]*kerr.Error // by API key: what the next requests get
	offsets map[int32]fakeOffset
	log     []string // commits and changes of ownership, in order
	beats   int
	commits int

	rebalancing bool // classic
	protocol    string
}

type fakeOffset struct {
	offset int64
	epoch  int32
}

type fakeMember struct {
	id, instance string
	epoch        int32
	assigned     []int32
	revoking     []int32
	shown        string
	seen         time.Time
	away         bool // a static one that will be back

	join, sync func(kmsg.Response) // classic: parked
	metadata   []byte
	share      []byte
}

func newFakeGroup(partitions int) *fake {
	f := newFake(partitions)
	f.coordinator = &fakeCoordinator{f: f, node: 1, session: 45 * time.Second, script: map[int16][]*kerr.Error{}, offsets: map[int32]fakeOffset{}}
	return f
}

func (g *fakeCoordinator) addVersions(v map[int16]transport.VersionRange) {
	for k, r := range map[int16]transport.VersionRange{8: {Min: 2, Max: 9}, 9: {Min: 1, Max: 9}, 10: {Min: 0, Max: 6}, 11: {Min: 0, Max: 9}, 12: {Min: 0, Max: 4}, 13: {Min: 0, Max: 5}, 14: {Min: 0, Max: 5}, 68: {Min: 0, Max: 1}} {
		v[k] = r
	}
	if g.no848 {
		delete(v, 68)
	}
}

func (g *fakeCoordinator) note(format string, args ...any) {
	g.log = append(g.log, fmt.Sprintf(format, args...))
}

// do changes something under the coordinator's lock.
func (g *fakeCoordinator) do(what func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	what()
}

func (g *fakeCoordinator) history() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.log, "; ")
}

func (g *fakeCoordinator) offset(partition int32) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o, ok := g.offsets[partition]; ok {
		return o.offset
	}
	return -1
}

func (g *fakeCoordinator) serve(n node, req kmsg.Request, reply func(kmsg.Response)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r, ok := req.(*kmsg.FindCoordinatorRequest); ok {
		resp := r.ResponseKind().(*kmsg.FindCoordinatorResponse)
		resp.Coordinators = append(resp.Coordinators, kmsg.FindCoordinatorResponseCoordinator{Key: r.CoordinatorKeys[0], NodeID: g.node, Host: fakeHost(g.node), Port: 9092})
		reply(resp)
		return
	}
	if g.deaf {
		return
	}
	g.expire()
	var failed *kerr.Error
	if s := g.script[req.Key()]; len(s) > 0 {
		failed, g.script[req.Key()] = s[0], s[1:]
		if failed == kerr.UnknownMemberID {
			g.remove(g.members[0])
		}
	} else if n.id != g.node {
		failed = kerr.NotCoordinator
	}
	code := int16(0)
	if failed != nil {
		code = failed.Code
	}
	switch r := req.(type) {
	case *kmsg.ConsumerGroupHeartbeatRequest:
		g.beats++
		resp := r.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
		if resp.ErrorCode = code; code == 0 {
			g.heartbeat(r, resp)
		}
		reply(resp)
	case *kmsg.OffsetCommitRequest:
		reply(g.commit(r, code))
	case *kmsg.OffsetFetchRequest:
		reply(g.fetchOffsets(r, code))
	case *kmsg.JoinGroupRequest:
		g.join(r, code, reply)
	case *kmsg.SyncGroupRequest:
		g.sync(r, code, reply)
	case *kmsg.HeartbeatRequest:
		g.beats++
		resp := r.ResponseKind().(*kmsg.HeartbeatResponse)
		m := g.member(r.MemberID)
		switch resp.ErrorCode = code; {
		case code != 0:
		case m == nil:
			resp.ErrorCode = kerr.UnknownMemberID.Code
		case r.Generation != g.epoch:
			resp.ErrorCode = kerr.IllegalGeneration.Code
		case g.rebalancing:
			resp.ErrorCode = kerr.RebalanceInProgress.Code
		}
		if m != nil {
			m.seen = time.Now()
		}
		reply(resp)
	case *kmsg.LeaveGroupRequest:
		resp := r.ResponseKind().(*kmsg.LeaveGroupResponse)
		if g.remove(g.member(r.Members[0].MemberID)) {
			g.note("leave")
		}
		reply(resp)
	}
}

func (g *fakeCoordinator) member(id string) *fakeMember {
	for _, m := range g.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

func (g *fakeCoordinator) remove(m *fakeMember) bool {
	i := slices.Index(g.members, m)
	if i < 0 {
		return false
	}
	g.members = slices.Delete(g.members, i, i+1)
	if m.epoch > 0 {
		g.epoch++
	}
	if g.protocol != "" {
		g.epoch = max(g.epoch-1, 0)
		g.rebalance()
	}
	return true
}

// expire removes members whose session is over. One whose join or sync waits is not measured.
func (g *fakeCoordinator) expire() {
	for _, m := range slices.Clone(g.members) {
		if m.join == nil && m.sync == nil && time.Since(m.seen) >= g.session {
			g.note("expired")
			g.remove(m)
		}
	}
}

// target is what a member is to have: members in the order of joining, partitions in turn.
func (g *fakeCoordinator) target(m *fakeMember) (ps []int32) {
	i := slices.Index(g.members, m)
	g.f.mu.Lock()
	defer g.f.mu.Unlock()
	for p := range g.f.parts {
		if p%len(g.members) == i {
			ps = append(ps, int32(p))
		}
	}
	return ps
}

func (g *fakeCoordinator) heartbeat(r *kmsg.ConsumerGroupHeartbeatRequest, resp *kmsg.ConsumerGroupHeartbeatResponse) {
	if g.refuse {
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		return
	}
	m := g.member(r.MemberID)
	if r.MemberEpoch < 0 {
		switch {
		case m == nil:
			resp.ErrorCode = kerr.UnknownMemberID.Code
		case r.MemberEpoch == -2:
			m.away = true
			g.note("away")
		default:
			g.note("leave")
			g.remove(m)
		}
		resp.MemberEpoch = r.MemberEpoch
		return
	}
	if r.MemberEpoch == 0 && m == nil {
		if r.RebalanceTimeoutMillis < 0 || r.SubscribedTopicNames == nil && r.SubscribedTopicRegex == nil || r.Topics == nil || len(r.Topics) > 0 {
			resp.ErrorCode = kerr.InvalidRequest.Code
			return
		}
		m = &fakeMember{id: r.MemberID}
		if r.InstanceID != nil {
			m.instance = *r.InstanceID
			i := slices.IndexFunc(g.members, func(o *fakeMember) bool { return o.instance == m.instance })
			switch {
			case i >= 0 && !g.members[i].away:
				resp.ErrorCode = kerr.UnreleasedInstanceID.Code
				return
			case i >= 0:
				old := g.members[i]
				m.epoch, m.assigned = old.epoch, old.assigned
				g.members[i] = m
			}
		}
		if m.epoch == 0 {
			g.members = append(g.members, m)
			g.epoch++
		}
	}
	switch {
	case m == nil:
		resp.ErrorCode = kerr.UnknownMemberID.Code
		return
	case r.MemberEpoch != m.epoch && r.MemberEpoch != 0:
		resp.ErrorCode = kerr.FencedMemberEpoch.Code
		return
	}
	m.seen = time.Now()
	var owned []int32
	for _, t := range r.Topics {
		owned = append(owned, t.Partitions...)
	}
	g.reconcile(m, owned, r.Topics != nil)
	resp.MemberID, resp.MemberEpoch, resp.HeartbeatIntervalMillis = &m.id, m.epoch, 5000
	if shown := fmt.Sprint(m.assigned); shown != m.shown || r.RebalanceTimeoutMillis >= 0 {
		m.shown = shown
		resp.Assignment = &kmsg.ConsumerGroupHeartbeatResponseAssignment{}
		if len(m.assigned) > 0 {
			resp.Assignment.Topics = append(resp.Assignment.Topics, kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic{TopicID: g.f.id, Partitions: slices.Clone(m.assigned)})
		}
	}
}

// reconcile is §KIP-848's: give up first, reach the epoch, take what is free.
func (g *fakeCoordinator) reconcile(m *fakeMember, owned []int32, told bool) {
	target := g.target(m)
	for _, p := range slices.Clone(m.assigned) {
		if !slices.Contains(target, p) {
			m.assigned = slices.DeleteFunc(m.assigned, func(q int32) bool { return p == q })
			m.revoking = append(m.revoking, p)
		}
	}
	if told {
		for _, p := range slices.Clone(m.revoking) {
			if !slices.Contains(owned, p) {
				m.revoking = slices.DeleteFunc(m.revoking, func(q int32) bool { return p == q })
				g.note("p%d given up", p)
			}
		}
	}
	if len(m.revoking) > 0 {
		return
	}
	m.epoch = g.epoch
	for _, p := range target {
		taken := slices.ContainsFunc(g.members, func(o *fakeMember) bool { return slices.Contains(o.assigned, p) || slices.Contains(o.revoking, p) })
		if !taken {
			m.assigned = append(m.assigned, p)
		}
	}
	slices.Sort(m.assigned)
}

func (g *fakeCoordinator) commit(r *kmsg.OffsetCommitRequest, code int16) kmsg.Response {
	g.commits++
	m := g.member(r.MemberID)
	switch {
	case code != 0:
	case m == nil:
		code = kerr.UnknownMemberID.Code
	case g.protocol != "" && r.Generation != g.epoch:
		code = kerr.IllegalGeneration.Code
	case g.protocol == "" && r.Generation != m.epoch:
		code = kerr.StaleMemberEpoch.Code
	}
	resp := r.ResponseKind().(*kmsg.OffsetCommitResponse)
	for _, t := range r.Topics {
		rt := kmsg.OffsetCommitResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			if code == 0 {
				g.offsets[p.Partition] = fakeOffset{p.Offset, p.LeaderEpoch}
				g.note("p%d=%d", p.Partition, p.Offset)
			}
			rt.Partitions = append(rt.Partitions, kmsg.OffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: code})
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func (g *fakeCoordinator) fetchOffsets(r *kmsg.OffsetFetchRequest, code int16) kmsg.Response {
	resp := r.ResponseKind().(*kmsg.OffsetFetchResponse)
	for _, asked := range r.Groups {
		rg := kmsg.OffsetFetchResponseGroup{Group: asked.Group, ErrorCode: code}
		if asked.MemberID != nil {
			if m := g.member(*asked.MemberID); m == nil {
				rg.ErrorCode = kerr.UnknownMemberID.Code
			} else if m.epoch != asked.MemberEpoch {
				rg.ErrorCode = kerr.StaleMemberEpoch.Code
			}
		}
		for _, t := range asked.Topics {
			rt := kmsg.OffsetFetchResponseGroupTopic{Topic: t.Topic}
			for _, p := range t.Partitions {
				rp := kmsg.OffsetFetchResponseGroupTopicPartition{Partition: p, Offset: -1, LeaderEpoch: -1}
				if o, ok := g.offsets[p]; ok {
					rp.Offset, rp.LeaderEpoch = o.offset, o.epoch
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			rg.Topics = append(rg.Topics, rt)
		}
		resp.Groups = append(resp.Groups, rg)
	}
	return resp
}

// rebalance makes all members join again.
func (g *fakeCoordinator) rebalance() {
	g.rebalancing = true
	for _, m := range g.members {
		if m.sync != nil {
			resp := kmsg.NewPtrSyncGroupResponse()
			resp.ErrorCode = kerr.RebalanceInProgress.Code
			m.sync(resp)
			m.sync = nil
		}
	}
	g.finishJoin()
}

func (g *fakeCoordinator) join(r *kmsg.JoinGroupRequest, code int16, reply func(kmsg.Response)) {
	fail := func(code int16, id string) {
		resp := r.ResponseKind().(*kmsg.JoinGroupResponse)
		resp.ErrorCode, resp.MemberID = code, id
		reply(resp)
	}
	g.protocol = r.Protocols[0].Name
	m := g.member(r.MemberID)
	switch {
	case code != 0:
		fail(code, r.MemberID)
		return
	case r.MemberID == "" && r.InstanceID == nil:
		m = &fakeMember{id: fmt.Sprintf("member-%d", len(g.log)*100+len(g.members)+1), seen: time.Now()}
		g.members = append(g.members, m)
		fail(kerr.MemberIDRequired.Code, m.id)
		return
	case r.MemberID == "":
		m = &fakeMember{id: *r.InstanceID + "-1", instance: *r.InstanceID}
		g.members = slices.DeleteFunc(g.members, func(o *fakeMember) bool { return o.instance == m.instance })
		g.members = append(g.members, m)
	case m == nil:
		fail(kerr.UnknownMemberID.Code, r.MemberID)
		return
	}
	m.seen, m.join, m.metadata = time.Now(), reply, r.Protocols[0].Metadata
	g.rebalance()
}

func (g *fakeCoordinator) finishJoin() {
	if len(g.members) == 0 || slices.ContainsFunc(g.members, func(m *fakeMember) bool { return m.join == nil }) {
		return
	}
	g.epoch++
	for i, m := range g.members {
		resp := kmsg.NewPtrJoinGroupResponse()
		resp.Version = 9
		resp.Generation, resp.Protocol, resp.LeaderID, resp.MemberID = g.epoch, &g.protocol, g.members[0].id, m.id
		if i == 0 {
			for _, o := range g.members {
				resp.Members = append(resp.Members, kmsg.JoinGroupResponseMember{MemberID: o.id, ProtocolMetadata: o.metadata})
			}
		}
		m.epoch, m.seen, m.share = g.epoch, time.Now(), nil
		m.join(resp)
		m.join = nil
	}
	g.rebalancing = false
}

func (g *fakeCoordinator) sync(r *kmsg.SyncGroupRequest, code int16, reply func(kmsg.Response)) {
	m := g.member(r.MemberID)
	resp := r.ResponseKind().(*kmsg.SyncGroupResponse)
	switch {
	case code != 0:
	case m == nil:
		code = kerr.UnknownMemberID.Code
	case r.Generation != g.epoch:
		code = kerr.IllegalGeneration.Code
	case g.rebalancing:
		code = kerr.RebalanceInProgress.Code
	}
	if resp.ErrorCode = code; code != 0 {
		reply(resp)
		return
	}
	m.seen, m.sync = time.Now(), reply
	for _, a := range r.GroupAssignment {
		g.member(a.MemberID).share = a.MemberAssignment
	}
	for _, o := range g.members {
		if o.sync != nil && o.share != nil {
			resp := kmsg.NewPtrSyncGroupResponse()
			resp.Version = 5
			resp.MemberAssignment = o.share
			o.seen = time.Now()
			o.sync(resp)
			o.sync = nil
		}
	}
}

// inGroup runs a test in virtual time with a client of the fake's nodes.
func inGroup(t *testing.T, f *fake, test func(t *testing.T, client *transport.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		serve(t, f, func(client *transport.Client) { test(t, client) })
	})
}

// memberOf makes a member of group "g" that reads the fake's topic, and writes down what is told to it.
func memberOf(t *testing.T, client *transport.Client, c Config) (*Consumer, *diary) {
	t.Helper()
	d := &diary{}
	c.Client, c.Group = client, "g"
	if c.TopicsRegex == "" {
		c.Topics = []string{"t"}
	}
	d.wrap(&c)
	m, err := New(c)
	require.NoError(t, err)
	return m, d
}

// diary is what a member was told and handed, in order.
type diary struct {
	mu      sync.Mutex
	lines   []string
	offsets map[int32][]int64
}

func (d *diary) wrap(c *Config) {
	assigned, revoked, lost := c.OnAssigned, c.OnRevoked, c.OnLost
	write := func(what string, ps []TopicPartition) {
		for _, p := range ps {
			d.write("%s%d", what, p.Partition)
		}
	}
	c.OnAssigned = func(ctx ctxt, ps []TopicPartition) {
		write("+", ps)
		if assigned != nil {
			assigned(ctx, ps)
		}
	}
	c.OnRevoked = func(ctx ctxt, ps []TopicPartition) {
		write("-", ps)
		if revoked != nil {
			revoked(ctx, ps)
		}
	}
	c.OnLost = func(ctx ctxt, ps []TopicPartition) {
		write("!", ps)
		if lost != nil {
			lost(ctx, ps)
		}
	}
}

func (d *diary) write(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) saw(r TopicPartition, offset int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.offsets == nil {
		d.offsets = map[int32][]int64{}
	}
	d.offsets[r.Partition] = append(d.offsets[r.Partition], offset)
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines, " ")
}

// all lists the offsets handed out: "0:[0 1 2] 1:[0]".
func (d *diary) all() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var parts []string
	for _, p := range slices.Sorted(maps.Keys(d.offsets)) {
		parts = append(parts, fmt.Sprintf("%d:%v", p, d.offsets[p]))
	}
	return strings.Join(parts, " ")
}
