package broker

import (
	"bytes"
	"cmp"
	"slices"
	"sync"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log"
)

// stepDowns are the leaderships that the controller has recalled with its answers to heartbeats, because it could not have them handed over in time. This node leads no more under their epochs, whatever metadata says, and says so with
// its heartbeats until it hears of later ones: who hears that may make another the leader. It takes neither metadata nor the disk.
type stepDowns struct {
	mu   sync.Mutex
	of   map[stepDownKey]*stepDown
	next int // who is told first, when there are more than one heartbeat takes
}

type stepDownKey struct {
	id        log.TopicID
	partition int32
}

type stepDown struct {
	epoch int32 // this one and earlier ones
	done  bool  // nobody acts on it any more
}

// take notes what is recalled, and returns what of it is new.
func (s *stepDowns) take(recalled []controller.Leadership) (fresh []controller.Leadership) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range recalled {
		key := stepDownKey{l.TopicID, l.Partition}
		if d := s.of[key]; d != nil && d.epoch >= l.LeaderEpoch {
			continue
		}
		if s.of == nil {
			s.of = make(map[stepDownKey]*stepDown)
		}
		s.of[key] = &stepDown{epoch: l.LeaderEpoch}
		fresh = append(fresh, l)
	}
	return fresh
}

// done notes that nobody acts on a leadership any more.
func (s *stepDowns) done(l controller.Leadership) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.of[stepDownKey{l.TopicID, l.Partition}]; d != nil && d.epoch == l.LeaderEpoch {
		d.done = true
	}
}

// epoch is up to which leader epoch this node does not lead a partition; -1 without.
func (s *stepDowns) epoch(id log.TopicID, partition int32) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.of[stepDownKey{id, partition}]; d != nil {
		return d.epoch
	}
	return -1
}

// heard forgets what metadata has gone beyond.
func (s *stepDowns) heard(id log.TopicID, partition, leaderEpoch int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := (stepDownKey{id, partition}); s.of[key] != nil && s.of[key].epoch < leaderEpoch {
		delete(s.of, key)
	}
}

// list is what the next heartbeat says.
func (s *stepDowns) list() []controller.Leadership {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]controller.Leadership, 0, len(s.of))
	for key, d := range s.of {
		if d.done {
			list = append(list, controller.Leadership{TopicID: key.id, Partition: key.partition, LeaderEpoch: d.epoch})
		}
	}
	slices.SortFunc(list, func(a, b controller.Leadership) int {
		return cmp.Or(bytes.Compare(a.TopicID[:], b.TopicID[:]), cmp.Compare(a.Partition, b.Partition))
	})
	if len(list) <= controller.MaxLogEnds {
		return list
	}
	s.next %= len(list)
	turned := slices.Concat(list[s.next:], list[:s.next])[:controller.MaxLogEnds]
	s.next += controller.MaxLogEnds
	return turned
}

// stepDown has this node lead no more what is recalled, and says so when that is done. It does not wait: a replica may be busy with its disk.
func (b *Broker) stepDown(recalled []controller.Leadership) {
	fresh := b.stepDowns.take(recalled)
	if len(fresh) == 0 {
		return
	}
	b.spawn(func() {
		for _, l := range fresh {
			if p := b.replicas.getByID(l.TopicID, l.Partition); p != nil {
				b.logger.Warn("a leadership is recalled", "topic", p.topic, "partition", p.index, "epoch", l.LeaderEpoch)
				if p.replica != nil {
					p.replica.StepDown(l.LeaderEpoch)
				}
				if p.topic == topicConsumerOffsets {
					b.groups.StepDown(p.index, l.LeaderEpoch)
				}
			}
			b.stepDowns.done(l)
			if t := b.metadataImage().TopicIDs[l.TopicID]; t != nil && int(l.Partition) < len(t.Partitions) { // it may have been applied before anything was noted
				b.stepDowns.heard(l.TopicID, l.Partition, t.Partitions[l.Partition].LeaderEpoch)
			}
		}
		b.life.kick()
	})
}
