package log

import (
	"errors"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/segment"
)

// ProducerStatus is what the log knows of one producer (DescribeProducers).
type ProducerStatus struct {
	ProducerID       int64
	ProducerEpoch    int16
	LastSequence     int32 // -1: no data in this epoch
	LastTimestamp    int64 // milliseconds
	CoordinatorEpoch int32 // -1: no transaction has ended
	TxnStartOffset   int64 // -1 without an open transaction
}

// Producers lists the producers the log remembers, by id. Safe for concurrent use.
func (l *Log) Producers() []ProducerStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries := l.mu.producers.sorted()
	list := make([]ProducerStatus, 0, len(entries))
	for _, e := range entries {
		list = append(list, ProducerStatus{
			ProducerID: e.id, ProducerEpoch: e.epoch, LastSequence: e.lastSequence(), LastTimestamp: e.lastTimestamp,
			CoordinatorEpoch: e.coordinatorEpoch, TxnStartOffset: e.txnFirst,
		})
	}
	return list
}

// ExpireProducers forgets the producers that have not appended for producer.id.expiration.ms, except those with an open transaction. The
// node calls it every ten minutes or so. Safe for concurrent use.
func (l *Log) ExpireProducers(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.producers.expire(l.expiryLocked(l.wall(now)))
}

// forgottenLocked is expiryLocked of a snapshot that is read: by the wall clock or by the newest of its producers, whichever is earlier. A clock that jumped ahead must not have all of them forgotten,
// for what they send again would be appended twice.
//
// Differs from Kafka, which asks the clock alone.
func (l *Log) forgottenLocked(st snapshotState) int64 {
	newest := int64(math.MinInt64)
	for _, e := range st.entries {
		newest = max(newest, e.lastTimestamp)
	}
	wall := l.wall(time.Now())
	if newest < wall.UnixMilli() {
		wall = time.UnixMilli(newest)
	}
	return l.expiryLocked(wall)
}

// expiryLocked is the time in milliseconds before which a producer's last batch must be for it to be forgotten.
func (l *Log) expiryLocked(now time.Time) int64 {
	return now.Add(-l.mu.config.ProducerIDExpiration).UnixMilli()
}

func insertOffset(list []int64, o int64) []int64 {
	at, found := slices.BinarySearch(list, o)
	if found {
		return list
	}
	return slices.Insert(list, at, o)
}

// removeSnapshots removes files of snapshots; durable after a sync of the directory.
func removeSnapshots(fsys vfs.FS, dir string, offsets []int64, suffixes ...string) error {
	for _, o := range offsets {
		for _, suffix := range suffixes {
			name := dir + "/" + segment.FileName(o, suffix)
			if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return storage("remove", name, err)
			}
		}
	}
	return nil
}
