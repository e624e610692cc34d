// Package broker is what a node answers to Kafka's requests: one file per API key, and the node's life around them.
//
//	          Serve ─▶ apis.go: key → versions → handler
//	                         │
//	Produce, Fetch, ListOffsets, …        CreateTopics, … ─▶ forward.go ─▶ active controller (here or over peers)
//	                         │                                                  │ commits
//	registry.go: name, id → replication.Replica                                 ▼
//	                         ▲                          controller.Subscribe ─▶ image (published at once)
//	                         │                                                  │
//	             apply.go: delete, lead, follow, configure  ◀───────────────────┘
//	                         │
//	replication.Fetcher ─▶ source.go: Fetch over transport.Client, in incremental sessions
//
//	JoinGroup, OffsetCommit, … ─▶ groups.go ─▶ groups.Coordinators, of the partitions of __consumer_offsets that the node leads
//
//	lifecycle.go: register, heartbeat, fence itself, hand over      isr.go: AlterPartition, batched
//
// Invariants:
//   - The metadata image is published before replicas follow it: a Metadata answer never knows less than a Produce answer.
//   - No replica leads or follows before this life of the node is registered and metadata has reached the registration: what it says earlier is about the life before.
//   - A node that had no answer from a controller for a session timeout serves no data. That is judged by the clock at each request, not by a timer.
//   - The batches of a connection's produce requests are appended in the order of the requests.
//   - A follower's progress is recorded once per fetch, before the fetch waits.
//   - An error of a lower layer becomes a code of the protocol in one place: errors.go.
//   - Data is deleted for a committed deletion or reassignment only; a directory that nobody claims is set aside.
//
// Concurrency: all methods of Broker are safe for concurrent use. Handlers do not block on other goroutines, except those that wait for the controller; a fetch that waits is parked and has no
// goroutine. No lock is held across a call into a replica, the controller or the transport. The goroutines are listed at Broker.
//
// What it does not do: what a group decides is package groups'; transactions (a client that asks for them is told "not supported"); authorization; quotas; decisions about leaders and ISR, which are the
// controller's and replication's; the format of data, which is the log's.
//
// Sources of truth: Kafka's protocol guide and the KIPs named at each handler; kmsg for the messages' layout, kerr for the codes.
package broker
