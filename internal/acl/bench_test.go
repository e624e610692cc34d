package acl_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/acl"
)

// many is n bindings as a large installation has them: two in five literal, two prefixed, one on everything, each for a principal of its own.
func many(n int) []acl.Binding {
	bs := make([]acl.Binding, 0, n)
	for i := range n {
		b := acl.Binding{
			Pattern:    acl.Pattern{Type: acl.Topic, Name: fmt.Sprintf("team-%04d.orders", i), Kind: acl.Literal},
			Principal:  fmt.Sprintf("User:service-%04d", i),
			Host:       "*",
			Operation:  acl.Read,
			Permission: acl.Allow,
		}
		switch i % 5 {
		case 1, 3:
			b.Pattern.Kind, b.Pattern.Name = acl.Prefixed, fmt.Sprintf("team-%04d.", i)
		case 4:
			b.Pattern.Name, b.Permission, b.Operation = "*", acl.Deny, acl.Delete
		}
		bs = append(bs, b)
	}
	return bs
}

// questions that have different answers.
func questions() []struct {
	what      string
	principal string
	topic     string
	want      acl.Decision
} {
	return []struct {
		what      string
		principal string
		topic     string
		want      acl.Decision
	}{
		{"literal", "User:service-5000", "team-5000.orders", acl.AllowedByBinding},
		{"prefix", "User:service-5001", "team-5001.payments", acl.AllowedByBinding},
		{"stranger", "User:stranger", "team-5001.orders", acl.Denied},
		{"super", "User:root", "team-5001.orders", acl.AllowedSuperUser},
	}
}

func TestAuthorizeDoesNotAllocate(t *testing.T) {
	r, err := acl.NewRules(acl.Config{SuperUsers: []string{"User:root"}}, many(10_000))
	require.NoError(t, err)
	for _, q := range questions() {
		require.Equal(t, q.want, r.Authorize(q.principal, "10.0.0.1", acl.Read, topic(q.topic)), q.what)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			r.Authorize(q.principal, "10.0.0.1", acl.Read, topic(q.topic))
			r.AuthorizeAny(q.principal, "10.0.0.1", acl.Read, acl.Topic)
			r.AuthorizedOperations(q.principal, "10.0.0.1", topic(q.topic))
		}), q.what)
	}
}

func BenchmarkAuthorize(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		r, err := acl.NewRules(acl.Config{SuperUsers: []string{"User:root"}}, many(n))
		require.NoError(b, err)
		for _, q := range questions() {
			b.Run(fmt.Sprintf("bindings=%d/%s", n, q.what), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					r.Authorize(q.principal, "10.0.0.1", acl.Read, topic(q.topic))
				}
			})
		}
	}
}

func BenchmarkAuthorizeAny(b *testing.B) {
	r, err := acl.NewRules(acl.Config{}, many(10_000))
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		r.AuthorizeAny("User:service-5001", "10.0.0.1", acl.Read, acl.Topic)
	}
}

func BenchmarkNewRules(b *testing.B) {
	bs := many(10_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := acl.NewRules(acl.Config{}, bs); err != nil {
			b.Fatal(err)
		}
	}
}
