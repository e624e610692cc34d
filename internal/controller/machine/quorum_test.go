package machine

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// members is a cluster of which only the quorum is looked at.
type members struct {
	t      *testing.T
	m      *Machine
	img    *Image
	offset int64
}

func newMembers(t *testing.T, voters ...Member) *members {
	c := Config{ClusterID: "c", Voters: voters, SessionTimeout: time.Hour, DefaultPartitions: 1, PreferredInterval: time.Hour, Rand: rand.New(rand.NewPCG(1, 1))}
	j := &members{t: t, m: New(c, Empty(), time.Time{}), img: Empty()}
	b := j.m.Begin(j.img, 0, time.Time{})
	b.Found()
	j.take(b)
	return j
}

func (j *members) take(b *Batch) {
	j.t.Helper()
	records, err := b.Records()
	require.NoError(j.t, err)
	again, err := DecodeRecords(EncodeRecords(nil, records))
	require.NoError(j.t, err)
	img, delta, err := j.img.Apply(j.offset, 1, again)
	require.NoError(j.t, err)
	assert.Equal(j.t, delta.Quorum, Diff(j.img, img).Quorum)
	assert.Equal(j.t, delta.Quorum, img.Quorum != j.img.Quorum)
	snapshot, _, err := Empty().Apply(img.Offset, img.Epoch, img.Records())
	require.NoError(j.t, err)
	assert.True(j.t, snapshot.Equal(img), "a snapshot is the image")
	j.img, j.offset = img, j.offset+1
}

// ask judges a request and returns the answer's error code.
func (j *members) ask(req kmsg.Request) int16 {
	j.t.Helper()
	b := j.m.Begin(j.img, j.offset, time.Time{})
	before := j.img.Quorum
	resp, err := b.Handle(req)
	require.NoError(j.t, err)
	j.take(b)
	assert.Equal(j.t, b.Changed(), j.img.Quorum != before)
	if b.Changed() {
		assert.True(j.t, b.Full(), "one change in a batch")
		assert.Equal(j.t, before.Version+1, j.img.Quorum.Version)
	}
	switch r := resp.(type) {
	case *JoinResponse:
		return r.ErrorCode
	case *kmsg.AddRaftVoterResponse:
		assert.Equal(j.t, r.ErrorCode != 0, r.ErrorMessage != nil)
		return r.ErrorCode
	case *kmsg.RemoveRaftVoterResponse:
		assert.Equal(j.t, r.ErrorCode != 0, r.ErrorMessage != nil)
		return r.ErrorCode
	case *kmsg.UnregisterBrokerResponse:
		assert.Equal(j.t, r.ErrorCode != 0, r.ErrorMessage != nil)
		return r.ErrorCode
	case *kmsg.BrokerRegistrationResponse:
		return r.ErrorCode
	case *kmsg.BrokerHeartbeatResponse:
		return r.ErrorCode
	case *VotersResponse:
		assert.Equal(j.t, r.ErrorCode != 0, r.ErrorMessage != "")
		return r.ErrorCode
	}
	j.t.Fatalf("%T", resp)
	return -1
}

func joinRequest(id int32) *JoinRequest {
	return &JoinRequest{ClusterID: "c", NodeID: id, Addr: "h:1", DirectoryID: log.TopicID{0xd, 15: byte(id)}, Purpose: Join}
}

func addVoterRequest(id int32) *kmsg.AddRaftVoterRequest {
	req := kmsg.NewPtrAddRaftVoterRequest()
	req.VoterID = id
	return req
}

func removeVoterRequest(id int32) *kmsg.RemoveRaftVoterRequest {
	req := kmsg.NewPtrRemoveRaftVoterRequest()
	req.VoterID = id
	return req
}

func unregisterRequest(id int32, ifUnused bool) *kmsg.UnregisterBrokerRequest {
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = id
	if ifUnused {
		req.UnknownTags.Set(TagIfUnused, nil)
	}
	return req
}

func (j *members) register(id int32) int16 {
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.BrokerID, req.ClusterID, req.IncarnationID, req.PreviousBrokerEpoch = id, "c", [16]byte{byte(id)}, -1
	req.LogDirs = [][16]byte{{0xd, 15: byte(id)}}
	return j.ask(req)
}

