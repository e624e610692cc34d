package replication

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/insynclog/insync/log"
)

// Fetcher follows one other node for all partitions that it leads and this node replicates: fetch, append, sync all (in parallel, through the commit engine), fetch again with the synced offsets.
// It has one goroutine while it has partitions.
//
//	Add ──► round ──► sync those whose log end is not durable ──► Fetch ──► append, truncate ──┐
//	          ▲                                                                                │
//	          └──── pause only those with errors; all, if the fetch itself failed ◄────────────┘
//
// A partition that is added, or whose leader epoch changes, does not wait for a long poll under way: the poll is cancelled within interruptAfter. The delay lets the many partitions of one
// metadata change share one cancellation.
type Fetcher struct {
	config FetcherConfig
	logger *slog.Logger
	stop   chan struct{}  // closed by Close
	wake   chan struct{}  // capacity 1: Add to a loop that sleeps
	wg     sync.WaitGroup // the loop and the watchdog's callbacks

	mu struct {
		sync.Mutex
		closed   bool
		running  bool // the loop lives
		followed []*followed
		byName   map[partitionName]*followed
		byID     map[partitionID]*followed
		current  *followed     // the one that the loop works on without the lock
		idle     chan struct{} // closed when current changes; nil if nobody waits

		added   bool               // since the round under way was collected
		cancel  context.CancelFunc // of the call under way; nil without
		dog     *time.Timer        // cancels the call under way
		due     time.Time          // when it does
		soon    bool               // it does for the sake of an added partition
		expired bool               // it did because the node does not answer
	}

	// The loop's own.
	round    []*followed
	nextDue  time.Time // when the first of those that pause is due; zero if none pauses
	request  FetchRequest
	response FetchResponse
	syncs    syncGroup
	ranges   []*followed // out of range in this round
	failures backoff     // of whole fetches
	ctx      context.Context
	cancel   context.CancelFunc
}

// FetcherConfig sets up a Fetcher.
type FetcherConfig struct {
	Source            Source
	Leader            int32         // node fetched from
	MaxWait           time.Duration // replica.fetch.wait.max.ms; 0 = 500 ms
	MinBytes          int           // 0 = 1
	MaxBytes          int           // replica.fetch.response.max.bytes; 0 = 10 MiB
	PartitionMaxBytes int           // replica.fetch.max.bytes; 0 = 1 MiB
	Backoff           time.Duration // replica.fetch.backoff.ms, the longest pause after an error (the first is 10 ms); 0 = 1 s
	Timeout           time.Duration // replica.socket.timeout.ms, beyond MaxWait; 0 = 30 s
	Logger            *slog.Logger

	// OnCorrupt is called, with no lock held, when what the leader sent of a partition is damaged. It must not block. Nil: nobody is told.
	OnCorrupt func(topic string, partition int32, offset int64, err error)

	// OnPanic is called, with no lock held, when the fetcher's goroutine panicked, which ends it; the fetcher counts as closed then. The owner fails its node. Nil lets the panic end the process.
	OnPanic func(value any, stack []byte)
}

const (
	// backoffMin is the first pause after an error. It is short because most errors are the first moments of a failover, when metadata reaches the nodes one after the other.
	backoffMin = 10 * time.Millisecond
	// interruptAfter is how long a long poll goes on after a partition was added.
	interruptAfter = 2 * time.Millisecond
)

func (c FetcherConfig) withDefaults() FetcherConfig {
	c.MaxWait = orDefault(c.MaxWait, 500*time.Millisecond)
	c.MinBytes = orDefault(c.MinBytes, 1)
	c.MaxBytes = orDefault(c.MaxBytes, 10<<20)
	c.PartitionMaxBytes = orDefault(c.PartitionMaxBytes, 1<<20)
	c.Backoff = orDefault(c.Backoff, time.Second)
	c.Timeout = orDefault(c.Timeout, 30*time.Second)
	return c
}

func orDefault[T int | time.Duration](v, d T) T {
	if v <= 0 {
		return d
	}
	return v
}

// followed is one partition of a Fetcher.
type followed struct {
	replica *Replica
	name    partitionName
	id      partitionID

	// The loop's own.
	asked    position // what the fetch under way asks
	answered bool     // and whether that was answered already
	seen     int      // added, when the round was collected
	failures backoff

	// Guarded by Fetcher.mu.
	added     int // how often Add was called
	removed   bool
	stalled   bool      // nothing to do until Add tells of a new epoch
	notBefore time.Time // pauses until then
}

type partitionName struct {
	topic     string
	partition int32
}

type partitionID struct {
	topic     log.TopicID
	partition int32
}

// NewFetcher returns a fetcher without partitions.
func NewFetcher(c FetcherConfig) *Fetcher {
	f := &Fetcher{config: c.withDefaults(), logger: c.Logger, stop: make(chan struct{}), wake: make(chan struct{}, 1)}
	if f.logger == nil {
		f.logger = slog.New(slog.DiscardHandler)
	}
	f.syncs.init()
	f.mu.byName = make(map[partitionName]*followed)
	f.mu.byID = make(map[partitionID]*followed)
	return f
}

// Add starts following for a replica whose role is Follower of this leader; adding it again takes its new leader epoch. It does not wait.
func (f *Fetcher) Add(r *Replica) {
	f.mu.Lock()
	if f.mu.closed {
		f.mu.Unlock()
		return
	}
	name := partitionName{r.config.Topic, r.config.Partition}
	e := f.mu.byName[name]
	if e != nil && e.replica != r { // another incarnation of the topic
		f.dropLocked(e)
		e = nil
	}
	if e == nil {
		e = &followed{replica: r, name: name, id: partitionID{r.config.TopicID, r.config.Partition}}
		f.mu.byName[e.name], f.mu.byID[e.id] = e, e
		f.mu.followed = append(f.mu.followed, e)
	}
	e.added++
	e.stalled, e.notBefore = false, time.Time{}
	if !f.mu.running {
		f.mu.running = true
		f.wg.Go(f.run)
	}
	f.mu.added = true
	f.nudge()
	if f.mu.cancel != nil && !f.mu.soon {
		f.armLocked(interruptAfter, true)
	}
	f.mu.Unlock()
}

// Remove stops following, and returns when no append for it is under way. It must not be called from the replica's events.
func (f *Fetcher) Remove(r *Replica) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.mu.byName[partitionName{r.config.Topic, r.config.Partition}]
	if e == nil || e.replica != r {
		return
	}
	f.dropLocked(e)
	if len(f.mu.followed) == 0 {
		f.nudge() // the loop ends
	}
	for f.mu.current == e {
		if f.mu.idle == nil {
			f.mu.idle = make(chan struct{})
		}
		idle := f.mu.idle
		f.mu.Unlock()
		<-idle
		f.mu.Lock()
	}
}

func (f *Fetcher) dropLocked(e *followed) {
	e.removed = true
	delete(f.mu.byName, e.name)
	delete(f.mu.byID, e.id)
	f.mu.followed = slices.DeleteFunc(f.mu.followed, func(o *followed) bool { return o == e })
}

// Len is the number of partitions followed.
func (f *Fetcher) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.mu.followed)
}

// Close stops the goroutine and waits for it. Idempotent.
func (f *Fetcher) Close() {
	f.mu.Lock()
	if !f.mu.closed {
		f.mu.closed = true
		close(f.stop)
	}
	cancel := f.mu.cancel
	f.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	f.wg.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.followed = nil
	clear(f.mu.byName)
	clear(f.mu.byID)
}

// nudge wakes a loop that sleeps.
func (f *Fetcher) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}
