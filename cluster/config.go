package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/insynclog/insync/internal/broker"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/transport"
)

// Config sets up a Node. The zero value is a single node in memory that does not listen.
type Config struct {
	// NodeID identifies the node in its cluster (Kafka: node.id). 0 means 1.
	NodeID int32

	// Dir is the data directory; it is created if it does not exist. "" keeps everything in memory: the same code, no files.
	Dir string

	// Listen is the address ("host:port", port 0 picks one) on which Kafka clients and other nodes reach this one; "" does not listen, which only a single node can do.
	// An address beyond loopback needs a Network with TLS, and Security or certificates for clients, or else Insecure: a node is not opened to the world by accident.
	Listen string

	// Listener is used instead of Listen if it is not nil; the node closes it. It is the way to know the port of every node before the first one starts.
	Listener net.Listener

	// Advertise is the address told to clients (Kafka: advertised.listeners). "" means the listener's own.
	Advertise string

	// Insecure allows an address beyond loopback without TLS or without authentication.
	Insecure bool

	// Security says who may connect and do what. nil: whoever can connect may do everything.
	Security *Security

	// Network is what Listen and connections to other nodes use. nil means transport.TCP(nil).
	Network transport.Network

	// Limits bound what connections may cost the node.
	Limits transport.Limits

	// Voters found the cluster, this node among them, the same list on each of them (Kafka: controller.quorum.voters). nil means this node alone, unless it Joins. The first start waits until all of them are
	// there: a node with an empty directory cannot know by itself whether it is new or has lost its disk. Later any majority will do; and one that did lose its disk comes back by itself, and gets its vote
	// back when it has caught up, as long as a majority of the others is there. A node that founded a cluster alone has nobody to ask: after a loss of its disk let it Join. It counts at the first start only: who
	// votes afterwards is metadata, and changed by Admin.AddVoter and Admin.RemoveVoter.
	Voters []Voter

	// Join are addresses of nodes of a cluster that runs, any of them: this node becomes part of it, as an observer of the metadata quorum, when it starts, and is a broker as every other. A node that
	// is a member already starts without them. Join and Voters exclude each other.
	Join []string

	// ClusterID is the cluster's identity (Kafka: cluster.id). "" takes the directory's, or what the first controller of a new cluster makes up.
	ClusterID string

	// Rack is where the node stands (Kafka: broker.rack): replicas are spread over racks, and consumers read from a replica in their own.
	Rack string

	// AutoCreateTopics creates topics that clients ask for (Kafka: auto.create.topics.enable, on there, off here: a typo should not make a topic on disk).
	AutoCreateTopics bool

	// Topic holds the defaults of topics that do not set a value of their own.
	Topic TopicDefaults

	// MetadataSnapshotBytes is how much is added to the metadata log before the node writes a checkpoint of it, and gives up what it does not need any more (Kafka: metadata.log.max.record.bytes.between.snapshots). 0 means 20 MiB.
	MetadataSnapshotBytes int64

	// MetadataSegmentBytes is the size of a segment of the metadata log (Kafka: metadata.log.segment.bytes); nothing that changes at once may be larger. 0 means 64 MiB.
	MetadataSegmentBytes int32

	// Groups holds the settings of consumer groups.
	Groups GroupSettings

	// HeartbeatInterval is how often the node tells the controller that it lives (Kafka: broker.heartbeat.interval.ms). 0 means 2 s.
	HeartbeatInterval time.Duration

	// SessionTimeout is how long a node may be silent before its leaderships go to others (Kafka: broker.session.timeout.ms). 0 means 9 s. It is not waited for where the node's process has ended and its system
	// says so, by refusing connections: that takes less than half an ElectionTimeout.
	SessionTimeout time.Duration

	// ElectionTimeout is how long a voter waits for the active controller before it stands for election (Kafka: controller.quorum.election.timeout.ms). 0 means 1 s.
	ElectionTimeout time.Duration

	// ReplicaLagTime is how long a follower may lag before it leaves the ISR (Kafka: replica.lag.time.max.ms). 0 means 30 s.
	ReplicaLagTime time.Duration
	// SlowSync is what a sync of the disk may take: where most take as long, for 20 times that, the node is not waited for any more. It leaves the in-sync sets that are large enough without it (MinInSyncReplicas that are not slow
	// remain), gives what it leads in them to others, and comes back when its disk was fast for 60 times that. Kafka waits for such a node as long as it keeps up in ReplicaLagTime. 0 means 500 ms, negative never.
	SlowSync time.Duration
	// ScrubInterval is how often everything that is stored is read and checked. 0 means once a day, negative never.
	ScrubInterval time.Duration
	// ScrubRate is how many bytes a second that reads. 0 means 16 MiB, negative unlimited.
	ScrubRate int64

	// MaxBytes is how large the node's logs may be together before records from clients are refused (NOT_ENOUGH_REPLICAS, which clients repeat) until retention has made room. Reads, replication, groups and
	// metadata go on. 0 means no limit.
	MaxBytes int64

	// ReserveBytes of the disk are left free for replication, groups and metadata: below, records from clients are refused likewise, and below half of it what other nodes lead is not copied, but for the groups'. 0 means none: on
	// a disk that is full to the last byte records of clients, other nodes and groups wait for space, and metadata and what deletes use up a file of 4 MiB that is kept for that.
	ReserveBytes int64

	// MaxOpenSegments bounds how many segments of partitions have their files open at a time, each a descriptor and up to two memory mappings; those that were not used for longest are closed, and
	// opened again when they are needed. More are open while all are in use or have records that were not synced. 0 means half of the descriptors that the process may have, at most 8192; negative
	// means no bound.
	MaxOpenSegments int

	// Events tells the application what happens. All functions are optional.
	Events Listener

	// Logger receives the node's log. nil is silent.
	Logger *slog.Logger

	// FS is the disk that Dir names a place on; nil means the operating system's, or memory if Dir is empty. It is for package clustertest.
	FS vfs.FS

	// Wall is what the node's wall clock shows at a time; nil means that time. Records and commits get their times from it, and their ages are told by it; no timeout is. It is for package clustertest.
	Wall func(now time.Time) time.Time

	// Levels is what the node knows of the format of metadata; nil means what this version knows. It is for package clustertest.
	Levels *controller.Levels

	// Rand is the source of uuids, placement and jitter; nil is seeded by the system. It is for package clustertest.
	Rand *rand.Rand
}

