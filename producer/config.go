package producer

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
)

// Acks says when a record counts as acknowledged.
type Acks int8

const (
	// AcksAll waits until the record is on all in-sync replicas, at least min.insync.replicas. Kafka: acks=-1.
	AcksAll Acks = iota
	// AcksLeader waits until the leader has appended the record. It is lost if the leader dies before others fetched it; not if the leadership moves by plan. Kafka: acks=1.
	AcksLeader
	// AcksNone waits until the record is written to the connection; its offset is not known (-1). Kafka: acks=0.
	AcksNone
)

// String returns Kafka's name of a: all, 1, 0.
func (a Acks) String() string {
	switch a {
	case AcksAll:
		return "all"
	case AcksLeader:
		return "1"
	case AcksNone:
		return "0"
	}
	return fmt.Sprintf("acks %d", int8(a))
}

// wire returns a as Kafka's protocol has it.
func (a Acks) wire() int16 {
	switch a {
	case AcksLeader:
		return 1
	case AcksNone:
		return 0
	}
	return -1
}

// Config sets up a Producer. The zero value of each field is its default; Client or Bootstrap must be given.
type Config struct {
	// Client is a client to share, such as that of an embedded node. Close leaves it open.
	Client *transport.Client

	// Bootstrap (addresses of any nodes), Network (nil is TCP) and ClientID ("" is "insync") are for a client of its own
	// instead, which Close closes.
	Bootstrap []string
	Network   transport.Network
	ClientID  string

	Acks               Acks // when a record counts as acknowledged; default AcksAll
	DisableIdempotence bool // retries may then repeat records and change their order. Idempotence needs AcksAll. Kafka: enable.idempotence, inverted

	Codec            record.Codec // default None
	CompressionLevel int          // 0 is the codec's default

	// Linger is how long a batch that is not full waits for more records. With 0, the default, a batch leaves as soon as nothing is
	// under way to its leader, or after 20 ms: alone when there is time, in company when there is none. Kafka: linger.ms.
	Linger time.Duration

	// BatchBytes is the size before compression at which a batch takes no more records; a larger record gets a batch of its own. 0 = 64 KiB, and up to
	// 512 KiB when records come faster than requests are answered. Kafka: batch.size (16 KiB)
	BatchBytes      int
	MaxRequestBytes int   // size of a request, and of the largest record, before compression; 0 = 1 MiB. Kafka: max.request.size
	BufferBytes     int64 // bound on the records in the producer; when it is reached, calls wait. 0 = 32 MiB. Kafka: buffer.memory
	MaxInFlight     int   // requests under way to one node; 0 = 5, at most 5 with idempotence. Kafka: max.in.flight.requests.per.connection

	DeliveryTimeout time.Duration // from Enqueue to the outcome, retries included; 0 = 2 min. Kafka: delivery.timeout.ms
	RequestTimeout  time.Duration // how long a leader may wait for its followers; the client allows its own request timeout on top; 0 = 30 s. Kafka: request.timeout.ms

	// Partitioner chooses partitions. nil: murmur2 of the key, as the Java client does; without a key, one partition until
	// BatchBytes were produced to it, then another.
	Partitioner Partitioner

	AllowAutoCreate bool         // let the cluster create topics that do not exist, if it allows it
	Logger          *slog.Logger // nil is silent

	grownBytes int // what batches may grow to while full ones wait in front of them; 0: no further than BatchBytes
}

// The defaults.
const (
	defaultBatchBytes      = 64 << 10
	defaultGrownBytes      = 512 << 10
	defaultMaxRequestBytes = 1 << 20
	defaultBufferBytes     = 32 << 20
	defaultMaxInFlight     = 5
	defaultDeliveryTimeout = 2 * time.Minute
	defaultRequestTimeout  = 30 * time.Second
)

// dedupeWindow is how many batches of a producer a leader remembers per partition. More must not be under way.
const dedupeWindow = 5

// maxBatchBytes leaves room for a header and for records that do not compress in Kafka's int32 sizes.
const maxBatchBytes = 1 << 30

// withDefaults returns c with every zero replaced by its default.
func (c Config) withDefaults() Config {
	orInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orDuration := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	orInt(&c.MaxRequestBytes, defaultMaxRequestBytes)
	if c.BatchBytes == 0 {
		c.BatchBytes, c.grownBytes = min(defaultBatchBytes, c.MaxRequestBytes), min(defaultGrownBytes, c.MaxRequestBytes)
	}
	orInt(&c.MaxInFlight, defaultMaxInFlight)
	if c.BufferBytes == 0 {
		c.BufferBytes = max(defaultBufferBytes, int64(c.MaxRequestBytes))
	}
	orDuration(&c.DeliveryTimeout, defaultDeliveryTimeout)
	orDuration(&c.RequestTimeout, min(defaultRequestTimeout, max(c.DeliveryTimeout-c.Linger, 0)))
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate returns all problems of c, which has its defaults, joined.
func (c *Config) validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("producer: "+format, args...))
		}
	}
	bad(c.Client == nil && len(c.Bootstrap) == 0, "neither Client nor Bootstrap is set")
	bad(c.Client != nil && (len(c.Bootstrap) > 0 || c.Network != nil || c.ClientID != ""),
		"Client is set, and with it Bootstrap, Network or ClientID, which are for a client of its own")
	bad(c.Acks < AcksAll || c.Acks > AcksNone, "Acks %d is none of AcksAll, AcksLeader, AcksNone", int8(c.Acks))
	bad(c.Acks != AcksAll && !c.DisableIdempotence, "idempotence needs AcksAll, not acks=%v; set DisableIdempotence to do without", c.Acks)
	bad(c.MaxInFlight > dedupeWindow && !c.DisableIdempotence, "MaxInFlight %d is more than %d, which idempotence allows", c.MaxInFlight, dedupeWindow)
	bad(c.MaxInFlight < 0, "MaxInFlight %d is negative", c.MaxInFlight)
	if err := c.Codec.CheckLevel(c.CompressionLevel); err != nil {
		errs = append(errs, fmt.Errorf("producer: Codec and CompressionLevel: %w", err))
	}
	bad(c.Linger < 0, "Linger %v is negative", c.Linger)
	bad(c.BatchBytes < 0 || c.BatchBytes > maxBatchBytes, "BatchBytes %d is outside of (0, %d]", c.BatchBytes, maxBatchBytes)
	bad(c.MaxRequestBytes < 0 || c.MaxRequestBytes > maxBatchBytes, "MaxRequestBytes %d is outside of (0, %d]", c.MaxRequestBytes, maxBatchBytes)
	bad(c.BatchBytes > c.MaxRequestBytes, "BatchBytes %d is more than MaxRequestBytes %d", c.BatchBytes, c.MaxRequestBytes)
	bad(c.BufferBytes < int64(c.MaxRequestBytes), "BufferBytes %d is less than MaxRequestBytes %d, so the largest record would never fit", c.BufferBytes, c.MaxRequestBytes)
	bad(c.DeliveryTimeout < 0, "DeliveryTimeout %v is negative", c.DeliveryTimeout)
	bad(c.RequestTimeout < 0 || c.RequestTimeout > math.MaxInt32*time.Millisecond, "RequestTimeout %v is outside of (0, 596h]", c.RequestTimeout)
	bad(c.DeliveryTimeout < c.Linger+c.RequestTimeout, "DeliveryTimeout %v is less than Linger %v plus RequestTimeout %v", c.DeliveryTimeout, c.Linger, c.RequestTimeout)
	return errors.Join(errs...)
}
