package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"sync"

	"github.com/insynclog/insync/internal/broker"
	"github.com/insynclog/insync/internal/commit"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
)

// Node is a Kafka broker and a member of the metadata quorum inside this process.
//
// What it owns, in the order in which it is built; it is taken down in the opposite one:
//
//	vfs.Watch       how long the disk keeps somebody waiting
//	log.Directory   the lock, identity and logs
//	commit.Engine   group commit, workers on demand
//	broker.Broker   replicas, fetchers, answers
//	transport.Server, one goroutine that accepts
//	controller.Controller, one goroutine
//	one goroutine that waits for a controller that gives up
type Node struct {
	cfg    Config
	addr   string // advertised; "" without a listener
	disk   *vfs.Watch
	dir    *log.Directory
	commit *commit.Engine
	broker *broker.Broker
	server *transport.Server // nil without a listener
	ctl    *controller.Controller
	client *transport.Client

	wg    sync.WaitGroup
	stop  chan struct{} // closed when the node begins to close
	built chan struct{} // closed when all parts are there, or never will be
	done  chan struct{} // closed when it is closed

	mu struct {
		sync.Mutex
		closing bool
		err     error // why the node stopped by itself
	}
	closeErr error // set before done is closed
}

// metadataLog is the directory of the metadata quorum's log, as in Kafka.
const metadataLog = "__cluster_metadata-0"

// Start starts a node and returns when it can take requests: when a quorum is there, the node is registered and its logs are open. ctx bounds the start only.
// Nodes of one cluster must be started side by side, since none of them is ready before a majority of the voters runs. A node that Joins is ready when it has caught up with the cluster's metadata.
//
// Errors: all problems of the Config at once; log.ErrDirectoryLocked; *log.IdentityError and *log.ForeignDirectoryError for a directory that belongs to another node, another cluster or
// another program; *log.CorruptError if the metadata log is damaged; ErrRemoved if the node was removed from the cluster; ErrTooOld if the node is of too old a version for the cluster; kerr.DuplicateVoter if the cluster knows its id with another data directory; what listening returned; ctx's error.
// After an error nothing is left behind but the files in Dir.
func Start(ctx context.Context, c Config) (*Node, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	n := &Node{cfg: c, stop: make(chan struct{}), built: make(chan struct{}), done: make(chan struct{})}
	err := n.build(ctx)
	close(n.built)
	if err == nil {
		err = n.broker.Start(ctx, n.ctl)
	}
	if err != nil {
		n.end(modeAbandon)
		if cause := n.Err(); cause != nil {
			err = cause // it stopped by itself, and what Start met is what follows from that
		}
		return nil, fmt.Errorf("start node %d: %w", c.NodeID, err)
	}
	return n, nil
}

