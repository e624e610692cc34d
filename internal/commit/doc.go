// Package commit is the group commit of one node: one engine syncs the logs that have unsynced appends.
//
//	          Request            a worker takes it          Sync returned
//	idle ───────────────> queued ─────────────────> running ────────────> idle
//	                        ^                          │ Request
//	                        │      Sync returned       v
//	                        └────────────────── running, requested again
//
// An append asks for a sync and waits for its target to say that the log is durable so far. Requests that come while the target's sync is
// running share the one sync after it, so that the number of syncs follows the disk and not the number of writers. There is no
// artificial delay: a lone writer waits for one sync and nothing else.
//
// # Invariants
//
// Every Request is followed by a Sync of that target which starts after it, unless the handle or the engine is closed. One target is never
// synced twice at the same time. At most Config.Workers syncs run at the same time. Targets are served in the order of their first
// request; one that is requested again while it runs goes to the end.
//
// # Concurrency
//
// All methods are safe for concurrent use. Request and RequestAfter never block: they take at most a mutex that is held for a few
// instructions. Workers are goroutines of the engine, started by requests and ended when nothing is queued, so that an idle engine has
// no goroutine and no timer; Engine.Close waits for them. No lock is held while a Sync runs.
//
// # What it does not do
//
// It knows no file and no error: the target syncs itself, keeps the result and tells whoever waits. It never repeats a sync.
// Which targets a worker takes at once is decided behind the strategy type, where another one may take many.
//
// In Kafka flush.messages and flush.ms ask each log to be flushed by itself (UnifiedLog.flush); sharing the sync is this library's own.
package commit
