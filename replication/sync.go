package replication

import (
	"errors"
	"math"
	"time"

	"github.com/insynclog/insync/log"
)

// fullRetry is how long a sync that met a full disk waits for the next attempt.
const fullRetry = 100 * time.Millisecond

// syncTarget is the replica's face to the commit engine.
type syncTarget struct{ r *Replica }

// Sync makes the log durable, without the lock, and tells the machine how far it got.
func (t syncTarget) Sync() {
	r := t.r
	r.lock()
	r.mu.flushing = false // what is appended from now on is not covered
	closed, start := r.mu.closed, r.mu.synced.group != nil || r.mu.noSpace
	r.mu.Unlock()
	if closed {
		return
	}
	_, err := r.log.Sync()
	if err == nil && start {
		_, err = r.log.SyncLogStart() // which costs nothing if it has not moved
	}

	r.lock()
	if r.mu.closed {
		r.mu.Unlock()
		return
	}
	fx := r.beginLocked()
	_, r.mu.noSpace = errors.AsType[*log.FullError](err)
	switch {
	case r.mu.noSpace:
		// What is synced counts. The fetcher goes on without having the new log start confirmed, for others wait with it.
		synced := r.log.Offsets().SyncedEndOffset
		r.mu.machine.Synced(synced, time.Now(), &fx.Effects)
		r.mu.synced.reached(synced, math.MaxInt64)
		r.handle.RequestAfter(fullRetry)
	case err == nil:
		// Not what Sync returned: the log may have been truncated and have grown again meanwhile.
		synced := r.log.Offsets().SyncedEndOffset
		r.mu.machine.Synced(synced, time.Now(), &fx.Effects)
		r.mu.synced.reached(synced, r.log.SyncedLogStart())
	default:
		r.failLocked(err, fx)
	}
	r.endLocked(fx)
}

// syncWait is the one party that waits for a replica's log to be synced: the fetcher that follows for it.
type syncWait struct {
	group *syncGroup
	until int64 // log end
	start int64 // log start
}

func (w *syncWait) reached(synced, start int64) {
	if w.group != nil && synced >= w.until && start >= w.start {
		w.release()
	}
}

func (w *syncWait) release() {
	if w.group != nil {
		w.group.done()
		w.group = nil
	}
}
