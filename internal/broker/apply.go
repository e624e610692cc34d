package broker

import (
	"context"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/internal/configs"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
)

// applier brings this node's replicas in line with metadata. Deltas come on the controller's goroutine, which must not wait: they are merged into one that is pending, and applied by a goroutine
// that runs while there is one. Image() is published before that, so that Metadata requests never see less than the replicas do.
//
// The order within a delta is Kafka's: partitions that left this node go, then leaders are made, then followers, then group coordinators learn what they coordinate and which topics there are, then configs are taken.
type applier struct {
	b *Broker

	mu      sync.Mutex
	pending *controller.Delta
	applied *controller.Image // up to here replicas follow metadata
	change  chan struct{}     // closed when applied changes
	again   bool              // logs that ended are to be opened again
	running bool              // its goroutine is

	fetchers map[int32]*replication.Fetcher // of the applier's goroutine and, after it, of Close
}

func newApplier(b *Broker) *applier {
	return &applier{b: b, applied: emptyImage, change: make(chan struct{}), fetchers: make(map[int32]*replication.Fetcher)}
}

// add takes a delta. It does not block.
func (a *applier) add(d controller.Delta) {
	a.mu.Lock()
	a.pending = mergeDeltas(a.pending, d)
	start := !a.running
	a.running = true
	a.mu.Unlock()
	if start {
		a.b.spawn(a.run) // false when closing: then nothing is applied any more
	}
}

// mergeDeltas makes one delta of two that follow each other.
func mergeDeltas(first *controller.Delta, second controller.Delta) *controller.Delta {
	if first == nil {
		return &second
	}
	return &controller.Delta{
		Old: first.Old, New: second.New, Topics: union(first.Topics, second.Topics), Deleted: slices.Concat(first.Deleted, second.Deleted),
		Brokers: union(first.Brokers, second.Brokers), Configs: first.Configs || second.Configs, Security: first.Security || second.Security,
	}
}

