package replication

import (
	"errors"
	"fmt"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/replication/machine"
)

// What follows is the follower's half of a replica, for the Fetcher.

// position is where a follower wants to fetch.
type position struct {
	leaderEpoch int32
	offset      int64
	lastEpoch   int32 // -1 for an empty log
	logStart    int64
	state       positionState
	changes     uint64 // Replica.changes when it was taken
}

type positionState int8

const (
	notFollowing positionState = iota // not a follower of that leader, closed or offline
	unsynced                          // the log end, or start, is not synced yet: a fetch would confirm what is not durable
	ready
)

// position tells where to fetch from the given leader. If the log has to be synced first it says so and has w told when that is done.
func (r *Replica) position(leader int32, w *syncGroup) position {
	r.lock()
	defer r.mu.Unlock()
	s := r.mu.machine.State()
	if r.mu.closed || r.mu.machine.Role() != machine.Follower || s.Leader != leader {
		return position{leaderEpoch: s.LeaderEpoch}
	}
	o := r.log.Offsets()
	p := position{
		leaderEpoch: s.LeaderEpoch, offset: o.LogEndOffset, lastEpoch: r.lastEpochLocked(), logStart: o.LogStartOffset, state: ready, changes: r.changes.Load(),
	}
	wait := syncWait{group: w, start: o.LogStartOffset}
	if r.mu.settings.synced() {
		wait.until = o.LogEndOffset
	}
	if r.mu.noSpace {
		wait.start = min(wait.start, r.log.SyncedLogStart())
		p.logStart = wait.start
	}
	// A fetch confirms the log start, too: who was told that records are deleted does not get them back after a power loss.
	// Differs from Kafka: which writes it down within a minute.
	if o.SyncedEndOffset < wait.until || r.log.SyncedLogStart() < wait.start {
		p.state = unsynced
		r.mu.synced.release()
		w.add()
		r.mu.synced = wait
		r.handle.Request()
	}
	return p
}

// acceptsLocked tells whether an answer to a question asked at p is still of use.
func (r *Replica) acceptsLocked(p position) bool {
	now := machine.Position{LogEnd: r.log.Offsets().LogEndOffset, LastEpoch: r.lastEpochLocked()}
	return r.mu.machine.AcceptsFetched(p.leaderEpoch, machine.Position{LogEnd: p.offset, LastEpoch: p.lastEpoch}, now)
}

// lastEpochLocked is the epoch of the last record, -1 for an empty log. It is not the newest entry of the epoch cache: that may be of an epoch which this replica led without appending anything, and
// which its successors have never heard of.
func (r *Replica) lastEpochLocked() int32 {
	if epoch, ok := r.log.EpochAt(r.log.Offsets().LogEndOffset - 1); ok {
		return epoch
	}
	return -1
}

// receive takes the leader's answer to a fetch made at p. It returns what became of it; an error is to be followed by a pause.
func (r *Replica) receive(p position, f *FetchedPartition) error {
	r.lock()
	if r.mu.closed || !r.acceptsLocked(p) {
		r.mu.Unlock()
		return nil // another leader, another epoch, or the log was changed meanwhile: the answer is to a question that nobody asks any more
	}
	fx := r.beginLocked()
	var err error
	if f.Diverging {
		err = r.truncateLocked(f.DivergingEpoch, f.DivergingEnd, fx)
	} else {
		err = r.appendLocked(p, f, fx)
	}
	if err != nil && isStorageError(err) {
		r.failLocked(err, fx)
	}
	r.endLocked(fx)
	return err
}

// appendLocked writes the leader's batches as they are, then takes over its high watermark and log start offset: those also if there is no space for the batches, for what lies below the start is what makes some.
func (r *Replica) appendLocked(p position, f *FetchedPartition, fx *effects) error {
	full := f.Held
	if len(f.Records) > 0 {
		if err := r.startInsideBatchLocked(f.Records); err != nil {
			return err
		}
		if _, err := r.log.AppendReplicated(f.Records, p.leaderEpoch); isFull(err) {
			full = err
		} else if err != nil {
			return err
		}
		r.afterAppendLocked(fx)
	}
	o := r.log.Offsets()
	hw, start := machine.FollowerBounds(f.HighWatermark, f.LogStartOffset, o.HighWatermark, o.LogStartOffset, o.LogEndOffset)
	if hw > o.HighWatermark {
		r.log.SetHighWatermark(hw)
	}
	if start > o.LogStartOffset {
		if err := r.log.AdvanceLogStart(start); err != nil {
			return err
		}
	}
	if full == nil && len(f.Records) > 0 && o.LogEndOffset == p.offset {
		return errNothingUsable
	}
	return full
}

