package machine

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/insynclog/insync/internal/acl"
	"github.com/insynclog/insync/internal/sasl"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// judged is a machine that takes what it decides.
type judged struct {
	t      *testing.T
	m      *Machine
	img    *Image
	offset int64
}

func newJudged(t *testing.T) *judged {
	return &judged{t: t, m: New(Config{Rand: rand.New(rand.NewPCG(1, 1)), PreferredInterval: time.Hour}, Empty(), time.Time{}), img: Empty()}
}

func (j *judged) handle(req kmsg.Request) kmsg.Response {
	j.t.Helper()
	b := j.m.Begin(j.img, j.offset, time.Time{})
	resp, err := b.Handle(req)
	require.NoError(j.t, err)
	records, err := b.Records()
	require.NoError(j.t, err)
	again, err := DecodeRecords(EncodeRecords(nil, records))
	require.NoError(j.t, err)
	img, delta, err := j.img.Apply(j.offset, 1, again)
	require.NoError(j.t, err)
	assert.Equal(j.t, len(records) > 0, delta.Security)
	assert.Equal(j.t, delta.Security, Diff(j.img, img).Security)
	snapshot, _, err := Empty().Apply(img.Offset, img.Epoch, img.Records())
	require.NoError(j.t, err)
	assert.True(j.t, snapshot.Equal(img), "a snapshot is the image")
	j.img, j.offset = img, j.offset+1
	return resp
}

func TestScramCredentials(t *testing.T) {
	j := newJudged(t)
	salted := make([]byte, 32)
	alter := func(deletions []kmsg.AlterUserSCRAMCredentialsRequestDeletion, upsertions ...kmsg.AlterUserSCRAMCredentialsRequestUpsertion) map[string]int16 {
		req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
		req.Deletions, req.Upsertions = deletions, upsertions
		codes := map[string]int16{}
		for _, r := range j.handle(req).(*kmsg.AlterUserSCRAMCredentialsResponse).Results {
			_, twice := codes[r.User]
			assert.False(t, twice, "one result for each user")
			codes[r.User] = r.ErrorCode
			assert.Equal(t, r.ErrorCode != 0, r.ErrorMessage != nil)
		}
		return codes
	}
	type up = kmsg.AlterUserSCRAMCredentialsRequestUpsertion
	type down = kmsg.AlterUserSCRAMCredentialsRequestDeletion
	good := up{Name: "alice", Mechanism: 1, Iterations: 4096, Salt: []byte("salt"), SaltedPassword: salted}
	with := func(f func(u *up)) up {
		u := good
		f(&u)
		return u
	}
	assert.Equal(t, map[string]int16{"alice": 0}, alter(nil, good))
	want, err := sasl.FromSaltedPassword(sasl.ScramSHA256, 4096, []byte("salt"), salted)
	require.NoError(t, err)
	assert.True(t, want.Equal(j.img.Scram[ScramUser{"alice", sasl.ScramSHA256}]))

	for name, c := range map[string]struct {
		up   up
		code *kerr.Error
	}{
		"no name":                 {with(func(u *up) { u.Name = "" }), kerr.UnacceptableCredential},
		"a name for all":          {with(func(u *up) { u.Name = "*" }), kerr.UnacceptableCredential},
		"unknown mechanism":       {with(func(u *up) { u.Mechanism = 3 }), kerr.UnsupportedSaslMechanism},
		"mechanism 0":             {with(func(u *up) { u.Mechanism = 0 }), kerr.UnsupportedSaslMechanism},
		"too few iterations":      {with(func(u *up) { u.Iterations = 4095 }), kerr.UnacceptableCredential},
		"too many iterations":     {with(func(u *up) { u.Iterations = 1_000_001 }), kerr.UnacceptableCredential},
		"no salt":                 {with(func(u *up) { u.Salt = nil }), kerr.UnacceptableCredential},
		"another hash's password": {with(func(u *up) { u.Mechanism = 2 }), kerr.UnacceptableCredential},
	} {
		before := j.img
		assert.Equal(t, map[string]int16{c.up.Name: c.code.Code}, alter(nil, c.up), name)
		assert.True(t, before.Equal(&Image{
			Offset: before.Offset, Epoch: j.img.Epoch, Level: j.img.Level, Brokers: j.img.Brokers, Topics: j.img.Topics, TopicIDs: j.img.TopicIDs, BrokerConfigs: j.img.BrokerConfigs, Scram: j.img.Scram, ACLs: j.img.ACLs,
		}), name)
	}

	// One user's changes are one; others are apart.
	assert.Equal(t, map[string]int16{"alice": kerr.ResourceNotFound.Code, "bob": 0}, alter([]down{{Name: "alice", Mechanism: 1}, {Name: "alice", Mechanism: 2}}, with(func(u *up) { u.Name = "bob" })))
	assert.Len(t, j.img.Scram, 2)
	assert.Equal(t, map[string]int16{"alice": kerr.DuplicateResource.Code}, alter([]down{{Name: "alice", Mechanism: 1}}, good))
	assert.Equal(t, map[string]int16{"alice": 0, "bob": 0}, alter([]down{{Name: "alice", Mechanism: 1}, {Name: "bob", Mechanism: 1}}))
	assert.Empty(t, j.img.Scram)
}

