package machine

import (
	"time"

	"github.com/insynclog/insync/internal/groups/partition"
)

// Request is what Step takes: a pointer to one of the request types below.
type Request interface {
	// group is the id of the group that it is for.
	group() string
}

// Join is JoinGroup. It is answered with a *Joined when the group's members have come together.
type Join struct {
	Group            string
	MemberID         string // "" for a new one
	InstanceID       string // "" for a dynamic one
	ClientID         string
	ClientHost       string
	SessionTimeout   time.Duration
	RebalanceTimeout time.Duration // 0: the session timeout
	ProtocolType     string
	Protocols        []Protocol // by preference
	RequireMemberID  bool       // v4+: a new dynamic member is told its id first
	SkipAssignment   bool       // v9+: the client knows that a leader may be told not to assign
}

// Protocol is an assignor that a member supports, and what it tells its leader.
type Protocol struct {
	Name     string
	Metadata []byte
}

// Joined answers a Join, also one refused with ErrMemberIDRequired.
type Joined struct {
	MemberID       string
	Generation     int32 // -1 with an error
	ProtocolType   string
	Protocol       string
	Leader         string
	SkipAssignment bool
	Members        []JoinedMember // for the leader only
}

// JoinedMember is a member as its leader sees it.
type JoinedMember struct {
	MemberID   string
	InstanceID string
	Metadata   []byte
}

// Sync is SyncGroup. It is answered with a *Synced when the leader's assignment is written.
type Sync struct {
	Group        string
	MemberID     string
	InstanceID   string
	Generation   int32
	ProtocolType string // "" not told (before v5)
	Protocol     string
	Assignments  []Assignment // from the leader only
}

// Assignment is what a leader gives to a member.
type Assignment struct {
	MemberID   string
	Assignment []byte
}

// Synced answers a Sync.
type Synced struct {
	ProtocolType string
	Protocol     string
	Assignment   []byte
}

// Heartbeat is the classic protocol's. Its answer has no content.
type Heartbeat struct {
	Group      string
	MemberID   string
	InstanceID string
	Generation int32
}

// Leave is LeaveGroup: members leave, or an administrator removes them. It is answered with a *Left.
type Leave struct {
	Group   string
	Members []LeavingMember
}

// LeavingMember is a member that is to leave: a static one may be named by its instance id alone.
type LeavingMember struct {
	MemberID   string
	InstanceID string
}

// Left answers a Leave: an error for each member, or nil.
type Left struct{ Errs []error }

// ConsumerHeartbeat is ConsumerGroupHeartbeat (KIP-848). Absent optional fields are unchanged. It is answered with a *ConsumerState.
type ConsumerHeartbeat struct {
	Group            string
	MemberID         string
	MemberEpoch      int32 // 0 joins, -1 leaves, -2 leaves for a while (static members)
	InstanceID       string
	ClientID         string
	ClientHost       string
	Rack             *string
	RebalanceTimeout time.Duration // <0 unchanged
	Topics           []string      // subscribed to by name; nil unchanged
	Regex            *string       // subscribed to by pattern, which has been checked; "" ends that
	Assignor         *string
	Owned            *partition.Set // nil unchanged
}

// What ConsumerHeartbeat.MemberEpoch may say besides an epoch.
const (
	JoinEpoch        int32 = 0
	LeaveEpoch       int32 = -1
	LeaveStaticEpoch int32 = -2
)

// ConsumerState answers a ConsumerHeartbeat.
type ConsumerState struct {
	MemberID          string
	MemberEpoch       int32
	HeartbeatInterval time.Duration
	Assignment        *partition.Set // nil: as before
}

// Commit is OffsetCommit. It is answered with a *Committed.
type Commit struct {
	Group      string
	MemberID   string
	InstanceID string
	Epoch      int32         // generation or member epoch; <0 for a group that does not manage members
	ByEpoch    bool          // v9+: the client knows member epochs and GROUP_ID_NOT_FOUND
	Retention  time.Duration // <=0 the coordinator's
	Offsets    []CommitOffset
}

// CommitOffset is one partition's part of a Commit.
type CommitOffset struct {
	Topic       string
	TopicID     partition.TopicID // zero if unknown
	Partition   int32
	Offset      int64
	LeaderEpoch int32 // -1 unknown
	Metadata    string
}

// Committed answers a Commit: an error for each of its offsets, or nil.
type Committed struct{ Errs []error }

// DeleteOffsets is OffsetDelete. It is answered with a *DeletedOffsets.
type DeleteOffsets struct {
	Group      string
	Partitions []TopicPartition
}

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// DeletedOffsets answers a DeleteOffsets: an error for each partition, or nil.
type DeletedOffsets struct{ Errs []error }

// DeleteGroup is one group of a DeleteGroups. Its answer has no content.
type DeleteGroup struct{ Group string }

func (r *Join) group() string              { return r.Group }
func (r *Sync) group() string              { return r.Group }
func (r *Heartbeat) group() string         { return r.Group }
func (r *Leave) group() string             { return r.Group }
func (r *ConsumerHeartbeat) group() string { return r.Group }
func (r *Commit) group() string            { return r.Group }
func (r *DeleteOffsets) group() string     { return r.Group }
func (r *DeleteGroup) group() string       { return r.Group }
