// Package replication is one partition's replica: leader and follower roles, in-sync replicas, high watermark.
//
//	  client ──Append──► Replica (leader) ◄──ReadFollower── fetch of another node ◄── Fetcher ── Replica (follower)
//	                       │ lock                                                        │ lock
//	                       ├─ machine: decides                                           ├─ machine: still the same leader and epoch?
//	                       ├─ log: append                                                ├─ log: append verbatim, or truncate
//	                       └─ unlock ─► sync, wake, answer, propose                      └─ unlock ─► sync, wake
//
//	LogStartOffset     HighWatermark      synced on the leader       LogEndOffset
//	      |── consumers ─────|                    |                       |
//	      |── followers ──────────────────────────────────────────────────|
//
// An offset is confirmed by a replica when it is synced there (Settings.FlushMessages 1), else when it is written. Followers fetch with their confirmed end, so that a fetch is the proof of what they
// have; the high watermark is what all in-sync replicas have confirmed, the leader included. Leader and followers sync in parallel: a follower's waiting fetch is woken by the append, not by the
// leader's sync.
//
// # Planned moves
//
// Where metadata says so (State.HandOver) a leader lets another replica catch up, holds appends back for the last round trip, and tells the controller that the other one may lead: what only the leader had
// moves with the leadership. Appends that were held back are made when the leader stays, and are told ErrNotLeader when it does not.
//
// # Division
//
// Package machine decides and does nothing; Replica holds the lock, runs the machine and the log, lets the lock go and then does what calls out: answers, wake-ups, sync requests, proposals,
// events. Fetcher is the only goroutine, one per node followed.
//
// # Concurrency
//
// All types are safe for concurrent use. One mutex per replica; it is held across writes to the log's files but not across syncs (but for those of truncation and of a leader epoch's start), and
// never while anything is called that could wait. Callbacks run without it, on whichever goroutine caused them, and may call the replica again, except for Close.
//
// # What it does not do
//
// It knows no wire format and no Kafka error code (internal/broker translates), elects nobody (the controller does), keeps no fetch sessions (the Source does), and times no request out: the owner
// of a Pending calls Fail.
//
// Sources: KIP-101, KIP-279, KIP-392, KIP-497, KIP-595 (divergence in fetches), KIP-841, KIP-903, KIP-951, KIP-966.
package replication
