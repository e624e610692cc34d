package acl

import (
	"fmt"
	"slices"
	"strings"
)

// Rules is an immutable set of bindings, arranged to decide fast: the patterns about a resource are found by a look into a map and a binary search, what they say about a client by looks into maps. A nil
// *Rules and the zero value deny everything.
type Rules struct {
	bindings []Binding // sorted, each once
	super    map[string]bool
	everyone bool // Config.AllowEveryoneIfNoACLFound
	types    [User + 1]index
}

// Config is what decides beside the bindings.
type Config struct {
	// SuperUsers may do anything, whatever is denied to them. Each is "Type:name". Kafka: super.users.
	SuperUsers []string

	// AllowEveryoneIfNoACLFound opens every resource that no binding is about, be it for whom it may. Kafka: allow.everyone.if.no.acl.found.
	AllowEveryoneIfNoACLFound bool
}

// ParseSuperUsers reads Kafka's super.users: principals separated by semicolons.
func ParseSuperUsers(s string) (users []string, err error) {
	for u := range strings.SplitSeq(s, ";") {
		u = strings.TrimSpace(u)
		if u == "" {
			continue
		}
		if why := malformed(u); why != "" {
			return nil, fmt.Errorf("super user %q: %s", u, why)
		}
		users = append(users, u)
	}
	return users, nil
}

// index holds the patterns of one type of resources.
type index struct {
	wildcard *pattern
	literal  map[string]*pattern
	prefixes []*pattern // by name
	of       map[client][]*pattern
}

// client is a principal and a host of bindings, wildcards included, with the host in the form of Host.
type client struct{ principal, host string }

// clients are those whose bindings are about one client.
func clients(principal, host string) [4]client {
	return [4]client{{principal, host}, {principal, Wildcard}, {WildcardPrincipal, host}, {WildcardPrincipal, Wildcard}}
}

// pattern is all bindings with one pattern.
type pattern struct {
	name   string
	kind   PatternType
	parent *pattern // of the prefixes: the longest other one that this starts with
	grants map[client]grants
}

// grants is what bindings say about operations.
type grants struct{ denied, allowed Operations }

// add joins what p says about the clients; nil says nothing.
func (g *grants) add(p *pattern, cs *[4]client) {
	if p == nil {
		return
	}
	for i := range cs {
		of := p.grants[cs[i]]
		g.denied |= of.denied
		g.allowed |= of.allowed
	}
}

// NewRules arranges bindings in any order, repeated ones being one. They need not pass Validate, whose rules may have become stricter since they were stored, but must be concrete.
//
// Errors: *BindingError; a super user that is not "Type:name". What cannot be understood is not left out, for it might deny.
func NewRules(c Config, bindings []Binding) (*Rules, error) {
	r := &Rules{bindings: slices.Clone(bindings), super: map[string]bool{}, everyone: c.AllowEveryoneIfNoACLFound}
	for _, u := range c.SuperUsers {
		if why := malformed(u); why != "" {
			return nil, fmt.Errorf("super user %q: %s", u, why)
		}
		r.super[u] = true
	}
	slices.SortFunc(r.bindings, Binding.Compare)
	r.bindings = slices.Compact(r.bindings)
	var last *pattern // bindings with equal patterns are neighbours
	for i, b := range r.bindings {
		if why := b.unusable(); why != "" {
			return nil, &BindingError{Binding: b, Reason: why}
		}
		x := &r.types[b.Pattern.Type]
		if last == nil || b.Pattern != r.bindings[i-1].Pattern {
			last = x.add(b.Pattern)
		}
		x.grant(last, b)
	}
	for t := range r.types {
		r.types[t].link()
	}
	return r, nil
}

// add makes room for a pattern that is not there.
func (x *index) add(from Pattern) *pattern {
	p := &pattern{name: from.Name, kind: from.Kind, grants: map[client]grants{}}
	switch {
	case p.kind == Prefixed:
		x.prefixes = append(x.prefixes, p)
	case p.name == Wildcard:
		x.wildcard = p
	default:
		if x.literal == nil {
			x.literal = map[string]*pattern{}
		}
		x.literal[p.name] = p
	}
	return p
}

func (x *index) grant(p *pattern, b Binding) {
	c := client{b.Principal, canonicalHost(b.Host)}
	g, known := p.grants[c]
	if b.Permission == Deny {
		g.denied |= deniedBy(b.Operation)
	} else {
		g.allowed |= allowedBy(b.Operation)
	}
	p.grants[c] = g
	if known {
		return
	}
	if x.of == nil {
		x.of = map[client][]*pattern{}
	}
	x.of[c] = append(x.of[c], p)
}

