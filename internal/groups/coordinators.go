package groups

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/insynclog/insync/internal/groups/machine"
	"github.com/insynclog/insync/replication"
)

// What requests are refused with besides the machine's errors.
var (
	ErrNotCoordinator = errors.New("groups: not the group's coordinator")             // NOT_COORDINATOR
	ErrLoading        = errors.New("groups: the coordinator is still loading")        // COORDINATOR_LOAD_IN_PROGRESS
	ErrNotAvailable   = errors.New("groups: the coordinator could not write in time") // COORDINATOR_NOT_AVAILABLE
	ErrRefused        = errors.New("groups: the log does not take what was decided")  // UNKNOWN_SERVER_ERROR
)

// Config sets up Coordinators. All fields are needed unless said otherwise.
type Config struct {
	Machine       machine.Config
	CommitTimeout time.Duration // offsets.commit.timeout.ms: how long a request waits to be written
	// LoadGrace is Machine.LoadGrace of a coordinator that loads now. nil: none, there is no other node.
	LoadGrace func() time.Duration

	// Partitions is the number of partitions of __consumer_offsets, 0 while there is no such topic.
	Partitions func() int32
	// TopicNames lists the topics that a pattern may match, and the version (an offset of the metadata log) of the metadata they are from.
	TopicNames func() (names []string, version int64)
	// Spawn runs f on a goroutine that the owner waits for; false when the owner is closing.
	Spawn func(f func()) bool

	Admit   func() error    // optional: why nothing may be written now, a *log.FullError
	Refused func(err error) // optional: told why a write was refused
	Changed func()          // optional: called before a log changes, and after its start has
	Logger  *slog.Logger    // nil = silent
}

func (c Config) validate() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("groups: config without %s", what))
		}
	}
	need(c.Machine.NewID != nil, "Machine.NewID")
	need(c.CommitTimeout > 0, "CommitTimeout")
	need(c.Partitions != nil, "Partitions")
	need(c.TopicNames != nil, "TopicNames")
	need(c.Spawn != nil, "Spawn")
	return errors.Join(errs...)
}

// Coordinators are all group coordinators of a node.
type Coordinators struct {
	c      Config
	logger *slog.Logger
	rounds sync.Pool // of *round

	mu struct {
		sync.RWMutex // nothing is called under it
		closed       bool
		shards       map[int32]*shard // by partition
	}
}

// New returns the coordinators of a node that leads nothing yet. Errors: all problems of the config at once.
func New(c Config) (*Coordinators, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	cs := &Coordinators{c: c, logger: c.Logger}
	cs.mu.shards = make(map[int32]*shard)
	return cs, nil
}

// Lead makes the node coordinator of a partition that r leads with the given epoch: loading begins. m is the metadata as of then. An epoch that is not newer than the last one changes nothing.
func (cs *Coordinators) Lead(partition, leaderEpoch int32, r *replication.Replica, m machine.Metadata) {
	s := newShard(cs, partition, leaderEpoch, r, m)
	cs.mu.Lock()
	old := cs.mu.shards[partition]
	if cs.mu.closed || old != nil && old.replica == r && old.epoch >= leaderEpoch {
		cs.mu.Unlock()
		return
	}
	cs.mu.shards[partition] = s
	cs.mu.Unlock()
	if old != nil {
		old.stop(nil)
	}
	if !cs.c.Spawn(s.load) {
		s.stop(nil)
	}
}

// Resign ends the node's being coordinator of a partition. What is outstanding is answered with ErrNotCoordinator.
func (cs *Coordinators) Resign(partition int32) {
	cs.mu.Lock()
	s := cs.mu.shards[partition]
	delete(cs.mu.shards, partition)
	cs.mu.Unlock()
	if s != nil {
		s.stop(nil)
	}
}

// StepDown ends the node's being coordinator of a partition under a leader epoch, or an earlier one, as Resign does.
func (cs *Coordinators) StepDown(partition, leaderEpoch int32) {
	cs.mu.Lock()
	s := cs.mu.shards[partition]
	if s == nil || s.epoch > leaderEpoch {
		cs.mu.Unlock()
		return
	}
	delete(cs.mu.shards, partition)
	cs.mu.Unlock()
	s.stop(nil)
}

// SetMetadata takes newer metadata. deleted names the topics that are gone since the last call.
func (cs *Coordinators) SetMetadata(m machine.Metadata, deleted []string) {
	for _, s := range cs.all() {
		s.setMetadata(m, deleted)
	}
}

// Submit hands a request to the group's coordinator. done is called exactly once, without locks, perhaps before Submit returns: with the request's own type of result (see package machine), or with an
// error of that package or this one. It must not block.
func (cs *Coordinators) Submit(group string, r machine.Request, done func(result any, err error)) {
	s := cs.find(group)
	if s == nil {
		done(nil, ErrNotCoordinator)
		return
	}
	s.submit(r, done)
}

// Read calls f with the group's coordinator, for reads of committed state. f must not block, and keep nothing. Errors: ErrNotCoordinator, ErrLoading.
func (cs *Coordinators) Read(group string, f func(*machine.Coordinator)) error {
	s := cs.find(group)
	if s == nil {
		return ErrNotCoordinator
	}
	return s.read(f)
}

// ReadAll calls f with every coordinator of the node, by partition. ErrLoading if one of them is loading: a list that lacks groups would be taken for complete.
func (cs *Coordinators) ReadAll(f func(*machine.Coordinator)) error {
	for _, s := range cs.all() {
		if err := s.read(f); err != nil && !errors.Is(err, ErrNotCoordinator) {
			return err
		}
	}
	return nil
}

// Close stops all coordinators. It waits for no goroutine: Spawn's owner does. Idempotent.
func (cs *Coordinators) Close() {
	cs.mu.Lock()
	cs.mu.closed = true
	cs.mu.Unlock()
	for _, s := range cs.all() {
		s.stop(nil)
	}
}

// Status tells about the coordinators, by partition.
func (cs *Coordinators) Status() []Status {
	all := cs.all()
	out := make([]Status, len(all))
	for i, s := range all {
		out[i] = s.status()
	}
	return out
}

// find returns the shard of a group, nil if it is elsewhere.
func (cs *Coordinators) find(group string) *shard {
	n := cs.c.Partitions()
	if n <= 0 {
		return nil
	}
	cs.mu.RLock()
	defer cs.mu.RUnlock()
	return cs.mu.shards[PartitionOf(group, n)]
}

func (cs *Coordinators) all() []*shard {
	cs.mu.RLock()
	defer cs.mu.RUnlock()
	all := make([]*shard, 0, len(cs.mu.shards))
	for _, p := range slices.Sorted(maps.Keys(cs.mu.shards)) {
		all = append(all, cs.mu.shards[p])
	}
	return all
}
