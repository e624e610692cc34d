package acl_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/acl"
)

// parse reads a binding: "allow User:a * READ TOPIC orders", with an asterisk behind the name for a prefix.
func parse(t testing.TB, s string) acl.Binding {
	t.Helper()
	f := strings.Fields(s)
	require.Len(t, f, 6, s)
	code := func(s string, name func(int8) string) int8 {
		for c := range int8(100) {
			if name(c) == s {
				return c
			}
		}
		t.Fatalf("%s is nothing", s)
		return 0
	}
	b := acl.Binding{Principal: f[1], Host: f[2], Permission: acl.Allow}
	if f[0] == "deny" {
		b.Permission = acl.Deny
	}
	b.Operation = acl.Operation(code(f[3], func(c int8) string { return acl.Operation(c).String() }))
	b.Pattern.Type = acl.ResourceType(code(f[4], func(c int8) string { return acl.ResourceType(c).String() }))
	b.Pattern.Name, b.Pattern.Kind = f[5], acl.Literal
	if prefix, ok := strings.CutSuffix(f[5], "*"); ok && prefix != "" {
		b.Pattern.Name, b.Pattern.Kind = prefix, acl.Prefixed
	}
	return b
}

func bindings(t testing.TB, lines ...string) (bs []acl.Binding) {
	t.Helper()
	for _, l := range lines {
		bs = append(bs, parse(t, l))
	}
	return bs
}

func rulesOf(t testing.TB, c acl.Config, lines ...string) *acl.Rules {
	t.Helper()
	r, err := acl.NewRules(c, bindings(t, lines...))
	require.NoError(t, err)
	return r
}

func topic(name string) acl.Resource { return acl.Resource{Type: acl.Topic, Name: name} }