func isFull(err error) bool {
	_, full := errors.AsType[*log.FullError](err)
	return full
}

// errNothingUsable says that a leader sent bytes of which none could be appended: a batch that is not whole, or one of a later epoch than the fetch was made under.
var errNothingUsable = errors.New("replication: no usable batch in the leader's answer")

// startInsideBatchLocked deals with the first batch of an empty log whose start lies inside of that batch (DeleteRecords on the leader): the log begins at the batch's base then.
func (r *Replica) startInsideBatchLocked(data []byte) error {
	o := r.log.Offsets()
	if o.LogStartOffset != o.LogEndOffset {
		return nil
	}
	b, _, err := record.Split(data)
	if err != nil {
		return nil // AppendReplicated says what is wrong
	}
	if base := b.BaseOffset(); base < o.LogEndOffset && b.LastOffset() >= o.LogEndOffset {
		return r.aloneLocked(func() error { return r.log.TruncateFullyAndStartAt(base) })
	}
	return nil
}

// truncateLocked cuts the log to where it may agree with the leader's, whose log ends for epoch at end. The next fetch tells whether it does.
func (r *Replica) truncateLocked(epoch int32, end int64, fx *effects) error {
	o := r.log.Offsets()
	var own machine.EpochEnd
	own.Epoch, own.End, own.Known = r.log.EndOffsetForEpoch(epoch)
	to := machine.TruncateTo(machine.EpochEnd{Epoch: epoch, End: end, Known: true}, own, o.LogEndOffset)
	if err := r.cutLocked(to, o, fx); err != nil {
		return err
	}
	if to >= o.LogEndOffset {
		return fmt.Errorf("replication: leader's epoch %d ends at %d, which gives nothing to truncate: log end %d, epoch %d", epoch, end, o.LogEndOffset, r.lastEpochLocked())
	}
	return nil
}

// cutLocked removes everything at or above offset to, before the high watermark moves.
func (r *Replica) cutLocked(to int64, o log.Offsets, fx *effects) error {
	err := r.aloneLocked(func() error {
		if to < o.LogStartOffset {
			return r.log.TruncateFullyAndStartAt(to)
		}
		return r.log.TruncateTo(to)
	})
	if err != nil {
		return err
	}
	if to < o.LogEndOffset {
		fx.truncated, fx.from, fx.to = true, to, o.LogEndOffset
		if to < o.HighWatermark {
			r.logger.Warn("truncated below the high watermark: an unclean election lost records", "topic", r.config.Topic, "partition", r.config.Partition,
				"from", to, "highWatermark", o.HighWatermark, "logEnd", o.LogEndOffset)
		}
	}
	return nil
}

// resolveRange decides after an out-of-range answer, when the leader's own bounds are known.
func (r *Replica) resolveRange(p position, leaderStart, leaderEnd int64) error {
	r.lock()
	o := r.log.Offsets()
	if r.mu.closed || !r.acceptsLocked(p) {
		r.mu.Unlock()
		return nil
	}
	fx := r.beginLocked()
	var err error
	switch action, to := machine.OutOfRange(leaderStart, leaderEnd, o.LogEndOffset); action {
	case machine.TruncateLog:
		err = r.cutLocked(to, o, fx)
	case machine.RestartLog:
		if err = r.aloneLocked(func() error { return r.log.TruncateFullyAndStartAt(to) }); err == nil {
			fx.truncated, fx.from, fx.to = true, o.LogStartOffset, o.LogEndOffset
		}
	default:
		err = &log.OffsetOutOfRangeError{Offset: p.offset, LogStartOffset: leaderStart, LogEndOffset: leaderEnd} // it is in range, yet was refused: pause
	}
	if err != nil && isStorageError(err) {
		r.failLocked(err, fx)
	}
	r.endLocked(fx)
	return err
}

// followsIn tells whether the replica still follows in that epoch.
func (r *Replica) followsIn(epoch int32) bool {
	r.lock()
	defer r.mu.Unlock()
	return !r.mu.closed && r.mu.machine.Role() == machine.Follower && r.mu.machine.LeaderEpoch() == epoch
}
