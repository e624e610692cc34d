package consumer

import (
	"context"
	"iter"
	"log/slog"
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
)

// Config sets up a Consumer. Zero values are the documented defaults.
type Config struct {
	Client *transport.Client // a client to share (node.Client()); Close leaves it open. Or, to make one of its own:

	Bootstrap []string
	Network   transport.Network
	ClientID  string

	// Topics are read whole: all partitions, also those added later.
	Topics []string
	// Partitions are read in addition: partition numbers by topic.
	Partitions map[string][]int32
	// Start says where a partition without a position begins. The zero value is Earliest.
	Start Position

	Isolation Isolation // the zero value is ReadCommitted
	Rack      string    // client.rack: read from a replica in the same rack (KIP-392)

	MinBytes          int           // fetch.min.bytes; 0 = 1
	MaxWait           time.Duration // fetch.max.wait.ms; 0 = 500 ms
	MaxBytes          int           // fetch.max.bytes per request; 0 = 50 MiB
	PartitionMaxBytes int           // max.partition.fetch.bytes; 0 = 1 MiB
	BufferBytes       int           // bound on bytes fetched ahead of the application; 0 = 64 MiB
	Logger            *slog.Logger
}

// Isolation is isolation.level.
type Isolation int8

// The isolation levels.
const (
	ReadCommitted Isolation = iota
	ReadUncommitted
)

// Position is a place to start at: Earliest, Latest, Offset(n), Time(t) or Committed later on. The zero value is Earliest.
type Position struct{ _ int }

// Earliest is the log start offset. Latest is the end at the time of asking. AtOffset is an offset. AtTime is the first record whose timestamp is not before t.
func Earliest() Position          { panic("stub") }
func Latest() Position            { panic("stub") }
func AtOffset(o int64) Position   { panic("stub") }
func AtTime(t time.Time) Position { panic("stub") }

// Consumer reads assigned partitions.
type Consumer struct{ _ int }

// New validates the config, all problems at once, and does not connect.
func New(c Config) (*Consumer, error) { panic("stub") }

// Records iterates over records as they come, waiting for more, until ctx ends (which ends the iteration without an error), the loop is left, or an error that the consumer cannot get over
// (it is the last element). Order holds per partition. The record and its bytes are valid until the next iteration; Clone keeps one. Single use at a time.
func (c *Consumer) Records(ctx context.Context) iter.Seq2[*record.Record, error] { panic("stub") }

// Batch is a run of records of one partition.
type Batch struct {
	Topic         string
	Partition     int32
	HighWatermark int64
	Records       []record.Record
}

// Batches is Records by runs of one partition. The slice and its bytes are valid until the next iteration.
func (c *Consumer) Batches(ctx context.Context) iter.Seq2[Batch, error] { panic("stub") }

// Pause stops fetching partitions (what is buffered of them is kept back), Resume goes on. Seek moves a partition's position.
func (c *Consumer) Pause(topic string, partitions ...int32)  { panic("stub") }
func (c *Consumer) Resume(topic string, partitions ...int32) { panic("stub") }
func (c *Consumer) Seek(ctx context.Context, topic string, partition int32, p Position) error {
	panic("stub")
}

// PartitionStatus tells where the consumer is in one partition.
type PartitionStatus struct {
	Topic         string
	Partition     int32
	Position      int64 // next offset to be returned; -1 not yet known
	HighWatermark int64 // as of the last answer; -1 unknown
	Lag           int64 // records from Position to the end that this consumer may see; -1 unknown
	Paused        bool
	Node          int32 // fetched from; -1 none
	Err           error // why nothing comes, if so
}

// Status lists the partitions by topic and number.
func (c *Consumer) Status() []PartitionStatus { panic("stub") }

// Close stops fetching and waits for all goroutines. An iteration under way ends.
func (c *Consumer) Close() error { panic("stub") }
