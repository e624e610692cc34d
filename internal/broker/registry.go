package broker

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
)

// partition is one partition that is on this node. It lives until the partition leaves the node; another incarnation of the topic is another partition.
type partition struct {
	topic   string
	index   int32
	id      log.TopicID
	replica *replication.Replica // nil if the log could not be opened
	err     error                // why it could not

	compared map[log.Range]bool // of the scrubber: the same on other replicas

	throttled atomic.Pointer[throttled] // nil: nothing is

	// of the goroutine that applies metadata
	following int32 // the node whose fetcher has it, -1 none
	leader    int32 // as told to Events.LeaderChanged
	epoch     int32
}

// registry finds partitions by name and by id.
type registry struct {
	mu    sync.RWMutex // nothing is called under it
	names map[string]*localTopic
	ids   map[log.TopicID]*localTopic
}

type localTopic struct {
	name       string
	id         log.TopicID
	partitions map[int32]*partition
}

// get finds by name.
func (r *registry) get(topic string, index int32) *partition {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if t := r.names[topic]; t != nil {
		return t.partitions[index]
	}
	return nil
}

// getByID finds by topic id.
func (r *registry) getByID(id log.TopicID, index int32) *partition {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if t := r.ids[id]; t != nil {
		return t.partitions[index]
	}
	return nil
}

// add puts a partition in the place of whatever has its name.
func (r *registry) add(p *partition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.names[p.topic]
	if t == nil || t.id != p.id {
		t = &localTopic{name: p.topic, id: p.id, partitions: make(map[int32]*partition)}
		if r.names == nil {
			r.names, r.ids = make(map[string]*localTopic), make(map[log.TopicID]*localTopic)
		}
		r.names[p.topic], r.ids[p.id] = t, t
	}
	t.partitions[p.index] = p
}

// remove takes a partition out.
func (r *registry) remove(p *partition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.ids[p.id]
	if t == nil || t.partitions[p.index] != p {
		return
	}
	delete(t.partitions, p.index)
	if len(t.partitions) > 0 {
		return
	}
	delete(r.ids, t.id)
	if r.names[t.name] == t {
		delete(r.names, t.name)
	}
}

// all lists the partitions by topic and number.
func (r *registry) all() []*partition {
	r.mu.RLock()
	var all []*partition
	for _, t := range r.ids {
		for _, p := range t.partitions {
			all = append(all, p)
		}
	}
	r.mu.RUnlock()
	sortPartitions(all)
	return all
}

// of lists the partitions of one incarnation of a topic, by number.
func (r *registry) of(id log.TopicID) []*partition {
	r.mu.RLock()
	var all []*partition
	if t := r.ids[id]; t != nil {
		for _, p := range t.partitions {
			all = append(all, p)
		}
	}
	r.mu.RUnlock()
	sortPartitions(all)
	return all
}

func sortPartitions(ps []*partition) {
	slices.SortFunc(ps, func(a, b *partition) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.index, b.index))
	})
}

// local finds a partition that this node can answer for. Errors: replication.ErrUnknownTopic, replication.ErrNotLeader for one that is elsewhere, *log.StorageError and the like for one whose log
// could not be opened.
func (b *Broker) local(topic string, index int32) (*partition, error) {
	if p := b.replicas.get(topic, index); p != nil {
		return p.usable()
	}
	if partitionOf(b.metadataImage(), topic, index) == nil {
		return nil, replication.ErrUnknownTopic
	}
	return nil, replication.ErrNotLeader
}

// localByID is local for topic ids; an id that metadata does not know is errUnknownTopicID.
func (b *Broker) localByID(id log.TopicID, index int32) (*partition, error) {
	if p := b.replicas.getByID(id, index); p != nil {
		return p.usable()
	}
	t := b.metadataImage().TopicIDs[id]
	switch {
	case t == nil:
		return nil, errUnknownTopicID
	case index < 0 || int(index) >= len(t.Partitions):
		return nil, replication.ErrUnknownTopic
	}
	return nil, replication.ErrNotLeader
}

func (p *partition) usable() (*partition, error) {
	if p.replica == nil {
		return nil, p.err
	}
	return p, nil
}

// Replicas returns the status of all partitions on this node, by topic and partition.
func (b *Broker) Replicas() []replication.Status {
	all := b.replicas.all()
	out := make([]replication.Status, 0, len(all))
	for _, p := range all {
		if p.replica == nil {
			out = append(out, replication.Status{Topic: p.topic, Partition: p.index, TopicID: p.id, Role: replication.Offline, Err: p.err})
			continue
		}
		out = append(out, p.replica.Status())
	}
	return out
}

// Replica finds one.
func (b *Broker) Replica(topic string, index int32) (*replication.Replica, bool) {
	p := b.replicas.get(topic, index)
	if p == nil || p.replica == nil {
		return nil, false
	}
	return p.replica, true
}