// The life of members: in as observers, up to voters, down again, and out.
func TestQuorumMembers(t *testing.T) {
	j := newMembers(t, Member{ID: 1, Addr: "h:0", Voter: true})
	require.Equal(t, &Quorum{Members: []Member{{ID: 1, Addr: "h:0", Voter: true}}}, j.img.Quorum)
	assert.Equal(t, kerr.BrokerIDNotRegistered.Code, j.register(2), "it has not joined")
	require.Zero(t, j.ask(joinRequest(2)))
	require.Zero(t, j.ask(joinRequest(2)), "again, for the answer got lost")
	require.Zero(t, j.ask(joinRequest(3)))
	assert.Equal(t, [][]int32{{1}, {2, 3}}, [][]int32{j.img.Quorum.Voters(), j.img.Quorum.Observers()})
	require.Zero(t, j.register(2))

	require.Zero(t, j.ask(addVoterRequest(3)))
	assert.Equal(t, kerr.DuplicateVoter.Code, j.ask(addVoterRequest(3)))
	require.Zero(t, j.ask(addVoterRequest(2)))
	assert.Equal(t, []int32{1, 2, 3}, j.img.Quorum.Voters())
	assert.Equal(t, kerr.RequestTimedOut.Code, j.ask(addVoterRequest(4)), "nobody knows of it")

	assert.Equal(t, kerr.DuplicateVoter.Code, j.ask(unregisterRequest(2, true)), "it votes")
	require.Zero(t, j.ask(removeVoterRequest(1)))
	require.Zero(t, j.ask(removeVoterRequest(2)))
	assert.Equal(t, kerr.VoterNotFound.Code, j.ask(removeVoterRequest(2)))
	assert.Equal(t, kerr.InvalidRequest.Code, j.ask(removeVoterRequest(3)), "the last one")

	require.Zero(t, j.ask(unregisterRequest(2, true)))
	require.Zero(t, j.ask(unregisterRequest(1, false)), "it never registered, but followed")
	assert.Equal(t, kerr.BrokerIDNotRegistered.Code, j.ask(unregisterRequest(1, false)))
	assert.Equal(t, &Quorum{Version: 8, Members: []Member{{ID: 3, Addr: "h:1", DirectoryID: log.TopicID{0xd, 15: 3}, Voter: true}}}, j.img.Quorum)
	assert.Nil(t, j.img.Brokers[2])
	assert.Equal(t, kerr.BrokerIDNotRegistered.Code, j.register(2), "it was removed")

	// A voter that is unregistered as a broker remains a voter.
	require.Zero(t, j.register(3))
	require.Zero(t, j.ask(unregisterRequest(3, false)))
	assert.Equal(t, []int32{3}, j.img.Quorum.Voters())
}