func union[T int32 | string](a, b []T) []T {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// wait waits until ok holds of the applied image.
func (a *applier) wait(ctx context.Context, ok func(*controller.Image) bool) error {
	for {
		a.mu.Lock()
		img, change := a.applied, a.change
		a.mu.Unlock()
		if ok(img) {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		case <-a.b.ctx.Done():
			return ErrClosed
		}
	}
}

// run applies what is pending.
func (a *applier) run() {
	for {
		a.mu.Lock()
		d, again := a.pending, a.again
		a.pending, a.again = nil, false
		a.running = (d != nil || again) && a.b.ctx.Err() == nil
		running := a.running
		a.mu.Unlock()
		if !running {
			return
		}
		if again {
			a.reopenEnded()
		}
		if d == nil {
			continue
		}
		a.apply(d)
		a.mu.Lock()
		a.applied = d.New
		close(a.change)
		a.change = make(chan struct{})
		a.mu.Unlock()
		if shuttingDown(d) || a.b.life.handedOver(d) {
			a.b.life.kick() // who shuts down waits until the controller knows that all have heard of it
		}
	}
}

// shuttingDown tells whether a delta has a broker enter controlled shutdown.
func shuttingDown(d *controller.Delta) bool {
	for _, id := range d.Brokers {
		if n := d.New.Brokers[id]; n != nil && n.InControlledShutdown {
			return true
		}
	}
	return false
}

// localState is one partition of the delta that belongs on this node.
type localState struct {
	part  *partition
	topic *controller.Topic
	state *controller.Partition
	conf  configs.Topic
	fresh bool // not opened yet
	anew  bool // under another leader epoch than before
	role  replication.Role
}

func (a *applier) apply(d *controller.Delta) {
	b := a.b
	for _, id := range d.Brokers {
		if n := d.New.Brokers[id]; n != nil && n.Addr != "" && id != b.c.NodeID {
			b.peers.SetNode(transport.Node{ID: id, Addr: n.Addr, Rack: n.Rack})
		}
	}
	for _, t := range d.Deleted {
		for _, p := range b.replicas.of(t.ID) {
			a.drop(p)
		}
	}
	states := a.collect(d)
	a.open(states)
	a.lead(states)
	a.follow(states)
	a.coordinate(d, states)
	if d.Configs {
		b.setThrottles(d.New)
		a.configure(d.New)
	}
	if d.Security {
		b.quotas.Store(newQuotas(d.New, &b.used))
		if err := b.takeRules(d.New); err != nil { // what metadata holds was checked
			b.logger.Error("access control lists of metadata cannot be used: the old ones stay", "node", b.c.NodeID, "error", err)
		}
	}
	if len(d.Brokers) > 0 {
		b.tickLeaders(time.Now()) // a broker that was fenced must not hold up the high watermark until the next tick
	}
	a.prune()
}

// collect finds what the delta says of partitions on this node, and drops those that are no longer assigned to it.
func (a *applier) collect(d *controller.Delta) []*localState {
	var states []*localState
	for _, name := range d.Topics {
		t := d.New.Topics[name]
		if t == nil {
			continue
		}
		conf := a.b.effective(d.New, t)
		for i, p := range t.Partitions {
			part := a.b.replicas.getByID(t.ID, int32(i))
			if !slices.Contains(p.Replicas, a.b.c.NodeID) {
				a.b.stepDowns.heard(t.ID, int32(i), p.LeaderEpoch)
				if part != nil {
					a.drop(part)
				}
				continue
			}
			s := &localState{part: part, topic: t, state: p, conf: conf}
			if part == nil {
				s.fresh = true
				s.part = &partition{topic: name, index: int32(i), id: t.ID, following: -1, leader: -1, epoch: -1}
			}
			states = append(states, s)
		}
	}
	return states
}

// drop removes a partition that metadata has taken from this node, with its data.
func (a *applier) drop(p *partition) {
	b := a.b
	a.unfollow(p)
	b.leaderless.drop(p)
	b.stepDowns.heard(p.id, p.index, math.MaxInt32)
	if p.topic == topicConsumerOffsets {
		b.groups.Resign(p.index)
	}
	b.replicas.remove(p)
	if p.replica == nil {
		return
	}
	l := p.replica.Log()
	_ = p.replica.Close()
	if err := b.c.Directory.DeleteLog(l); err != nil && !is[*log.FullError](err) { // of checkpoints, which are written again
		b.logger.Error("cannot delete the log of a partition that left this node", "topic", p.topic, "partition", p.index, "error", err)
	}
	b.noteChange()
}

// open opens the logs of new partitions side by side, and tells the others of changed configs.
func (a *applier) open(states []*localState) {
	var fresh []*localState
	for _, s := range states {
		if s.fresh {
			fresh = append(fresh, s)
		} else {
			a.settle(s)
		}
	}
	inParallel(fresh, a.openOne)
	for _, s := range fresh {
		a.b.replicas.add(s.part)
		if s.part.replica != nil && len(s.part.replica.Log().Damage()) > 0 {
			a.b.scrubber.suspect(s.part, 0)
		}
	}
}

// settle takes configs.
func (a *applier) settle(s *localState) {
	if s.part.replica == nil {
		return
	}
	s.part.setThrottled(s.conf, a.b.c.NodeID)
	s.part.replica.Log().SetConfig(a.b.logConfig(s.conf))
	s.part.replica.SetSettings(a.b.replicaSettings(s.conf, s.state.Factor()))
}

// openOne opens a log and makes its replica. A log that cannot be opened makes an offline partition, not a dead node.
func (a *applier) openOne(s *localState) {
	b, p := a.b, s.part
	l, err := b.c.Directory.OpenLog(p.topic, p.index, p.id, b.logConfig(s.conf))
	if is[*log.TopicIDError](err) {
		// The directory of an earlier incarnation, which metadata no longer has: it is kept, out of the way.
		b.logger.Warn("a partition directory of an earlier incarnation of its topic is set aside", "topic", p.topic, "partition", p.index, "error", err)
		if err = b.c.Directory.SetAside(log.LogEntry{Topic: p.topic, Partition: p.index}); err == nil || is[*log.FullError](err) {
			l, err = b.c.Directory.OpenLog(p.topic, p.index, p.id, b.logConfig(s.conf))
		}
	}
	p.setThrottled(s.conf, b.c.NodeID)
	if err == nil {
		p.replica, err = replication.New(replication.Config{
			NodeID: b.c.NodeID, Topic: p.topic, Partition: p.index, TopicID: p.id, Log: l, Commit: b.c.Commit,
			Settings: b.replicaSettings(s.conf, s.state.Factor()),
			Eligible: b.eligibleIn(p), BrokerEpoch: b.brokerEpochOf, ProposeISR: b.isr.propose,
			Events: b.replicaEvents(), Logger: b.c.Logger,
		})
	}
	if err != nil {
		p.err = storageError(p, err)
		b.offline(p.topic, p.index, err)
	}
}

// storageError makes sure that a log that cannot be opened is KAFKA_STORAGE_ERROR to clients, whatever the reason.
func storageError(p *partition, err error) error {
	if is[*log.StorageError](err) || is[*log.CorruptError](err) {
		return err
	}
	return &log.StorageError{Path: p.topic, Op: "open", Err: err}
}

// lead makes leaders. They are no longer followed before they lead.
func (a *applier) lead(states []*localState) {
	var leaders []*localState
	for _, s := range states {
		if s.state.Leader == a.b.c.NodeID {
			a.unfollow(s.part)
			leaders = append(leaders, s)
		}
	}
	a.tell(leaders)
}

// follow makes followers, and has them fetched from their leader.
func (a *applier) follow(states []*localState) {
	var followers []*localState
	for _, s := range states {
		if s.state.Leader == a.b.c.NodeID {
			continue
		}
		followers = append(followers, s)
		s.anew = s.part.epoch != s.state.LeaderEpoch
		if s.part.following != s.state.Leader {
			a.unfollow(s.part) // all stop before any starts, so that no fetcher works for two leaders
		}
	}
	a.tell(followers)
	for _, s := range followers {
		if s.role != replication.Follower || s.state.Leader < 0 {
			a.unfollow(s.part)
			continue
		}
		if s.part.following == s.state.Leader && !s.anew {
			continue // a fetcher goes on through changes that are not of the leader
		}
		s.part.following = s.state.Leader
		a.fetcher(s.state.Leader).Add(s.part.replica)
	}
}

// tell hands the states to the replicas, side by side because each may wait for its replica, then the leaders to whoever listens.
func (a *applier) tell(states []*localState) {
	inParallel(states, func(s *localState) {
		p, m := s.part, s.state
		if p.replica == nil {
			s.role = replication.Offline
			return
		}
		if e := a.b.stepDowns.epoch(p.id, p.index); e >= 0 { // recalled before this node had the partition
			p.replica.StepDown(e)
		}
		var err error
		s.role, err = p.replica.Apply(replication.State{
			Leader: m.Leader, LeaderEpoch: m.LeaderEpoch, PartitionEpoch: m.PartitionEpoch, Replicas: m.Replicas, ISR: m.ISR, ELR: m.ELR, HandOver: m.HandOver,
		}, time.Now())
		if err != nil {
			a.b.logger.Error("partition cannot take its new state", "topic", p.topic, "partition", p.index, "leader", m.Leader, "epoch", m.LeaderEpoch, "error", err)
		}
	})
	for _, s := range states {
		p, m := s.part, s.state
		a.b.stepDowns.heard(p.id, p.index, m.LeaderEpoch)
		if a.b.leaderless.note(s) {
			a.b.life.kick()
		}
		if p.replica == nil || p.leader == m.Leader && p.epoch == m.LeaderEpoch {
			continue
		}
		p.leader, p.epoch = m.Leader, m.LeaderEpoch
		if m.Recovering && s.role == replication.Leader {
			a.b.mayHaveLost(p)
		}
		if f := a.b.c.Events.LeaderChanged; f != nil {
			f(p.topic, p.index, m.Leader, m.LeaderEpoch)
		}
	}
}

// inParallel calls f for each of the states, some side by side: what they do waits for disks.
func inParallel(states []*localState, f func(*localState)) {
	if len(states) == 1 {
		f(states[0])
		return
	}
	var wg sync.WaitGroup
	var next atomic.Int64
	for range min(len(states), max(16, 2*runtime.GOMAXPROCS(0))) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(states); i = int(next.Add(1)) - 1 {
				f(states[i])
			}
		})
	}
	wg.Wait()
}