func TestAuthorize(t *testing.T) {
	for _, c := range []struct {
		what string
		acls []string
		op   acl.Operation
		res  acl.Resource
		want acl.Decision
	}{
		{"no binding", nil, acl.Read, topic("t"), acl.Denied},
		{"literal", []string{"allow User:a * READ TOPIC t"}, acl.Read, topic("t"), acl.AllowedByBinding},
		{"literal is not a prefix", []string{"allow User:a * READ TOPIC t"}, acl.Read, topic("tt"), acl.Denied},
		{"another type", []string{"allow User:a * READ GROUP t"}, acl.Read, topic("t"), acl.Denied},
		{"another principal", []string{"allow User:b * READ TOPIC t"}, acl.Read, topic("t"), acl.Denied},
		{"another type of principal", []string{"allow Team:a * READ TOPIC t"}, acl.Read, topic("t"), acl.Denied},
		{"another host", []string{"allow User:a 10.0.0.2 READ TOPIC t"}, acl.Read, topic("t"), acl.Denied},
		{"this host", []string{"allow User:a 10.0.0.1 READ TOPIC t"}, acl.Read, topic("t"), acl.AllowedByBinding},
		{"everybody", []string{"allow User:* * READ TOPIC t"}, acl.Read, topic("t"), acl.AllowedByBinding},
		{"prefix", []string{"allow User:a * READ TOPIC ord*"}, acl.Read, topic("orders"), acl.AllowedByBinding},
		{"prefix itself", []string{"allow User:a * READ TOPIC ord*"}, acl.Read, topic("ord"), acl.AllowedByBinding},
		{"shorter than the prefix", []string{"allow User:a * READ TOPIC ord*"}, acl.Read, topic("or"), acl.Denied},
		{
			"a prefix behind others that are not",
			[]string{"allow User:a * READ TOPIC ord*", "allow User:b * READ TOPIC orda*", "allow User:b * READ TOPIC ordab*", "allow User:b * READ TOPIC ordac*"},
			acl.Read, topic("orders"), acl.AllowedByBinding,
		},
		{"wildcard", []string{"allow User:a * READ TOPIC *"}, acl.Read, topic("t"), acl.AllowedByBinding},
		{"wildcard is of a type", []string{"allow User:a * READ GROUP *"}, acl.Read, topic("t"), acl.Denied},
		{"all", []string{"allow User:a * ALL TOPIC t"}, acl.AlterConfigs, topic("t"), acl.AllowedByBinding},
		{"deny before allow", []string{"deny User:a * READ TOPIC t", "allow User:a * ALL TOPIC t"}, acl.Read, topic("t"), acl.DeniedByBinding},
		{"deny everywhere, allow here", []string{"deny User:a * READ TOPIC *", "allow User:a * READ TOPIC t"}, acl.Read, topic("t"), acl.DeniedByBinding},
		{"deny a short prefix", []string{"deny User:a * READ TOPIC o*", "allow User:a * READ TOPIC ord*"}, acl.Read, topic("orders"), acl.DeniedByBinding},
		{"deny a long prefix", []string{"deny User:a * READ TOPIC ord*", "allow User:a * READ TOPIC o*"}, acl.Read, topic("orders"), acl.DeniedByBinding},
		{"deny everybody", []string{"deny User:* * READ TOPIC t", "allow User:a * READ TOPIC t"}, acl.Read, topic("t"), acl.DeniedByBinding},
		{"deny a host", []string{"deny User:* 10.0.0.1 ALL TOPIC t", "allow User:a * READ TOPIC t"}, acl.Read, topic("t"), acl.DeniedByBinding},
		{"deny another operation", []string{"deny User:a * WRITE TOPIC t", "allow User:a * READ TOPIC t"}, acl.Read, topic("t"), acl.AllowedByBinding},
		{"read implies describe", []string{"allow User:a * READ TOPIC t"}, acl.Describe, topic("t"), acl.AllowedByBinding},
		{"alter configs implies describe configs", []string{"allow User:a * ALTER_CONFIGS TOPIC t"}, acl.DescribeConfigs, topic("t"), acl.AllowedByBinding},
		{"alter configs does not imply describe", []string{"allow User:a * ALTER_CONFIGS TOPIC t"}, acl.Describe, topic("t"), acl.Denied},
		{"create does not imply describe", []string{"allow User:a * CREATE TOPIC t"}, acl.Describe, topic("t"), acl.Denied},
		{"describe implies nothing", []string{"allow User:a * DESCRIBE TOPIC t"}, acl.Read, topic("t"), acl.Denied},
		{"deny read leaves describe", []string{"deny User:a * READ TOPIC t", "allow User:a * WRITE TOPIC t"}, acl.Describe, topic("t"), acl.AllowedByBinding},
		{"deny all denies describe", []string{"deny User:a * ALL TOPIC t", "allow User:a * WRITE TOPIC t"}, acl.Describe, topic("t"), acl.DeniedByBinding},
		{"no operation", []string{"allow User:a * ALL TOPIC *"}, acl.AnyOperation, topic("t"), acl.Denied},
		{"unknown operation", []string{"allow User:a * ALL TOPIC *"}, 15, topic("t"), acl.Denied},
		{"operation of another age", []string{"allow User:a * ALL TOPIC *"}, 34, topic("t"), acl.Denied}, // 1<<34 would be beyond the bits
		{"unknown type", []string{"allow User:a * ALL TOPIC *"}, acl.Read, acl.Resource{Type: 8, Name: "t"}, acl.Denied},
		{"negative type", []string{"allow User:a * ALL TOPIC *"}, acl.Read, acl.Resource{Type: -1, Name: "t"}, acl.Denied},
	} {
		t.Run(c.what, func(t *testing.T) {
			require.Equal(t, c.want, rulesOf(t, acl.Config{}, c.acls...).Authorize("User:a", "10.0.0.1", c.op, c.res))
		})
	}
}