func TestQuorumRefusals(t *testing.T) {
	j := newMembers(t, Member{ID: 1, Voter: true}, Member{ID: 2, Voter: true})
	require.Zero(t, j.register(2))
	other := "other"
	foreign := joinRequest(3)
	foreign.ClusterID = other
	assert.Equal(t, kerr.InconsistentClusterID.Code, j.ask(foreign))
	wiped := joinRequest(2)
	wiped.DirectoryID[5] = 1
	assert.Equal(t, kerr.DuplicateVoter.Code, j.ask(wiped), "a voter whose disk was replaced")
	asking := joinRequest(3)
	asking.Purpose = AskMember
	assert.Equal(t, kerr.VoterNotFound.Code, j.ask(asking))
	for _, spoil := range []func(*JoinRequest){func(r *JoinRequest) { r.Addr = "" }, func(r *JoinRequest) { r.NodeID = -1 }, func(r *JoinRequest) { r.DirectoryID = log.TopicID{} }} {
		bad := joinRequest(3)
		spoil(bad)
		assert.Equal(t, kerr.InvalidRequest.Code, j.ask(bad))
	}
	require.Nil(t, j.img.Quorum.Observers())
	require.Zero(t, j.ask(joinRequest(3)))
	moved := joinRequest(3)
	moved.Addr = "h:2"
	require.Zero(t, j.ask(moved))
	m, _ := j.img.Quorum.Member(3)
	assert.Equal(t, "h:2", m.Addr)

	add := addVoterRequest(3)
	add.ClusterID = &other
	assert.Equal(t, kerr.InconsistentClusterID.Code, j.ask(add))
	add = addVoterRequest(3)
	add.VoterDirectoryID = [16]byte{9}
	assert.Equal(t, kerr.InvalidVoterKey.Code, j.ask(add))
	assert.Equal(t, kerr.InvalidRequest.Code, j.ask(addVoterRequest(-1)))
	remove := removeVoterRequest(2)
	remove.ClusterID = &other
	assert.Equal(t, kerr.InconsistentClusterID.Code, j.ask(remove))
	remove = removeVoterRequest(2)
	remove.VoterDirectoryID = [16]byte{9}
	assert.Equal(t, kerr.VoterNotFound.Code, j.ask(remove))
	assert.Equal(t, kerr.VoterNotFound.Code, j.ask(removeVoterRequest(3)), "it observes")
	assert.Equal(t, kerr.InvalidRequest.Code, j.ask(removeVoterRequest(-1)))

	// A node with a replica is not removed, but can be forgotten.
	require.Zero(t, j.register(3))
	create := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = "t", -1, -1
	rt.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: []int32{3}}}
	create.Topics = append(create.Topics, rt)
	heartbeat := kmsg.NewPtrBrokerHeartbeatRequest()
	heartbeat.BrokerID, heartbeat.BrokerEpoch, heartbeat.CurrentMetadataOffset = 3, j.img.Brokers[3].Epoch, j.img.Offset
	b := j.m.Begin(j.img, j.offset, time.Time{})
	_, err := b.Handle(heartbeat)
	require.NoError(t, err)
	resp, err := b.Handle(create)
	require.NoError(t, err)
	require.Zero(t, resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
	j.take(b)
	assert.Equal(t, kerr.InvalidRequest.Code, j.ask(unregisterRequest(3, true)))
	require.Zero(t, j.ask(unregisterRequest(3, false)))
	assert.Equal(t, []int32{1, 2}, j.img.Quorum.Voters())
	assert.Nil(t, j.img.Quorum.Observers())
}

// Who has come back is a member, though the id is still registered with the disk before.
func TestQuorumReturnBeforeRegistration(t *testing.T) {
	j := newMembers(t, Member{ID: 1, Voter: true}, Member{ID: 2, Voter: true}, Member{ID: 3, Voter: true})
	require.Zero(t, j.register(2))
	back := joinRequest(2)
	back.Purpose, back.DirectoryID[5] = AskMember, 1
	assert.Equal(t, kerr.DuplicateVoter.Code, j.ask(back))
	back.Purpose = Return
	require.Zero(t, j.ask(back))
	back.Purpose = AskMember
	assert.Zero(t, j.ask(back))
	back.Purpose = Join
	assert.Zero(t, j.ask(back))
	assert.Equal(t, kerr.DuplicateVoter.Code, j.ask(func() *JoinRequest { back.DirectoryID[5] = 2; return back }()), "a third disk")
}

// Who comes back with an empty disk loses the vote of its id, which was another's, and gets one of its own when it has caught up.
func TestQuorumReturn(t *testing.T) {
	j := newMembers(t, Member{ID: 1, Voter: true}, Member{ID: 2, Voter: true}, Member{ID: 3, Voter: true})
	require.Zero(t, j.register(2))
	back := joinRequest(2)
	back.Purpose, back.DirectoryID[5] = Return, 1
	heartbeat := kmsg.NewPtrBrokerHeartbeatRequest()
	heartbeat.BrokerID, heartbeat.BrokerEpoch, heartbeat.CurrentMetadataOffset = 2, j.img.Brokers[2].Epoch, j.img.Offset
	b := j.m.Begin(j.img, j.offset, time.Time{})
	_, err := b.Handle(heartbeat)
	require.NoError(t, err)
	j.take(b)
	require.False(t, j.img.Brokers[2].Fenced)
	assert.Equal(t, kerr.RequestTimedOut.Code, j.ask(back), "whoever had the id is still there")

	// The third was never registered: nobody knows its disk.
	late := joinRequest(3)
	late.Purpose = Return
	require.Zero(t, j.ask(late))
	assert.Equal(t, []int32{1, 2}, j.img.Quorum.Voters())
	assert.Equal(t, []Member{{ID: 3, Addr: "h:1", DirectoryID: log.TopicID{0xd, 15: 3}, Returning: true}}, j.img.Quorum.Returning())
	before := j.img.Quorum
	require.Zero(t, j.ask(late), "asked again")
	assert.Same(t, before, j.img.Quorum)
	again := joinRequest(3)
	again.Purpose, again.DirectoryID[7] = Return, 9
	require.Zero(t, j.ask(again), "wiped once more")
	m, _ := j.img.Quorum.Member(3)
	assert.True(t, m.Returning)
	require.Zero(t, j.ask(addVoterRequest(3)))
	assert.Equal(t, []int32{1, 2, 3}, j.img.Quorum.Voters())
	assert.Nil(t, j.img.Quorum.Returning())

	stranger := joinRequest(4)
	stranger.Purpose = Return
	assert.Equal(t, kerr.VoterNotFound.Code, j.ask(stranger))
	alone := newMembers(t, Member{ID: 2, Voter: true})
	assert.Equal(t, kerr.InvalidRequest.Code, alone.ask(back), "the last vote")
}