// build makes the node's parts, and has them run except for the broker.
func (n *Node) build(ctx context.Context) error {
	c := &n.cfg
	fs, dir := c.FS, c.Dir
	if fs == nil && dir == "" {
		fs, dir = vfs.NewMem(), "node"
	} else if fs == nil {
		fs = vfs.OS()
	}
	n.disk = vfs.NewWatch(fs, max(c.SlowSync, 0))
	fs = n.disk
	var err error
	if n.dir, err = log.OpenDirectory(dir, log.DirectoryConfig{FS: fs, NodeID: c.NodeID, Logger: c.Logger, MaxOpenSegments: c.MaxOpenSegments}); err != nil {
		return err
	}
	clusterID := n.dir.ClusterID()
	if c.ClusterID != "" && clusterID != "" && c.ClusterID != clusterID {
		return &log.IdentityError{Path: dir, Field: "cluster.id", Stored: clusterID, Wanted: c.ClusterID}
	}
	if clusterID == "" {
		clusterID = c.ClusterID
	}

	network := c.Network
	if network == nil {
		network = transport.TCP(nil)
	}
	listener := c.Listener
	if listener == nil && c.Listen != "" {
		if listener, err = network.Listen(ctx, c.Listen); err != nil {
			return err
		}
	}
	if n.addr = c.Advertise; n.addr == "" && listener != nil {
		n.addr = listener.Addr().String()
	}

	security := broker.Security{}
	if c.Security != nil {
		if security, err = c.Security.build(); err != nil {
			closeListener(listener)
			return err
		}
	}
	credentials, err := c.Security.peerCredentials()
	if err != nil {
		closeListener(listener)
		return err
	}
	ids, addrs := c.voters(n.addr)
	n.commit = commit.New(commit.Config{OnPanic: func(_ commit.Target, v any, stack []byte) {
		n.fail(&PanicError{Where: "sync", Value: v, Stack: stack})
	}})
	n.broker, err = broker.New(broker.Config{
		NodeID: c.NodeID, Addr: n.addr, Rack: c.Rack, Voters: addrs, Join: c.Join, Directory: n.dir, Commit: n.commit, Network: network,
		Credentials: credentials, ACLs: security.ACLs,
		Static: c.static(), AutoCreate: c.AutoCreateTopics,
		HeartbeatInterval: c.HeartbeatInterval, SessionTimeout: c.SessionTimeout, LagTime: c.ReplicaLagTime, Stalled: n.disk.Stalled, Syncs: func() broker.Syncs { return broker.Syncs(n.disk.Syncs()) }, SlowSync: c.SlowSync,
		ScrubInterval: c.ScrubInterval, ScrubRate: c.ScrubRate,
		MaxBytes: c.MaxBytes, ReserveBytes: c.ReserveBytes, Wall: c.Wall, Levels: c.Levels,
		Events: n.brokerEvents(), Logger: c.Logger,
	})
	if err != nil {
		closeListener(listener)
		return err
	}
	n.client, err = transport.NewClient(transport.ClientConfig{
		Network: network, Local: &transport.Local{NodeID: c.NodeID, Handler: n.broker}, ClientID: fmt.Sprintf("node-%d", c.NodeID), Logger: c.Logger,
		Credentials: credentials,
	})
	if err != nil {
		closeListener(listener)
		return err
	}
	if listener != nil {
		server := transport.ServerConfig{Handler: n.broker, Limits: c.Limits, NewRequest: broker.NewRequest, Logger: c.Logger}
		if c.Security != nil {
			if server.Login, err = broker.NewLogin(n.broker, security); err != nil {
				closeListener(listener)
				return err
			}
		}
		if n.server, err = transport.NewServer(server); err != nil {
			closeListener(listener)
			return err
		}
		n.wg.Go(func() {
			if err := n.server.Serve(listener); err != nil {
				n.fail(fmt.Errorf("listen on %s: %w", n.addr, err))
			}
		})
	}
	const electionTicks = 10
	n.ctl, err = controller.Start(controller.Config{
		NodeID: c.NodeID, ClusterID: clusterID, Voters: ids, FS: n.dir.Needed(), Low: n.dir.Low, Dir: path.Join(dir, metadataLog), DirectoryID: n.dir.ID(), Send: n.broker.SendRaft,
		Addrs: addrs, Peer: n.broker.SetPeer, Founds: func() (bool, int16, error) { return n.broker.Founds(ctx) }, Levels: c.Levels,
		SnapshotBytes: c.MetadataSnapshotBytes, SegmentBytes: c.MetadataSegmentBytes,
		Tick: c.ElectionTimeout / electionTicks, ElectionTicks: electionTicks, SessionTimeout: c.SessionTimeout,
		DefaultPartitions: c.Topic.Partitions, DefaultReplication: c.Topic.ReplicationFactor, Static: c.static(), Rand: c.Rand, Logger: c.Logger,
	})
	if err != nil {
		return err
	}
	n.wg.Go(n.watchController)
	return nil
}

func closeListener(l net.Listener) {
	if l != nil {
		l.Close()
	}
}

// watchController stops the node when its metadata log can no longer be written: it could not be right any more.
func (n *Node) watchController() {
	select {
	case <-n.stop:
	case <-n.ctl.Done():
		n.fail(n.ctl.Err())
	}
}

// fail stops the node by itself. The goroutine that calls it is one that Close waits for, so the teardown gets one of its own.
func (n *Node) fail(err error) {
	n.mu.Lock()
	if n.mu.closing {
		n.mu.Unlock()
		return
	}
	n.mu.closing, n.mu.err = true, err
	n.mu.Unlock()
	close(n.stop)
	if f := n.cfg.Events.Stopped; f != nil {
		f(err)
	}
	go func() { // Close, and a Start under way, wait for it through n.done
		<-n.built
		n.finish(modeAbandon)
	}()
}

