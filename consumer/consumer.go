package consumer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/insynclog/insync/transport"
)

// Consumer reads partitions: those that Config names, or those that its group gives it.
//
// Its goroutines: the resolver and one fetcher per node; with a group the member loop, the reconciler, the committer, and one for each request of the membership. They are started by the first iteration
// or by need, ended and awaited by Close.
type Consumer struct {
	config    Config
	client    *transport.Client
	ownClient bool
	group     *group // nil without Config.Group
	born      time.Time

	ctx    context.Context // ends with Close, when the member has left
	cancel context.CancelFunc
	stop   chan struct{} // closed when Close begins: iterations end
	shut   chan struct{} // closed when Close is done
	wg     sync.WaitGroup

	resolve chan struct{} // capacity 1: a partition needs the resolver
	ready   chan struct{} // capacity 1: queue is not empty, or a partition failed

	mu struct { // never held while anything waits
		sync.Mutex
		started    bool
		closed     bool
		iterating  bool
		partitions map[key]*partition
		fetchers   map[int32]*fetcher
		queue      []*chunk
		buffered   int   // bytes in queue and with the application
		ended      error // nothing will come any more: the client is closed, or the group has no place for this consumer
	}
}

// New validates the config, all problems at once, and does not connect.
func New(c Config) (*Consumer, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	co := &Consumer{config: c, client: c.Client, resolve: make(chan struct{}, 1), ready: make(chan struct{}, 1), stop: make(chan struct{}), shut: make(chan struct{}), born: time.Now()}
	if c.Group != "" {
		co.group = newGroup()
	}
	if co.client == nil {
		var err error
		if co.client, err = transport.NewClient(transport.ClientConfig{Bootstrap: c.Bootstrap, Network: c.Network, ClientID: c.ClientID, Logger: c.Logger}); err != nil {
			return nil, err
		}
		co.ownClient = true
	}
	co.ctx, co.cancel = context.WithCancel(context.Background())
	co.mu.partitions = map[key]*partition{}
	co.mu.fetchers = map[int32]*fetcher{}
	for topic, numbers := range c.Partitions {
		for _, n := range numbers {
			k := key{topic, n}
			co.mu.partitions[k] = newPartition(k, c.Start)
		}
	}
	return co, nil
}

// start starts the resolver with the first call that needs it.
func (c *Consumer) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return ErrClosed
	}
	if !c.mu.started {
		c.mu.started = true
		c.wg.Go(c.resolveLoop)
		if c.group != nil {
			c.startGroupLocked()
		}
	}
	return nil
}

// signal makes a channel of capacity 1 readable.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// closePatience bounds how long Close tries to commit and to leave the group when the coordinator does not answer.
const closePatience = 5 * time.Second

// Close stops fetching and waits for all goroutines. An iteration under way ends. It is idempotent.
//
// A member of a group first gives its partitions up: OnRevoked is called, marks are committed (CommitMode AtLeastOnce), and the coordinator is told, so that others go on at once. A static member
// (Config.InstanceID) only says that it will be back, or nothing in the classic protocol: its partitions wait for it for the session timeout. A coordinator that does not answer is given 5 s. Close does
// not wait for the application to finish the record in its hands, and must not be called from one of Config's functions.
func (c *Consumer) Close() error { return c.shutDown(true) }

// Kill is Close as the end of the process would be, for tests and demonstrations: nothing is committed, no function is called, and the group hears of it when the session times out.
func (c *Consumer) Kill() error { return c.shutDown(false) }

func (c *Consumer) shutDown(leave bool) error {
	g := c.group
	c.mu.Lock()
	first := !c.mu.closed
	c.mu.closed = true
	member := g != nil && c.mu.started
	if first && leave && member {
		g.closing = true
	}
	for _, p := range c.mu.partitions {
		p.stopped.Store(true)
	}
	c.mu.Unlock()
	if !first {
		if !leave {
			c.cancel()
		}
		<-c.shut
		return nil
	}
	close(c.stop)
	if leave && member {
		c.leaveGroup()
	}
	c.cancel()
	c.wg.Wait()
	c.mu.Lock()
	queue := c.mu.queue
	c.mu.queue = nil
	c.mu.Unlock()
	for _, ch := range queue {
		ch.release()
	}
	defer close(c.shut)
	if c.ownClient {
		return c.client.Close()
	}
	return nil
}

