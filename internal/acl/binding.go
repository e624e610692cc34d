package acl

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Resource is one thing that can be acted on.
type Resource struct {
	Type ResourceType
	Name string
}

// Pattern names resources of one type.
type Pattern struct {
	Type ResourceType
	Name string
	Kind PatternType
}

// Matches says whether the pattern, Literal or Prefixed, is about the resource.
func (p Pattern) Matches(r Resource) bool {
	switch {
	case p.Type != r.Type:
		return false
	case p.Kind == Prefixed:
		return strings.HasPrefix(r.Name, p.Name)
	default:
		return p.Kind == Literal && (p.Name == r.Name || p.Name == Wildcard)
	}
}

// Binding allows or denies one operation on the resources of one pattern, to one principal ("Type:name", or WildcardPrincipal) from one host (or Wildcard). It is a value: equal bindings are one.
type Binding struct {
	Pattern    Pattern
	Principal  string
	Host       string
	Operation  Operation
	Permission Permission
}

// Compare orders by resource type, name, kind of pattern, principal, host, operation, permission.
func (b Binding) Compare(o Binding) int {
	return cmp.Or(
		cmp.Compare(b.Pattern.Type, o.Pattern.Type),
		cmp.Compare(b.Pattern.Name, o.Pattern.Name),
		cmp.Compare(b.Pattern.Kind, o.Pattern.Kind),
		cmp.Compare(b.Principal, o.Principal),
		cmp.Compare(b.Host, o.Host),
		cmp.Compare(b.Operation, o.Operation),
		cmp.Compare(b.Permission, o.Permission),
	)
}

func (b Binding) String() string {
	return fmt.Sprintf("%s %q from %q: %s on %s %s %q", b.Permission, b.Principal, b.Host, b.Operation, b.Pattern.Kind, b.Pattern.Type, b.Pattern.Name)
}

// BindingError is a binding that must not be stored. Kafka: INVALID_REQUEST.
type BindingError struct {
	Binding Binding
	Reason  string
}

func (e *BindingError) Error() string {
	return fmt.Sprintf("invalid ACL binding (%s): %s", e.Binding, e.Reason)
}

// The longest names, in bytes. Those of topics, groups and transactional ids are the longest that such a resource may have.
const (
	maxTopicName = 249
	maxName      = 255
	maxPrincipal = 1024
	maxHost      = 255
)

// Validate checks a binding before it is created. Errors: *BindingError.
func (b Binding) Validate() error {
	reason := b.unusable()
	for _, check := range []func() string{b.checkName, b.checkPrincipal, b.checkHost, b.checkOperation} {
		if reason == "" {
			reason = check()
		}
	}
	if reason == "" {
		return nil
	}
	return &BindingError{Binding: b, Reason: reason}
}

// unusable says what keeps the index from holding the binding: codes that are unknown or for filters, and names that are missing.
func (b Binding) unusable() string {
	switch {
	case !b.Pattern.Type.concrete():
		return "invalid resource type " + b.Pattern.Type.String()
	case !b.Pattern.Kind.concrete():
		return "invalid pattern type " + b.Pattern.Kind.String()
	case !b.Operation.concrete():
		return "invalid operation " + b.Operation.String()
	case !b.Permission.concrete():
		return "invalid permission type " + b.Permission.String()
	case b.Pattern.Name == "":
		return "the resource name is empty"
	case b.Principal == "":
		return "the principal is empty"
	case b.Host == "":
		return "the host is empty"
	}
	return ""
}

func (b Binding) checkName() string {
	p := b.Pattern
	limit := maxName
	switch p.Type {
	case Topic:
		limit = maxTopicName
	case User:
		limit = maxPrincipal
	}
	switch {
	case len(p.Name) > limit:
		return fmt.Sprintf("the resource name has %d bytes, more than %d", len(p.Name), limit)
	case !printable(p.Name):
		return "the resource name has characters that cannot be printed"
	case p.Type == Cluster && p.Name != ClusterName:
		return "the only name of a CLUSTER resource is " + ClusterName
	case p.Kind == Literal && p.Name == Wildcard:
		return ""
	case p.Type == Topic && strings.ContainsFunc(p.Name, notInTopic):
		return "no topic can have such a name"
	case p.Type == User && p.Kind == Literal:
		if why := malformed(p.Name); why != "" {
			return "the name of a USER resource is a principal, and " + why
		}
	}
	return ""
}

func (b Binding) checkPrincipal() string {
	switch {
	case len(b.Principal) > maxPrincipal:
		return fmt.Sprintf("the principal has %d bytes, more than %d", len(b.Principal), maxPrincipal)
	case !printable(b.Principal):
		return "the principal has characters that cannot be printed"
	}
	return malformed(b.Principal)
}

// checkHost lets names pass, as Kafka does: they never match a TCP connection, but the hosts of an in-memory network have them. What looks like more than one host is refused, because a binding that
// denies must not be silently without effect.
func (b Binding) checkHost() string {
	switch {
	case b.Host == Wildcard:
		return ""
	case len(b.Host) > maxHost:
		return fmt.Sprintf("the host has %d bytes, more than %d", len(b.Host), maxHost)
	case strings.ContainsFunc(b.Host, notInHost):
		return "the host is neither an address nor " + Wildcard
	}
	return ""
}

func (b Binding) checkOperation() string {
	if b.Operation != All && !Supported(b.Pattern.Type).Has(b.Operation) {
		return fmt.Sprintf("there is no operation %s on a resource of type %s", b.Operation, b.Pattern.Type)
	}
	return ""
}

// malformed says what keeps s from being a principal, "Type:name".
func malformed(s string) string {
	kind, name, found := strings.Cut(s, ":")
	if !found || kind == "" || name == "" {
		return "a principal has the form Type:name"
	}
	return ""
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func notInTopic(r rune) bool { return !alphanumeric(r) && !strings.ContainsRune("._-", r) }

func notInHost(r rune) bool { return !alphanumeric(r) && !strings.ContainsRune(".:_-%", r) }

func alphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// Host returns the form in which the address of a client is compared with the hosts of bindings. An IPv4 address within IPv6 is IPv4; the zone does not count.
func Host(a netip.Addr) string { return a.Unmap().WithZone("").String() }

// canonicalHost returns a binding's host as Host would write it, if it is an address.
func canonicalHost(host string) string {
	if a, err := netip.ParseAddr(host); err == nil {
		return Host(a)
	}
	return host
}
