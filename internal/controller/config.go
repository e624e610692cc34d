package controller

import (
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/configs"
	"github.com/insynclog/insync/internal/controller/machine"
	"github.com/insynclog/insync/internal/dice"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
)

// Config sets up a Controller. Durations of zero are the defaults named.
type Config struct {
	NodeID    int32
	ClusterID string // "" = made up by the first controller of a new cluster; otherwise must match
	// Voters found the quorum, this node among them, the same list on each of them. None: the node waits for the leader of a quorum that it was added to. Once a quorum was changed the list counts no more.
	Voters []int32
	Addrs  map[int32]string // of the Voters

	// Founds is asked by Start, when there are several Voters and the directory is empty, whether the node founds the quorum with the others. False: it has come back without its disk to a quorum that exists, and
	// waits for its leader as a node without Voters does. level is the one up to which all of them know the metadata. An error ends Start. nil: it founds, and the others know what it does.
	Founds func() (founds bool, level int16, err error)

	// Levels is what the node knows of the metadata's format. nil: this version. For tests.
	Levels *machine.Levels

	FS          vfs.FS
	Dir         string      // the directory of the metadata log, "…/__cluster_metadata-0"; nobody else opens it
	DirectoryID log.TopicID // identity of the disk the node lives on

	// Send hands raft messages to a peer. It must not block: what cannot be sent is dropped, raft repeats it. Each element is one encoded message; the slice and its elements are not kept by the controller.
	Send func(to int32, msgs [][]byte)

	// Peer is told where a member is, before anything is sent to it, and when that changes. It is called on the controller's goroutine and by Start, and must not block.
	Peer func(id int32, addr string)

	// Low tells that little is left of the space that is kept for metadata: what only adds to it is refused then. nil: there is always enough.
	Low func() bool

	Tick               time.Duration // 100 ms
	ElectionTicks      int           // 10 (Kafka: controller.quorum.election.timeout.ms)
	HeartbeatTicks     int           // 2
	SessionTimeout     time.Duration // broker.session.timeout.ms, 9 s
	SnapshotBytes      int64         // metadata.log.max.record.bytes.between.snapshots, 20 MiB
	SegmentBytes       int32         // metadata.log.segment.bytes, 64 MiB; no entry may be larger
	DefaultPartitions  int32         // num.partitions, 1
	DefaultReplication int16         // default.replication.factor; 0 = min(3, registered brokers)
	PreferredInterval  time.Duration // leader.imbalance.check.interval.seconds, 300 s

	// Static are the broker configs that the nodes were started with, the same on every node (min.insync.replicas, unclean.leader.election.enable, delete.topic.enable,
	// auto.leader.rebalance.enable count here).
	Static map[string]string

	Rand   *rand.Rand // placement, uuids; nil = seeded by the system. Used by the controller's goroutine alone.
	Logger *slog.Logger
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (c Config) withDefaults() Config {
	setDefault(&c.FS, vfs.OS())
	setDefault(&c.Tick, 100*time.Millisecond)
	setDefault(&c.ElectionTicks, 10)
	setDefault(&c.HeartbeatTicks, 2)
	setDefault(&c.SessionTimeout, 9*time.Second)
	setDefault(&c.SnapshotBytes, 20<<20)
	setDefault(&c.SegmentBytes, 64<<20)
	setDefault(&c.DefaultPartitions, 1)
	setDefault(&c.PreferredInterval, 300*time.Second)
	setDefault(&c.Logger, slog.New(slog.DiscardHandler))
	if c.Rand == nil {
		c.Rand = dice.Rand()
	}
	if c.Send == nil {
		c.Send = func(int32, [][]byte) {}
	}
	if c.Peer == nil {
		c.Peer = func(int32, string) {}
	}
	c.Voters = slices.Sorted(slices.Values(c.Voters))
	return c
}

func (c Config) validate() error {
	var problems []string
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if c.NodeID < 0 {
		add("node id %d is negative", c.NodeID)
	}
	if len(c.Voters) > 0 && !slices.Contains(c.Voters, c.NodeID) {
		add("node %d is not among the voters %v", c.NodeID, c.Voters)
	}
	for i, id := range c.Voters {
		if id < 0 {
			add("voter id %d is negative", id)
		}
		if i > 0 && c.Voters[i-1] == id {
			add("voter %d is named twice", id)
		}
	}
	if c.Dir == "" {
		add("no directory")
	}
	if c.Tick < 0 || c.SessionTimeout < 0 || c.PreferredInterval < 0 || c.SnapshotBytes < 0 || c.SegmentBytes < 0 {
		add("a duration or size is negative")
	}
	if c.HeartbeatTicks < 1 || c.ElectionTicks <= c.HeartbeatTicks {
		add("%d election ticks must be more than %d heartbeat ticks, and those at least 1", c.ElectionTicks, c.HeartbeatTicks)
	}
	if c.DefaultPartitions < 1 || c.DefaultReplication < 0 {
		add("default partitions %d and replication factor %d must be positive", c.DefaultPartitions, c.DefaultReplication)
	}
	if err := configs.ValidateStatic(c.Static); err != nil {
		add("%s", err)
	}
	if problems != nil {
		return &ConfigError{Problems: problems}
	}
	return nil
}

func (c Config) machine(founders []int32, level int16) machine.Config {
	var voters []machine.Member
	for _, id := range founders {
		voters = append(voters, machine.Member{ID: id, Addr: c.Addrs[id], Voter: true})
	}
	return machine.Config{
		ClusterID: c.ClusterID, Voters: voters, SessionTimeout: c.SessionTimeout, DefaultPartitions: c.DefaultPartitions, DefaultReplication: c.DefaultReplication,
		PreferredInterval: c.PreferredInterval, Static: c.Static, Rand: c.Rand, Levels: c.Levels, FoundLevel: level,
	}
}

// raftID is a node's id in raft, where 0 means nobody.
func raftID(node int32) uint64 { return uint64(node) + 1 }

// nodeID is the reverse of raftID; 0 gives -1, nobody.
func nodeID(raft uint64) int32 {
	if raft > math.MaxInt32 {
		return -1
	}
	return int32(raft) - 1
}