func TestSuperUsers(t *testing.T) {
	r := rulesOf(t, acl.Config{SuperUsers: []string{"User:root"}}, "deny User:* * ALL TOPIC *")
	require.Equal(t, acl.AllowedSuperUser, r.Authorize("User:root", "h", acl.Delete, topic("t")))
	require.Equal(t, acl.AllowedSuperUser, r.AuthorizeAny("User:root", "h", acl.Delete, acl.Topic))
	require.Equal(t, acl.Supported(acl.Topic), r.AuthorizedOperations("User:root", "h", topic("t")))
	require.Equal(t, acl.DeniedByBinding, r.Authorize("Team:root", "h", acl.Delete, topic("t")))
	require.Equal(t, acl.Denied, r.Authorize("User:root", "h", acl.UnknownOperation, topic("t")))

	users, err := acl.ParseSuperUsers(" User:a;;User:CN=b,O=c:d; ")
	require.NoError(t, err)
	require.Equal(t, []string{"User:a", "User:CN=b,O=c:d"}, users)
	for _, bad := range []string{"a", "User:", ":a", "User:a;b"} {
		_, err = acl.ParseSuperUsers(bad)
		require.Error(t, err, bad)
	}
	_, err = acl.NewRules(acl.Config{SuperUsers: []string{"root"}}, nil)
	require.Error(t, err)
}

func TestAllowEveryoneIfNoACLFound(t *testing.T) {
	r := rulesOf(t, acl.Config{AllowEveryoneIfNoACLFound: true}, "allow User:b 10.0.0.2 READ TOPIC t", "deny User:b * READ TOPIC p*")
	require.Equal(t, acl.Denied, r.Authorize("User:a", "10.0.0.1", acl.Read, topic("t")), "the topic has a binding, if for somebody else")
	require.Equal(t, acl.Denied, r.Authorize("User:a", "10.0.0.1", acl.Read, topic("pq")))
	require.Equal(t, acl.AllowedNoBinding, r.Authorize("User:a", "10.0.0.1", acl.Read, topic("u")))
	require.Equal(t, acl.AllowedNoBinding, r.Authorize("User:a", "10.0.0.1", acl.Read, acl.Resource{Type: acl.Group, Name: "t"}))
	require.Equal(t, acl.AllowedNoBinding, r.AuthorizeAny("User:a", "10.0.0.1", acl.Write, acl.Topic))
	require.Equal(t, acl.Supported(acl.Topic), r.AuthorizedOperations("User:a", "10.0.0.1", topic("u")))
	require.Zero(t, r.AuthorizedOperations("User:a", "10.0.0.1", topic("t")))

	r = rulesOf(t, acl.Config{AllowEveryoneIfNoACLFound: true}, "allow User:b * READ TOPIC *")
	require.Equal(t, acl.Denied, r.Authorize("User:a", "10.0.0.1", acl.Read, topic("u")), "the wildcard is a binding on every topic")
}

// TestNothingDeniesEverything: no rules yet is not no rules.
func TestNothingDeniesEverything(t *testing.T) {
	for _, r := range []*acl.Rules{nil, {}} {
		require.Equal(t, acl.Denied, r.Authorize("User:a", "h", acl.Read, topic("t")))
		require.Equal(t, acl.Denied, r.AuthorizeAny("User:a", "h", acl.Read, acl.Topic))
		require.Equal(t, acl.Denied, r.AuthorizeAny("User:a", "h", acl.Read, acl.Cluster))
		require.Zero(t, r.AuthorizedOperations("User:a", "h", topic("t")))
		require.Zero(t, r.Len())
		require.Empty(t, r.Select(acl.Filter{Type: acl.AnyResource, Kind: acl.AnyPattern, Operation: acl.AnyOperation, Permission: acl.AnyPermission}))
	}
	var d acl.Decision
	require.False(t, d.Allowed())
	require.False(t, acl.Decision(200).Allowed())
}