// brokerEvents translates the application's Listener.
func (n *Node) brokerEvents() broker.Events {
	l := n.cfg.Events
	ev := broker.Events{Fenced: l.Fenced, SlowDisk: l.SlowDisk, Failed: n.fail}
	if f := l.LeaderChanged; f != nil {
		ev.LeaderChanged = func(topic string, partition, leader, epoch int32) {
			f(LeaderChange{Topic: topic, Partition: partition, Leader: leader, Epoch: epoch})
		}
	}
	ev.Replica = replication.Events{}
	if f := l.Repair; f != nil {
		ev.Repair = func(r broker.Repair) { f(repairStatus(r)) }
	}
	if f := l.ISRChanged; f != nil {
		ev.Replica.ISRChanged = func(topic string, partition int32, isr []int32) {
			f(ISRChange{Topic: topic, Partition: partition, ISR: isr})
		}
	}
	if f := l.Truncated; f != nil {
		ev.Replica.Truncated = func(topic string, partition int32, from, to int64) {
			f(Truncation{Topic: topic, Partition: partition, From: from, To: to})
		}
	}
	if f := l.ReplicaOffline; f != nil {
		ev.Replica.Offline = func(topic string, partition int32, err error) {
			f(ReplicaError{Topic: topic, Partition: partition, Err: err})
		}
	}
	if f := l.PossibleLoss; f != nil {
		ev.PossibleLoss = func(topic string, id log.TopicID, partition, epoch int32, from int64) {
			f(Loss{Topic: topic, TopicID: id, Partition: partition, Epoch: epoch, From: from})
		}
	}
	if f := l.Space; f != nil {
		ev.Space = func(full bool) {
			s := n.space()
			s.Full = full
			f(s)
		}
	}
	if f := l.CompactionFailed; f != nil {
		ev.CompactionFailed = func(topic string, partition int32, err error) {
			f(CompactionError{Topic: topic, Partition: partition, Err: err})
		}
	}
	return ev
}

// ID returns the node's id.
func (n *Node) ID() int32 { return n.cfg.NodeID }

// Addrs returns the addresses on which Kafka clients reach this node: a bootstrap list. Empty if it does not listen.
func (n *Node) Addrs() []string {
	if n.addr == "" {
		return nil
	}
	return []string{n.addr}
}

// Client returns the node's client of the cluster: it calls this node directly, without a socket, without encoding, without a copy of the batch, and reaches other nodes over the network.
// Producers, consumers and Admin share it. It belongs to the node, which closes it; every call returns the same one.
func (n *Node) Client() *transport.Client { return n.client }

// Done is closed when the node has stopped, by Close or by itself.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err returns why the node stopped by itself, or nil.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.err
}

// Shutdown hands over: the node moves its leaderships to other in-sync replicas, each when that one has all its records, for which it waits up to min(1 s, SessionTimeout/4), gives up the role of controller, then closes. When ctx ends first it closes without waiting any longer and
// returns ctx's error with Close's. A node that finds no controller for a SessionTimeout has nothing left that anybody could take, and closes then: all nodes may be shut down at once.
func (n *Node) Shutdown(ctx context.Context) error {
	n.mu.Lock()
	closing := n.mu.closing
	n.mu.Unlock()
	if closing {
		return n.Close()
	}
	err := n.broker.HandOver(ctx)
	if errors.Is(err, broker.ErrClosed) {
		err = nil // somebody else closes the node meanwhile: there is nothing left to hand over
	}
	n.ctl.Resign(ctx)
	return errors.Join(err, n.Close())
}

// Close stops the node now, without handing anything over, and waits for all of its goroutines: logs are synced and closed cleanly, so that the next start needs no recovery.
// It is idempotent; every call returns the same error. Everything that was acknowledged is safe whether Close is called or not. It takes a few syncs of the disk for each log that was written to since its
// last, several logs at a time; what goes on beside (scrubs, compactions, checkpoints) ends at its next step.
//
// A disk that has not answered for some seconds is not waited for: ErrDiskHung. What is stuck in the system call, and what waits for it, goes on in the background then, keeps the directory's lock, so
// that nobody opens the directory meanwhile, and ends when the disk answers.
func (n *Node) Close() error { return n.end(modeClean) }

// Kill stops the node as kill -9 would: connections break, nothing more is written, no marker of a clean stop is left; only goroutines, descriptors and the lock are given back. For tests and
// demonstrations of failure.
func (n *Node) Kill() { n.end(modeAbandon) }

type closeMode int

const (
	modeClean closeMode = iota
	modeAbandon
)

func (n *Node) end(mode closeMode) error {
	n.mu.Lock()
	first := !n.mu.closing
	n.mu.closing = true
	n.mu.Unlock()
	if first {
		close(n.stop)
		n.finish(mode)
	}
	<-n.done
	return n.closeErr
}

// finish takes the node down and says so. It runs once.
func (n *Node) finish(mode closeMode) {
	n.closeErr = n.teardown(mode)
	close(n.done)
}
