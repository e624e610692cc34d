package transport

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Node is one broker of the metadata cache.
type Node struct {
	ID   int32
	Addr string // "host:port"
	Rack string
}

// Topic is one topic of the metadata cache; immutable.
type Topic struct {
	Name       string
	ID         [16]byte
	Internal   bool
	Partitions []Partition // by partition number
	Err        error       // *kerr.Error of the topic, or nil

	asked time.Time // when the answer was asked for
}

// Partition is one partition of the metadata cache.
type Partition struct {
	Leader      int32 // -1 without
	LeaderEpoch int32 // -1 unknown
	Replicas    []int32
	ISR         []int32
	Offline     []int32
	Err         error // *kerr.Error, or nil
}

// newTopic translates a topic of a response.
func newTopic(r *kmsg.MetadataResponseTopic, asked time.Time) *Topic {
	if r.Topic == nil {
		return nil
	}
	t := &Topic{Name: *r.Topic, ID: r.TopicID, Internal: r.IsInternal, Err: kerr.ErrorForCode(r.ErrorCode), asked: asked}
	for i := range r.Partitions {
		p := &r.Partitions[i]
		if p.Partition < 0 || int(p.Partition) >= len(r.Partitions) {
			continue // partitions are numbered without gaps
		}
		if t.Partitions == nil {
			t.Partitions = make([]Partition, len(r.Partitions))
			for j := range t.Partitions {
				t.Partitions[j] = Partition{Leader: -1, LeaderEpoch: -1, Err: kerr.UnknownTopicOrPartition}
			}
		}
		t.Partitions[p.Partition] = Partition{
			Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR, Offline: p.OfflineReplicas,
			Err: kerr.ErrorForCode(p.ErrorCode),
		}
	}
	return t
}

// after returns the topic as it follows on old: what a node knows of a partition never goes back to an older leader epoch, unless the topic was made anew.
func (t *Topic) after(old *Topic) *Topic {
	if old == nil || t.ID != old.ID {
		return t
	}
	if t.Err != nil && len(t.Partitions) == 0 && kerr.IsRetriable(t.Err) && !errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
		t.Partitions = old.Partitions
		return t
	}
	for i := range t.Partitions {
		if i < len(old.Partitions) && old.Partitions[i].LeaderEpoch > t.Partitions[i].LeaderEpoch && t.Partitions[i].LeaderEpoch >= 0 {
			t.Partitions[i] = old.Partitions[i]
		}
	}
	return t
}
