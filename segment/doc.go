// Package segment is one segment of a partition's log: a run of record batches in one file, with its indexes beside it.
//
//	00000000000000000100.log        batch | batch | batch | ... | batch | (blocks written ahead: zeros)
//	                                ^100    ^103    ^110                 ^size, end offset
//	00000000000000000100.index      last offset of a batch -> position where that batch starts, every 4 KiB or so
//	00000000000000000100.timeindex  largest timestamp so far -> last offset of the batch that holds it
//	00000000000000000100.txnindex   one entry for every abort marker in the segment
//	00000000000000000100.seal       of a rolled segment: sizes and hashes of the others
//
// The files have Kafka's names and layouts, byte for byte, but for the seal, which Kafka passes over. The number is the base offset: that of the first batch, or below.
//
// # Invariants
//
//   - Offsets rise from batch to batch; positions are contiguous. What lies between size and the end of the file is zeros.
//   - The .log file is the truth. The other files can be rebuilt from it; a look-up believes no index entry that the batch it
//     points at does not confirm.
//   - An index is mapped into memory, grows by a new mapping, and is shortened only when nothing maps it any more.
//   - Files and mappings may be closed while nobody uses them and nothing is unsynced (Files), and are opened again by name; not when the names are to go: then they stay until the owner and every Slice have let go of the segment.
//
// # Concurrency
//
// One goroutine at a time may change a segment (Append, Truncate, Seal, ...). Any number may read beside it: they see the batches
// published before their call, without a lock shared with the writer. Sync may run beside both.
//
// # What it does not do
//
// It assigns no offsets and checks no batch that it appends: package log does. It knows nothing of other segments.
//
// Source: Kafka's LogSegment, OffsetIndex, TimeIndex, TransactionIndex; KIP-32 and KIP-33 (time index), KIP-98 (transaction index).
package segment
