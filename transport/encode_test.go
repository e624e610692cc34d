package transport

import (
	"bytes"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func randBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func randTags(r *rand.Rand) (t kmsg.Tags) {
	if r.IntN(4) == 0 {
		for range 1 + r.IntN(3) {
			t.Set(100+uint32(r.IntN(100000)), randBytes(r, r.IntN(200)))
		}
	}
	return t
}

func randString(r *rand.Rand) string { return string(randBytes(r, r.IntN(30))) }

func randNullable(r *rand.Rand) *string {
	if r.IntN(2) == 0 {
		return nil
	}
	s := randString(r)
	return &s
}

func randRecords(r *rand.Rand) []byte {
	switch r.IntN(4) {
	case 0:
		return []byte{}
	case 1:
		return randBytes(r, r.IntN(200))
	default:
		return randBytes(r, r.IntN(5000))
	}
}

func randFetch(r *rand.Rand, version int16) *kmsg.FetchResponse {
	f := kmsg.NewPtrFetchResponse()
	f.Version, f.ThrottleMillis, f.ErrorCode, f.SessionID = version, r.Int32(), int16(r.Uint32()), r.Int32()
	for range r.IntN(4) {
		t := kmsg.NewFetchResponseTopic()
		t.Topic = randString(r)
		copy(t.TopicID[:], randBytes(r, 16))
		for range r.IntN(4) {
			p := kmsg.NewFetchResponseTopicPartition()
			p.Partition, p.ErrorCode, p.HighWatermark = r.Int32(), int16(r.Uint32()), int64(r.Uint64())
			p.LastStableOffset, p.LogStartOffset, p.PreferredReadReplica = int64(r.Uint64()), int64(r.Uint64()), int32(r.Uint32())
			switch r.IntN(3) {
			case 0:
				p.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
			case 1:
				for range 1 + r.IntN(3) {
					a := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
					a.ProducerID, a.FirstOffset, a.UnknownTags = int64(r.Uint64()), int64(r.Uint64()), randTags(r)
					p.AbortedTransactions = append(p.AbortedTransactions, a)
				}
			}
			if r.IntN(3) == 0 {
				p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset, p.DivergingEpoch.UnknownTags = r.Int32(), r.Int64(), randTags(r)
			}
			if r.IntN(3) == 0 {
				p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch, p.CurrentLeader.UnknownTags = r.Int32(), r.Int32(), randTags(r)
			}
			if r.IntN(3) == 0 {
				p.SnapshotID.Epoch, p.SnapshotID.EndOffset, p.SnapshotID.UnknownTags = r.Int32(), r.Int64(), randTags(r)
			}
			p.RecordBatches, p.UnknownTags = randRecords(r), randTags(r)
			t.Partitions = append(t.Partitions, p)
		}
		t.UnknownTags = randTags(r)
		f.Topics = append(f.Topics, t)
	}
	for range r.IntN(3) {
		b := kmsg.NewFetchResponseBroker()
		b.NodeID, b.Host, b.Port, b.Rack, b.UnknownTags = r.Int32(), randString(r), r.Int32(), randNullable(r), randTags(r)
		f.Brokers = append(f.Brokers, b)
	}
	f.UnknownTags = randTags(r)
	return f
}

func randProduce(r *rand.Rand, version int16) *kmsg.ProduceRequest {
	p := kmsg.NewPtrProduceRequest()
	p.Version, p.TransactionID, p.Acks, p.TimeoutMillis = version, randNullable(r), int16(r.IntN(3)-1), r.Int32()
	for range r.IntN(4) {
		t := kmsg.NewProduceRequestTopic()
		t.Topic = randString(r)
		copy(t.TopicID[:], randBytes(r, 16))
		for range r.IntN(4) {
			q := kmsg.NewProduceRequestTopicPartition()
			q.Partition, q.Records, q.UnknownTags = r.Int32(), randRecords(r), randTags(r)
			if r.IntN(8) == 0 {
				q.Records = nil
			}
			t.Partitions = append(t.Partitions, q)
		}
		t.UnknownTags = randTags(r)
		p.Topics = append(p.Topics, t)
	}
	p.UnknownTags = randTags(r)
	return p
}

// sink is a connection that remembers what was written to it.
type sink struct {
	net.Conn
	bytes.Buffer
	writes int
}

func (s *sink) Read(b []byte) (int, error) { return s.Buffer.Read(b) }

func (s *sink) Write(b []byte) (int, error) {
	s.writes++
	return s.Buffer.Write(b)
}

func flat(t testing.TB, fb *frameBuffer) []byte {
	var s sink
	total := fb.total()
	n, err := fb.flush(&s, new(framePool))
	require.NoError(t, err)
	require.Equal(t, total, n)
	return s.Bytes()
}

// TestEncodeAsKmsg compares our encoders of the hot messages with kmsg's on random messages of all versions.
func TestEncodeAsKmsg(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for version := int16(4); version <= 18; version++ {
		for range 200 {
			f := randFetch(r, version)
			var fb frameBuffer
			appendResponse(&fb, f, 7, nil)
			want := []byte{0, 0, 0, 0, 0, 0, 0, 7}
			if version >= 12 {
				want = append(want, 0)
			}
			want = f.AppendTo(want)
			want[0], want[1], want[2], want[3] = byte((len(want)-4)>>24), byte((len(want)-4)>>16), byte((len(want)-4)>>8), byte(len(want)-4)
			require.Equal(t, want, flat(t, &fb), "fetch version %d", version)
		}
	}
	id := "client"
	for version := int16(0); version <= 13; version++ {
		for range 200 {
			p := randProduce(r, version)
			var fb frameBuffer
			appendRequest(&fb, p, 9, id)
			want := kmsg.NewRequestFormatter(kmsg.FormatterClientID(id)).AppendRequest(nil, p, 9)
			require.Equal(t, want, flat(t, &fb), "produce version %d", version)
		}
	}
}

func TestFetchRecordsAreNeverNull(t *testing.T) {
	for version := int16(4); version <= 18; version++ {
		f := kmsg.NewPtrFetchResponse()
		f.Version = version
		topic := kmsg.NewFetchResponseTopic()
		topic.Partitions = append(topic.Partitions, kmsg.NewFetchResponseTopicPartition())
		f.Topics = append(f.Topics, topic)
		var fb frameBuffer
		appendFetch(&fb, f, nil)
		var back kmsg.FetchResponse
		back.Version = version
		require.NoError(t, back.ReadFrom(flat(t, &fb)))
		require.NotNil(t, back.Topics[0].Partitions[0].RecordBatches)
		require.Empty(t, back.Topics[0].Partitions[0].RecordBatches)
		require.Nil(t, back.Topics[0].Partitions[0].AbortedTransactions)
	}
}
