// Package insync is Apache Kafka's replicated log as a library: an application links it in and is a broker, alone or with others. This package
// holds only the map; what an application imports lies below it.
//
//	cluster                  Node: start, close, status, administration; what an application embeds
//	cluster/clustertest      whole clusters for tests, in virtual time if wanted
//	producer, consumer       the client APIs, for any Kafka cluster and for an embedded node
//	transport                networks (TCP, in memory, your own), framing, server, client
//	replication              one partition's replica: leader and follower, in-sync replicas, high watermark
//	log                      one partition's log on disk, a product of its own
//	segment                  one segment of a log: Kafka's files and indexes
//	log/record               Kafka's RecordBatch v2: view, builder, checks, compression
//	internal/broker          what a node answers, one file per API
//	internal/controller      the metadata quorum, on etcd's raft
//	internal/configs         Kafka's configuration keys
//	internal/commit          group commit: the syncs of a node, shared
//	internal/vfs             the one path to disk: the system's, or one in memory that can crash
//
// Imports point one way:
//
//	log/record <- segment <- log <- replication <- internal/broker <- cluster <- cluster/clustertest
//	transport  <- producer, consumer, internal/broker, internal/controller
//
// producer and consumer know only log/record and transport, transport knows nothing of logs, replication nothing of the wire. A test in this
// directory holds these directions and the other rules that a parser can check.
package insync