// TestKIP679_AuthorizeAny: "For any literal allowed, if there's no dominant literal and prefix denied; for any prefix allowed, if there's no dominant prefix denied".
func TestKIP679_AuthorizeAny(t *testing.T) {
	for _, c := range []struct {
		acls []string
		want bool
	}{
		{nil, false},
		{[]string{"allow User:a * WRITE TOPIC t"}, true},
		{[]string{"allow User:b * WRITE TOPIC t"}, false},
		{[]string{"allow User:a * READ TOPIC t"}, false},
		{[]string{"allow User:a * WRITE GROUP t"}, false},
		{[]string{"allow User:* * WRITE TOPIC t"}, true},
		{[]string{"allow User:a * WRITE TOPIC t", "deny User:a * WRITE TOPIC t"}, false},
		{[]string{"allow User:a * WRITE TOPIC t", "deny User:a 10.0.0.2 WRITE TOPIC t"}, true},
		{[]string{"allow User:a * WRITE TOPIC t", "deny User:a * WRITE TOPIC t*"}, false},
		{[]string{"allow User:a * WRITE TOPIC tu", "deny User:* * ALL TOPIC t*"}, false},
		{[]string{"allow User:a * WRITE TOPIC t*", "deny User:a * WRITE TOPIC tu*"}, true},
		{[]string{"allow User:a * WRITE TOPIC tu*", "deny User:a * WRITE TOPIC t*"}, false},
		{[]string{"allow User:a * WRITE TOPIC tu*", "deny User:a * WRITE TOPIC tu*"}, false},
		{[]string{"allow User:a * WRITE TOPIC tu*", "deny User:a * WRITE TOPIC tu"}, true},
		{[]string{"allow User:a * WRITE TOPIC t*", "deny User:a * WRITE TOPIC *"}, false},
		{[]string{"allow User:a * WRITE TOPIC *", "deny User:a * WRITE TOPIC t*"}, true},
		{[]string{"allow User:a * WRITE TOPIC *", "deny User:a * WRITE TOPIC *"}, false},
		{[]string{"allow User:a * WRITE TOPIC t", "allow User:a * WRITE TOPIC u", "deny User:a * WRITE TOPIC t"}, true},
	} {
		r := rulesOf(t, acl.Config{}, c.acls...)
		require.Equal(t, c.want, r.AuthorizeAny("User:a", "10.0.0.1", acl.Write, acl.Topic).Allowed(), "%q", c.acls)
	}

	r := rulesOf(t, acl.Config{}, "allow User:a * IDEMPOTENT_WRITE CLUSTER kafka-cluster")
	require.True(t, r.AuthorizeAny("User:a", "h", acl.IdempotentWrite, acl.Cluster).Allowed())
	require.False(t, r.AuthorizeAny("User:a", "h", acl.Create, acl.Cluster).Allowed())
	r = rulesOf(t, acl.Config{}, "allow User:a * ALL TOPIC *")
	require.False(t, r.AuthorizeAny("User:a", "h", acl.AnyOperation, acl.Topic).Allowed())
	for _, kind := range []acl.ResourceType{-1, acl.UnknownResource, acl.AnyResource, 8} {
		require.False(t, r.AuthorizeAny("User:a", "h", acl.Read, kind).Allowed())
	}
}

// TestAgainstReference answers every question of many small worlds like a linear scan.
func TestAgainstReference(t *testing.T) {
	worlds := 400
	if testing.Short() {
		worlds = 50
	}
	for seed := range worlds {
		require.Empty(t, differs(world(seeded(uint64(seed)))), "seed %d", seed)
	}
}

func FuzzAgainstReference(f *testing.F) {
	f.Add([]byte("a few bindings that are about the same names"))
	f.Fuzz(func(t *testing.T, choices []byte) {
		next := func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := int(choices[0]) % n
			choices = choices[1:]
			return c
		}
		if d := differs(world(next)); d != "" {
			t.Fatal(d)
		}
	})
}

// TestLongChains: prefixes of prefixes, and names between them.
func TestLongChains(t *testing.T) {
	var lines []string
	for n := 1; n <= 200; n++ {
		lines = append(lines, fmt.Sprintf("allow User:u%d * READ TOPIC %s*", n, strings.Repeat("m", n)))
	}
	r := rulesOf(t, acl.Config{}, lines...)
	name := strings.Repeat("m", 150)
	for _, behind := range []string{"", "a", "z", "mz"} {
		for n := 1; n <= 200; n++ {
			want := n <= len(strings.TrimRight(name+behind, "az"))
			got := r.Authorize(fmt.Sprintf("User:u%d", n), "h", acl.Read, topic(name+behind)).Allowed()
			require.Equal(t, want, got, "%d %s", n, behind)
		}
	}
}

