package log

import (
	"log/slog"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// The defaults of Config that are not zero: Kafka's.
const (
	defaultSegmentBytes         = 1 << 30
	defaultSegmentAge           = 7 * 24 * time.Hour
	defaultIndexIntervalBytes   = 4096
	defaultSegmentIndexBytes    = 10 << 20
	defaultMaxBatchBytes        = 1<<20 + 12
	defaultTimestampAfterMax    = time.Hour
	defaultProducerIDExpiration = 24 * time.Hour
	defaultFileDeleteDelay      = time.Minute

	// minSegmentIndexBytes keeps room for an entry of each index and the one that Seal needs.
	minSegmentIndexBytes = 64
)

// Config sets up one partition's log. The zero value is Kafka's defaults on the operating system's disk.
// All fields may be changed later with SetConfig except FS, Logger and Wall.
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

	// WriteAhead is how far blocks are written with zeros ahead of the end of the active segment, which makes syncs cheaper; 0 = chosen by the log:
	// so for durable logs, and for logs that are not synced what makes writes to the page cache cheaper; negative = off.
	WriteAhead int32

	// KeepDamaged has OpenLog open a log that is damaged below its recovery point, with the damage marked for Mend, instead of refusing: for whoever has other copies.
	KeepDamaged bool

	FS     vfs.FS       // nil = the operating system's
	Logger *slog.Logger // nil = silent

	// Wall is what the wall clock shows at a time; nil = that time. Records get their times from it, and their ages are told by it; no duration is. It is for tests of clocks that are wrong.
	Wall func(now time.Time) time.Time
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

func (c Config) withDefaults() Config {
	setDefault(&c.SegmentBytes, defaultSegmentBytes)
	setDefault(&c.SegmentAge, defaultSegmentAge)
	setDefault(&c.IndexIntervalBytes, defaultIndexIntervalBytes)
	setDefault(&c.SegmentIndexBytes, defaultSegmentIndexBytes)
	setDefault(&c.MaxBatchBytes, defaultMaxBatchBytes)
	setDefault(&c.TimestampAfterMax, defaultTimestampAfterMax)
	setDefault(&c.ProducerIDExpiration, defaultProducerIDExpiration)
	setDefault(&c.FileDeleteDelay, defaultFileDeleteDelay)
	c.SegmentIndexBytes = max(c.SegmentIndexBytes, minSegmentIndexBytes)
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Wall == nil {
		c.Wall = func(now time.Time) time.Time { return now }
	}
	return c
}

// setDefault replaces the zero value.
func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// SetConfig applies changed topic configs to later appends and rolls. FS, Logger and Wall stay what they are. Safe for concurrent use.
func (l *Log) SetConfig(c Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.FS, c.Logger, c.Wall = l.fs, l.logger, l.wall
	l.setConfigLocked(c.withDefaults())
}

func (l *Log) setConfigLocked(c Config) {
	if c.Compression != l.mu.config.Compression {
		l.mu.recoder = nil
	}
	l.mu.config = c
	l.ahead.fixed.Store(int64(c.WriteAhead))
	if c.Compacted {
		l.repairs.gaps.Store(true)
	}
	l.mu.jitter = jitter(c)
}