// Voter is one member of the metadata quorum.
type Voter struct {
	ID   int32
	Addr string // "host:port"
}

// TopicDefaults are the values of topic settings that topics do not set themselves.
type TopicDefaults struct {
	// Partitions of a topic created without a number (Kafka: num.partitions). 0 means 1.
	Partitions int32
	// ReplicationFactor of a topic created without one (Kafka: default.replication.factor). 0 means min(3, nodes).
	ReplicationFactor int16
	// MinInSyncReplicas (Kafka: min.insync.replicas). 0 means a majority from replication factor 3 on (3→2, 5→3), else 1; Kafka's default is 1.
	MinInSyncReplicas int
	// FlushMessages (Kafka: flush.messages) is the number of records after which a log is synced. 0 means 1: an acknowledgement says that the record is on stable storage.
	// Negative never syncs because of a count: the acknowledgement then says that the record is in the page cache, as in Kafka.
	FlushMessages int64
	// FlushInterval (Kafka: flush.ms) is the time after which a log is synced. 0 means never because of time.
	FlushInterval time.Duration
	// SegmentBytes (Kafka: log.segment.bytes). 0 means 1 GiB.
	SegmentBytes int32
	// RetentionAge (Kafka: log.retention.ms). 0 means 7 days, negative for ever.
	RetentionAge time.Duration
	// RetentionBytes per partition (Kafka: log.retention.bytes). 0 means unlimited.
	RetentionBytes int64
	// MaxMessageBytes is the largest batch (Kafka: message.max.bytes). 0 means 1 MiB + 12.
	MaxMessageBytes int32
}