func (a *applier) unfollow(p *partition) {
	if p.following < 0 {
		return
	}
	if f := a.fetchers[p.following]; f != nil && p.replica != nil {
		f.Remove(p.replica)
	}
	p.following = -1
}

// fetcher returns the one for a leader.
func (a *applier) fetcher(leader int32) *replication.Fetcher {
	f := a.fetchers[leader]
	if f == nil {
		f = replication.NewFetcher(replication.FetcherConfig{
			OnCorrupt: func(topic string, partition int32, offset int64, err error) {
				a.b.complain(leader, topic, partition, offset, err)
			},
			Source: newSource(a.b, leader), Leader: leader, MaxWait: a.b.c.FetchMaxWait, Logger: a.b.c.Logger,
		})
		a.fetchers[leader] = f
	}
	return f
}

// prune ends fetchers without partitions.
func (a *applier) prune() {
	for _, id := range slices.Sorted(maps.Keys(a.fetchers)) {
		f := a.fetchers[id]
		if f.Len() == 0 {
			f.Close()
			delete(a.fetchers, id)
		}
	}
}

// configure takes changed broker configs, which change what topics inherit.
func (a *applier) configure(img *controller.Image) {
	for _, p := range a.b.replicas.all() {
		t := img.TopicIDs[p.id]
		if t == nil || int(p.index) >= len(t.Partitions) {
			continue
		}
		a.settle(&localState{part: p, topic: t, state: t.Partitions[p.index], conf: a.b.effective(img, t)})
	}
}

// setStraysAside renames the partition directories that no metadata claims. It runs once, when metadata is caught up: metadata that is merely missing must not cost data. A directory that has a claimed name but
// belongs to another incarnation of the topic is found where it is opened: see openOne. What cannot be read stays as it is: one bad directory is no reason for a node not to start.
func (b *Broker) setStraysAside(img *controller.Image) {
	strays, err := b.c.Directory.Unclaimed(func(topic string, partition int32) bool {
		t := img.Topics[topic]
		return t != nil && int(partition) < len(t.Partitions) && slices.Contains(t.Partitions[partition].Replicas, b.c.NodeID)
	})
	if err != nil {
		b.logger.Error("partition directories cannot be listed; strays among them stay", "error", err)
		return
	}
	for _, e := range strays {
		b.logger.Warn("a partition directory that belongs to no partition of this node is set aside", "topic", e.Topic, "partition", e.Partition, "id", e.TopicID)
		if err := b.c.Directory.SetAside(e); err != nil {
			b.logger.Error("cannot set a partition directory aside", "topic", e.Topic, "partition", e.Partition, "error", err)
		}
	}
}
