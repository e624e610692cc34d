package acl

import "fmt"

// Decision is an answer of Authorize, with its reason for the audit log. The zero value denies.
type Decision uint8

// The decisions.
const (
	Denied           Decision = iota // nothing allows it
	DeniedByBinding                  // a binding denies it
	AllowedByBinding                 // a binding allows it
	AllowedSuperUser
	AllowedNoBinding // no binding is about the resource, and Config.AllowEveryoneIfNoACLFound
)

// Allowed says whether the operation may be performed.
func (d Decision) Allowed() bool { return AllowedByBinding <= d && d <= AllowedNoBinding }

func (d Decision) String() string {
	switch d {
	case Denied:
		return "denied: nothing allows it"
	case DeniedByBinding:
		return "denied by a binding"
	case AllowedByBinding:
		return "allowed by a binding"
	case AllowedSuperUser:
		return "allowed: super user"
	case AllowedNoBinding:
		return "allowed: no binding on the resource"
	default:
		return fmt.Sprintf("Decision(%d)", uint8(d))
	}
}
