package replication

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/internal/commit"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication/machine"
)

// Replica is this node's replica of one partition. It is safe for concurrent use.
//
// It has no goroutine of its own: the commit engine's workers call Sync, a timer repeats proposals, and the Fetcher's goroutine appends while it follows.
type Replica struct {
	config Config
	log    *log.Log
	handle *commit.Handle
	logger *slog.Logger

	// performing counts effects under way and the armed retry timer; it grows only under mu and before mu.closed.
	performing sync.WaitGroup
	// changes counts the events while not leading: a fetcher whose count is the same need not ask for the position again. Stored under mu, loaded by the fetch loop without.
	changes atomic.Uint64
	// handedOver is machine.HandedOver as of the last event. Stored under mu, loaded without.
	handedOver atomic.Bool
	// spare is the effects memory not in use: taken by beginLocked, given back by perform.
	spare atomic.Pointer[effects]

	// mu is taken with lock, never with mu.Lock: while it is alone (see aloneLocked) everybody else waits without holding anything.
	mu struct {
		sync.Mutex
		alone    bool
		free     sync.Cond // on mu: alone has ended
		closed   bool
		machine  *machine.Machine
		settings Settings
		err      error       // why it is offline
		seen     log.Offsets // as of the last event: what the watchers know of
		watchers [numReaders][]Watcher
		lows     []Watcher // of the low watermark
		synced   syncWait
		held     held
		noSpace  bool        // the last attempt to store the log start met a full disk
		flushing bool        // a RequestAfter is armed
		retry    *time.Timer // repeats a proposal
	}
}

// New returns an idle replica over an open log; its high watermark is the checkpointed one that the log already has.
func New(c Config) (*Replica, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.Settings = c.Settings.withDefaults()
	r := &Replica{config: c, log: c.Log, logger: c.Logger}
	if r.logger == nil {
		r.logger = slog.New(slog.DiscardHandler)
	}
	r.mu.free.L = &r.mu.Mutex
	r.mu.settings = c.Settings
	r.mu.machine = machine.New(c.NodeID, c.Settings.machine(), c.Eligible)
	r.mu.seen = c.Log.Offsets()
	r.handle = c.Commit.Register(syncTarget{r})
	return r, nil
}

// Apply takes a state of the partition from metadata. States with an older partition epoch are ignored. It returns the role; a new leader has recorded its epoch by then.
//
// An epoch must be led by one life of a replica only: a leader that comes back from a crash may lack a tail that followers have, and the epoch alone would not tell its new records from those.
// The controller raises the leader epoch when a leader's broker registers again.
func (r *Replica) Apply(s State, now time.Time) (Role, error) {
	r.lock()
	if r.mu.closed {
		r.mu.Unlock()
		return Idle, ErrClosed
	}
	fx := r.beginLocked()
	o := r.log.Offsets()
	r.mu.machine.Apply(machine.State(s), machine.Positions{LogEnd: o.LogEndOffset, SyncedEnd: o.SyncedEndOffset, HighWatermark: o.HighWatermark}, now, &fx.Effects)
	if fx.StartEpoch {
		// Nothing may be served before the log knows where the epoch starts.
		if err := r.aloneLocked(func() error { return r.log.StartEpoch(s.LeaderEpoch) }); err != nil {
			r.failLocked(err, fx)
		} else if r.mu.settings.synced() && o.SyncedEndOffset < o.LogEndOffset {
			fx.sync = true
		}
	}
	role, err := Role(r.mu.machine.Role()), r.mu.err
	fx.wake = append(fx.wake, r.mu.lows...)
	r.endLocked(fx)
	return role, err
}

// StepDown ends this replica's leadership under an epoch, or an earlier one, for good: whatever metadata says, it leads only under later ones. When it returns another replica may be made leader.
func (r *Replica) StepDown(leaderEpoch int32) {
	r.lock()
	if r.mu.closed {
		r.mu.Unlock()
		return
	}
	fx := r.beginLocked()
	r.mu.machine.StepDown(leaderEpoch, &fx.Effects)
	r.endLocked(fx)
}

