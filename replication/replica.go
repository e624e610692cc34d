package replication

import (
	"context"
	"log/slog"
	"time"

	"github.com/insynclog/insync/internal/commit"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
)

// State is one partition as the controller committed it.
type State struct {
	Leader         int32 // -1 without
	LeaderEpoch    int32
	PartitionEpoch int32
	Replicas       []int32 // in order of preference
	ISR            []int32
	ELR            []int32
}

// Settings are what topic and broker configs say; they may change while the replica lives.
type Settings struct {
	MinInSyncReplicas int           // effective: already min(min.insync.replicas, replica count)
	FlushMessages     int64         // flush.messages; 1 = an offset counts as confirmed when it is synced (the default of insync); MaxInt64 = never
	FlushInterval     time.Duration // flush.ms; 0 = never
	LagTime           time.Duration // replica.lag.time.max.ms; 0 = 30 s
}

// Config sets up a Replica. All fields are needed unless said otherwise.
type Config struct {
	NodeID    int32
	Topic     string
	Partition int32
	TopicID   log.TopicID
	Log       *log.Log // the replica owns its appends and truncations; the owner of the replica closes it after Replica.Close
	Commit    *commit.Engine
	Settings  Settings

	// Eligible tells whether a broker may be in an ISR now: registered with this epoch (-1 = any), unfenced, not shutting down. Called with the replica's lock held: it must not block.
	Eligible func(broker int32, brokerEpoch int64) bool
	// BrokerEpoch returns the epoch under which a broker is registered now, -1 if it is not. The same rules as Eligible.
	BrokerEpoch func(broker int32) int64
	// ProposeISR sends an ISR change to the controller and calls done once, from any goroutine, never from within the call. Called without locks; it must not block.
	ProposeISR func(p ISRProposal, done func(ISRResult))

	Events Events       // optional
	Logger *slog.Logger // nil = silent
}

// Events are called without locks and must not block. Any may be nil.
type Events struct {
	ISRChanged func(topic string, partition int32, isr []int32)
	Offline    func(topic string, partition int32, err error) // a disk error took the replica down
	Truncated  func(topic string, partition int32, from, to int64)
}

// ISRProposal is an AlterPartition request for one partition.
type ISRProposal struct {
	TopicID        log.TopicID
	Topic          string
	Partition      int32
	LeaderEpoch    int32
	PartitionEpoch int32
	ISR            []ISRMember
}

// ISRMember is one proposed member with the broker epoch the leader knows it by.
type ISRMember struct {
	ID    int32
	Epoch int64
}

// ISRResult is the controller's answer: Err nil and the committed State, or one of ErrIneligibleReplica, ErrNotAttempted (certainly not applied), ErrFencedEpoch, ErrUnknownTopic,
// ErrInvalidUpdateVersion, ErrInvalidRequest, ErrNewLeaderElected (wait for metadata), or anything else (retry).
type ISRResult struct {
	State State
	Err   error
}

// Role is what a replica is at the moment.
type Role int8

// The roles.
const (
	Idle Role = iota // no leader known, or not yet told
	Follower
	Leader
	Offline // a disk error: everything returns *log.StorageError
)

// Replica is this node's replica of one partition. It is safe for concurrent use.
type Replica struct{ _ int }

// New returns an idle replica over an open log; hw is the checkpointed high watermark the log already has.
func New(c Config) (*Replica, error) { panic("stub") }

// Apply takes a state of the partition from metadata. States with an older partition epoch are ignored. It returns the role; a new leader has recorded its epoch durably by then.
func (r *Replica) Apply(s State, now time.Time) (Role, error) { panic("stub") }

// SetSettings takes changed configs.
func (r *Replica) SetSettings(s Settings) { panic("stub") }

// Acks says when an append is answered.
type Acks int16

// Kafka's acks.
const (
	AcksAll    Acks = -1
	AcksNone   Acks = 0
	AcksLeader Acks = 1
)

// AppendOptions go with Append.
type AppendOptions struct {
	Acks   Acks
	Now    time.Time
	Origin log.Origin
	// RequiredLeaderEpoch, if >= 0, must be the leader's epoch (coordinators).
	RequiredLeaderEpoch int32
}

