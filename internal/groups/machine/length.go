package machine

import (
	"slices"

	"github.com/insynclog/insync/internal/groups/entry"
)

// maxString is the longest string that is taken where it ends up in a key or in an older value: two longer ones that differ only behind that would be one there.
const maxString = entry.MaxString

// maxGroupID is the longest group id, in bytes: ids are keys of maps and records that clients make at will.
const maxGroupID = 255

// tooLong finds strings in a request that cannot be written as they are.
func tooLong(r Request) error {
	long := func(ss ...string) bool {
		return slices.ContainsFunc(ss, func(s string) bool { return len(s) > maxString })
	}
	if len(r.group()) > maxGroupID {
		return ErrInvalidGroupID
	}
	bad := false
	switch r := r.(type) {
	case *Join:
		bad = long(r.MemberID, r.InstanceID, r.ClientID, r.ClientHost, r.ProtocolType) || slices.ContainsFunc(r.Protocols, func(p Protocol) bool { return long(p.Name) })
	case *ConsumerHeartbeat:
		bad = long(r.MemberID, r.InstanceID, r.ClientID, r.ClientHost) || r.Regex != nil && long(*r.Regex)
	}
	if bad {
		return ErrInvalidRequest
	}
	return nil
}
