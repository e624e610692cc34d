package log

// LatestEpoch is the epoch of the last entry of the leader epoch cache; ok is false for a log that has none. Safe for concurrent use, without a lock.
func (l *Log) LatestEpoch() (epoch int32, ok bool) {
	e, ok := l.epochs.latest()
	return e.epoch, ok
}

// EndOffsetForEpoch implements OffsetForLeaderEpoch (KIP-101, KIP-279): the largest known epoch <= epoch and its end offset; ok is false when
// undefined. An epoch older than all that are known ends where the first of them begins. Safe for concurrent use, without a lock.
func (l *Log) EndOffsetForEpoch(epoch int32) (found int32, end int64, ok bool) {
	return l.epochs.endFor(epoch, l.offsets.end.Load())
}

// StartEpoch records that epoch starts at LogEndOffset (a new leader, before it serves). An epoch that the log has already changes nothing. It does not touch the disk, and does not wait for it.
// A call of the owner, as Append is. Errors: ErrClosed, *StorageError (of something that failed before).
//
// The entry needs no sync of its own. As long as nothing is appended it says nothing that counts: a log drops it when it is opened, for an epoch without records is no part of its history. The first
// record carries the epoch in its batch's header, where a recovery finds it: that reads every batch from the recovery point on. And nothing moves the recovery point (checkpoint, producer snapshot, clean
// stop after an append) before the epochs below it are on disk: see syncNames. So thousands of logs that begin to be led, at a start or a failover, cost no sync.
func (l *Log) StartEpoch(epoch int32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	l.epochs.assign(epoch, l.offsets.end.Load())
	return nil
}

// EpochAt returns the leader epoch of the record at offset; ok is false when unknown. Safe for concurrent use, without a lock.
func (l *Log) EpochAt(offset int64) (epoch int32, ok bool) {
	if offset >= l.offsets.end.Load() {
		return 0, false
	}
	i := l.epochs.indexAt(offset)
	list := l.epochs.entries()
	if i < 0 || i >= len(list) {
		return 0, false
	}
	return list[i].epoch, true
}