// AppendResult is the outcome of an append.
type AppendResult struct {
	BaseOffset     int64 // -1 on an error before the append
	LogAppendTime  int64
	LogStartOffset int64
	Leader         int32 // the current leader as far as known, with ErrNotLeader (KIP-951)
	LeaderEpoch    int32
	Err            error // see errors.go; ErrNotEnoughReplicasAfterAppend, ErrTimedOut and lost leadership leave the data in the log
}

// Pending is an append that waits for its acknowledgement.
type Pending struct{ _ int }

// Fail ends the wait with err (ErrTimedOut) unless the append is done already; it reports whether it did. The data stays in the log.
func (p *Pending) Fail(err error) bool { panic("stub") }

// Append appends one batch as leader. done is called exactly once, without locks, perhaps before Append returns: at once for an error or AcksNone; when the leader has confirmed (synced, with
// FlushMessages 1) for AcksLeader; when the high watermark has passed the batch for AcksAll. The returned Pending is nil when done was called already.
// b is not kept after Append returns.
func (r *Replica) Append(b record.Batch, o AppendOptions, done func(AppendResult)) *Pending {
	panic("stub")
}

// Reader says on whose behalf a read is made.
type Reader int8

// The readers.
const (
	ReadUncommitted Reader = iota // below the high watermark
	ReadCommitted                 // below the last stable offset
	ReadAsReplica                 // up to the log end offset
)

// ReadOptions go with Read.
type ReadOptions struct {
	Offset             int64
	MaxBytes           int
	AtLeastOne         bool // return the first batch even if it is larger than MaxBytes
	As                 Reader
	CurrentLeaderEpoch int32 // -1: not checked
	LeaderOnly         bool  // refuse when this replica is a follower
}

// ReadResult is what a read found. Slice must be released. With an error the slice is empty and the offsets are set as far as known.
type ReadResult struct {
	Slice   log.Slice
	Offsets log.Offsets
	Bound   int64 // exclusive upper bound of what this reader may see
	Err     error // ErrNotLeader, ErrFencedEpoch, ErrUnknownEpoch, *log.OffsetOutOfRangeError, *log.StorageError

	Leader      int32 // current leader and epoch, as far as known (KIP-951)
	LeaderEpoch int32

	Diverging      bool // the follower's log diverges: DivergingEpoch and DivergingEnd say where (KIP-595); Slice is empty
	DivergingEpoch int32
	DivergingEnd   int64
}

// Read reads on behalf of a consumer (or a debugging tool). It never waits; see Watch.
func (r *Replica) Read(o ReadOptions) ReadResult { panic("stub") }

// FollowerFetch is one follower's fetch of this partition.
type FollowerFetch struct {
	Follower           int32
	BrokerEpoch        int64 // -1 unknown
	FetchOffset        int64 // its synced log end offset (or log end offset, see Settings.FlushMessages)
	LogStartOffset     int64
	LastFetchedEpoch   int32 // -1 unknown
	CurrentLeaderEpoch int32 // -1: not checked
	MaxBytes           int
	AtLeastOne         bool
	Now                time.Time
}

// ReadFollower records the follower's progress (which may move the high watermark, answer appends and propose an ISR) and reads for it.
// Reread reads again for the same fetch after a wait without recording it twice.
func (r *Replica) ReadFollower(f FollowerFetch) ReadResult { panic("stub") }
func (r *Replica) Reread(f FollowerFetch) ReadResult       { panic("stub") }

// Watcher is told that something a waiting fetch looks at has changed. Wake must not block; it is called without the replica's lock, perhaps more often than needed.
type Watcher interface{ Wake() }

// Watch registers w until Unwatch: it is woken when the bound for `as` moves, and when role, leader epoch or log (truncation) change.
func (r *Replica) Watch(w Watcher, as Reader) { panic("stub") }
func (r *Replica) Unwatch(w Watcher)          { panic("stub") }

// Tick lets the replica look at the clock: ISR shrink, retries of proposals. The owner calls it every LagTime/2 or more often.
func (r *Replica) Tick(now time.Time) { panic("stub") }

// Status is a snapshot for people and for the broker.
type Status struct {
	Topic       string
	Partition   int32
	TopicID     log.TopicID
	Role        Role
	State       State // as committed, as far as known
	MaximalISR  []int32
	Offsets     log.Offsets
	EpochStart  int64 // leader: the offset at which its epoch starts
	Followers   []Progress
	ProposalOut bool
	Err         error
}

