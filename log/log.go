package log

import (
	"context"
	"iter"
	"log/slog"
	"os"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// Config sets up one partition's log. The zero value is Kafka's defaults on the operating system's disk.
// All fields may be changed later with SetConfig except FS and Logger.
type Config struct {
	SegmentBytes       int32         // segment.bytes; 0 = 1 GiB
	SegmentAge         time.Duration // segment.ms; 0 = 7 days
	SegmentJitter      time.Duration // segment.jitter.ms
	IndexIntervalBytes int32         // index.interval.bytes; 0 = 4096
	SegmentIndexBytes  int32         // segment.index.bytes; 0 = 10 MiB (files start small and grow towards it)

	MaxBatchBytes      int           // max.message.bytes; 0 = 1 MiB + 12. Checked for batches of clients only.
	TimestampType      TimestampType // message.timestamp.type
	TimestampBeforeMax time.Duration // message.timestamp.before.max.ms; 0 = unlimited
	TimestampAfterMax  time.Duration // message.timestamp.after.max.ms; 0 = 1 hour
	Compression        Compression   // compression.type; the zero value keeps the producer's codec
	Compacted          bool          // cleanup.policy contains compact: every record needs a key

	ProducerIDExpiration time.Duration // producer.id.expiration.ms; 0 = 1 day
	FileDeleteDelay      time.Duration // file.delete.delay.ms; 0 = 60 s

	// WriteAhead is how far blocks are written with zeros ahead of the end of the active segment, which makes syncs cheaper; 0 = chosen by the log for
	// durable logs, negative = off.
	WriteAhead int32

	FS     vfs.FS       // nil = the operating system's
	Logger *slog.Logger // nil = silent
}

// TimestampType is message.timestamp.type.
type TimestampType int8

// The timestamp types.
const (
	CreateTime TimestampType = iota
	LogAppendTime
)

// Compression is compression.type.
type Compression struct {
	Recode bool         // false: keep the producer's codec ("producer")
	Codec  record.Codec // with Recode: the codec of every stored batch
	Level  int
}

// Log is one partition's log.
type Log struct{ _ int }

// Open opens or creates a log on its own (not in a node's Directory) in dir, with a lock, recovery point and clean marker of its own.
func Open(dir string, c Config) (*Log, error) { panic("stub") }

// Origin says where a batch to append comes from.
type Origin int8

// The origins.
const (
	FromClient      Origin = iota // checked in full
	FromCoordinator               // may hold control batches
)

// AppendOptions go with a leader's append.
type AppendOptions struct {
	LeaderEpoch int32
	Now         time.Time
	Origin      Origin
}

// Appended is what an append did.
type Appended struct {
	BaseOffset    int64
	EndOffset     int64 // exclusive; a duplicate's is that of the batch in the log
	LogAppendTime int64 // milliseconds; -1 with CreateTime
	Duplicate     bool  // an idempotent producer's batch that the log already has: nothing was written (KIP-98)
}

// Append validates one batch from a client or a coordinator, assigns offsets from LogEndOffset and writes a patched header and the untouched rest.
// b is not changed and not kept. It returns once the bytes are in the page cache; Sync makes them durable. Calls must be serialised by the owner;
// reads may run beside it.
//
// Errors: *record.CorruptError, *record.InvalidError, *record.TimestampError, *record.TooLargeError, *record.UnsupportedCodecError, ErrRecordListTooLarge,
// *SequenceError, *ProducerEpochError, ErrInvalidTxnState, ErrClosed, *StorageError (the log is read-only from then on).
func (l *Log) Append(b record.Batch, o AppendOptions) (Appended, error) { panic("stub") }

// AppendReplicated writes batches as the leader sent them, verbatim, after checking CRC, offset continuity and epochs. data may end with a partial batch, which is ignored.
// Batches whose leader epoch is above maxEpoch are dropped with everything after them (KAFKA-18723). The same ownership and serialisation as Append.
func (l *Log) AppendReplicated(data []byte, maxEpoch int32) (Appended, error) { panic("stub") }

// Sync makes everything appended before the call durable (data, and names of new files) and returns the end offset now known to be durable.
// It may be called from any goroutine beside appends and reads; concurrent callers share one sync. A failed sync is final: this and every later call, and every append, returns *StorageError.
func (l *Log) Sync() (syncedEnd int64, err error) { panic("stub") }

// Offsets is a consistent view of a log's positions. LogStartOffset <= LastStableOffset <= HighWatermark <= LogEndOffset; SyncedEndOffset <= LogEndOffset.
type Offsets struct {
	LogStartOffset   int64
	LastStableOffset int64
	HighWatermark    int64
	SyncedEndOffset  int64 // everything below survives power loss
	LogEndOffset     int64
}

// Offsets returns the log's positions. Safe for concurrent use, without a lock.
func (l *Log) Offsets() Offsets { panic("stub") }

// SetHighWatermark raises the high watermark to hw, clamped to [HighWatermark, LogEndOffset] (it falls only by truncation), and the last stable offset with it.
func (l *Log) SetHighWatermark(hw int64) { panic("stub") }

// AdvanceLogStart raises the log start offset (a follower takes its leader's; retention; DeleteRecords). Never above the high watermark on a leader: the caller's rule.
func (l *Log) AdvanceLogStart(offset int64) error { panic("stub") }

// Slice is a run of whole batches in one segment file, found but not read. It keeps the file open until Release.
type Slice struct {
	Offset int64 // base offset of the first batch; may be below the offset asked for
	_      int
}

// Len returns the slice's length in bytes; 0 is an empty read.
func (s Slice) Len() int { panic("stub") }

// Append reads the bytes and appends them to dst.
func (s Slice) Append(dst []byte) ([]byte, error) { panic("stub") }

// File returns the range as a file for sendfile; ok is false in memory.
func (s Slice) File() (f *os.File, pos int64, ok bool) { panic("stub") }

// Release lets the file go. The slice must not be used afterwards. Releasing the zero Slice does nothing.
func (s Slice) Release() { panic("stub") }

// Read finds batches from the one that holds offset (or follows it) up to the batch boundary at or below end (exclusive bound, usually the high watermark), at most max bytes.
// With atLeastOne the first batch is returned even if it is larger than max. Empty when offset == end. Never waits. Safe for concurrent use.
// Errors: *OffsetOutOfRangeError when offset < LogStartOffset or > LogEndOffset; ErrClosed; *StorageError.
func (l *Log) Read(offset, end int64, max int, atLeastOne bool) (Slice, error) { panic("stub") }

// Records iterates over the records in [from, HighWatermark of a standalone log = LogEndOffset), skipping control batches. It checks every batch's CRC. The *record.Record is reused.
func (l *Log) Records(ctx context.Context, from int64) iter.Seq2[*record.Record, error] {
	panic("stub")
}

// AbortedTxn is one aborted transaction that overlaps a read.
type AbortedTxn struct {
	ProducerID  int64
	FirstOffset int64
}

// AbortedTxns appends to dst the aborted transactions that overlap [from, end).
func (l *Log) AbortedTxns(dst []AbortedTxn, from, end int64) ([]AbortedTxn, error) { panic("stub") }

// LatestEpoch is the epoch of the last entry of the leader epoch cache; ok is false for a log that has none.
func (l *Log) LatestEpoch() (epoch int32, ok bool) { panic("stub") }

// EndOffsetForEpoch implements OffsetForLeaderEpoch (KIP-101, KIP-279): the largest known epoch <= epoch and its end offset; ok is false when undefined.
func (l *Log) EndOffsetForEpoch(epoch int32) (found int32, end int64, ok bool) { panic("stub") }

// StartEpoch records that epoch starts at LogEndOffset (a new leader, before it serves); durable on return.
func (l *Log) StartEpoch(epoch int32) error { panic("stub") }

// EpochAt returns the leader epoch of the record at offset; ok is false when unknown.
func (l *Log) EpochAt(offset int64) (epoch int32, ok bool) { panic("stub") }

// TruncateTo removes everything at or above offset, durable on return; the high watermark falls to LogEndOffset if it was above.
func (l *Log) TruncateTo(offset int64) error { panic("stub") }

// TruncateFullyAndStartAt empties the log and starts it anew at offset.
func (l *Log) TruncateFullyAndStartAt(offset int64) error { panic("stub") }

// TimestampOffset answers a look-up by time.
type TimestampOffset struct {
	Timestamp   int64 // milliseconds
	Offset      int64
	LeaderEpoch int32 // -1 unknown
}

// OffsetForTime returns the first record at or above LogStartOffset and below end whose timestamp is >= ts milliseconds; ok is false when there is none.
func (l *Log) OffsetForTime(ts, end int64) (to TimestampOffset, ok bool, err error) { panic("stub") }

// MaxTimestamp returns the earliest record that holds the log's largest timestamp below end (ListOffsets -3, KIP-734); ok is false for a log without timestamps.
func (l *Log) MaxTimestamp(end int64) (to TimestampOffset, ok bool, err error) { panic("stub") }

// ProducerStatus is what the log knows of one producer (DescribeProducers).
type ProducerStatus struct {
	ProducerID       int64
	ProducerEpoch    int16
	LastSequence     int32
	LastTimestamp    int64
	CoordinatorEpoch int32
	TxnStartOffset   int64 // -1 without an open transaction
}

// Producers lists the producers the log remembers, by id.
func (l *Log) Producers() []ProducerStatus { panic("stub") }

// SetConfig applies changed topic configs to later appends and rolls.
func (l *Log) SetConfig(c Config) { panic("stub") }

// SizeBytes is the size of all segments' log files (logical bytes, without blocks written ahead).
func (l *Log) SizeBytes() int64 { panic("stub") }

// Err returns the error that made the log read-only, or nil.
func (l *Log) Err() error { panic("stub") }

// Close syncs, trims indexes and files to their length, writes a producer snapshot, and closes. Idempotent. A log of a Directory leaves the checkpoints to Directory.Close.
func (l *Log) Close() error { panic("stub") }