// HandedOver tells whether another replica may lead already: this one has told the controller that it may, and does not know yet whether it does.
func (r *Replica) HandedOver() bool { return r.handedOver.Load() }

// SetSettings takes changed configs.
func (r *Replica) SetSettings(s Settings) {
	s = s.withDefaults()
	r.lock()
	if r.mu.closed {
		r.mu.Unlock()
		return
	}
	fx := r.beginLocked()
	r.mu.settings = s
	r.mu.machine.SetSettings(s.machine(), time.Now(), &fx.Effects)
	r.afterAppendLocked(fx)
	r.endLocked(fx)
}

// Tick lets the replica look at the clock: ISR shrink, retries of proposals, and whom the high watermark waits for. The owner calls it every LagTime/2 or more often, and when a broker was fenced.
func (r *Replica) Tick(now time.Time) {
	r.lock()
	if r.mu.closed {
		r.mu.Unlock()
		return
	}
	fx := r.beginLocked()
	r.mu.machine.Tick(now, &fx.Effects)
	fx.wake = append(fx.wake, r.mu.lows...) // a follower may be dead now, and does not count any more
	r.endLocked(fx)
}

// Log returns the replica's log.
func (r *Replica) Log() *log.Log { return r.log }

// Close fails what waits with ErrNotLeader and stops. It waits for effects under way, hence must not be called from a callback. It does not close the log. Idempotent.
func (r *Replica) Close() error {
	r.lock()
	if !r.mu.closed {
		fx := r.beginLocked()
		r.mu.machine.Stop(&fx.Effects)
		if r.mu.retry != nil && r.mu.retry.Stop() {
			r.performing.Done()
		}
		r.mu.synced.release()
		r.endLocked(fx, func() { r.mu.closed = true })
	} else {
		r.mu.Unlock()
	}
	r.handle.Close()
	r.performing.Wait()
	return nil
}

// lock takes the replica's mutex.
func (r *Replica) lock() {
	r.mu.Lock()
	for r.mu.alone {
		r.mu.free.Wait()
	}
}

// aloneLocked runs f, which waits for syncs (its own, and one under way), without the mutex, but with the replica to itself: nothing else happens to it meanwhile. A mutex held for that long would
// stop virtual time: whoever waits for a mutex does not count as blocked in a synctest bubble, and a slow disk sleeps.
func (r *Replica) aloneLocked(f func() error) error {
	r.mu.alone = true
	r.mu.Unlock()
	err := f()
	r.mu.Lock()
	r.mu.alone = false
	r.mu.free.Broadcast()
	return err
}

// failLocked takes the replica offline after a disk error. The log refuses appends from now on; the node reports the directory and gives its leaderships up.
func (r *Replica) failLocked(err error, fx *effects) {
	if r.mu.err != nil {
		return
	}
	r.mu.err = err
	fx.offline = err
	r.mu.machine.StorageFailed(&fx.Effects)
	r.mu.synced.release()
}

// Fail takes the replica offline, for a reason that its owner has found: it answers everything with err, and somebody else may lead.
func (r *Replica) Fail(err error) { r.storageFailed(err) }

// storageFailed is failLocked for callers without the lock.
func (r *Replica) storageFailed(err error) {
	r.lock()
	if r.mu.closed {
		r.mu.Unlock()
		return
	}
	fx := r.beginLocked()
	r.failLocked(err, fx)
	r.endLocked(fx)
}

// isStorageError tells a failed disk from everything else.
func isStorageError(err error) bool {
	_, ok := errors.AsType[*log.StorageError](err)
	return ok
}

// epochErrorLocked compares a request's leader epoch, and with leaderOnly the role.
func (r *Replica) epochErrorLocked(epoch int32, leaderOnly bool) error {
	switch {
	case r.mu.closed:
		return ErrClosed
	case r.mu.err != nil:
		return r.mu.err
	}
	return epochError(r.mu.machine.CheckEpoch(epoch, leaderOnly))
}

func epochError(c machine.EpochCheck) error {
	switch c {
	case machine.EpochFenced:
		return ErrFencedEpoch
	case machine.EpochUnknown:
		return ErrUnknownEpoch
	case machine.NotLeader:
		return ErrNotLeader
	}
	return nil
}