// Progress is what a leader knows of one follower.
type Progress struct {
	ID             int32
	FetchOffset    int64 // -1 unknown
	LogStartOffset int64
	LastCaughtUp   time.Time
	LastFetch      time.Time
	InSync         bool
}

// Status returns a snapshot.
func (r *Replica) Status() Status { panic("stub") }

// LatestVisible is the offset ListOffsets "latest" answers for the reader; ErrOffsetNotAvailable while a new leader's high watermark is below the start of its epoch; ErrNotLeader, epoch errors.
func (r *Replica) LatestVisible(as Reader, currentLeaderEpoch int32) (int64, error) { panic("stub") }

// CheckLeader returns nil if this replica leads with the given epoch (-1: any), else ErrNotLeader, ErrFencedEpoch or ErrUnknownEpoch.
func (r *Replica) CheckLeader(currentLeaderEpoch int32) error { panic("stub") }

// Log returns the replica's log.
func (r *Replica) Log() *log.Log { panic("stub") }

// Close fails what waits with ErrNotLeader and stops. It waits for effects under way. It does not close the log.
func (r *Replica) Close() error { panic("stub") }

// Source is where a Fetcher fetches from: one node, over the wire. Implemented by internal/broker.
type Source interface {
	// Fetch sends what all partitions of the fetcher want (a complete list each time: the source keeps the fetch session) and waits for the answer.
	// resp is reused from call to call; its records stay valid until resp.Release.
	Fetch(ctx context.Context, req *FetchRequest, resp *FetchResponse) error
	// Offsets asks the leader for log start and log end offset of a partition (ListOffsets as a replica).
	Offsets(ctx context.Context, topic string, partition, currentLeaderEpoch int32) (start, end int64, err error)
}

// FetchRequest is a fetch of one node from another.
type FetchRequest struct {
	MaxWait    time.Duration
	MinBytes   int
	MaxBytes   int
	Partitions []FetchPartition
}

// FetchPartition is one partition of a FetchRequest.
type FetchPartition struct {
	TopicID            log.TopicID
	Topic              string
	Partition          int32
	CurrentLeaderEpoch int32
	FetchOffset        int64
	LastFetchedEpoch   int32 // -1 for an empty log
	LogStartOffset     int64
	MaxBytes           int
}

// FetchResponse is the answer; partitions without news may be absent.
type FetchResponse struct {
	Partitions []FetchedPartition
	Release    func()
}

// FetchedPartition is one partition of a FetchResponse.
type FetchedPartition struct {
	TopicID        log.TopicID
	Topic          string
	Partition      int32
	Err            error
	HighWatermark  int64
	LogStartOffset int64
	Diverging      bool
	DivergingEpoch int32
	DivergingEnd   int64
	Records        []byte
}

// FetcherConfig sets up a Fetcher.
type FetcherConfig struct {
	Source            Source
	Leader            int32         // node fetched from
	MaxWait           time.Duration // replica.fetch.wait.max.ms; 0 = 500 ms
	MinBytes          int           // 0 = 1
	MaxBytes          int           // replica.fetch.response.max.bytes; 0 = 10 MiB
	PartitionMaxBytes int           // replica.fetch.max.bytes; 0 = 1 MiB
	Backoff           time.Duration // replica.fetch.backoff.ms; 0 = 1 s
	Logger            *slog.Logger
}

// Fetcher follows one other node for all partitions that it leads and this node replicates: fetch, append, sync all (in parallel, through the commit engine), fetch again with the synced offsets.
// It has one goroutine while it has partitions.
type Fetcher struct{ _ int }

// NewFetcher returns a fetcher without partitions.
func NewFetcher(c FetcherConfig) *Fetcher { panic("stub") }

// Add starts following for a replica whose role is Follower of this leader; adding it again takes its new leader epoch. Remove stops, and returns when no append for it is under way.
func (f *Fetcher) Add(r *Replica)    { panic("stub") }
func (f *Fetcher) Remove(r *Replica) { panic("stub") }

// Len is the number of partitions followed.
func (f *Fetcher) Len() int { panic("stub") }

// Close stops the goroutine and waits for it.
func (f *Fetcher) Close() { panic("stub") }
