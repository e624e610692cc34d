package replication

import (
	"time"

	"github.com/insynclog/insync/log"
)

// AdvanceLogStart raises the log start offset of a leader: what lies below does not count any more. requiredLeaderEpoch, if >= 0, must be the leader's epoch (coordinators); others pass -1. An offset
// below the log start changes nothing. Followers take it over with their next fetch; it is written down by SyncLogStart or the directory's next checkpoint, and until then a crash takes it back.
//
// Errors: ErrNotLeader, ErrFencedEpoch and ErrUnknownEpoch; *log.OffsetOutOfRangeError above the high watermark, which is its upper bound here: a record that is not committed
// could come back under another leader; ErrClosed; *log.StorageError.
func (r *Replica) AdvanceLogStart(offset int64, requiredLeaderEpoch int32) error {
	if offset < 0 {
		offset = -2 // not toHighWatermark
	}
	_, err := r.advanceLogStart(offset, requiredLeaderEpoch)
	return err
}

// toHighWatermark stands for the high watermark in DeleteRecords.
const toHighWatermark = -1

// DeleteRecords raises the log start offset of a leader as AdvanceLogStart does, and returns what it was asked for: -1 stands for the high watermark. Who answers a client calls SyncLogStart afterwards, and
// waits until LowWatermark has reached the offset. Errors: those of AdvanceLogStart.
func (r *Replica) DeleteRecords(offset int64) (to int64, err error) {
	return r.advanceLogStart(offset, -1)
}

func (r *Replica) advanceLogStart(offset int64, epoch int32) (int64, error) {
	r.lock()
	if err := r.epochErrorLocked(epoch, true); err != nil {
		r.mu.Unlock()
		return offset, err
	}
	o := r.log.Offsets()
	if offset == toHighWatermark {
		offset = o.HighWatermark
	}
	if offset < 0 || offset > o.HighWatermark {
		r.mu.Unlock()
		return offset, &log.OffsetOutOfRangeError{Offset: offset, LogStartOffset: o.LogStartOffset, LogEndOffset: o.HighWatermark}
	}
	fx := r.beginLocked()
	err := r.log.AdvanceLogStart(offset)
	if err != nil && isStorageError(err) {
		r.failLocked(err, fx)
	}
	r.endLocked(fx)
	return offset, err
}

// SyncLogStart makes the log start offset durable on this node, whatever the replica's role is. It waits for the disk. Errors: ErrClosed, *log.StorageError, which takes the replica offline.
func (r *Replica) SyncLogStart() error {
	r.lock()
	closed := r.mu.closed
	r.mu.Unlock()
	if closed {
		return ErrClosed
	}
	_, err := r.log.SyncLogStart()
	if err != nil && isStorageError(err) {
		r.storageFailed(err)
	}
	return err
}

// LowWatermark is the lowest log start offset of the partition's live replicas, as far as the leader knows: records below it are gone everywhere, and stay so after a power loss. It is -1 while a
// live follower has not fetched in this epoch. See WatchLowWatermark. Errors: ErrNotLeader, ErrClosed, *log.StorageError.
//
// A replica that is not alive does not count (Kafka's rule). One that comes back takes the log start over with its first fetch; if it is elected before that, the log starts where its own does.
func (r *Replica) LowWatermark(alive func(broker int32) bool) (int64, error) {
	r.lock()
	if err := r.epochErrorLocked(-1, true); err != nil {
		r.mu.Unlock()
		return -1, err
	}
	followers := r.mu.machine.Followers()
	starts := make([]Progress, 0, len(followers))
	for i := range followers {
		starts = append(starts, Progress{ID: followers[i].ID, LogStartOffset: followers[i].LogStartOffset})
	}
	r.mu.Unlock()
	low := r.log.SyncedLogStart()
	for _, f := range starts {
		if f.LogStartOffset < low && alive(f.ID) {
			low = f.LogStartOffset
		}
	}
	return low, nil
}

// DeleteOldSegments removes the segments that lie wholly below the log start offset from this node's disk, whatever the replica's role is. It waits for the disk; the owner calls it now and then.
// Errors: ErrClosed, *log.StorageError, which takes the replica offline.
func (r *Replica) DeleteOldSegments() (deleted int, err error) {
	r.lock()
	closed := r.mu.closed
	r.mu.Unlock()
	if closed {
		return 0, ErrClosed
	}
	deleted, err = r.log.DeleteOldSegments()
	if err != nil && isStorageError(err) {
		r.storageFailed(err)
	}
	return deleted, err
}

// Retain gives up the records that a retention says, on this node, whatever the replica's role is: the log start offset rises to the first segment that stays, and the files of those before go. It
// returns the log start offset before and after. It waits for the disk; the owner calls it now and then. Errors: ErrClosed, *log.StorageError, which takes the replica offline, *log.CorruptError.
func (r *Replica) Retain(ret log.Retention, now time.Time) (from, to int64, err error) {
	from = r.log.Offsets().LogStartOffset
	if to, err = r.log.Retain(ret, now); err == nil && to > from {
		err = r.retainFrom(to)
	}
	if err != nil {
		if isStorageError(err) {
			r.storageFailed(err)
		}
		return from, from, err
	}
	if to <= from {
		return from, from, nil
	}
	_, err = r.DeleteOldSegments()
	return from, to, err
}

func (r *Replica) retainFrom(offset int64) error {
	r.lock()
	if r.mu.closed {
		r.mu.Unlock()
		return ErrClosed
	}
	o := r.log.Offsets()
	if offset > o.HighWatermark { // it was truncated meanwhile
		r.mu.Unlock()
		return nil
	}
	fx := r.beginLocked()
	var err error
	if offset == o.LogEndOffset {
		err = r.log.Roll()
	}
	if err == nil {
		err = r.log.AdvanceLogStart(offset)
	}
	if err != nil && isStorageError(err) {
		r.failLocked(err, fx)
	}
	r.endLocked(fx)
	return err
}
