package consumer

import (
	"cmp"
	"context"
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
	// TopicsRegex names topics by a regular expression (RE2) that the coordinator resolves, also those made later; in addition to Topics. It needs a group and KIP-848: a cluster without it is a
	// *GroupError that matches errors.ErrUnsupported.
	TopicsRegex string

	// Group is the consumer group (group.id) that shares the partitions of Topics out among its members. "" means none: this consumer reads all of them.
	Group string
	// InstanceID makes the member a static one (group.instance.id, KIP-345): a restart within the session timeout gets the same partitions, without a rebalance. Each instance needs an id of its own.
	// "" means a dynamic member.
	InstanceID string
	// Protocol chooses between KIP-848 and the classic protocol; the zero value takes the former where the coordinator has it.
	Protocol Protocol
	// Assignor is the server-side assignor (group.remote.assignor); "" means the cluster's default. The classic protocol always uses cooperative-sticky.
	Assignor string
	// SessionTimeout is how long the coordinator waits for a heartbeat before it gives the partitions to others (session.timeout.ms); 0 means 45 s. In the classic protocol the member says it; with
	// KIP-848 the broker does (group.consumer.session.timeout.ms), and what is set here must not be longer than that: when no heartbeat was answered for this time, nothing more is handed out.
	SessionTimeout time.Duration
	// RebalanceTimeout is how long the application may take to finish what it has of a partition that is asked back (max.poll.interval.ms, in this role only); 0 means 5 min. After nine tenths of it the
	// partition is given up regardless.
	RebalanceTimeout time.Duration
	// MaxProcessing is how long the application may hold one record (of Batches: one batch). A member that is stuck for longer leaves the group, so that others get its partitions, and joins again when
	// the application asks for the next one. 0 means for ever: heartbeats do not depend on processing.
	MaxProcessing time.Duration

	// Commit says when offsets are committed; the zero value is AtLeastOnce.
	Commit CommitMode
	// CommitInterval is how often marks are committed in the background (auto.commit.interval.ms, but of what was marked); 0 means 5 s.
	CommitInterval time.Duration
	// LoadOffsets tells, with Commit External, where newly assigned partitions begin: their next offsets, from the application's store. Partitions that it leaves out begin at Start. It should claim the
	// partitions for the fence in the same store, so that a former owner's transactions fail from then on; a claim that finds a higher generation returns an error that matches ErrFenced. After an error
	// it is called again, with back-off, for as long as the partitions are this member's; nothing of them is handed out before.
	LoadOffsets func(ctx context.Context, claim Claim) (map[TopicPartition]int64, error)

	// OnAssigned, OnRevoked and OnLost tell what the group gives and takes. They are called, as is LoadOffsets, in the order of events, one at a time, from one goroutine and without locks; heartbeats go
	// on meanwhile. They must not call Close, and should return soon: rebalances wait for them, and so does the word of a loss. Their context ends with Close; that of OnAssigned, OnRevoked and
	// LoadOffsets also when the member falls out of the group, so that OnLost can be called.
	//
	// OnAssigned is called before anything of the partitions is handed out; Seek and Pause have an effect from the first record on.
	OnAssigned func(ctx context.Context, partitions []TopicPartition)
	// OnRevoked is called when partitions are given up in good order: the application is done with them, marks still count, and are committed when it returns.
	OnRevoked func(ctx context.Context, partitions []TopicPartition)
	// OnLost is called when partitions were taken away: others may have them already. Marks do not count any more. A member that hears nothing from its coordinator calls it before the coordinator may
	// give the partitions to others: a tenth of SessionTimeout, at most a second, before its end.
	OnLost func(ctx context.Context, partitions []TopicPartition)

	// Start says where every partition begins for which the group has no offset. With Latest, partitions that are newer than this member's first assignment begin at Earliest: what was written before the
	// group noticed them would be skipped. Without a group it says where every partition begins. The zero value is Earliest; Kafka's clients begin at the latest offset and skip what is there.
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
	c.SessionTimeout = cmp.Or(c.SessionTimeout, 45*time.Second)
	c.RebalanceTimeout = cmp.Or(c.RebalanceTimeout, 5*time.Minute)
	c.CommitInterval = cmp.Or(c.CommitInterval, 5*time.Second)
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
	if len(c.Topics) == 0 && len(c.Partitions) == 0 && c.TopicsRegex == "" {
		bad("neither Topics nor Partitions is set")
	}
	c.validateGroup(bad)
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

func (c *Config) validateGroup(bad func(format string, args ...any)) {
	if c.Group == "" {
		for _, f := range []struct {
			name string
			set  bool
		}{
			{"TopicsRegex", c.TopicsRegex != ""},
			{"InstanceID", c.InstanceID != ""},
			{"Protocol", c.Protocol != 0},
			{"Assignor", c.Assignor != ""},
			{"Commit", c.Commit != 0},
			{"MaxProcessing", c.MaxProcessing != 0},
			{"LoadOffsets", c.LoadOffsets != nil},
			{"OnAssigned", c.OnAssigned != nil},
			{"OnRevoked", c.OnRevoked != nil},
			{"OnLost", c.OnLost != nil},
		} {
			if f.set {
				bad("%s needs a Group", f.name)
			}
		}
		return
	}
	if len(c.Partitions) > 0 {
		bad("Partitions are for consumers without a Group")
	}
	if c.Protocol < ProtocolAuto || c.Protocol > ProtocolConsumer {
		bad("Protocol %d is unknown", c.Protocol)
	}
	if c.Commit < AtLeastOnce || c.Commit > External {
		bad("Commit %d is unknown", c.Commit)
	}
	if (c.Commit == External) != (c.LoadOffsets != nil) {
		bad("Commit External and LoadOffsets need each other")
	}
	if c.Protocol == ProtocolClassic && c.TopicsRegex != "" {
		bad("TopicsRegex needs KIP-848, but Protocol is classic")
	}
	if c.SessionTimeout < time.Second || c.RebalanceTimeout < time.Second || c.CommitInterval < 0 || c.MaxProcessing < 0 {
		bad("SessionTimeout %v and RebalanceTimeout %v must be a second or more, CommitInterval %v and MaxProcessing %v not negative", c.SessionTimeout, c.RebalanceTimeout, c.CommitInterval, c.MaxProcessing)
	}
}
