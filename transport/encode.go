package transport

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The two hot messages are encoded here rather than by kmsg, so that record batches are referred to, not copied, and can stay in their files. Everything else is as kmsg encodes it, which
// tests hold to the byte; in a fetch response, though, records are never null but empty: librdkafka drops a whole response for a null.

// wire appends Kafka's primitives to a frame, in the compact form of flexible versions or in the old one.
type wire struct {
	*frameBuffer
	flexible bool
}

func (w wire) int16(v int16)    { w.b = binary.BigEndian.AppendUint16(w.b, uint16(v)) }
func (w wire) int32(v int32)    { w.b = binary.BigEndian.AppendUint32(w.b, uint32(v)) }
func (w wire) int64(v int64)    { w.b = binary.BigEndian.AppendUint64(w.b, uint64(v)) }
func (w wire) uvarint(v uint32) { w.b = binary.AppendUvarint(w.b, uint64(v)) }

// length appends the length of an array or of bytes; -1 is null.
func (w wire) length(n int) {
	if w.flexible {
		w.uvarint(uint32(n + 1))
		return
	}
	w.int32(int32(n))
}

func (w wire) string(s string) {
	if w.flexible {
		w.uvarint(uint32(len(s) + 1))
	} else {
		w.int16(int16(len(s)))
	}
	w.b = append(w.b, s...)
}

func (w wire) nullableString(s *string) {
	switch {
	case s != nil:
		w.string(*s)
	case w.flexible:
		w.uvarint(0)
	default:
		w.int16(-1)
	}
}

// tags appends a section of tagged fields that holds only unknown ones.
func (w wire) tags(t *kmsg.Tags) {
	if w.flexible {
		w.uvarint(uint32(t.Len()))
		w.b = t.AppendEach(w.b)
	}
}

// tagged appends one tagged field: head appends its fixed part, of fixed bytes, and unknown are the tags inside it.
func (w wire) tagged(tag uint32, fixed int, unknown *kmsg.Tags, head func()) {
	var tail [64]byte
	t := binary.AppendUvarint(tail[:0], uint64(unknown.Len()))
	t = unknown.AppendEach(t)
	w.uvarint(tag)
	w.uvarint(uint32(fixed + len(t)))
	head()
	w.b = append(w.b, t...)
}

// appendProduce appends a produce request of version 3 and up.
func appendProduce(fb *frameBuffer, r *kmsg.ProduceRequest) {
	w := wire{fb, r.Version >= 9}
	w.nullableString(r.TransactionID)
	w.int16(r.Acks)
	w.int32(r.TimeoutMillis)
	w.length(len(r.Topics))
	for i := range r.Topics {
		t := &r.Topics[i]
		if r.Version >= 13 {
			w.b = append(w.b, t.TopicID[:]...)
		} else {
			w.string(t.Topic)
		}
		w.length(len(t.Partitions))
		for j := range t.Partitions {
			p := &t.Partitions[j]
			w.int32(p.Partition)
			if p.Records == nil {
				w.length(-1)
			} else {
				w.length(len(p.Records))
				w.foreign(p.Records)
			}
			w.tags(&p.UnknownTags)
		}
		w.tags(&t.UnknownTags)
	}
	w.tags(&r.UnknownTags)
}

// appendFetch appends a fetch response of version 4 and up. files hold, for each partition in order, the file ranges that stand for its records.
func appendFetch(fb *frameBuffer, r *kmsg.FetchResponse, files [][]FileRange) {
	w := wire{fb, r.Version >= 12}
	w.int32(r.ThrottleMillis)
	if r.Version >= 7 {
		w.int16(r.ErrorCode)
		w.int32(r.SessionID)
	}
	w.length(len(r.Topics))
	for i := range r.Topics {
		t := &r.Topics[i]
		if r.Version >= 13 {
			w.b = append(w.b, t.TopicID[:]...)
		} else {
			w.string(t.Topic)
		}
		w.length(len(t.Partitions))
		for j := range t.Partitions {
			var ranges []FileRange
			if len(files) > 0 {
				ranges, files = files[0], files[1:]
			}
			w.fetchPartition(r.Version, &t.Partitions[j], ranges)
		}
		w.tags(&t.UnknownTags)
	}
	if !w.flexible {
		return
	}
	if len(r.Brokers) == 0 {
		w.tags(&r.UnknownTags)
		return
	}
	w.uvarint(uint32(1 + r.UnknownTags.Len()))
	w.fetchBrokers(r.Brokers)
	w.b = r.UnknownTags.AppendEach(w.b)
}

func (w wire) fetchPartition(version int16, p *kmsg.FetchResponseTopicPartition, ranges []FileRange) {
	w.int32(p.Partition)
	w.int16(p.ErrorCode)
	w.int64(p.HighWatermark)
	w.int64(p.LastStableOffset)
	if version >= 5 {
		w.int64(p.LogStartOffset)
	}
	if p.AbortedTransactions == nil {
		w.length(-1)
	} else {
		w.length(len(p.AbortedTransactions))
	}
	for i := range p.AbortedTransactions {
		a := &p.AbortedTransactions[i]
		w.int64(a.ProducerID)
		w.int64(a.FirstOffset)
		w.tags(&a.UnknownTags)
	}
	if version >= 11 {
		w.int32(p.PreferredReadReplica)
	}
	if len(ranges) == 0 {
		w.length(len(p.RecordBatches))
		w.foreign(p.RecordBatches)
	} else {
		n := 0
		for _, r := range ranges {
			n += r.Len
		}
		w.length(n)
		for _, r := range ranges {
			w.fileRange(r)
		}
	}
	if w.flexible {
		w.fetchPartitionTags(p)
	}
}

// fetchPartitionTags appends the tagged fields of a partition: those that differ from their default, then the unknown.
func (w wire) fetchPartitionTags(p *kmsg.FetchResponseTopicPartition) {
	d, l, s := &p.DivergingEpoch, &p.CurrentLeader, &p.SnapshotID
	diverging := d.Epoch != -1 || d.EndOffset != -1 || d.UnknownTags.Len() > 0
	leader := l.LeaderID != -1 || l.LeaderEpoch != -1 || l.UnknownTags.Len() > 0
	snapshot := s.EndOffset != -1 || s.Epoch != -1 || s.UnknownTags.Len() > 0
	count := p.UnknownTags.Len()
	for _, set := range [...]bool{diverging, leader, snapshot} {
		if set {
			count++
		}
	}
	w.uvarint(uint32(count))
	if diverging {
		w.tagged(0, 12, &d.UnknownTags, func() { w.int32(d.Epoch); w.int64(d.EndOffset) })
	}
	if leader {
		w.tagged(1, 8, &l.UnknownTags, func() { w.int32(l.LeaderID); w.int32(l.LeaderEpoch) })
	}
	if snapshot {
		w.tagged(2, 12, &s.UnknownTags, func() { w.int64(s.EndOffset); w.int32(s.Epoch) })
	}
	w.b = p.UnknownTags.AppendEach(w.b)
}

// fetchBrokers appends tag 0 of the response, the addresses of the leaders that partitions name.
func (w wire) fetchBrokers(brokers []kmsg.FetchResponseBroker) {
	inner := wire{&frameBuffer{}, true}
	inner.length(len(brokers))
	for i := range brokers {
		b := &brokers[i]
		inner.int32(b.NodeID)
		inner.string(b.Host)
		inner.int32(b.Port)
		inner.nullableString(b.Rack)
		inner.tags(&b.UnknownTags)
	}
	w.uvarint(0)
	w.uvarint(uint32(len(inner.b)))
	w.b = append(w.b, inner.b...)
}
