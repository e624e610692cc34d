package cluster

import (
	"fmt"

	"github.com/insynclog/insync/log"
)

// Listener is told what happens in a node. Every function is optional. They run on the node's goroutines without locks, in order per partition, and must not block.
type Listener struct {
	LeaderChanged func(LeaderChange)
	ISRChanged    func(ISRChange)
	Truncated     func(Truncation)
	// ReplicaOffline says that a write or a sync failed, or that a log cannot be opened. What the node leads goes to others. It opens such logs again after a minute, two, … an hour, and comes back as after a lossy restart.
	ReplicaOffline func(ReplicaError)
	// PossibleLoss says that this node was made leader of a partition though it may lack records that were acknowledged.
	PossibleLoss func(Loss)
	// Repair says that damage was found in what is stored, and again what became of it.
	Repair func(RepairStatus)
	// CompactionFailed says that a log is not compacted for a while, and why; it is tried again later. Status has the logs that are left alone now.
	CompactionFailed func(CompactionError)
	// Space says that the node is out of space, by Config.MaxBytes, by Config.ReserveBytes or because the disk has refused a write, and again when it is not. Nothing has to be done but to make space: the node goes on by itself.
	Space func(SpaceStatus)
	// Fenced says that the controller considers the node dead, or that the node has not reached a controller for SessionTimeout: it serves nothing until it is back.
	Fenced func()
	// SlowDisk says that the node asks not to be waited for, because its disk is slow (Config.SlowSync), and with false that this is over.
	SlowDisk func(slow bool)
	// Stopped says that the node stopped by itself because it can no longer be right; Node.Err returns the same error.
	Stopped func(error)
}

// LeaderChange is a new leader of a partition that this node replicates, as this node applied it.
type LeaderChange struct {
	Topic     string
	Partition int32
	Leader    int32 // -1: none
	Epoch     int32
}

// String returns one line for people.
func (e LeaderChange) String() string {
	return fmt.Sprintf("%s-%d: leader %d, epoch %d", e.Topic, e.Partition, e.Leader, e.Epoch)
}

// ISRChange is a new set of in-sync replicas, told by the partition's leader.
type ISRChange struct {
	Topic     string
	Partition int32
	ISR       []int32
}

// String returns one line for people.
func (e ISRChange) String() string { return fmt.Sprintf("%s-%d: isr %v", e.Topic, e.Partition, e.ISR) }

// Truncation says that a follower removed [From, To) because its leader does not have it. With MinInSyncReplicas respected nothing acknowledged with acks=all is in there.
type Truncation struct {
	Topic     string
	Partition int32
	From, To  int64
}

// String returns one line for people.
func (e Truncation) String() string {
	return fmt.Sprintf("%s-%d: truncated [%d, %d)", e.Topic, e.Partition, e.From, e.To)
}

// Loss is the end of a log whose leader was elected though nobody was left who surely holds every committed record: after a loss of power of all of them, with acknowledgements before the sync
// (flush.messages above 1); or in an unclean election. Records at offsets from From on that were written in leader epochs before Epoch are gone, if there were any; records before From are all there. A node
// that restarts may tell of the same loss again.
type Loss struct {
	Topic     string
	TopicID   log.TopicID
	Partition int32
	Epoch     int32 // of the new leader
	From      int64
}

// String returns one line for people.
func (e Loss) String() string {
	return fmt.Sprintf("%s-%d: records from offset %d on, of leader epochs before %d, may be lost", e.Topic, e.Partition, e.From, e.Epoch)
}

// ReplicaError is a disk error that took a replica down; the node goes on with the others.
type ReplicaError struct {
	Topic     string
	Partition int32
	Err       error
}

// Error makes it an error.
func (e ReplicaError) Error() string { return fmt.Sprintf("%s-%d: %v", e.Topic, e.Partition, e.Err) }

// Unwrap returns the cause.
func (e ReplicaError) Unwrap() error { return e.Err }

// CompactionError is what ended the compaction of a log on this node: damage in it, mostly, or a full disk. The log serves on, and grows.
type CompactionError struct {
	Topic     string
	Partition int32
	Err       error
}

// Error makes it an error.
func (e CompactionError) Error() string {
	return fmt.Sprintf("%s-%d: compaction: %v", e.Topic, e.Partition, e.Err)
}

// Unwrap returns the cause.
func (e CompactionError) Unwrap() error { return e.Err }