// link finds the parents. The prefixes are in order already, so that those of a name precede it, the longest last.
func (x *index) link() {
	for i, p := range x.prefixes[:len(x.prefixes):len(x.prefixes)] {
		if i > 0 {
			p.parent = x.prefixes[i-1].prefixOf(p.name)
		}
	}
}

// prefixOf returns the first of p and its parents that name starts with, or nil. Their own parents are prefixes of name too.
func (p *pattern) prefixOf(name string) *pattern {
	for p != nil && !strings.HasPrefix(name, p.name) {
		p = p.parent
	}
	return p
}

// longest returns the longest prefix of name, whose parents are the others. Whatever lies between a prefix of name and name starts with that prefix; so all of them are prefixes, hence parents, of the last
// pattern that is not after name.
func (x *index) longest(name string) *pattern {
	i, found := slices.BinarySearchFunc(x.prefixes, name, func(p *pattern, name string) int { return strings.Compare(p.name, name) })
	if found {
		return x.prefixes[i]
	}
	if i == 0 {
		return nil
	}
	return x.prefixes[i-1].prefixOf(name)
}

// grants joins what all patterns about a name say about the clients; found tells whether there is any, for whomever.
func (x *index) grants(name string, cs *[4]client) (g grants, found bool) {
	literal, prefix := x.literal[name], x.longest(name)
	g.add(x.wildcard, cs)
	g.add(literal, cs)
	for p := prefix; p != nil; p = p.parent {
		g.add(p, cs)
	}
	return g, x.wildcard != nil || literal != nil || prefix != nil
}

// Authorize decides whether a principal ("Type:name") at a host (see Host) may perform an operation on a resource. It does not allocate.
func (r *Rules) Authorize(principal, host string, op Operation, res Resource) Decision {
	switch {
	case r == nil || !op.concrete() || !res.Type.concrete():
		return Denied
	case r.super[principal]:
		return AllowedSuperUser
	}
	cs := clients(principal, host)
	g, found := r.types[res.Type].grants(res.Name, &cs)
	return r.decide(g, found, op)
}

func (r *Rules) decide(g grants, found bool, op Operation) Decision {
	switch {
	case g.denied.Has(op):
		return DeniedByBinding
	case g.allowed.Has(op):
		return AllowedByBinding
	case !found && r.everyone:
		return AllowedNoBinding
	default:
		return Denied
	}
}

// AuthorizeAny decides whether there may be a resource of the type that Authorize allows the operation on (KIP-679): a name that nothing is said about, a name or prefix that is allowed and not denied. An
// allowed prefix counts unless the whole of it is denied, by itself or a shorter one.
func (r *Rules) AuthorizeAny(principal, host string, op Operation, t ResourceType) Decision {
	switch {
	case t == Cluster:
		return r.Authorize(principal, host, op, Resource{Type: Cluster, Name: ClusterName})
	case r == nil || !op.concrete() || !t.concrete():
		return Denied
	case r.super[principal]:
		return AllowedSuperUser
	}
	cs := clients(principal, host)
	x := &r.types[t]
	var all grants
	all.add(x.wildcard, &cs)
	if d := r.decide(all, x.wildcard != nil, op); d != Denied {
		return d
	}
	for _, c := range cs {
		for _, p := range x.of[c] {
			if p.grants[c].allowed.Has(op) && !x.dominated(p, &cs, op) {
				return AllowedByBinding
			}
		}
	}
	return Denied
}

// dominated says whether op is denied on all that p is about.
func (x *index) dominated(p *pattern, cs *[4]client, op Operation) bool {
	var g grants
	prefix := p
	if p.kind == Literal {
		g.add(p, cs)
		prefix = x.longest(p.name)
	}
	for ; prefix != nil; prefix = prefix.parent {
		g.add(prefix, cs)
	}
	return g.denied.Has(op)
}

// AuthorizedOperations returns which operations that exist for the type of a resource are allowed on it (KIP-430).
func (r *Rules) AuthorizedOperations(principal, host string, res Resource) Operations {
	supported := Supported(res.Type)
	switch {
	case r == nil || supported == 0:
		return 0
	case r.super[principal]:
		return supported
	}
	cs := clients(principal, host)
	g, found := r.types[res.Type].grants(res.Name, &cs)
	if !found && r.everyone {
		return supported
	}
	return supported & g.allowed &^ g.denied
}

// Len returns the number of bindings.
func (r *Rules) Len() int {
	if r == nil {
		return 0
	}
	return len(r.bindings)
}

// Select returns the bindings that a valid filter matches, in order of Compare, so that those with one pattern are neighbours. The caller owns the slice.
func (r *Rules) Select(f Filter) []Binding {
	if r == nil {
		return nil
	}
	var selected []Binding
	for _, b := range r.bindings {
		if f.Matches(b) {
			selected = append(selected, b)
		}
	}
	return selected
}