// static is the configuration under Kafka's names, as DescribeConfigs shows it and the broker reads it. Only what differs from the defaults is in it.
func (c *Config) static() map[string]string {
	m := map[string]string{"node.id": strconv.Itoa(int(c.NodeID)), "auto.create.topics.enable": strconv.FormatBool(c.AutoCreateTopics)}
	set := func(key string, v int64) {
		if v != 0 {
			m[key] = strconv.FormatInt(v, 10)
		}
	}
	if c.Rack != "" {
		m["broker.rack"] = c.Rack
	}
	set("connections.max.idle.ms", c.Limits.IdleTimeout.Milliseconds())
	set("max.connections", int64(c.Limits.Connections))
	set("max.connections.per.ip", int64(c.Limits.ConnectionsPerHost))
	set("broker.heartbeat.interval.ms", c.HeartbeatInterval.Milliseconds())
	set("broker.session.timeout.ms", c.SessionTimeout.Milliseconds())
	set("controller.quorum.election.timeout.ms", c.ElectionTimeout.Milliseconds())
	set("replica.lag.time.max.ms", c.ReplicaLagTime.Milliseconds())
	set("metadata.log.max.record.bytes.between.snapshots", c.MetadataSnapshotBytes)
	set("metadata.log.segment.bytes", int64(c.MetadataSegmentBytes))
	t := c.Topic
	set("num.partitions", int64(t.Partitions))
	set("default.replication.factor", int64(t.ReplicationFactor))
	set("min.insync.replicas", int64(t.MinInSyncReplicas))
	if t.FlushMessages < 0 {
		t.FlushMessages = 1<<63 - 1
	}
	set("log.flush.interval.messages", t.FlushMessages)
	set("log.flush.interval.ms", t.FlushInterval.Milliseconds())
	set("log.segment.bytes", int64(t.SegmentBytes))
	if t.RetentionAge < 0 {
		m["log.retention.ms"] = "-1"
	} else {
		set("log.retention.ms", t.RetentionAge.Milliseconds())
	}
	set("log.retention.bytes", t.RetentionBytes)
	set("message.max.bytes", int64(t.MaxMessageBytes))
	c.Groups.static(set, m)
	return m
}

// withDefaults fills in what is zero. It works on a copy.
func (c Config) withDefaults() Config {
	if c.NodeID == 0 {
		c.NodeID = 1
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.HeartbeatInterval, 2*time.Second)
	def(&c.SessionTimeout, 9*time.Second)
	def(&c.ElectionTimeout, time.Second)
	def(&c.ReplicaLagTime, 30*time.Second)
	def(&c.SlowSync, broker.DefaultSlowSync)
	return c
}

// validate returns all problems at once. It is called on a Config with its defaults.
func (c *Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("cluster config: "+format, args...)) }
	if c.NodeID < 0 {
		bad("NodeID %d is negative", c.NodeID)
	}
	if c.MetadataSnapshotBytes < 0 || c.MetadataSegmentBytes < 0 {
		bad("MetadataSnapshotBytes %d or MetadataSegmentBytes %d is negative", c.MetadataSnapshotBytes, c.MetadataSegmentBytes)
	}
	if c.Listen != "" && c.Listener != nil {
		bad("Listen and Listener are both set")
	}
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			bad("Listen %q: want host:port: %w", c.Listen, err)
		} else if err := c.exposed(c.Listen); err != nil {
			bad("Listen %q: %w", c.Listen, err)
		}
	}
	if c.Listener != nil && c.Listener.Addr() != nil {
		if err := c.exposed(c.Listener.Addr().String()); err != nil {
			bad("Listener at %s: %w", c.Listener.Addr(), err)
		}
	}
	if c.Security != nil {
		errs = append(errs, c.Security.validate(max(len(c.Voters), min(2*len(c.Join), 2)))...)
	}
	if err := c.Limits.Validate(); err != nil {
		errs = append(errs, err)
	}
	if c.Advertise != "" {
		if _, _, err := net.SplitHostPort(c.Advertise); err != nil {
			bad("Advertise %q: want host:port: %w", c.Advertise, err)
		}
		if !c.listens() {
			bad("Advertise %q without Listen", c.Advertise)
		}
	}
	errs = append(errs, c.validateVoters()...)
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"HeartbeatInterval", c.HeartbeatInterval}, {"SessionTimeout", c.SessionTimeout}, {"ElectionTimeout", c.ElectionTimeout}, {"ReplicaLagTime", c.ReplicaLagTime}} {
		if d.v < time.Millisecond {
			bad("%s %v is below 1ms", d.name, d.v)
		}
	}
	if c.MaxBytes < 0 || c.ReserveBytes < 0 {
		bad("MaxBytes %d or ReserveBytes %d is negative", c.MaxBytes, c.ReserveBytes)
	}
	if c.SessionTimeout <= c.HeartbeatInterval {
		bad("SessionTimeout %v is not above HeartbeatInterval %v", c.SessionTimeout, c.HeartbeatInterval)
	}
	return errors.Join(slices.Concat(errs, c.Topic.validate(), c.Groups.validate())...)
}

