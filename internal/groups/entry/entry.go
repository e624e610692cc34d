package entry

import (
	"github.com/insynclog/insync/internal/groups/partition"
)

// Entry is one record of __consumer_offsets. The concrete types are pointers to the structs of this package.
type Entry interface {
	// GroupID is the group that the entry is about.
	GroupID() string
	// AppendKey appends the record's key.
	AppendKey(dst []byte) []byte
	// AppendValue appends the record's value. An entry that is Gone has none: ok is false, and the record's value is null.
	AppendValue(dst []byte) (out []byte, ok bool)
}

// Offset is a committed offset (key types 0 and 1).
type Offset struct {
	Group       string
	Topic       string
	Partition   int32
	Gone        bool // the rest is not set
	Offset      int64
	LeaderEpoch int32 // -1 unknown
	Metadata    string
	CommittedAt int64             // milliseconds
	ExpiresAt   int64             // milliseconds, of a version that old clients asked for; -1 none. If set, LeaderEpoch and TopicID are not kept
	TopicID     partition.TopicID // zero if unknown
}

// Classic is a classic group (key type 2).
type Classic struct {
	Group        string
	Gone         bool
	ProtocolType string
	Generation   int32
	Protocol     string // "" none
	Leader       string // "" none
	StateAt      int64  // milliseconds since when it is in its state; -1 unknown
	Members      []ClassicMember
}

// ClassicMember is a member of a Classic.
type ClassicMember struct {
	ID                     string
	InstanceID             string // "" for a dynamic member
	ClientID               string
	ClientHost             string
	RebalanceTimeoutMillis int32 // -1 in the oldest entries: the session timeout stands for it
	SessionTimeoutMillis   int32
	Subscription           []byte
	Assignment             []byte
}

// Group is the epoch of a consumer group (key type 3).
type Group struct {
	Group        string
	Gone         bool
	Epoch        int32
	MetadataHash int64 // of the topics subscribed to
}

// Member is what a member of a consumer group told of itself (key type 5).
type Member struct {
	Group                  string
	MemberID               string
	Gone                   bool
	InstanceID             string // "" for a dynamic member
	Rack                   string // "" none
	ClientID               string
	ClientHost             string
	Topics                 []string // subscribed to by name, sorted
	Regex                  string   // subscribed to by pattern; "" none
	RebalanceTimeoutMillis int32
	Assignor               string // "" no preference
	// Classic is set for a member that speaks the classic protocol.
	Classic *ClassicMetadata
}

// ClassicMetadata is what a classic member of a consumer group told in its JoinGroup.
type ClassicMetadata struct {
	SessionTimeoutMillis int32
	Protocols            []ClassicProtocol
}

// ClassicProtocol is an assignor that a classic member supports, and its subscription in the embedded protocol.
type ClassicProtocol struct {
	Name     string
	Metadata []byte
}

// Target is the epoch of a consumer group's target assignment (key type 6).
type Target struct {
	Group string
	Gone  bool
	Epoch int32
}

// TargetMember is the target assignment of one member (key type 7).
type TargetMember struct {
	Group      string
	MemberID   string
	Gone       bool
	Partitions partition.Set
}

// State is how far a member has come in taking its target assignment. The values are the format's.
type State int8

// The states of a member.
const (
	Stable     State = 0 // it has what the target says
	Unrevoked  State = 1 // it has to give partitions up before it gets others
	Unreleased State = 2 // it waits for partitions that others have to give up
	Unknown    State = 127
)

// String is the state in Kafka's words.
func (s State) String() string {
	switch s {
	case Stable:
		return "stable"
	case Unrevoked:
		return "unrevoked"
	case Unreleased:
		return "unreleased"
	}
	return "unknown"
}

// Current is where a member of a consumer group is (key type 8).
type Current struct {
	Group         string
	MemberID      string
	Gone          bool
	Epoch         int32
	PreviousEpoch int32
	State         State
	Assigned      partition.Set // may be used
	Revoking      partition.Set // to be given up
}

// Regex is what a pattern of a consumer group matched (key type 16).
type Regex struct {
	Group      string
	Regex      string
	Gone       bool
	Topics     []string // sorted
	Version    int64    // offset of the metadata it was resolved against
	ResolvedAt int64    // milliseconds
}

// GroupID implements Entry.
func (o *Offset) GroupID() string { return o.Group }

// GroupID implements Entry.
func (c *Classic) GroupID() string { return c.Group }

// GroupID implements Entry.
func (g *Group) GroupID() string { return g.Group }

// GroupID implements Entry.
func (m *Member) GroupID() string { return m.Group }

// GroupID implements Entry.
func (t *Target) GroupID() string { return t.Group }

// GroupID implements Entry.
func (t *TargetMember) GroupID() string { return t.Group }

// GroupID implements Entry.
func (c *Current) GroupID() string { return c.Group }

// GroupID implements Entry.
func (r *Regex) GroupID() string { return r.Group }
