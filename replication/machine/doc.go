// Package machine decides for one replica of one partition: it is the leader/follower protocol of Kafka without a lock, a goroutine, a clock, a disk or a network.
//
// The driver (package replication) tells it what happened and does what it asks for:
//
//	              Apply(state)        leader == me          leader == another
//	Idle ───────────────────────┬──────────────► Leader ◄──────────────► Follower
//	 ▲                          │                  │                        │
//	 └── no leader, not mine ───┘                  └──── StorageFailed ─────┘
//	                                                         ▼
//	                                                      Offline  (until the log is opened again: by another Machine)
//
// A leader keeps the progress of every other replica, the in-sync set and the high watermark:
//
//	follower 2  ──────────────────────●                confirmed offsets: what the replica holds for certain. With Settings.Synced
//	follower 3  ───────────────●                       that is what survives power loss there, the leader's own included.
//	leader      ──────────────────────────●────────┐
//	                           │          │        │
//	                     HighWatermark  synced  LogEnd
//
//	ISR state:   Committed ──expand──► PendingExpand   maximal ISR = ISR + the newcomer
//	                 ▲  │                    │
//	                 │  └─────shrink───► PendingShrink maximal ISR = ISR, nobody left out yet
//	                 └── committed by the controller, newer metadata, or certainly not applied
//
// A planned move of the leadership (State.HandOver) is a proposal, too, of the same in-sync set: see handover.go.
//
// Invariants:
//   - The high watermark of a leader never falls. It is at most the smallest confirmed offset of the maximal ISR, and it moves only while the committed ISR has Settings.MinISR members (KIP-966).
//   - Confirmed offsets count only if the follower fetched in the current leader epoch.
//   - There is one ISR proposal in flight at most. Whatever the controller may have applied is inside the maximal ISR.
//   - A leader whose word that it hands over may be on its way appends nothing.
//   - A Waiter is completed once: when the high watermark (or the leader's own confirmed offset) has reached it, or when leadership is lost.
//
// A Machine is not safe for concurrent use; its methods take the time as an argument, write what is to be done into an [Effects] that the caller reuses, and allocate nothing on the paths of
// append and fetch. It imports the standard library only, never ranges over a map and never asks for the time or for randomness.
//
// It does not talk to the controller, does not read the log (the driver passes positions and the answers of the epoch cache) and does not know requests or error codes.
//
// Sources: KIP-101, KIP-279 and KIP-595 (truncation by epoch), KIP-497 (AlterPartition), KIP-841 and KIP-903 (eligible members), KIP-966 (min ISR and the high watermark).
package machine