func (c *Config) validateVoters() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("cluster config: "+format, args...)) }
	seen := map[int32]bool{}
	for i, v := range c.Voters {
		if v.ID <= 0 {
			bad("Voters[%d]: ID %d is not positive", i, v.ID)
		}
		if seen[v.ID] {
			bad("Voters[%d]: ID %d is there twice", i, v.ID)
		}
		seen[v.ID] = true
		if len(c.Voters) > 1 {
			if _, _, err := net.SplitHostPort(v.Addr); err != nil {
				bad("Voters[%d]: address %q: want host:port: %w", i, v.Addr, err)
			}
		}
	}
	if len(c.Voters) > 0 && !seen[c.NodeID] {
		bad("NodeID %d is not among the Voters", c.NodeID)
	}
	for i, addr := range c.Join {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			bad("Join[%d]: address %q: want host:port: %w", i, addr, err)
		}
	}
	if len(c.Join) > 0 && len(c.Voters) > 0 {
		bad("Join and Voters are both set: a node founds a cluster or joins one")
	}
	if len(c.Join) > 0 && !c.listens() {
		bad("Join, but the node does not listen: set Listen or Listener")
	}
	if len(c.Voters) > 1 && !c.listens() {
		bad("%d Voters, but the node does not listen: set Listen or Listener", len(c.Voters))
	}
	return errs
}

func (t *TopicDefaults) validate() (errs []error) {
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("cluster config: Topic."+format, args...))
	}
	if t.Partitions < 0 {
		bad("Partitions %d is negative", t.Partitions)
	}
	if t.ReplicationFactor < 0 {
		bad("ReplicationFactor %d is negative", t.ReplicationFactor)
	}
	if t.MinInSyncReplicas < 0 {
		bad("MinInSyncReplicas %d is negative", t.MinInSyncReplicas)
	}
	if t.ReplicationFactor > 0 && t.MinInSyncReplicas > int(t.ReplicationFactor) {
		bad("MinInSyncReplicas %d is above ReplicationFactor %d", t.MinInSyncReplicas, t.ReplicationFactor)
	}
	if t.FlushInterval < 0 {
		bad("FlushInterval %v is negative", t.FlushInterval)
	}
	if t.SegmentBytes != 0 && t.SegmentBytes < 1<<20 {
		bad("SegmentBytes %d is below 1 MiB", t.SegmentBytes)
	}
	if t.MaxMessageBytes < 0 {
		bad("MaxMessageBytes %d is negative", t.MaxMessageBytes)
	}
	return errs
}

func (c *Config) listens() bool { return c.Listen != "" || c.Listener != nil }

// voters returns who founds the quorum as ids and addresses, nobody if the node joins one; self is this node's advertised address.
func (c *Config) voters(self string) (ids []int32, addrs map[int32]string) {
	addrs = map[int32]string{c.NodeID: self}
	for _, v := range c.Voters {
		ids = append(ids, v.ID)
		if v.ID != c.NodeID {
			addrs[v.ID] = v.Addr
		}
	}
	if len(ids) == 0 && len(c.Join) == 0 {
		ids = []int32{c.NodeID}
	}
	return ids, addrs
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
