package broker

import (
	"testing"

	"github.com/insynclog/insync/internal/acl"
	"github.com/insynclog/insync/internal/sasl"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestACLRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, func(_ int32, c *Config) { c.ACLs = &acl.Config{SuperUsers: []string{"User:root"}} })
		n := h.nodes[1]
		create := kmsg.NewPtrCreateACLsRequest()
		for _, name := range []string{"b", "a"} {
			for _, op := range []kmsg.ACLOperation{kmsg.ACLOperationWrite, kmsg.ACLOperationRead} {
				c := kmsg.NewCreateACLsRequestCreation()
				c.ResourceType, c.ResourceName, c.ResourcePatternType = kmsg.ACLResourceTypeTopic, name, kmsg.ACLResourcePatternTypeLiteral
				c.Principal, c.Host, c.Operation, c.PermissionType = "User:guest", "*", op, kmsg.ACLPermissionTypeAllow
				create.Creations = append(create.Creations, c)
			}
		}
		create.Creations = append(create.Creations, kmsg.NewCreateACLsRequestCreation())
		for version := int16(1); version <= 3; version++ {
			req := copyOf(create).(*kmsg.CreateACLsRequest)
			if req.Version = version; version > 1 {
				req.Creations = req.Creations[:1] // which are there already
			}
			for i, r := range call[*kmsg.CreateACLsResponse](n, req).Results {
				want := int16(0)
				if i == 4 {
					want = kerr.InvalidRequest.Code
				}
				assert.Equal(t, want, r.ErrorCode, "%d", i)
			}
		}
		require.NotNil(t, n.as("User:guest", metadataRequest(9, "a")))
		assert.True(t, n.guestOf(guestRequest()).may(acl.Read, acl.Topic, "a"), "this node goes by them")
		h.await(func() bool { return h.nodes[2].guestOf(guestRequest()).may(acl.Read, acl.Topic, "a") })

		describe := func(f func(r *kmsg.DescribeACLsRequest)) *kmsg.DescribeACLsResponse {
			req := kmsg.NewPtrDescribeACLsRequest()
			req.Version, req.ResourceType, req.ResourcePatternType, req.Operation, req.PermissionType = 3, kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny, kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
			f(req)
			return call[*kmsg.DescribeACLsResponse](h.nodes[2], req)
		}
		resp := describe(func(*kmsg.DescribeACLsRequest) {})
		require.Len(t, resp.Resources, 2, "one for each pattern")
		assert.Equal(t, "a", resp.Resources[0].ResourceName)
		assert.Len(t, resp.Resources[0].ACLs, 2)
		assert.Empty(t, describe(func(r *kmsg.DescribeACLsRequest) { who := "User:other"; r.Principal = &who }).Resources)
		assert.Equal(t, kerr.InvalidRequest.Code, describe(func(r *kmsg.DescribeACLsRequest) { r.Operation = 0 }).ErrorCode)

		drop := kmsg.NewPtrDeleteACLsRequest()
		f := kmsg.NewDeleteACLsRequestFilter()
		name := "a"
		f.ResourceType, f.ResourceName, f.ResourcePatternType, f.Operation, f.PermissionType = kmsg.ACLResourceTypeTopic, &name, kmsg.ACLResourcePatternTypeLiteral, kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
		drop.Version, drop.Filters = 3, []kmsg.DeleteACLsRequestFilter{f}
		require.Len(t, call[*kmsg.DeleteACLsResponse](n, drop).Results[0].MatchingACLs, 2)
		assert.False(t, n.guestOf(guestRequest()).may(acl.Read, acl.Topic, "a"))
		assert.True(t, n.guestOf(guestRequest()).may(acl.Read, acl.Topic, "b"))

		// They survive a restart, before which nobody but super users may do anything.
		n.stop(false)
		h.start(1)
		assert.True(t, h.nodes[1].guestOf(guestRequest()).may(acl.Read, acl.Topic, "b"))
	})
}

func TestACLRequestsWithoutAuthorization(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newHarness(t, 1, nil).nodes[1]
		create := kmsg.NewPtrCreateACLsRequest()
		create.Version, create.Creations = 3, make([]kmsg.CreateACLsRequestCreation, 2)
		drop := kmsg.NewPtrDeleteACLsRequest()
		drop.Version, drop.Filters = 3, make([]kmsg.DeleteACLsRequestFilter, 2)
		describe := kmsg.NewPtrDescribeACLsRequest()
		describe.Version = 3
		disabled := kerr.SecurityDisabled.Code
		assert.Equal(t, []int16{disabled, disabled}, codes(call[*kmsg.CreateACLsResponse](n, create)))
		assert.Equal(t, []int16{disabled, disabled}, codes(call[*kmsg.DeleteACLsResponse](n, drop)))
		assert.Equal(t, []int16{disabled}, codes(call[*kmsg.DescribeACLsResponse](n, describe)))
	})
}

func TestScramRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, nil)
		n := h.nodes[1]
		alter := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
		for _, u := range []string{"b", "a", peerUser} {
			up := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
			up.Name, up.Mechanism, up.Iterations, up.Salt, up.SaltedPassword = u, int8(sasl.ScramSHA256), 4096, []byte("salt"), make([]byte, 32)
			alter.Upsertions = append(alter.Upsertions, up)
		}
		unacceptable := kerr.UnacceptableCredential.Code
		assert.Equal(t, []int16{unacceptable, unacceptable, unacceptable}, codes(call[*kmsg.AlterUserSCRAMCredentialsResponse](n, alter)), "the nodes' name")
		alter.Upsertions = alter.Upsertions[:2]
		assert.Equal(t, []int16{0, 0}, codes(call[*kmsg.AlterUserSCRAMCredentialsResponse](n, alter)))
		_, ok := n.scramCredential(sasl.ScramSHA256, "a")
		assert.True(t, ok, "this node knows them")
		h.await(func() bool { _, ok := h.nodes[2].scramCredential(sasl.ScramSHA256, "a"); return ok })
		_, ok = n.scramCredential(sasl.ScramSHA512, "a")
		assert.False(t, ok)

		describe := func(names ...string) *kmsg.DescribeUserSCRAMCredentialsResponse {
			req := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
			for _, name := range names {
				req.Users = append(req.Users, kmsg.DescribeUserSCRAMCredentialsRequestUser{Name: name})
			}
			return call[*kmsg.DescribeUserSCRAMCredentialsResponse](n, req)
		}
		all := describe()
		require.Len(t, all.Results, 2)
		assert.Equal(t, "a", all.Results[0].User)
		assert.Equal(t, []kmsg.DescribeUserSCRAMCredentialsResponseResultCredentialInfo{{Mechanism: 1, Iterations: 4096}}, all.Results[0].CredentialInfos)
		assert.Equal(t, []int16{0, 0, kerr.ResourceNotFound.Code, kerr.DuplicateResource.Code}, codes(describe("a", "nobody", "b", "b")))

		drop := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
		drop.Deletions = []kmsg.AlterUserSCRAMCredentialsRequestDeletion{{Name: "a", Mechanism: 1}}
		assert.Equal(t, []int16{0}, codes(call[*kmsg.AlterUserSCRAMCredentialsResponse](n, drop)))
		_, ok = n.scramCredential(sasl.ScramSHA256, "a")
		assert.False(t, ok)
	})
}
