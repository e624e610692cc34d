package machine

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An image never changes, whatever is decided on top of it.
func TestImagesAreImmutable(t *testing.T) {
	c := newCluster(t, rand.New(rand.NewPCG(9, 9)), 1, 3, 3)
	type kept struct {
		img  *Image
		want []byte
	}
	var images []kept
	for range 300 {
		images = append(images, kept{c.img, EncodeRecords(nil, c.img.Records())})
		c.step()
	}
	for _, k := range images {
		require.Equal(t, k.want, EncodeRecords(nil, k.img.Records()), "image at %d", k.img.Offset)
	}
}

// Several entries applied at once give the image and a delta that covers those of one after the other.
func TestUpdateCoversEntries(t *testing.T) {
	id, id2 := log.TopicID{1}, log.TopicID{2}
	p := Partition{Replicas: []int32{1}, ISR: []int32{1}, Leader: 1}
	v := "5"
	entries := [][]Record{
		{&TopicRecord{Name: "a", ID: id}, &PartitionRecord{TopicID: id, Partition: p}},
		{&ConfigRecord{Resource: TopicResource, Name: "a", Key: "retention.ms", Value: &v}},
		{&RemoveTopic{ID: id}},
		{&TopicRecord{Name: "a", ID: id2}, &PartitionRecord{TopicID: id2, Partition: p}},
		{&PartitionChange{TopicID: id2, Has: HasLeader | HasISR, Leader: NoLeader}},
	}
	step := Empty()
	for i, e := range entries {
		var err error
		step, _, err = step.Apply(int64(i), 1, e)
		require.NoError(t, err)
	}
	for from := range entries {
		base := Empty()
		for i := range from {
			base, _, _ = base.Apply(int64(i), 1, entries[i])
		}
		u := Begin(base)
		for i := from; i < len(entries); i++ {
			require.NoError(t, u.Apply(int64(i), 1, entries[i]))
		}
		img, delta := u.Finish()
		assert.True(t, img.Equal(step))
		assert.Equal(t, []string{"a"}, delta.Topics)
		if from > 0 && from < 3 {
			require.Len(t, delta.Deleted, 1)
			assert.Same(t, base.TopicIDs[id], delta.Deleted[0], "as subscribers knew it")
		} else {
			assert.Empty(t, delta.Deleted)
		}
	}
}

