// Package cluster is what an application embeds: a Node is a Kafka broker and a member of the metadata quorum inside the process.
//
//	node, err := cluster.Start(ctx, cluster.Config{Dir: "data", Listen: "127.0.0.1:9092"})
//	if err != nil { … }
//	defer node.Close()
//
//	p, err := producer.New(producer.Config{Client: node.Client()}) // by function call: no socket, no encoding
//
// A cluster is several nodes, in one process or in several: founded together, with the same list of Voters, or grown from one node, see below.
//
//	      application                          application
//	┌──────────┴──────────┐              ┌──────────┴──────────┐
//	│ producer  consumer  │              │ any Kafka client    │
//	└─────┬─────────┬─────┘              └──────────┬──────────┘
//	      │ function│calls                          │ Kafka's protocol
//	┌─────┴─────────┴─────┐   fetch, raft   ┌───────┴─────────────┐
//	│       Node 1        │◄───────────────►│       Node 2        │
//	│ broker · controller │ transport.Network │ broker · controller │
//	│ log.Directory       │                 │ log.Directory       │
//	└─────────────────────┘                 └─────────────────────┘
//
// # What a node does and does not do to its process
//
// Start returns when the node can take requests. A node never touches signals, never exits the process, reads no environment variable, writes to no logger but the one it is
// given, and keeps nothing in package variables; two nodes of one cluster or of two may live side by side. [Node.Close] stops it at once and waits for every goroutine;
// [Node.Shutdown] hands its leaderships over first. A directory that another node has open is refused with [log.ErrDirectoryLocked].
//
// # Growing and shrinking
//
// The list of Voters founds a cluster and counts no more afterwards: who belongs to it is metadata, and survives every restart.
//
//	node2, err := cluster.Start(ctx, cluster.Config{NodeID: 2, Dir: "data2", Listen: "127.0.0.1:9093", Join: node1.Addrs()})
//	err = admin.AddVoter(ctx, 2)
//
// A node with Join becomes an observer: it follows the metadata without a vote, and serves partitions like every other. [Admin.AddVoter] gives it a vote, [Admin.RemoveVoter] takes it again, and
// [Admin.RemoveNode] takes the node out of the cluster, once [Admin.Reassign] has moved its replicas elsewhere; it stops with [ErrRemoved]. Three voters survive the loss of one, five that of two; two survive
// none, so pass through two quickly. A node whose disk is lost is somebody else: remove the old one, then let the new one join, under the same id if you like.
//
// # Durability
//
// With the zero Config an acknowledged record (acks=all) is on stable storage on at least [TopicDefaults].MinInSyncReplicas replicas: two of three, the majority in general. See the
// guarantees page of the documentation for what survives what.
//
// # Concurrency
//
// All methods of Node and Admin are safe for concurrent use. Functions of a Listener run on goroutines of the node, without locks, and must not block.
package cluster
