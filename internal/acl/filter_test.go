package acl_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/acl"
)

var every = acl.Filter{Type: acl.AnyResource, Kind: acl.AnyPattern, Operation: acl.AnyOperation, Permission: acl.AnyPermission}

func TestFilterMatches(t *testing.T) {
	stored := bindings(
		t,
		"allow User:a * READ TOPIC foo",      // 0
		"allow User:* * ALL TOPIC *",         // 1
		"deny User:a 10.0.0.1 READ TOPIC f*", // 2
		"allow User:a * READ TOPIC foo*",     // 3
		"allow User:b * WRITE TOPIC bar*",    // 4
		"allow User:a * READ GROUP foo",      // 5
	)
	name := func(kind acl.PatternType, name string) func(*acl.Filter) {
		return func(f *acl.Filter) { f.Kind, f.Name = kind, &name }
	}
	text := func(s string) *string { return &s }
	for _, c := range []struct {
		what string
		set  func(*acl.Filter)
		want []int
	}{
		{"everything", func(*acl.Filter) {}, []int{0, 1, 2, 3, 4, 5}},
		{"type", func(f *acl.Filter) { f.Type = acl.Group }, []int{5}},
		{"literal, any name", func(f *acl.Filter) { f.Kind = acl.Literal }, []int{0, 1, 5}},
		{"prefixed, any name", func(f *acl.Filter) { f.Kind = acl.Prefixed }, []int{2, 3, 4}},
		{"match, any name", func(f *acl.Filter) { f.Kind = acl.Match }, []int{0, 1, 2, 3, 4, 5}},
		{"any, name", name(acl.AnyPattern, "foo"), []int{0, 3, 5}},
		{"literal, name", name(acl.Literal, "foo"), []int{0, 5}},
		{"literal, wildcard", name(acl.Literal, "*"), []int{1}},
		{"prefixed, name", name(acl.Prefixed, "foo"), []int{3}},
		{"prefixed, longer name", name(acl.Prefixed, "foobar"), nil},
		{"match, name", name(acl.Match, "foo"), []int{0, 1, 2, 3, 5}},
		{"match, longer name", name(acl.Match, "foobar"), []int{1, 2, 3}},
		{"match, shorter name", name(acl.Match, "fo"), []int{1, 2}},
		{"match, wildcard", name(acl.Match, "*"), []int{1}},
		{"principal", func(f *acl.Filter) { f.Principal = text("User:a") }, []int{0, 2, 3, 5}},
		{"host", func(f *acl.Filter) { f.Host = text("10.0.0.1") }, []int{2}},
		{"host of all", func(f *acl.Filter) { f.Host = text("*") }, []int{0, 1, 3, 4, 5}},
		{"operation", func(f *acl.Filter) { f.Operation = acl.Write }, []int{4}},
		{"operation all", func(f *acl.Filter) { f.Operation = acl.All }, []int{1}},
		{"permission", func(f *acl.Filter) { f.Permission = acl.Deny }, []int{2}},
		{"empty name", name(acl.AnyPattern, ""), nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			f := every
			c.set(&f)
			require.NoError(t, f.Validate())
			var got []int
			for i, b := range stored {
				if f.Matches(b) {
					got = append(got, i)
				}
			}
			require.Equal(t, c.want, got)
			r, err := acl.NewRules(acl.Config{}, stored)
			require.NoError(t, err)
			require.Len(t, r.Select(f), len(c.want))
		})
	}
}

// TestMatchIsAuthorize: MATCH with a name selects exactly the bindings that decide about the resource of that name.
func TestMatchIsAuthorize(t *testing.T) {
	for seed := range uint64(100) {
		r := world(seeded(seed))
		for _, kind := range types {
			for _, name := range append(names, "abcde") {
				f := every
				f.Type, f.Kind, f.Name = kind, acl.Match, &name
				about := r.about(acl.Resource{Type: kind, Name: name})
				for _, b := range r.bindings {
					require.Equal(t, f.Matches(b), b.Pattern.Matches(acl.Resource{Type: kind, Name: name}), "%v", b)
					require.Equal(t, f.Matches(b), containsBinding(about, b), "%v", b)
				}
			}
		}
	}
}

func containsBinding(bs []acl.Binding, b acl.Binding) bool {
	for _, o := range bs {
		if o.Compare(b) == 0 {
			return true
		}
	}
	return false
}

func TestFilterRefuses(t *testing.T) {
	for _, spoil := range []func(*acl.Filter){
		func(f *acl.Filter) { f.Type = acl.UnknownResource },
		func(f *acl.Filter) { f.Type = 8 },
		func(f *acl.Filter) { f.Kind = acl.UnknownPattern },
		func(f *acl.Filter) { f.Kind = 5 },
		func(f *acl.Filter) { f.Operation = acl.UnknownOperation },
		func(f *acl.Filter) { f.Operation = 15 },
		func(f *acl.Filter) { f.Permission = acl.UnknownPermission },
		func(f *acl.Filter) { f.Permission = 4 },
	} {
		f := every
		spoil(&f)
		var refused *acl.FilterError
		require.ErrorAs(t, f.Validate(), &refused)
	}
}
