package log

// SyncLogStart makes the log start offset durable and returns what is known to be durable now: after a power loss the log begins there, or higher. Without it a checkpoint makes it
// durable some time later, as in Kafka. It waits for the disk unless nothing has changed; many logs of a directory that are synced one after the other share the writing.
// Safe for concurrent use beside appends and reads. Errors: ErrClosed, *FullError (the same call may succeed later), *StorageError; a failed sync is final, as for Sync.
func (l *Log) SyncLogStart() (start int64, err error) {
	if l.SyncedLogStart() >= l.offsets.start.Load() {
		return l.SyncedLogStart(), l.usable()
	}
	l.flush.acquire() // keeps off a truncation below the start, which takes back what is stored here
	defer l.flush.release()
	if err := l.usable(); err != nil {
		return l.SyncedLogStart(), err
	}
	start = l.offsets.start.Load()
	if err := l.refuseSync(l.home.store()); err != nil {
		return l.SyncedLogStart(), err
	}
	l.syncedStart.Store(start)
	return start, nil
}

// SyncedLogStart is the log start offset that survives a power loss.
func (l *Log) SyncedLogStart() int64 { return l.syncedStart.Load() }
