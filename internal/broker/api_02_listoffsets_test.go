package broker

import (
	"testing"
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (n *testNode) list(topic string, partition int32, timestamp int64, version int16, edit ...func(*kmsg.ListOffsetsRequest)) kmsg.ListOffsetsResponseTopicPartition {
	n.h.t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version = version
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Partition, rp.Timestamp = partition, timestamp
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	for _, e := range edit {
		e(req)
	}
	return call[*kmsg.ListOffsetsResponse](n, req).Topics[0].Partitions[0]
}

func (n *testNode) listOne(topic string, partition int32, timestamp int64, version int16) kmsg.ListOffsetsResponseTopicPartition {
	return n.list(topic, partition, timestamp, version)
}

func (n *testNode) epochOne(topic string, partition, epoch int32, current ...int32) kmsg.OffsetForLeaderEpochResponseTopicPartition {
	n.h.t.Helper()
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.Version = 4
	rt := kmsg.NewOffsetForLeaderEpochRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	rp.Partition, rp.LeaderEpoch, rp.CurrentLeaderEpoch = partition, epoch, -1
	for _, c := range current {
		rp.CurrentLeaderEpoch = c
	}
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return call[*kmsg.OffsetForLeaderEpochResponse](n, req).Topics[0].Partitions[0]
}

// timed encodes one batch of records with these timestamps.
func timed(t testing.TB, ms ...int64) []byte {
	t.Helper()
	b := record.NewBuilder(record.BuilderConfig{})
	for _, m := range ms {
		b.Append(&record.Record{Value: []byte("v"), Timestamp: time.UnixMilli(m)})
	}
	out, err := b.Build(nil)
	require.NoError(t, err)
	return out
}

func TestListOffsets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, nil)
		h.create(1, "t", 1, 1)
		h.create(1, "empty", 1, 1)
		n := h.leader("t", 0)
		h.leader("empty", 0)
		other := h.nodes[3-n.id]
		now := time.Now().UnixMilli()
		for _, ms := range [][]int64{{now, now + 10}, {now + 50, now + 40, now + 50}, {now + 30}} {
			require.Zero(t, n.produce("t", 0, -1, timed(t, ms...)).ErrorCode)
		}
		for _, c := range []struct {
			name          string
			timestamp     int64
			version       int16
			offset, found int64
			want          *kerr.Error
		}{
			{"latest", -1, 7, 6, -1, nil},
			{"earliest", -2, 7, 0, -1, nil},
			{"latest, oldest version", -1, 1, 6, -1, nil},
			{"max timestamp", -3, 7, 2, now + 50, nil},
			{"max timestamp, too old", -3, 6, -1, -1, kerr.UnsupportedVersion},
			{"earliest local", -4, 8, 0, -1, nil},
			{"earliest local, too old", -4, 7, -1, -1, kerr.UnsupportedVersion},
			{"latest tiered", -5, 9, -1, -1, nil},
			{"latest tiered, too old", -5, 8, -1, -1, kerr.UnsupportedVersion},
			{"earliest pending upload", -6, 11, -1, -1, nil},
			{"earliest pending upload, too old", -6, 10, -1, -1, kerr.UnsupportedVersion},
			{"no such special", -7, 11, -1, -1, kerr.UnsupportedVersion},
			{"time before all", 0, 7, 0, now, nil},
			{"time of a record", now + 10, 7, 1, now + 10, nil},
			{"time between records", now + 41, 7, 2, now + 50, nil},
			{"time after all", now + 51, 7, -1, -1, nil},
		} {
			p := n.listOne("t", 0, c.timestamp, c.version)
			if c.want != nil {
				assert.Equal(t, c.want, kerr.ErrorForCode(p.ErrorCode), c.name)
			} else {
				assert.NoError(t, kerr.ErrorForCode(p.ErrorCode), c.name)
			}
			assert.Equal(t, c.offset, p.Offset, c.name)
			assert.Equal(t, c.found, p.Timestamp, c.name)
			if c.offset >= 0 {
				assert.Equal(t, int32(0), p.LeaderEpoch, c.name)
			} else {
				assert.Equal(t, int32(-1), p.LeaderEpoch, c.name)
			}
		}
		for _, id := range h.ids {
			if r, ok := h.nodes[id].Replica("empty", 0); ok && r.CheckLeader(-1) == nil {
				assert.Equal(t, int64(-1), h.nodes[id].listOne("empty", 0, timestampMax, 7).Offset)
				assert.Equal(t, int64(0), h.nodes[id].listOne("empty", 0, timestampLatest, 7).Offset)
			}
		}
		assert.Equal(t, kerr.UnknownTopicOrPartition.Code, n.listOne("nowhere", 0, -1, 7).ErrorCode)
		assert.Equal(t, kerr.NotLeaderForPartition.Code, other.listOne("t", 0, -1, 7).ErrorCode)
		assert.Equal(t, kerr.UnknownLeaderEpoch.Code, n.list("t", 0, -1, 7, func(r *kmsg.ListOffsetsRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 3 }).ErrorCode)
		assert.Equal(t, kerr.InvalidRequest.Code, n.list("t", 0, -1, 7, func(r *kmsg.ListOffsetsRequest) {
			r.Topics[0].Partitions = append(r.Topics[0].Partitions, r.Topics[0].Partitions[0])
		}).ErrorCode, "twice")
	})
}

func TestListOffsetsByReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3, "min.insync.replicas", "3")
		h.isr("t", 0, 3)
		h.write("t", 5, 0, 2)
		n := h.leader("t", 0)
		for _, id := range h.ids {
			if id != n.id {
				h.nodes[id].stop(false)
				break
			}
		}
		h.isr("t", 0, 2)
		n = h.leader("t", 0)
		require.Zero(t, n.produce("t", 0, 1, batch(t, "unseen")).ErrorCode)
		end := n.listOne("t", 0, timestampLatest, 7)
		replica := n.list("t", 0, timestampLatest, 7, func(r *kmsg.ListOffsetsRequest) { r.ReplicaID = 9 })
		assert.Equal(t, int64(3), replica.Offset, "a replica sees the log end")
		if end.ErrorCode == 0 {
			assert.Equal(t, int64(2), end.Offset)
		} else {
			assert.Equal(t, kerr.OffsetNotAvailable.Code, end.ErrorCode)
			assert.Equal(t, kerr.LeaderNotAvailable.Code, n.listOne("t", 0, timestampLatest, 4).ErrorCode)
		}
		for _, id := range h.ids {
			if h.nodes[id].Broker == nil || id == n.id {
				continue
			}
			assert.Equal(t, kerr.NotLeaderForPartition.Code, h.nodes[id].listOne("t", 0, timestampLatest, 7).ErrorCode)
			debug := h.nodes[id].list("t", 0, timestampLatest, 7, func(r *kmsg.ListOffsetsRequest) { r.ReplicaID = debugReplica })
			assert.Zero(t, debug.ErrorCode, "the debugging replica may ask anybody")
		}
	})
}

func TestKIP101_OffsetForLeaderEpoch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3)
		h.isr("t", 0, 3)
		h.write("t", 5, 0, 3)
		old := h.leader("t", 0)
		old.stop(false)
		h.write("t", 5, 3, 2)
		n := h.leader("t", 0)
		epoch := n.Replicas()[0].State.LeaderEpoch
		require.Positive(t, epoch)
		p := n.epochOne("t", 0, 0)
		assert.Equal(t, int32(0), p.LeaderEpoch)
		assert.Equal(t, int64(3), p.EndOffset, "an old epoch ends where the next one starts")
		p = n.epochOne("t", 0, epoch)
		assert.Equal(t, epoch, p.LeaderEpoch)
		assert.Equal(t, int64(5), p.EndOffset, "the latest ends at the log end")
		p = n.epochOne("t", 0, epoch+1)
		assert.Equal(t, int32(-1), p.LeaderEpoch)
		assert.Equal(t, int64(-1), p.EndOffset, "a later one is unknown")
		assert.Equal(t, kerr.FencedLeaderEpoch.Code, n.epochOne("t", 0, 0, 0).ErrorCode)
		assert.Equal(t, kerr.UnknownLeaderEpoch.Code, n.epochOne("t", 0, 0, epoch+1).ErrorCode)
		assert.Equal(t, kerr.UnknownTopicOrPartition.Code, n.epochOne("u", 0, 0).ErrorCode)
	})
}