// Records that would make two majorities possible are not taken, whoever wrote them.
func TestQuorumRecordInvariants(t *testing.T) {
	j := newMembers(t, Member{ID: 1, Voter: true}, Member{ID: 2, Voter: true})
	one, two, three := Member{ID: 1, Voter: true}, Member{ID: 2, Voter: true}, Member{ID: 3, Voter: true}
	for name, q := range map[string]Quorum{
		"a version left out":     {Version: 2, Members: []Member{one, two, three}},
		"two votes at a time":    {Version: 1, Members: []Member{one, three}},
		"nobody votes":           {Version: 1, Members: []Member{{ID: 1}}},
		"out of order":           {Version: 1, Members: []Member{two, one}},
		"named twice":            {Version: 1, Members: []Member{one, one, two}},
		"an id that cannot be":   {Version: 1, Members: []Member{{ID: -1}, one, two}},
		"the same version again": {Version: 0, Members: []Member{one, two}},
	} {
		_, _, err := j.img.Apply(1, 1, []Record{&QuorumRecord{q}})
		assert.Error(t, err, name)
	}
	_, _, err := j.img.Apply(1, 1, []Record{&QuorumRecord{Quorum{Version: 1, Members: []Member{one, two, three}}}})
	require.NoError(t, err)
}

// Several votes change by a joint quorum, beside which nothing else changes the members before it is left.
func TestQuorumJoint(t *testing.T) {
	j := newMembers(t, Member{ID: 1, Voter: true})
	for id := int32(2); id <= 4; id++ {
		require.Zero(t, j.ask(joinRequest(id)))
	}
	vote := func(ids ...int32) *VotersRequest { return &VotersRequest{Voters: ids} }
	assert.Equal(t, kerr.InvalidRequest.Code, j.ask(vote()))
	assert.Equal(t, kerr.InvalidRequest.Code, j.ask(vote(1, 1)))
	assert.Equal(t, kerr.RequestTimedOut.Code, j.ask(vote(1, 9)))
	assert.Equal(t, kerr.InconsistentClusterID.Code, j.ask(&VotersRequest{ClusterID: "other", Voters: []int32{2}}))
	require.Zero(t, j.ask(vote(1)), "it is so")
	require.Zero(t, j.ask(vote(2, 1)))
	assert.False(t, j.img.Quorum.Joint(), "one vote needs no joint phase")
	require.Zero(t, j.ask(vote(4, 3)))
	q := j.img.Quorum
	assert.Equal(t, [][]int32{{3, 4}, {1, 2}, {1, 2}}, [][]int32{q.Voters(), q.Observers(), q.Outgoing})

	for _, req := range []kmsg.Request{vote(1, 2, 3), vote(3, 4), addVoterRequest(1), removeVoterRequest(3), joinRequest(5), unregisterRequest(2, false)} {
		assert.Equal(t, kerr.RequestTimedOut.Code, j.ask(req), "%T", req)
		assert.Same(t, q, j.img.Quorum)
	}
	require.Zero(t, j.ask(joinRequest(2)), "it is a member")
	one, two, three, four := Member{ID: 1, Voter: true}, Member{ID: 2}, q.Members[2], q.Members[3]
	for name, next := range map[string]Quorum{
		"joint again":           {Version: q.Version + 1, Members: q.Members, Outgoing: []int32{3, 4}},
		"still joint":           {Version: q.Version + 1, Members: q.Members, Outgoing: q.Outgoing},
		"back, which is not it": {Version: q.Version + 1, Members: []Member{one, two, three, four}},
		"and one goes":          {Version: q.Version + 1, Members: q.Members[1:]},
	} {
		_, _, err := j.img.Apply(j.offset, 1, []Record{&QuorumRecord{next}})
		assert.Error(t, err, name)
	}
	b := j.m.Begin(j.img, j.offset, time.Time{})
	b.Settle()
	assert.True(t, b.Full())
	j.take(b)
	assert.Equal(t, &Quorum{Version: q.Version + 1, Members: q.Members}, j.img.Quorum)
	b = j.m.Begin(j.img, j.offset, time.Time{})
	b.Settle()
	assert.False(t, b.Changed())

	q = j.img.Quorum
	for name, out := range map[string][]int32{"others went": {1, 2}, "one is left out": {3}, "unordered": {4, 3}, "a stranger": {3, 4, 9}} {
		next := q.voting([]int32{1, 2})
		next.Outgoing = out
		_, _, err := j.img.Apply(j.offset, 1, []Record{&QuorumRecord{*next}})
		assert.Error(t, err, name)
	}
}

