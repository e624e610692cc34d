package replication

import (
	"slices"

	"github.com/insynclog/insync/log"
)

// Watcher is told that something a waiting fetch looks at has changed. Wake must not block; it is called without the replica's lock, perhaps more often than needed, and perhaps once more after
// Unwatch. Its dynamic type must be comparable (a pointer).
type Watcher interface{ Wake() }

// Watch registers w until Unwatch: it is woken when the bound for `as` moves, and when role, leader epoch or log (truncation) change, and when a leader goes on after a hand-over. Register first, then look: what changed before is not told.
func (r *Replica) Watch(w Watcher, as Reader) {
	if as < 0 || int(as) >= numReaders {
		as = ReadUncommitted
	}
	r.lock()
	defer r.mu.Unlock()
	r.mu.watchers[as] = append(r.mu.watchers[as], w)
}

// WatchLowWatermark registers w until Unwatch: it is woken when LowWatermark may give another answer.
func (r *Replica) WatchLowWatermark(w Watcher) {
	r.lock()
	defer r.mu.Unlock()
	r.mu.lows = append(r.mu.lows, w)
}

// Unwatch ends all registrations of w.
func (r *Replica) Unwatch(w Watcher) {
	r.lock()
	defer r.mu.Unlock()
	same := func(o Watcher) bool { return o == w }
	for as := range r.mu.watchers {
		r.mu.watchers[as] = slices.DeleteFunc(r.mu.watchers[as], same)
	}
	r.mu.lows = slices.DeleteFunc(r.mu.lows, same)
}

// collectWatchersLocked notes who is to be woken: those whose bound has moved, or all when something else changed that they look at.
func (r *Replica) collectWatchersLocked(fx *effects) {
	o, seen := r.log.Offsets(), r.mu.seen
	r.mu.seen = o
	handedOver := r.mu.machine.HandedOver()
	all := r.handedOver.Swap(handedOver) && !handedOver || fx.RoleChanged || fx.truncated
	if all || o.HighWatermark != seen.HighWatermark {
		fx.wake = append(fx.wake, r.mu.watchers[ReadUncommitted]...)
	}
	if all || o.LastStableOffset != seen.LastStableOffset {
		fx.wake = append(fx.wake, r.mu.watchers[ReadCommitted]...)
	}
	// Followers wait for the log start, too: an administrator waits until all have taken it over.
	if all || o.LogEndOffset != seen.LogEndOffset || o.LogStartOffset != seen.LogStartOffset {
		fx.wake = append(fx.wake, r.mu.watchers[ReadAsReplica]...)
	}
	if all {
		fx.wake = append(fx.wake, r.mu.lows...)
	}
}

// bound is the exclusive upper bound of what a reader may see.
func bound(o log.Offsets, as Reader) int64 {
	switch as {
	case ReadCommitted:
		return o.LastStableOffset
	case ReadAsReplica:
		return o.LogEndOffset
	}
	return o.HighWatermark
}