// Damaged or foreign records are refused with their place.
func TestApplyRefuses(t *testing.T) {
	id := log.TopicID{1}
	p := Partition{Replicas: []int32{1, 2}, ISR: []int32{1}, Leader: 1}
	base, _, err := Empty().Apply(0, 1, []Record{&ClusterID{"c"}, &TopicRecord{Name: "a", ID: id}, &PartitionRecord{TopicID: id, Partition: p}, &ProducerIDs{Next: 5}})
	require.NoError(t, err)
	part := func(f func(p *Partition)) *PartitionRecord {
		q := p
		f(&q)
		return &PartitionRecord{TopicID: id, Number: 1, Partition: q}
	}
	for _, tc := range []struct {
		r    Record
		want string
	}{
		{&ClusterID{"d"}, "the cluster already has the id c"},
		{&UnregisterBroker{ID: 1}, "broker 1 is not registered"},
		{&BrokerChange{ID: 1, Epoch: 3}, "broker 1 is not registered with epoch 3"},
		{&TopicRecord{Name: "../etc", ID: log.TopicID{9}}, "Topic name is invalid"},
		{&TopicRecord{Name: "a", ID: log.TopicID{9}}, "topic a exists"},
		{&TopicRecord{Name: "b", ID: id}, "cannot be used"},
		{&TopicRecord{Name: "b"}, "cannot be used"},
		{&RemoveTopic{ID: log.TopicID{9}}, "unknown topic id"},
		{part(func(p *Partition) { p.Replicas = nil }), "no replicas"},
		{part(func(p *Partition) { p.Replicas = []int32{1, 1} }), "named twice"},
		{part(func(p *Partition) { p.ISR = []int32{3} }), "not among the replicas"},
		{part(func(p *Partition) { p.Leader = 2 }), "leader 2 not in the isr"},
		{part(func(p *Partition) { p.Adding = []int32{3} }), "not among the replicas"},
		{part(func(p *Partition) { p.Removing = []int32{2, 2} }), "named twice"},
		{part(func(p *Partition) { p.Adding = []int32{1, 2} }), "all replicas"},
		{part(func(p *Partition) { p.Removing = []int32{2, 1} }), "all replicas"},
		{part(func(p *Partition) { p.ELR = []int32{1} }), "both isr and elr"},
		{&PartitionRecord{TopicID: id, Number: 2, Partition: p}, "partition 2 of topic a follows 1 partitions"},
		{&PartitionRecord{TopicID: log.TopicID{9}, Partition: p}, "unknown topic id"},
		{&PartitionChange{TopicID: id, Number: 1}, "topic a has no partition 1"},
		{&PartitionChange{TopicID: id, Number: -1}, "topic a has no partition -1"},
		{&PartitionChange{TopicID: id, Has: HasISR, ISR: []int32{2}}, "leader 1 not in the isr [2]"},
		{&ConfigRecord{Resource: TopicResource, Name: "b"}, "config of unknown topic b"},
		{&ConfigRecord{Resource: BrokerResource, Name: "b"}, `"b" is not a broker id`},
		{&ConfigRecord{Resource: 7}, "unknown resource type 7"},
		{&ProducerIDs{Next: 4}, "producer ids up to 5 were given out"},
		{&ClearELR{Topic: "b"}, "unknown topic b"},
	} {
		_, _, err := base.Apply(1, 1, []Record{&ClusterID{"c"}, tc.r})
		var ae *ApplyError
		require.ErrorAs(t, err, &ae, "%v", tc.r)
		assert.Equal(t, 1, ae.Index)
		assert.ErrorContains(t, err, tc.want)
	}
}

// manyTopics is a cluster of one broker with that many partitions.
func manyTopics(tb testing.TB, topics, partitions int) *Image {
	tb.Helper()
	rs := []Record{&RegisterBroker{Broker{ID: 1}}}
	for i := range topics {
		id := log.TopicID{1, byte(i), byte(i >> 8)}
		rs = append(rs, &TopicRecord{Name: fmt.Sprintf("topic-%d", i), ID: id})
		for n := range partitions / topics {
			rs = append(rs, &PartitionRecord{TopicID: id, Number: int32(n), Partition: Partition{Replicas: []int32{1, 2, 3}, ISR: []int32{1}, Leader: 1}})
		}
	}
	img, _, err := Empty().Apply(0, 1, rs)
	require.NoError(tb, err)
	return img
}

func BenchmarkApplyChange(b *testing.B) {
	for _, topics := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("partitions=10k/topics=%d", topics), func(b *testing.B) {
			img := manyTopics(b, topics, 10_000)
			change := []Record{&PartitionChange{TopicID: log.TopicID{1}, Has: HasISR, ISR: []int32{1, 2}}}
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := img.Apply(1, 1, change); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFence(b *testing.B) {
	img := manyTopics(b, 100, 10_000)
	m := New(Config{SessionTimeout: time.Second, PreferredInterval: time.Second}, img, time.Time{})
	b.ReportAllocs()
	for b.Loop() {
		batch := m.Begin(img, 1, time.Time{})
		batch.fence(img.Brokers[1])
		if rs, err := batch.Records(); err != nil || len(rs) != 10_001 {
			b.Fatal(len(rs), err)
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	img := manyTopics(b, 100, 10_000)
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			b.SetBytes(int64(len(EncodeRecords(nil, img.Records()))))
		}
	})
	data := EncodeRecords(nil, img.Records())
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			rs, err := DecodeRecords(data)
			if err != nil {
				b.Fatal(err)
			}
			if _, _, err := Empty().Apply(0, 1, rs); err != nil {
				b.Fatal(err)
			}
		}
	})
}
