// Package machine is the group coordinator of one partition of __consumer_offsets, as a state machine: members, generations and epochs, assignments, committed offsets.
//
//	request ──Step──▶ decided ──┬── nothing to write ────────────────────────────▶ reply
//	timer ───Tick──▶            └── entries ──Flush──▶ [append, replicate] ──Written──▶ state, reply
//
//	classic group (joins and syncs wait in memory)          consumer group (KIP-848: every step is written)
//
//	  Empty ──▶ PreparingRebalance ──▶ CompletingRebalance    group epoch ──▶ target assignment ──▶ each member
//	    ▲            ▲      │                   │               +1 when         computed by           gets there in
//	    └────────────┴──────┴────── Stable ◀────┘               members or      the assignor          its own time:
//	                                                            topics change                         revoke, then take
//
// What is written becomes state only when it is committed: between Flush and Written the state is that of before, Step, Tick and the like must not be called, and reads (Offsets, Describe, List) may.
// So a reply never tells what a failover could take back, a failed write has nothing to undo, and whatever waits for a write is decided together afterwards, in one write, whose entries are applied by
// the very code that loads them from the log.
//
// Invariants:
//   - State that is written is a function of the log: Replay of the entries in order makes it (fault-model S9). What is not (sessions, joins that wait) starts anew with Loaded.
//   - A partition is given to a member only when no other member may still work on it (KIP-848 T6).
//   - A commit is accepted only from a member in its present generation or epoch, or for a group without members.
//   - Deciding depends on nothing but the state, the arguments and Config.NewID.
//
// Concurrency: none. The owner has a lock, calls, lets the lock go, and then performs the Effects.
//
// It knows no wire format, no offsets of the log and no time but what it is told.
//
// Sources: KIP-62, KIP-211, KIP-345, KIP-394, KIP-429, KIP-814, KIP-848; kafka-semantics: groups and offsets.
package machine
