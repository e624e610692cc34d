package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
)

// Status is a snapshot of a node and of the cluster as the node knows it.
type Status struct {
	NodeID      int32
	ClusterID   string
	Addr        string // "" if the node does not listen
	BrokerEpoch int64
	Fenced      bool    // it has been without a controller for a session timeout, or knows that the controller fenced it: it serves nobody
	SlowDisk    bool    // its disk is so slow that it asked not to be waited for; see Config.SlowSync
	Controller  int32   // active controller, -1 unknown
	Term        int64   // raft term of the metadata quorum
	Metadata    int64   // offset of the metadata log up to which this node has applied
	Level       int16   // of the metadata's format, as it was finalized; see Admin.RaiseLevel
	Known       int16   // the highest level that this node knows
	Voters      []int32 // of the metadata quorum, as far as this node has applied
	Observers   []int32 // who follow it without a vote
	Brokers     []BrokerStatus
	Topics      []TopicStatus
	Replicas    []ReplicaStatus // of this node
	Repairs     []RepairStatus  // of this node, the last ones
	Space       SpaceStatus
	// Coordinators are the group coordinators on this node: one for each partition of __consumer_offsets that it leads.
	Coordinators []CoordinatorStatus
	// Compactions are the logs of this node whose topic has cleanup.policy=compact, as of the last look at them.
	Compactions []CompactionStatus
}

// BrokerStatus is one registered node.
type BrokerStatus struct {
	ID           int32
	Addr         string
	Rack         string
	Epoch        int64
	Fenced       bool
	ShuttingDown bool
	Known        int16 // the highest level of the metadata that the node knows
}

// TopicStatus is one topic.
type TopicStatus struct {
	Name       string
	ID         log.TopicID
	Partitions []PartitionStatus
}

// PartitionStatus is one partition as the controller committed it.
type PartitionStatus struct {
	Partition      int32
	Leader         int32 // -1 without
	LeaderEpoch    int32
	PartitionEpoch int32
	Replicas       []int32
	ISR            []int32
	ELR            []int32 // who left the ISR while it was too small, and may lead
	LastKnownELR   []int32 // while nobody is in sync: who was in sync or eligible, and may have lost something since. The one with the most leads when all are back and nobody eligible is left
	Recovering     bool    // the leader was elected though it may lack committed records, and has not led with success yet
}

// ReplicaStatus is one replica on this node.
type ReplicaStatus struct {
	Topic     string
	TopicID   log.TopicID // a deleted topic's replica may be there for a moment beside that of a new one of the same name
	Partition int32
	Role      string // leader, follower, idle, offline
	Offsets   log.Offsets
	Err       error // why it is offline

	// The state of the partition that the replica acts on: what the controller committed, as far as the replica has heard. -1 before it has heard of any.
	LeaderEpoch, PartitionEpoch int32
	ISR                         []int32
	Followers                   []FollowerStatus // of a leader
}

// FollowerStatus is what a leader knows of another replica.
type FollowerStatus struct {
	ID           int32
	BrokerEpoch  int64 // of the life that fetched last; -1 unknown
	Confirmed    int64 // up to here it has what the leader has, durably if flush.messages is 1; -1 before its first fetch in this leader epoch
	LastCaughtUp time.Time
	InSync       bool
	Counts       bool // the high watermark waits for it: it is in sync, or the leader has proposed that it is
}

// CompactionStatus is how far the compaction of one log on this node is.
type CompactionStatus struct {
	Topic      string
	Partition  int32
	FirstDirty int64   // compacted up to there
	DirtyRatio float64 // the share of what may be compacted that was not, in bytes
	DirtyBytes int64

	Passes        int64 // of this life of the node, as are the bytes
	LastRun       time.Time
	LastTook      time.Duration
	ReadBytes     int64
	WrittenBytes  int64
	ReleasedBytes int64 // by which the log became smaller

	Err     error // why the last pass failed: the log is left alone until RetryAt
	RetryAt time.Time
}

// CoordinatorStatus is the coordinator of the groups of one partition of __consumer_offsets.
type CoordinatorStatus struct {
	Partition   int32
	LeaderEpoch int32
	State       string        // loading, serving, stopped
	LoadTime    time.Duration // what it took to load the groups' state
	LoadEntries int64         // that were read
	LoadBytes   int64
	LogBytes    int64 // what a load would read now, about: kept to a small multiple of the state
	Waiting     int   // requests that are not answered yet, joins that wait for others included
	Err         error // why it stopped, if that was not an orderly end
}

