package acl_test

import (
	"cmp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/acl"
)

func TestValidate(t *testing.T) {
	long := strings.Repeat("n", 250)
	for _, c := range []struct {
		line string
		want string // part of the reason
	}{
		{"allow User:a * READ TOPIC t", ""},
		{"allow User:a * ALL TOPIC *", ""},
		{"allow User:a * ALL TOPIC a.b_C-9*", ""},
		{"deny User:* 10.0.0.1 ALTER_CONFIGS GROUP g:/ü", ""},
		{"allow User:CN=a,O=b:c fe80::1%eth0 WRITE TRANSACTIONAL_ID x*", ""},
		{"allow Team:a node-1.local CREATE CLUSTER kafka-cluster", ""},
		{"allow User:a * ALL CLUSTER kafka-cluster", ""},
		{"allow User:a * DESCRIBE DELEGATION_TOKEN id", ""},
		{"allow User:a * CREATE_TOKENS USER User:b", ""},
		{"allow User:a * CREATE_TOKENS USER *", ""},
		{"allow User:a * CREATE_TOKENS USER Use*", ""},
		{"allow User:a * READ GROUP " + long, ""},

		{"allow User:a * CREATE_TOKENS USER b", "is a principal"},
		{"allow User:a * CREATE CLUSTER *", "only name"},
		{"allow User:a * CREATE CLUSTER other", "only name"},
		{"allow User:a * CREATE CLUSTER kafka*", "only name"},
		{"allow User:a * CLUSTER_ACTION TOPIC t", "no operation"},
		{"allow User:a * IDEMPOTENT_WRITE TOPIC t", "no operation"},
		{"allow User:a * WRITE GROUP g", "no operation"},
		{"allow User:a * READ CLUSTER kafka-cluster", "no operation"},
		{"allow User:a * READ TRANSACTIONAL_ID x", "no operation"},
		{"allow User:a * READ DELEGATION_TOKEN x", "no operation"},
		{"allow User:a * DESCRIBE USER User:b", "no operation"},
		{"allow a * READ TOPIC t", "Type:name"},
		{"allow User: * READ TOPIC t", "Type:name"},
		{"allow :a * READ TOPIC t", "Type:name"},
		{"allow * * READ TOPIC t", "Type:name"},
		{"allow User:" + strings.Repeat("a", 1020) + " * READ TOPIC t", "principal has 1025 bytes"},
		{"allow User:a\x01 * READ TOPIC t", "cannot be printed"},
		{"allow User:a\xff * READ TOPIC t", "cannot be printed"},
		{"allow User:a 10.0.0.* READ TOPIC t", "the host"},
		{"allow User:a 10.0.0.0/8 READ TOPIC t", "the host"},
		{"allow User:a a,b READ TOPIC t", "the host"},
		{"allow User:a " + strings.Repeat("h", 256) + " READ TOPIC t", "the host"},
		{"allow User:a * READ TOPIC a/b", "no topic"},
		{"allow User:a * READ TOPIC a**", "no topic"},
		{"allow User:a * READ TOPIC ü", "no topic"},
		{"allow User:a * READ TOPIC " + long, "250 bytes, more than 249"},
		{"allow User:a * READ GROUP " + long + "nnnnnn", "256 bytes, more than 255"},
		{"allow User:a * READ GROUP g\x1b[2J", "cannot be printed"},
		{"allow User:a * READ GROUP g\xc0", "cannot be printed"},
	} {
		b := parse(t, c.line)
		err := b.Validate()
		if c.want == "" {
			require.NoError(t, err, c.line)
			continue
		}
		var refused *acl.BindingError
		require.ErrorAs(t, err, &refused, c.line)
		require.Contains(t, refused.Reason, c.want, c.line)
		require.Equal(t, b, refused.Binding)
		require.NotContains(t, err.Error(), "\x1b")
	}
}

// FuzzValidate: what is valid can be arranged, and decides as it says for what it names.
func FuzzValidate(f *testing.F) {
	f.Add(int8(2), "t", int8(3), "User:a", "*", int8(3), int8(3))
	f.Add(int8(4), "kafka-cluster", int8(3), "User:a", "::1", int8(9), int8(2))
	f.Add(int8(7), "User:b", int8(4), "User:*", "0:0::1", int8(13), int8(3))
	f.Fuzz(func(t *testing.T, kind int8, name string, pattern int8, principal, host string, op, permission int8) {
		b := acl.Binding{
			Pattern:   acl.Pattern{Type: acl.ResourceType(kind), Name: name, Kind: acl.PatternType(pattern)},
			Principal: principal, Host: host, Operation: acl.Operation(op), Permission: acl.Permission(permission),
		}
		if b.Validate() != nil {
			return
		}
		r, err := acl.NewRules(acl.Config{}, []acl.Binding{b})
		require.NoError(t, err)
		res := acl.Resource{Type: b.Pattern.Type, Name: name}
		require.True(t, b.Pattern.Matches(res))
		if strings.Contains(host, ":") {
			return // an address may be written in another way
		}
		want := acl.AllowedByBinding
		if b.Permission == acl.Deny {
			want = acl.DeniedByBinding
		}
		require.Equal(t, want, r.Authorize(principal, host, b.Operation, res))
	})
}

