// Package record is Kafka's RecordBatch v2: a view of encoded batches, a builder, a validator and a lazy reader.
//
// A batch is the unit of everything: what a producer sends, a leader checks and appends, a follower copies, a segment file
// holds and a consumer is given are the same bytes. Integers are big-endian.
//
//	 0        8        12      16  17      21    23      27         35
//	+--------+--------+-------+---+-------+-----+-------+----------+----------
//	| base   | length | leader| m | crc   | at- | last  | base     | max       …
//	| offset | of the | epoch | a |       | tri-| offset| timestamp| timestamp
//	|  int64 | rest   | int32 | g | uint32| bu- | delta |    int64 |    int64
//	|        |  int32 |       | 2 |       | tes | int32 |          |
//	+--------+--------+-------+---+-------+-----+-------+----------+----------
//	          35         43         51        53        57        61
//	          +----------+----------+---------+---------+---------+----------
//	…         | max      | producer | producer| base    | record  | records, perhaps
//	          | timestamp| id       | epoch   | sequence| count   | compressed as one stream
//	          |    int64 |    int64 |   int16 |   int32 |   int32 |
//	          +----------+----------+---------+---------+---------+----------
//
//	attributes  15 … 7 | 6              | 5       | 4             | 3               | 2 1 0
//	            unused | delete horizon | control | transactional | log append time | codec
//
// The CRC-32C covers what follows it, from the attributes to the end. Base offset, length, leader epoch and magic lie before
// it on purpose: a leader gives a batch its place without touching, or reading, the rest.
//
// A record is made of ZigZag varints and bytes; n is a length, -1 for null:
//
//	| length | attributes | timestamp delta | offset delta | n key | n value | header count | { n key | n value }* |
//	|        |  int8: 0   |                 |              |       |         |              |  not null            |
//
// Offsets and timestamps are relative to the batch's base offset and base timestamp.
//
// # Who does what
//
//   - Split, Batches and PeekSize find batches in bytes. They look at length and magic only.
//   - Batch reads fields of the header, and sets those that a leader sets.
//   - Validate is a leader's check of what a client sent; nothing else looks at every byte.
//   - Reader iterates over records, decompressing where needed; Batch.All is the same as an iterator.
//   - Builder makes batches.
//
// # Invariants
//
//   - No input makes this package panic, as long as Batch's accessors are used on what Split accepted. Lengths and counts are
//     checked before arithmetic and before memory is spent on them, and decompression stops at a bound.
//   - What Builder builds, Validate accepts and Reader gives back: the same bytes, null apart from empty, times to the
//     millisecond.
//   - Building, iterating and validating allocate nothing per record. Memory belongs to the Builder or Reader and is used
//     again; records read share it, or the batch's.
//
// # Concurrency
//
// A Batch is bytes: safe to read from many goroutines, not to write beside a reader. Builder and Reader belong to one
// goroutine at a time. There is no state in the package but pools of compressors.
//
// # What it does not do
//
// Formats before version 2 are refused (KIP-896 retired them). Control batches are read, not built. A batch is never
// changed but in its header: recompression and compaction are their owners' work.
//
// # Sources
//
// KIP-98 (the format, producer ids, transactions), KIP-82 (headers), KIP-32 (timestamp types), KIP-110 (zstd), KIP-390
// (compression levels), KIP-534 (delete horizon), and the protocol guide's chapter "Message Format".
package record
