package replication

import (
	"time"

	"github.com/insynclog/insync/log"
)

// Compact makes one pass over the log, on this node, whatever the replica's role is: each replica is compacted on its own, and they stay equal in what is to be kept. It takes as long as that takes; the owner calls it
// now and then. Errors: those of log.Log.Compact; a *log.StorageError that made the log read-only takes the replica offline.
func (r *Replica) Compact(c *log.Compactor, p log.CompactionPolicy, now time.Time) (log.Compaction, error) {
	done, err := r.log.Compact(c, p, now)
	if err != nil && isStorageError(err) && r.log.Err() != nil {
		r.storageFailed(err)
	}
	return done, err
}
