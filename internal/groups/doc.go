// Package groups drives the group coordinators of a node: one for each partition of __consumer_offsets that the node leads.
//
//	Submit ─▶ shard ──not writing──▶ machine: Step, Flush ──nothing to write──▶ answers
//	            │                              │
//	            └──writing──▶ queue            └─entries─▶ one batch ─▶ Replica.Append ─ ─ ▶ committed ─▶ Written ─▶ answers
//	                            ▲                                                                            │
//	                            └───────────── decided together, written as the next batch ◀─────────────────┘
//
//	Lead ─▶ loading: the log is read up to where it ended when the epoch began ─▶ serving ─▶ stopped: Resign, a newer epoch, Close
//
// One write is under way at a time in each shard. What comes meanwhile waits and is decided and written together, so that many commits share a batch and a sync, and the machine never has to know
// of two outcomes that are open.
//
// Invariants:
//   - A reply that tells of a change is sent when the change is committed, below the high watermark (P11); reads see committed state only.
//   - State is what a reload of the log would give. An append whose outcome is open holds the shard up: its clients are told COORDINATOR_NOT_AVAILABLE after the commit timeout, the machine is not told
//     anything before the outcome is known or the leadership is lost, in which case the state is thrown away.
//   - Every request is answered exactly once: by the machine, by the commit timeout, or with ErrNotCoordinator when the shard stops.
//   - A shard appends under the leader epoch that it was loaded for, or not at all.
//   - The log that a load has to read is bounded by a small multiple of the state: the state is written again when the log has grown, and what is in front of it goes.
//
// Concurrency: Coordinators is safe for concurrent use. Each shard has one mutex, under which nothing runs but the machine; appends, answers and notices happen without it. Goroutines are started with
// Config.Spawn, whose owner waits for them; each ends with its round or, when loading, when its shard stops.
//
// It knows no wire format and no error code of the protocol; what groups are is package machine's business, what the entries look like package entry's.
//
// Sources: kafka-semantics: groups and offsets; KIP-62, KIP-211, KIP-848.
package groups
