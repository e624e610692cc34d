package broker

import (
	"context"
	"log/slog"
	"time"

	"github.com/insynclog/insync/internal/commit"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
)

// Config sets up a Broker.
type Config struct {
	NodeID    int32
	Addr      string           // advertised "host:port"; "" when the node does not listen (a single node used in process only)
	Rack      string           // broker.rack
	Voters    map[int32]string // addresses of the metadata quorum's members, this node's included
	Directory *log.Directory
	Commit    *commit.Engine
	Network   transport.Network // to reach the other nodes

	Static     map[string]string // broker configs under Kafka's names, as the application set them
	AutoCreate bool              // auto.create.topics.enable

	HeartbeatInterval time.Duration // broker.heartbeat.interval.ms, 2 s
	SessionTimeout    time.Duration // broker.session.timeout.ms, 9 s: without a controller for that long the broker stops serving (fault-model R12)
	LagTime           time.Duration // replica.lag.time.max.ms, 30 s
	FetchMaxWait      time.Duration // replica.fetch.wait.max.ms, 500 ms

	Events Events
	Logger *slog.Logger
}

// Events are called without locks and must not block. Any may be nil.
type Events struct {
	LeaderChanged func(topic string, partition, leader, epoch int32) // as this node applied it
	Replica       replication.Events
	Fenced        func()
}

// Broker is what one node answers: it owns the node's replicas, fetchers, fetch sessions and its life in the cluster. It implements transport.Handler.
type Broker struct{ _ int }

var _ transport.Handler = (*Broker)(nil)

// New returns a broker that answers ApiVersions and raft messages only, until Start. No goroutine runs yet.
func New(c Config) (*Broker, error) { panic("stub") }

// Start joins the cluster: waits for an active controller, registers, opens the logs of the partitions assigned to this node (in parallel), unfences, and returns when requests are
// served. ctx bounds the start only. ctl is used until Close.
func (b *Broker) Start(ctx context.Context, ctl *controller.Controller) error { panic("stub") }

// Versions and Serve implement transport.Handler.
func (b *Broker) Versions() map[int16]transport.VersionRange { panic("stub") }
func (b *Broker) Serve(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	panic("stub")
}

// SendRaft queues raft messages for a peer; it never blocks. For controller.Config.Send.
func (b *Broker) SendRaft(to int32, msgs [][]byte) { panic("stub") }

// HandOver leaves the cluster in order: a controlled shutdown that moves every leadership to another in-sync replica, until done or ctx ends.
func (b *Broker) HandOver(ctx context.Context) error { panic("stub") }

// BrokerEpoch is the epoch of the present registration, -1 before it.
func (b *Broker) BrokerEpoch() int64 { panic("stub") }

// Replicas returns the status of all partitions on this node, by topic and partition.
func (b *Broker) Replicas() []replication.Status { panic("stub") }

// Replica finds one.
func (b *Broker) Replica(topic string, partition int32) (*replication.Replica, bool) { panic("stub") }

// Peers is the client that reaches the other nodes and, by function call, this one.
func (b *Broker) Peers() *transport.Client { panic("stub") }

// Close stops fetchers, answers what waits, closes replicas (not the directory) and waits for all goroutines. It does not talk to other nodes.
func (b *Broker) Close() error { panic("stub") }