// Status returns a snapshot; it costs a copy of the metadata and takes no lock for long. After Close it is the zero Status but for NodeID.
func (n *Node) Status() Status {
	s := Status{NodeID: n.cfg.NodeID, Addr: n.addr, Controller: -1, Space: n.space()}
	select {
	case <-n.stop:
		return s
	default:
	}
	img := n.ctl.Image()
	s.ClusterID, s.Metadata, s.BrokerEpoch = img.ClusterID, img.Offset, n.broker.BrokerEpoch()
	s.Fenced = n.broker.Fenced()
	s.SlowDisk = n.broker.SlowDisk()
	s.Level, s.Known = img.Level, n.cfg.Levels.Highest()
	s.Voters, s.Observers = img.Quorum.Voters(), img.Quorum.Observers()
	if id, term, ok := n.ctl.Leader(); ok {
		s.Controller, s.Term = id, term
	}
	for _, b := range img.Brokers {
		s.Brokers = append(s.Brokers, BrokerStatus{ID: b.ID, Addr: b.Addr, Rack: b.Rack, Epoch: b.Epoch, Fenced: b.Fenced, ShuttingDown: b.InControlledShutdown, Known: max(b.Known, controller.LevelBase)})
	}
	slices.SortFunc(s.Brokers, func(a, b BrokerStatus) int { return cmp.Compare(a.ID, b.ID) })
	for _, t := range img.Topics {
		ts := TopicStatus{Name: t.Name, ID: t.ID}
		for i, p := range t.Partitions {
			ts.Partitions = append(ts.Partitions, PartitionStatus{
				Partition: int32(i), Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch,
				Replicas: slices.Clone(p.Replicas), ISR: slices.Clone(p.ISR), ELR: slices.Clone(p.ELR), LastKnownELR: slices.Clone(p.LastKnownELR),
				Recovering: p.Recovering,
			})
		}
		s.Topics = append(s.Topics, ts)
	}
	slices.SortFunc(s.Topics, func(a, b TopicStatus) int { return cmp.Compare(a.Name, b.Name) })
	for _, r := range n.broker.Replicas() {
		s.Replicas = append(s.Replicas, replicaStatus(&r))
	}
	for _, r := range n.broker.Repairs() {
		s.Repairs = append(s.Repairs, repairStatus(r))
	}
	for _, g := range n.broker.Coordinators() {
		s.Coordinators = append(s.Coordinators, CoordinatorStatus{
			Partition: g.Partition, LeaderEpoch: g.LeaderEpoch, State: g.Phase.String(), LoadTime: g.Load.Duration, LoadEntries: g.Load.Entries, LoadBytes: g.Load.Bytes,
			LogBytes: g.LogBytes, Waiting: g.Waiting, Err: g.Err,
		})
	}
	for _, c := range n.broker.Cleanings() {
		s.Compactions = append(s.Compactions, CompactionStatus{
			Topic: c.Topic, Partition: c.Partition, FirstDirty: c.FirstDirty, DirtyRatio: c.DirtyRatio, DirtyBytes: c.DirtyBytes, Passes: c.Passes, LastRun: c.LastRun, LastTook: c.LastTook,
			ReadBytes: c.ReadBytes, WrittenBytes: c.WrittenBytes, ReleasedBytes: c.ReleasedBytes, Err: c.Err, RetryAt: c.RetryAt,
		})
	}
	return s
}

// Metadata is Status.Metadata, at no cost; -1 before there is any.
func (n *Node) Metadata() int64 { return n.ctl.Image().Offset }

// Fenced is Status.Fenced, at no cost.
func (n *Node) Fenced() bool { return n.broker.Fenced() }

// Replica is one of Status.Replicas, at the cost of that one; ok is false if the node does not have it open.
func (n *Node) Replica(topic string, partition int32) (s ReplicaStatus, ok bool) {
	r, ok := n.broker.Replica(topic, partition)
	if !ok {
		return s, false
	}
	st := r.Status()
	return replicaStatus(&st), true
}

func replicaStatus(r *replication.Status) ReplicaStatus {
	s := ReplicaStatus{
		Topic: r.Topic, TopicID: r.TopicID, Partition: r.Partition, Role: roleName(r.Role), Offsets: r.Offsets, Err: r.Err,
		LeaderEpoch: r.State.LeaderEpoch, PartitionEpoch: r.State.PartitionEpoch, ISR: r.State.ISR,
	}
	for _, f := range r.Followers {
		s.Followers = append(s.Followers, FollowerStatus{
			ID: f.ID, BrokerEpoch: f.BrokerEpoch, Confirmed: f.FetchOffset, LastCaughtUp: f.LastCaughtUp, InSync: f.InSync, Counts: f.Counts,
		})
	}
	return s
}

// Topic finds a topic; ok is false if the node does not know it.
func (s *Status) Topic(name string) (t TopicStatus, ok bool) {
	for _, t := range s.Topics {
		if t.Name == name {
			return t, true
		}
	}
	return TopicStatus{}, false
}

// String is a table for people.
func (s Status) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "node %d at %q, cluster %s, controller %d (term %d), voters %v, observers %v\n", s.NodeID, s.Addr, s.ClusterID, s.Controller, s.Term, s.Voters, s.Observers)
	for _, r := range s.Replicas {
		fmt.Fprintf(&b, "  %-40s %-9s start %-10d hw %-10d synced %-10d end %d\n", fmt.Sprintf("%s-%d", r.Topic, r.Partition), r.Role,
			r.Offsets.LogStartOffset, r.Offsets.HighWatermark, r.Offsets.SyncedEndOffset, r.Offsets.LogEndOffset)
	}
	for _, c := range s.Compactions {
		if c.Err != nil {
			fmt.Fprintf(&b, "  %-40s not compacted until %v: %v\n", fmt.Sprintf("%s-%d", c.Topic, c.Partition), c.RetryAt.Format(time.DateTime), c.Err)
		}
	}
	return b.String()
}

func roleName(r replication.Role) string {
	switch r {
	case replication.Leader:
		return "leader"
	case replication.Follower:
		return "follower"
	case replication.Offline:
		return "offline"
	}
	return "idle"
}
