package replication

import "github.com/insynclog/insync/log"

// AdvanceLogStart raises the log start offset of a leader: what lies below does not count any more. requiredLeaderEpoch, if >= 0, must be the leader's epoch (coordinators); others pass -1. An offset
// below the log start changes nothing. Followers take it over with their next fetch; it is written down by the directory's next checkpoint, and until then a crash takes it back.
//
// Errors: ErrNotLeader, ErrFencedEpoch and ErrUnknownEpoch; *log.OffsetOutOfRangeError above the high watermark, which is its upper bound here: a record that is not committed
// could come back under another leader; ErrClosed; *log.StorageError.
func (r *Replica) AdvanceLogStart(offset int64, requiredLeaderEpoch int32) error {
	r.lock()
	if err := r.epochErrorLocked(requiredLeaderEpoch, true); err != nil {
		r.mu.Unlock()
		return err
	}
	if o := r.log.Offsets(); offset < 0 || offset > o.HighWatermark {
		r.mu.Unlock()
		return &log.OffsetOutOfRangeError{Offset: offset, LogStartOffset: o.LogStartOffset, LogEndOffset: o.HighWatermark}
	}
	fx := r.beginLocked()
	err := r.log.AdvanceLogStart(offset)
	if err != nil && isStorageError(err) {
		r.failLocked(err, fx)
	}
	r.endLocked(fx)
	return err
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
