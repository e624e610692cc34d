package acl

import (
	"fmt"
	"strings"
)

// Filter selects bindings to describe or delete. A nil string and a code of "any" select all; the codes have no default.
type Filter struct {
	Type       ResourceType
	Name       *string
	Kind       PatternType
	Principal  *string
	Host       *string
	Operation  Operation
	Permission Permission
}

// FilterError is a filter with a code that is unknown. Kafka: INVALID_REQUEST.
type FilterError struct{ Reason string }

func (e *FilterError) Error() string { return "invalid ACL filter: " + e.Reason }

// Validate checks the codes. Errors: *FilterError.
func (f Filter) Validate() error {
	bad := func(what string, code fmt.Stringer) error {
		return &FilterError{Reason: fmt.Sprintf("%s %s", what, code)}
	}
	switch {
	case f.Type != AnyResource && !f.Type.concrete():
		return bad("resource type", f.Type)
	case f.Kind != AnyPattern && f.Kind != Match && !f.Kind.concrete():
		return bad("pattern type", f.Kind)
	case f.Operation != AnyOperation && !f.Operation.concrete():
		return bad("operation", f.Operation)
	case f.Permission != AnyPermission && !f.Permission.concrete():
		return bad("permission type", f.Permission)
	}
	return nil
}

// Matches says whether the filter, which must be valid, selects b. Principals, hosts and operations are compared as they are written: a filter for a user does not select what is bound to WildcardPrincipal,
// nor one for READ what is bound to ALL.
func (f Filter) Matches(b Binding) bool {
	return (f.Type == AnyResource || f.Type == b.Pattern.Type) &&
		f.matchesName(b.Pattern) &&
		(f.Principal == nil || *f.Principal == b.Principal) &&
		(f.Host == nil || *f.Host == b.Host) &&
		(f.Operation == AnyOperation || f.Operation == b.Operation) &&
		(f.Permission == AnyPermission || f.Permission == b.Permission)
}

func (f Filter) matchesName(p Pattern) bool {
	switch f.Kind {
	case AnyPattern:
		return f.Name == nil || *f.Name == p.Name
	case Match:
		return f.Name == nil || *f.Name == p.Name && p.Kind == Literal || p.Kind == Literal && p.Name == Wildcard ||
			p.Kind == Prefixed && strings.HasPrefix(*f.Name, p.Name)
	default:
		return f.Kind == p.Kind && (f.Name == nil || *f.Name == p.Name)
	}
}
