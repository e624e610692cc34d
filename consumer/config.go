package consumer

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/insynclog/insync/transport"
)

// Config sets up a Consumer. Zero values are the documented defaults.
type Config struct {
	// Client is a client to share (Node.Client()); Close leaves it open. Without it, Bootstrap and Network make one of the consumer's own.
	Client    *transport.Client
	Bootstrap []string
	Network   transport.Network // nil means transport.TCP(nil)
	ClientID  string

	// Topics are read whole: all partitions, also those added later.
	Topics []string
	// Partitions are read in addition: partition numbers by topic.
	Partitions map[string][]int32
	// Start says where every partition begins. The zero value is Earliest; Kafka's clients begin at the latest offset and skip what is there.
	Start Position
	// OutOfRange says what happens when a position is not in the log (Kafka: auto.offset.reset). The zero value ends the iteration with *OffsetOutOfRangeError.
	OutOfRange OutOfRange

	Isolation Isolation // isolation.level; the zero value is ReadCommitted
	Rack      string    // client.rack: read from a replica in the same rack (KIP-392)

	MinBytes          int           // fetch.min.bytes; 0 means 1
	MaxWait           time.Duration // fetch.max.wait.ms; 0 means 500 ms
	MaxBytes          int           // fetch.max.bytes per answer; 0 means 50 MiB
	PartitionMaxBytes int           // max.partition.fetch.bytes; 0 means 1 MiB. A larger batch still comes, alone.
	BufferBytes       int           // bound on bytes fetched ahead of the application; 0 means 64 MiB. One answer may exceed it.
	RetryBackoff      time.Duration // retry.backoff.ms: the wait after an error of a partition; 0 means 100 ms

	Logger *slog.Logger // nil is silent
}

// Isolation is isolation.level.
type Isolation int8

// The isolation levels.
const (
	// ReadCommitted returns what lies below the last stable offset, without aborted transactions.
	ReadCommitted Isolation = iota
	// ReadUncommitted returns what lies below the high watermark.
	ReadUncommitted
)

// OutOfRange is auto.offset.reset.
type OutOfRange int8

// What may happen when a position is not in the log.
const (
	Fail        OutOfRange = iota // the iteration ends with *OffsetOutOfRangeError
	ResumeFirst                   // go on at the earliest offset
	ResumeLast                    // go on at the end
)

// Position is a place in a partition. The zero value is Earliest.
type Position struct {
	kind  positionKind
	value int64 // offset, or milliseconds
}

type positionKind int8

const (
	earliest positionKind = iota
	latest
	atOffset
	atTime
)

// Earliest is the log start offset.
func Earliest() Position { return Position{} }

// Latest is the end of what the consumer may see, at the time of asking.
func Latest() Position { return Position{kind: latest} }

// AtOffset is the record at offset o or, where compaction has removed it, the next one.
func AtOffset(o int64) Position { return Position{kind: atOffset, value: o} }

// AtTime is the first record whose timestamp is not before t; the end if there is none.
func AtTime(t time.Time) Position { return Position{kind: atTime, value: t.UnixMilli()} }

// String says it in words.
func (p Position) String() string {
	switch p.kind {
	case latest:
		return "latest"
	case atOffset:
		return fmt.Sprintf("offset %d", p.value)
	case atTime:
		return "time " + time.UnixMilli(p.value).UTC().Format(time.RFC3339Nano)
	}
	return "earliest"
}

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.MinBytes, 1)
	def(&c.MaxBytes, 50<<20)
	def(&c.PartitionMaxBytes, 1<<20)
	def(&c.BufferBytes, 64<<20)
	if c.MaxWait == 0 {
		c.MaxWait = 500 * time.Millisecond
	}
	if c.RetryBackoff == 0 {
		c.RetryBackoff = 100 * time.Millisecond
	}
	return c
}

// validate returns all problems at once. It is called on a Config with its defaults.
func (c *Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("consumer config: "+format, args...)) }
	if c.Client == nil && len(c.Bootstrap) == 0 {
		bad("neither Client nor Bootstrap is set")
	}
	if c.Client != nil && (len(c.Bootstrap) > 0 || c.Network != nil || c.ClientID != "") {
		bad("Bootstrap, Network and ClientID belong to a client of the consumer's own, but Client is set")
	}
	if len(c.Topics) == 0 && len(c.Partitions) == 0 {
		bad("neither Topics nor Partitions is set")
	}
	for _, t := range c.Topics {
		if t == "" {
			bad("a topic has no name")
		}
	}
	for t, numbers := range c.Partitions {
		if t == "" {
			bad("a topic has no name")
		}
		for _, n := range numbers {
			if n < 0 {
				bad("partition %d of topic %q is negative", n, t)
			}
		}
	}
	if c.Start.kind == atOffset && c.Start.value < 0 {
		bad("Start: offset %d is negative", c.Start.value)
	}
	if c.OutOfRange < Fail || c.OutOfRange > ResumeLast {
		bad("OutOfRange %d is unknown", c.OutOfRange)
	}
	if c.Isolation != ReadCommitted && c.Isolation != ReadUncommitted {
		bad("Isolation %d is unknown", c.Isolation)
	}
	for _, f := range []struct {
		name string
		v    int
	}{{"MinBytes", c.MinBytes}, {"MaxBytes", c.MaxBytes}, {"PartitionMaxBytes", c.PartitionMaxBytes}, {"BufferBytes", c.BufferBytes}} {
		if f.v < 0 || f.v > 1<<31-1 {
			bad("%s %d is not in [0, 2 GiB)", f.name, f.v)
		}
	}
	if c.MaxWait < 0 || c.RetryBackoff < 0 {
		bad("MaxWait %v or RetryBackoff %v is negative", c.MaxWait, c.RetryBackoff)
	}
	return errors.Join(errs...)
}