func TestPatternMatches(t *testing.T) {
	for _, c := range []struct {
		p    acl.Pattern
		r    acl.Resource
		want bool
	}{
		{acl.Pattern{Type: acl.Topic, Name: "a", Kind: acl.Literal}, topic("a"), true},
		{acl.Pattern{Type: acl.Topic, Name: "a", Kind: acl.Literal}, topic("ab"), false},
		{acl.Pattern{Type: acl.Topic, Name: "*", Kind: acl.Literal}, topic("ab"), true},
		{acl.Pattern{Type: acl.Topic, Name: "a", Kind: acl.Prefixed}, topic("ab"), true},
		{acl.Pattern{Type: acl.Topic, Name: "*", Kind: acl.Prefixed}, topic("ab"), false},
		{acl.Pattern{Type: acl.Group, Name: "a", Kind: acl.Literal}, topic("a"), false},
		{acl.Pattern{Type: acl.Topic, Name: "a", Kind: acl.AnyPattern}, topic("a"), false},
	} {
		require.Equal(t, c.want, c.p.Matches(c.r), "%v %v", c.p, c.r)
	}
}

// TestCodes: Kafka's numbers, which are on disk and on the wire.
func TestCodes(t *testing.T) {
	got := map[string][]int{
		"resources":   {int(acl.AnyResource), int(acl.Topic), int(acl.Group), int(acl.Cluster), int(acl.TransactionalID), int(acl.DelegationToken), int(acl.User)},
		"patterns":    {int(acl.AnyPattern), int(acl.Match), int(acl.Literal), int(acl.Prefixed)},
		"permissions": {int(acl.AnyPermission), int(acl.Deny), int(acl.Allow)},
		"operations": {
			int(acl.AnyOperation), int(acl.All), int(acl.Read), int(acl.Write), int(acl.Create), int(acl.Delete), int(acl.Alter), int(acl.Describe), int(acl.ClusterAction),
			int(acl.DescribeConfigs), int(acl.AlterConfigs), int(acl.IdempotentWrite), int(acl.CreateTokens), int(acl.DescribeTokens),
		},
	}
	require.Equal(t, map[string][]int{
		"resources": {1, 2, 3, 4, 5, 6, 7}, "patterns": {1, 2, 3, 4}, "permissions": {1, 2, 3}, "operations": {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14},
	}, got)
	require.Equal(t, "UNKNOWN(0)", acl.UnknownOperation.String())
	require.Equal(t, "UNKNOWN(-1)", acl.Permission(-1).String())
	require.Equal(t, "DESCRIBE_TOKENS", acl.DescribeTokens.String())
	require.Equal(t, "UNKNOWN(15)", acl.Operation(15).String())
	require.Equal(t, "USER", acl.User.String())
	require.Equal(t, "PREFIXED", acl.Prefixed.String())
	require.Equal(t, acl.Operations(0b1101_1111_1000), acl.Supported(acl.Topic), "the bits that Kafka's Metadata has for a topic") // 3528
	require.Equal(t, acl.Operations(0b1101_0100_1000), acl.Supported(acl.Group))
	require.Equal(t, acl.Operations(0b1_1111_1010_0000), acl.Supported(acl.Cluster))
	require.Zero(t, acl.Supported(acl.AnyResource))
}

// TestCompare: every field counts, the pattern's first.
func TestCompare(t *testing.T) {
	ascending := bindings(
		t,
		"deny User:a * READ TOPIC a",
		"allow User:a * READ TOPIC a",
		"deny User:a * WRITE TOPIC a",
		"deny User:a 10.0.0.1 READ TOPIC a",
		"deny User:b * READ TOPIC a",
		"deny User:a * READ TOPIC a*",
		"deny User:a * READ TOPIC b",
		"deny User:a * READ GROUP a",
	)
	for i, b := range ascending {
		for j, o := range ascending {
			require.Equal(t, cmp.Compare(i, j), b.Compare(o), "%v and %v", b, o)
		}
	}
}

func TestOperations(t *testing.T) {
	every := acl.Operations(-1)
	require.True(t, every.Has(acl.All))
	require.True(t, every.Has(acl.DescribeTokens))
	for _, o := range []acl.Operation{acl.UnknownOperation, acl.AnyOperation, 15, 100} {
		require.False(t, every.Has(o), "%v", o)
	}
}
