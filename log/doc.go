// Package log is one partition's log: an ordered run of record batches in segment files, as Apache Kafka keeps it.
//
//	LogStartOffset        LastStableOffset     HighWatermark       LogEndOffset
//	      |--- read_committed ---|                   |                  |
//	      |--- read_uncommitted ---------------------|                  |
//	      |--- stored here, replicated or not --------------------------|
//	      |--- on stable storage ------------|  SyncedEndOffset <= LogEndOffset
//
// LogStartOffset <= LastStableOffset <= HighWatermark <= LogEndOffset, always; ends are exclusive.
//
// A Log can be used alone (Open), or be one of many in a node's Directory. It appends batches as they are: only base offset, leader epoch and,
// where the topic says so, the time of the append are set, in a copy of the header.
//
// # Files
//
//	<topic>-<partition>/
//	    00000000000000000000.log .index .timeindex .txnindex    one segment (package segment)
//	    00000000000000000000.seal                               what they hold, once the segment is rolled
//	    00000000000000004711.log ...                            the active one
//	    00000000000000004711.snapshot .producers                producer state in front of that offset; proof that all below was synced
//	    leader-epoch-checkpoint                                 which leader epoch starts at which offset
//	    partition.metadata                                      the topic id
//
// beside, in the node's directory: meta.properties, .lock, .kafka_cleanshutdown and the checkpoints of recovery points, high
// watermarks and log start offsets; and broker-state, which tells a crash that lost nothing from one that may have. Names and layouts are Kafka's, except for
// .producers, .seal and broker-state, which Kafka ignores.
//
// # Invariants
//
//   - A segment begins where the one before it ends. Differs from Kafka, which lets a follower's segment begin behind a gap: here a gap
//     between segments is a hole that a crash has left.
//   - Below the recovery point everything was synced. Recovery reads only what lies above it, and cuts there the first batch that is not whole
//     and all that follows; a bad batch below it is an error, and stays. The recovery point is the larger of the checkpointed one and the offset of the newest snapshot.
//   - Epochs, producers, indexes and last stable offset are functions of the log, changed after the append they belong to.
//   - After a failed write or sync the log is read-only until it is opened again.
//
// # Open files
//
// The segments of a Directory share a bound of how many have their files open (DirectoryConfig.MaxOpenSegments). After a clean stop none has until it is used. Those that nobody has used for longest are closed
// when others are opened, sealed ones first; never one that has unsynced writes, or whose slices are not released. Where the process has no
// descriptors left, idle ones are closed, too, and what still cannot be opened is a *FullError to an append and to a read. A file that somebody removes behind the back of a running log is missed when it is opened again.
//
// # Full disks
//
// What finds no space and has changed nothing is a *FullError, and may succeed later. Where batches find none, what a log deletes by may still be written: a Directory gives space back for it that it has kept (ballast.go). See Directory.Restock and Short.
//
// # Compaction
//
//	 clean: no key twice          dirty                 left alone
//	|----------------------------|---------------------|------------------------------|
//	LogStartOffset               FirstDirty            FirstUncleanable               LogEndOffset
//
// Compact reads the keys of the dirty part into a bounded table, then goes through all segments below FirstUncleanable, in groups that fit into one segment, and drops what the table says is superseded.
// Offsets never change: there are gaps inside batches and between them, but none between segments, for the last batch of each stays, if need be empty. A new segment takes the place of the old ones in steps (swap.go) that a crash may interrupt anywhere;
// what is read meanwhile is read to its end.
//
// # Damage
//
// Scrub finds what is not as it was written, Damage lists it, and Mend puts another copy's bytes in its place:
//
//   - A range is marked in memory, not in its file. After a crash the seal, the CRCs or the recovery find it again.
//   - A seal goes, durably, before its segment changes, and comes back after a scrub has read the segment.
//   - A mended segment takes the place of the old one by the steps of a compaction (swap.go), each of which a crash may follow.
//
// # Concurrency
//
// Append, AppendReplicated, StartEpoch, TruncateTo, TruncateFullyAndStartAt and AdvanceLogStart are calls of one owner, one at a
// time. Everything else, Compact included, may run beside them from any goroutine. Read, Offsets and the epoch look-ups take no lock; Sync holds none that an append needs while it waits for the disk.
// A truncation waits for a sync under way. A log starts no goroutine.
//
// # What it does not do
//
// It knows nothing of replicas, leaders and clients; it calls no sync by itself; it compacts only when it is told to, and deletes only what lies below a log start offset that its owner has raised.
//
// Source: Kafka's UnifiedLog, LogSegments, ProducerStateManager, LeaderEpochFileCache; KIP-98, KIP-101, KIP-279, KIP-734, KIP-966.
package log
