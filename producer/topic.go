package producer

import (
	"fmt"
	"sync/atomic"

	"github.com/insynclog/insync/internal/dice"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
)

// topic is what the producer keeps of a topic: its partitions, and where records without a key go.
type topic struct {
	p    *Producer
	name string

	partitions atomic.Pointer[[]*partition] // grows by replacement, under Producer.mu

	// Records without a key stick to one partition until BatchBytes were produced to it, so that they travel in full
	// batches (KIP-480, KIP-794). The two are updated one after the other: a record that slips between lands in either partition.
	sticky      atomic.Int32
	stickyBytes atomic.Int64

	// batchBytes is Config.BatchBytes, or less if the topic's leaders refused batches of that size.
	batchBytes atomic.Int64

	meta atomic.Pointer[transport.Topic] // as seen last
}

// choose returns the partition of r, and whether it is the sticky one, so that another would do as well.
func (t *topic) choose(r *record.Record) (pt *partition, sticky bool, err error) {
	pts := *t.partitions.Load()
	n := t.p.c.Partitioner.Partition(r, len(pts))
	switch {
	case n >= len(pts):
		return nil, false, fmt.Errorf("the partitioner chose partition %d of %d", n, len(pts))
	case n >= 0:
		return pts[n], false, nil
	}
	if n = int(t.sticky.Load()); n >= len(pts) {
		n = 0
	}
	return pts[n], len(pts) > 1, nil
}

// stick counts bytes produced to the sticky partition, and moves on when it has had its share.
func (t *topic) stick(pt *partition, bytes int) {
	if t.stickyBytes.Add(int64(bytes)) >= int64(t.p.c.BatchBytes) {
		t.unstick(pt.number)
	}
}

// unstick chooses another sticky partition than number, at random among those with a leader.
func (t *topic) unstick(number int32) {
	pts := *t.partitions.Load()
	next := int32(t.p.dice.IntN(len(pts), uint64(number), dice.Moment()))
	if meta := t.p.client.CachedTopic(t.name); meta != nil {
		for range len(pts) {
			if next != number && int(next) < len(meta.Partitions) && meta.Partitions[next].Leader >= 0 {
				break
			}
			next = (next + 1) % int32(len(pts))
		}
	}
	if t.sticky.CompareAndSwap(number, next) {
		t.stickyBytes.Store(0)
	}
}

// leader returns the leader of a partition and its epoch as the cache has them; -1 without a leader.
func (t *topic) leader(number int32) (node, epoch int32) {
	meta := t.p.client.CachedTopic(t.name)
	if meta == nil || int(number) >= len(meta.Partitions) {
		return -1, -1
	}
	return meta.Partitions[number].Leader, meta.Partitions[number].LeaderEpoch
}

// observe takes over what the cached metadata says, if it is news. It is called when a batch is opened: often enough, and not too often.
func (t *topic) observe() {
	meta := t.p.client.CachedTopic(t.name)
	if meta == nil || meta == t.meta.Load() || meta.Err != nil {
		return
	}
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.updateLocked(meta)
}

// updateLocked takes over metadata. Producer.mu is held. A topic that was created anew with fewer partitions keeps the old ones here: what they
// hold ends with its delivery timeout.
func (t *topic) updateLocked(meta *transport.Topic) {
	t.meta.Store(meta)
	var pts []*partition
	if old := t.partitions.Load(); old != nil {
		pts = *old
	}
	n := len(pts)
	if n >= len(meta.Partitions) {
		return
	}
	grown := make([]*partition, len(meta.Partitions))
	copy(grown, pts)
	for i := n; i < len(grown); i++ {
		grown[i] = newPartition(t, int32(i))
	}
	t.partitions.Store(&grown)
}

// topicID returns the topic's id as of the newest metadata.
func (t *topic) topicID() [16]byte { return t.meta.Load().ID }