// leaveGroup waits until everything is given up and the member has left, or the coordinator's time is over.
func (c *Consumer) leaveGroup() {
	g := c.group
	signal(g.work)
	signal(g.released)
	signal(g.wake)
	t := time.NewTimer(closePatience)
	defer t.Stop()
	select {
	case <-g.left:
	case <-c.ctx.Done(): // killed
	case <-t.C:
	}
}

// Pause stops fetching partitions of a topic (all that are assigned if none is named) and keeps back what is buffered of them, from the next record (or batch) on, until Resume. A member of a group with Commit AtLeastOnce says so in the text
// that is stored with the committed offset, where cluster.Admin.Explain finds it.
func (c *Consumer) Pause(topic string, partitions ...int32) error {
	return c.setPaused(topic, partitions, true)
}

// Resume goes on with partitions that Pause stopped (all of the topic if none is named).
func (c *Consumer) Resume(topic string, partitions ...int32) error {
	return c.setPaused(topic, partitions, false)
}

func (c *Consumer) setPaused(topic string, numbers []int32, paused bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return ErrClosed
	}
	if len(numbers) == 0 {
		for k := range c.mu.partitions {
			if k.topic == topic {
				numbers = append(numbers, k.number)
			}
		}
	}
	for _, n := range numbers {
		if c.mu.partitions[key{topic, n}] == nil {
			return &NotAssignedError{Topic: topic, Partition: n}
		}
	}
	for _, n := range numbers {
		p := c.mu.partitions[key{topic, n}]
		if p.paused = paused; paused {
			p.stopped.Store(true)
		}
	}
	c.wakeFetchersLocked()
	signal(c.ready) // buffered batches may be handed out again
	if c.group != nil {
		signal(c.group.dirty) // whoever looks at the group is to see it
	}
	return nil
}

// NotAssignedError says that the consumer does not read a partition.
type NotAssignedError struct {
	Topic     string
	Partition int32
}

// Error names the partition.
func (e *NotAssignedError) Error() string {
	return fmt.Sprintf("consumer: partition %s-%d is not assigned", e.Topic, e.Partition)
}

// Seek makes a partition go on at p; what was buffered of it is dropped, also the rest of the batch of which Records is in the middle. It also revives a partition that ended an iteration with an error. It returns at once: an offset that is not in the log
// shows in the iteration.
func (c *Consumer) Seek(topic string, number int32, p Position) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return ErrClosed
	}
	pt := c.mu.partitions[key{topic, number}]
	if pt == nil {
		return &NotAssignedError{Topic: topic, Partition: number}
	}
	pt.seek(p)
	signal(c.resolve)
	c.wakeFetchersLocked()
	return nil
}

// PartitionStatus tells where the consumer is in one partition.
type PartitionStatus struct {
	Topic         string
	Partition     int32
	Position      int64 // next offset to be handed out; -1 not yet known
	Committed     int64 // offset that the group has committed; -1 none, not yet known, or no group
	HighWatermark int64 // as of the last answer; -1 unknown
	Lag           int64 // offsets from Position to the end of what this consumer may see; -1 unknown
	Paused        bool
	Node          int32 // fetched from; -1 none
	Err           error // why nothing comes, if so
}

// Status lists the partitions by topic and number. Position and Lag count a batch as read when it is handed out.
func (c *Consumer) Status() []PartitionStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]PartitionStatus, 0, len(c.mu.partitions))
	for _, p := range c.mu.partitions {
		s := PartitionStatus{Topic: p.topic, Partition: p.number, Position: p.position, Committed: p.committed, HighWatermark: p.highWatermark, Lag: -1, Paused: p.paused, Node: p.leader, Err: p.err}
		if p.replica >= 0 {
			s.Node = p.replica
		}
		if p.visible >= 0 && p.position >= 0 {
			s.Lag = max(p.visible-p.position, 0)
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b PartitionStatus) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return list
}