func TestVotersCodec(t *testing.T) {
	req := &VotersRequest{ClusterID: "c", TimeoutMillis: 7, Voters: []int32{1, 300000}}
	b := req.AppendTo(nil)
	got := &VotersRequest{}
	require.NoError(t, got.ReadFrom(b))
	assert.Equal(t, req, got)
	resp := &VotersResponse{ErrorCode: 7, ErrorMessage: "why"}
	rb := resp.AppendTo(nil)
	back := &VotersResponse{}
	require.NoError(t, back.ReadFrom(rb))
	assert.Equal(t, resp, back)
	for i := range b {
		assert.Error(t, (&VotersRequest{}).ReadFrom(b[:i]))
	}
	for i := range rb {
		assert.Error(t, (&VotersResponse{}).ReadFrom(rb[:i]))
	}
	assert.Error(t, (&VotersRequest{}).ReadFrom(append(b[:len(b):len(b)], 0)))
	assert.Error(t, (&VotersResponse{}).ReadFrom(append(rb[:len(rb):len(rb)], 0)))
}

func TestJoinCodec(t *testing.T) {
	for version := range int16(2) {
		req := joinRequest(7)
		req.SetVersion(version)
		resp := &JoinResponse{ErrorCode: 126, ClusterID: "c", State: StateStarted, version: version}
		last := 1 // of purpose and state, from the end
		if version > 0 {
			req.Level, resp.Level, last = 300, 2, 3
		}
		b, rb := req.AppendTo(nil), resp.AppendTo(nil)
		read := func(b []byte) (*JoinRequest, error) {
			got := &JoinRequest{version: version}
			return got, got.ReadFrom(b)
		}
		readResponse := func(b []byte) (*JoinResponse, error) {
			got := req.ResponseKind().(*JoinResponse)
			return got, got.ReadFrom(b)
		}
		got, err := read(b)
		require.NoError(t, err)
		assert.Equal(t, req, got)
		back, err := readResponse(rb)
		require.NoError(t, err)
		assert.Equal(t, resp, back)
		for i := range b {
			_, err := read(b[:i])
			assert.Error(t, err)
		}
		for i := range rb {
			_, err := readResponse(rb[:i])
			assert.Error(t, err)
		}
		_, err = read(append(b[:len(b):len(b)], 0))
		assert.Error(t, err)
		_, err = readResponse(append(rb[:len(rb):len(rb)], 0))
		assert.Error(t, err)
		b[len(b)-last], rb[len(rb)-last] = 4, 3
		_, err = read(b)
		assert.Error(t, err, "there is no such purpose")
		_, err = readResponse(rb)
		assert.Error(t, err, "nor such a state")
	}
}