func TestHost(t *testing.T) {
	for _, c := range []struct{ bound, addr string }{
		{"10.0.0.1", "10.0.0.1"},
		{"10.0.0.1", "::ffff:10.0.0.1"},
		{"::ffff:10.0.0.1", "10.0.0.1"},
		{"0:0:0:0:0:0:0:1", "::1"},
		{"2001:DB8::0:1", "2001:db8::1"},
		{"fe80::1", "fe80::1%eth0"},
		{"fe80::1%eth1", "fe80::1%eth0"},
	} {
		r := rulesOf(t, acl.Config{}, "deny User:* "+c.bound+" READ TOPIC t", "allow User:a * READ TOPIC t")
		host := acl.Host(netip.MustParseAddr(c.addr))
		require.Equal(t, acl.DeniedByBinding, r.Authorize("User:a", host, acl.Read, topic("t")), "%v", c)
		require.Equal(t, acl.AllowedByBinding, r.Authorize("User:a", "10.9.9.9", acl.Read, topic("t")), "%v", c)
	}
}

// TestOneHostTwoSpellings: two bindings that differ only in how they write a host are both kept, and both count.
func TestOneHostTwoSpellings(t *testing.T) {
	r := rulesOf(t, acl.Config{}, "allow User:a ::1 READ TOPIC t", "allow User:a 0:0::1 WRITE TOPIC t")
	require.Equal(t, 2, r.Len())
	require.True(t, r.Authorize("User:a", "::1", acl.Read, topic("t")).Allowed())
	require.True(t, r.Authorize("User:a", "::1", acl.Write, topic("t")).Allowed())
	require.True(t, r.AuthorizeAny("User:a", "::1", acl.Write, acl.Topic).Allowed())
}

func TestNewRulesRefuses(t *testing.T) {
	good := parse(t, "deny User:a * READ TOPIC t")
	for _, spoil := range []func(*acl.Binding){
		func(b *acl.Binding) { b.Pattern.Type = acl.AnyResource },
		func(b *acl.Binding) { b.Pattern.Type = 8 },
		func(b *acl.Binding) { b.Pattern.Type = -1 },
		func(b *acl.Binding) { b.Pattern.Kind = acl.Match },
		func(b *acl.Binding) { b.Pattern.Kind = 5 },
		func(b *acl.Binding) { b.Operation = acl.AnyOperation },
		func(b *acl.Binding) { b.Operation = 15 },
		func(b *acl.Binding) { b.Permission = acl.AnyPermission },
		func(b *acl.Binding) { b.Permission = 4 },
		func(b *acl.Binding) { b.Pattern.Name = "" },
		func(b *acl.Binding) { b.Principal = "" },
		func(b *acl.Binding) { b.Host = "" },
	} {
		bad := good
		spoil(&bad)
		_, err := acl.NewRules(acl.Config{}, []acl.Binding{good, bad})
		var refused *acl.BindingError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, bad, refused.Binding)
		require.ErrorAs(t, bad.Validate(), &refused)
	}
}

// TestRulesAreImmutable: neither what went in nor what came out is shared.
func TestRulesAreImmutable(t *testing.T) {
	in := bindings(t, "allow User:a * READ TOPIC b", "allow User:a * READ TOPIC a", "allow User:a * READ TOPIC b")
	was := slices.Clone(in)
	r, err := acl.NewRules(acl.Config{}, in)
	require.NoError(t, err)
	require.Equal(t, was, in)
	in[0].Pattern.Name = "c"
	every := acl.Filter{Type: acl.AnyResource, Kind: acl.AnyPattern, Operation: acl.AnyOperation, Permission: acl.AnyPermission}
	out := r.Select(every)
	require.Equal(t, bindings(t, "allow User:a * READ TOPIC a", "allow User:a * READ TOPIC b"), out, "sorted, each once")
	out[0].Pattern.Name = "d"
	require.Equal(t, "a", r.Select(every)[0].Pattern.Name)
	require.Equal(t, 2, r.Len())
}
