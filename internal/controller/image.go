package controller

import (
	"time"

	"github.com/insynclog/insync/internal/controller/machine"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TagIfUnused is the tagged field of UnregisterBroker that keeps a node that is needed.
const TagIfUnused = machine.TagIfUnused

// The private API keys of JoinRequest and VotersRequest.
const (
	KeyJoin   = machine.KeyJoin
	KeyVoters = machine.KeyVoters
)

// The metadata types, see package machine.
type (
	// Image is the cluster's metadata at one point of the metadata log. It is immutable.
	Image = machine.Image
	// Quorum is who follows the metadata log, and who votes.
	Quorum = machine.Quorum
	// JoinRequest asks for a place in the quorum.
	JoinRequest = machine.JoinRequest
	// JoinResponse answers it.
	JoinResponse = machine.JoinResponse
	// JoinPurpose says what a JoinRequest is for.
	JoinPurpose = machine.JoinPurpose
	// NodeState is what a node says of itself in the answer.
	NodeState = machine.NodeState
	// VotersRequest says who shall vote.
	VotersRequest = machine.VotersRequest
	// VotersResponse answers it.
	VotersResponse = machine.VotersResponse
	// Broker is one registered node.
	Broker = machine.Broker
	// Topic is one topic.
	Topic = machine.Topic
	// Partition is one partition.
	Partition = machine.Partition
	// ScramUser is one user's credential of one SCRAM mechanism.
	ScramUser = machine.ScramUser
	// QuotaEntity is who a quota is for.
	QuotaEntity = machine.QuotaEntity
	// QuotaName is one part of a QuotaEntity.
	QuotaName = machine.QuotaName
	// LogEnd is where a replica's log ends while its partition has no leader.
	LogEnd = machine.LogEnd
	// Leadership is a reign over a partition.
	Leadership = machine.Leadership
	// Levels is what a node knows of the format of metadata.
	Levels = machine.Levels
	// Row says since which level something may be written.
	Row = machine.Row
	// LevelError says that a node is too old for the metadata.
	LevelError = machine.LevelError
	// Delta tells what changed between two images.
	Delta = machine.Delta
)

// MaxLogEnds is how many log ends a heartbeat carries.
const MaxLogEnds = machine.MaxLogEnds

// The levels of the metadata.
const (
	FeatureName = machine.FeatureName
	LevelBase   = machine.LevelBase
	Newest      = machine.Newest
	Whole       = machine.Whole
)

// SetDrained says in an AlterPartition that the leader appends no more, and that a broker has all that it has.
func SetDrained(p *kmsg.AlterPartitionRequestTopicPartition, to int32) { machine.SetDrained(p, to) }

// HandOverTime is how long a planned move of a leadership may take.
func HandOverTime(sessionTimeout time.Duration) time.Duration {
	return machine.HandOverTime(sessionTimeout)
}

// SetLogEnds puts log ends into a heartbeat.
func SetLogEnds(req *kmsg.BrokerHeartbeatRequest, ends []LogEnd) { machine.SetLogEnds(req, ends) }

// SetSteppedDown says in a heartbeat under which leader epochs the broker leads no more, whatever metadata says, and that it would do so.
func SetSteppedDown(req *kmsg.BrokerHeartbeatRequest, from []Leadership) {
	machine.SetSteppedDown(req, from)
}

// Recalled reads from the answer to a heartbeat which leaderships the broker is to step down from, and whether it is all that it has, because it shuts down.
func Recalled(resp *kmsg.BrokerHeartbeatResponse) (from []Leadership, all bool) {
	return machine.Recalled(resp)
}

// SetRebooted says in a registration that the operating system was started anew since the broker's last life, or may have been.
func SetRebooted(req *kmsg.BrokerRegistrationRequest) { machine.SetRebooted(req) }

// SetSlowDisk says in a heartbeat that the broker's disk is slow.
func SetSlowDisk(req *kmsg.BrokerHeartbeatRequest) { machine.SetSlowDisk(req) }

// What a JoinRequest is for, and what a node says of itself.
const (
	AskMember    = machine.AskMember
	Join         = machine.Join
	Return       = machine.Return
	AskStarted   = machine.AskStarted
	StateUnknown = machine.StateUnknown
	StateEmpty   = machine.StateEmpty
	StateStarted = machine.StateStarted
)

// The types of the parts of a QuotaEntity, and the quotas that are enforced.
const (
	QuotaUser        = machine.QuotaUser
	QuotaClientID    = machine.QuotaClientID
	QuotaIP          = machine.QuotaIP
	ProducerByteRate = machine.ProducerByteRate
	ConsumerByteRate = machine.ConsumerByteRate
)