func TestACLs(t *testing.T) {
	j := newJudged(t)
	type creation = kmsg.CreateACLsRequestCreation
	create := func(cs ...creation) (codes []int16) {
		req := kmsg.NewPtrCreateACLsRequest()
		req.Creations = cs
		for _, r := range j.handle(req).(*kmsg.CreateACLsResponse).Results {
			codes = append(codes, r.ErrorCode)
		}
		return codes
	}
	good := creation{
		ResourceType: kmsg.ACLResourceTypeTopic, ResourceName: "t", ResourcePatternType: kmsg.ACLResourcePatternTypeLiteral, Principal: "User:a", Host: "*",
		Operation: kmsg.ACLOperationRead, PermissionType: kmsg.ACLPermissionTypeAllow,
	}
	other := good
	other.Operation = kmsg.ACLOperationWrite
	bad := good
	bad.ResourcePatternType = kmsg.ACLResourcePatternTypeMatch
	assert.Equal(t, []int16{0, 0, kerr.InvalidRequest.Code, 0}, create(good, other, bad, good))
	assert.Len(t, j.img.ACLs, 2)
	assert.Equal(t, []int16{0}, create(good), "there already")
	assert.Equal(t, acl.Binding{Pattern: acl.Pattern{Type: acl.Topic, Name: "t", Kind: acl.Literal}, Principal: "User:a", Host: "*", Operation: acl.Read, Permission: acl.Allow}, j.img.Bindings()[0])

	remove := func(fs ...kmsg.DeleteACLsRequestFilter) []kmsg.DeleteACLsResponseResult {
		req := kmsg.NewPtrDeleteACLsRequest()
		req.Filters = fs
		return j.handle(req).(*kmsg.DeleteACLsResponse).Results
	}
	any := kmsg.DeleteACLsRequestFilter{
		ResourceType: kmsg.ACLResourceTypeAny, ResourcePatternType: kmsg.ACLResourcePatternTypeAny, Operation: kmsg.ACLOperationAny, PermissionType: kmsg.ACLPermissionTypeAny,
	}
	writes := any
	writes.Operation = kmsg.ACLOperationWrite
	results := remove(writes, kmsg.DeleteACLsRequestFilter{}, writes)
	require.Len(t, results, 3)
	require.Len(t, results[0].MatchingACLs, 1)
	assert.Equal(t, kmsg.ACLOperationWrite, results[0].MatchingACLs[0].Operation)
	assert.Equal(t, kerr.InvalidRequest.Code, results[1].ErrorCode)
	assert.Empty(t, results[2].MatchingACLs, "gone with the first filter")
	assert.Len(t, j.img.ACLs, 1)
	assert.Len(t, remove(any)[0].MatchingACLs, 1)
	assert.Empty(t, j.img.ACLs)
}
