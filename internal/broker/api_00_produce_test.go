package broker

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// edited returns a copy of a batch with some bytes changed and, for changes under it, the CRC made right again.
func edited(b []byte, change func(b record.Batch)) []byte {
	c := record.Batch(b).Clone()
	change(c)
	c.PutProducer(c.ProducerID(), c.ProducerEpoch(), c.BaseSequence()) // for its CRC
	return c
}

func TestProduceChecks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		id := h.create(1, "plain", 1, 1)
		h.create(1, "strict", 1, 1, "max.message.bytes", "200", "message.timestamp.before.max.ms", "1000")
		h.create(1, "compact", 1, 1, "cleanup.policy", "compact")
		h.create(1, "append-time", 1, 1, "message.timestamp.type", "LogAppendTime")
		good := batch(t, "v")
		set := func(at int, v byte) []byte { return edited(good, func(b record.Batch) { b[at] = v }) }
		const attributes = 22
		old := record.NewBuilder(record.BuilderConfig{})
		old.Append(&record.Record{Value: []byte("v"), Timestamp: time.Now().Add(-time.Hour)})
		late, err := old.Build(nil)
		require.NoError(t, err)
		empty := []byte{}
		name := func(s string) *string { return &s }

		for _, c := range []struct {
			name    string
			topic   string
			part    int32
			version int16
			acks    int16
			txn     *string
			client  string
			records []byte
			want    *kerr.Error
		}{
			{name: "good", records: good},
			{name: "good, oldest version", version: 3, records: good},
			{name: "good, acks=1", acks: 1, records: good},
			{name: "unknown topic", topic: "nowhere", records: good, want: kerr.UnknownTopicOrPartition},
			{name: "unknown partition", part: 1, records: good, want: kerr.UnknownTopicOrPartition},
			{name: "negative partition", part: -1, records: good, want: kerr.UnknownTopicOrPartition},
			{name: "unknown topic counts before bad records", topic: "nowhere", records: empty, want: kerr.UnknownTopicOrPartition},
			{name: "no records", records: nil, want: kerr.InvalidRecord},
			{name: "no batch", records: empty, want: kerr.InvalidRecord},
			{name: "part of a batch", records: good[:len(good)-1], want: kerr.InvalidRecord},
			{name: "two batches", records: append(append([]byte{}, good...), good...), want: kerr.InvalidRecord},
			{name: "magic 1", records: set(16, 1), want: kerr.InvalidRecord},
			{name: "impossible length", records: edited(good, func(b record.Batch) { binary.BigEndian.PutUint32(b[8:], 5) }), want: kerr.CorruptMessage},
			{name: "bad records count before bad acks", acks: 7, records: empty, want: kerr.InvalidRecord},
			{name: "bad acks", acks: 7, records: good, want: kerr.InvalidRequiredAcks},
			{name: "zstd too early", version: 6, records: set(attributes, 4), want: kerr.UnsupportedCompressionType},
			{name: "unknown codec", records: set(attributes, 7), want: kerr.UnsupportedCompressionType},
			{name: "crc", records: func() []byte { b := record.Batch(good).Clone(); b[len(b)-1] ^= 1; return b }(), want: kerr.CorruptMessage},
			{name: "base offset", records: edited(good, func(b record.Batch) { b.PutBaseOffset(7) }), want: kerr.InvalidRecord},
			{name: "control batch", records: set(attributes, 0x20), want: kerr.InvalidRecord},
			{name: "record count", records: edited(good, func(b record.Batch) { binary.BigEndian.PutUint32(b[57:], 2) }), want: kerr.InvalidRecord},
			{name: "sequence missing", records: edited(good, func(b record.Batch) { b.PutProducer(5, 0, -1) }), want: kerr.InvalidRecord},
			{name: "transactional without id", records: set(attributes, 0x10), want: kerr.TransactionalIDAuthorizationFailed},
			{name: "transactional without coordinator", txn: name("t"), records: edited(good, func(b record.Batch) { b[attributes] = 0x10; b.PutProducer(5, 0, 0) }), want: kerr.InvalidTxnState},
			{name: "too large", topic: "strict", records: batch(t, string(make([]byte, 300))), want: kerr.MessageTooLarge},
			{name: "too old", topic: "strict", records: late, want: kerr.InvalidTimestamp},
			{name: "no key", topic: "compact", records: good, want: kerr.InvalidRecord},
			{name: "log append time by the client", records: set(attributes, 0x08), want: kerr.InvalidTimestamp},
		} {
			if c.topic == "" {
				c.topic = "plain"
			}
			if c.version == 0 {
				c.version = 12
			}
			if c.acks == 0 {
				c.acks = -1
			}
			req := produceRequest(c.topic, c.part, c.acks, c.records)
			req.Version, req.TransactionID = c.version, c.txn
			resp := call[*kmsg.ProduceResponse](n, req)
			p := resp.Topics[0].Partitions[0]
			assert.Equal(t, c.part, p.Partition, c.name)
			if c.want == nil {
				assert.NoError(t, kerr.ErrorForCode(p.ErrorCode), "%s: %v", c.name, p.ErrorMessage)
				assert.GreaterOrEqual(t, p.BaseOffset, int64(0), c.name)
				assert.Equal(t, int64(0), p.LogStartOffset, c.name)
				continue
			}
			assert.Equal(t, c.want, kerr.ErrorForCode(p.ErrorCode), "%s: %v", c.name, p.ErrorMessage)
			assert.Equal(t, int64(-1), p.BaseOffset, c.name)
			if c.version >= 8 {
				assert.NotNil(t, p.ErrorMessage, c.name)
			}
		}

		t.Log("internal topics")
		req := produceRequest(topicConsumerOffsets, 0, -1, good)
		assert.Equal(t, kerr.UnknownTopicOrPartition.Code, call[*kmsg.ProduceResponse](n, req).Topics[0].Partitions[0].ErrorCode, "does not exist")
		h.create(1, topicConsumerOffsets, 1, 1)
		assert.Equal(t, kerr.InvalidTopicException.Code, call[*kmsg.ProduceResponse](n, req).Topics[0].Partitions[0].ErrorCode)
		assert.Zero(t, n.serve(req, "__admin_client").Message.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)

		t.Log("topic ids")
		req = produceRequest("", 0, -1, good)
		req.Version, req.Topics[0].TopicID = 13, id
		resp := call[*kmsg.ProduceResponse](n, req)
		assert.Zero(t, resp.Topics[0].Partitions[0].ErrorCode)
		assert.Equal(t, [16]byte(id), resp.Topics[0].TopicID)
		req.Topics[0].TopicID = log.TopicID{1, 2, 3}
		assert.Equal(t, kerr.UnknownTopicID.Code, call[*kmsg.ProduceResponse](n, req).Topics[0].Partitions[0].ErrorCode)

		t.Log("log append time is in the answer")
		assert.Equal(t, time.Now().UnixMilli(), n.produce("append-time", 0, -1, good).LogAppendTime)
		assert.Equal(t, int64(-1), n.produce("plain", 0, -1, good).LogAppendTime)

		t.Log("the record at fault is named")
		p := n.produce("compact", 0, -1, good)
		require.Len(t, p.ErrorRecords, 1)
		assert.Equal(t, int32(0), p.ErrorRecords[0].RelativeOffset)
	})
}

func TestProduceOldVersionsCloseTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		for v := int16(0); v < 3; v++ {
			req := produceRequest("t", 0, 1, batch(t, "v"))
			req.Version = v
			r := h.nodes[1].serve(req, "")
			assert.True(t, r.Close)
			assert.Nil(t, r.Message)
		}
	})
}

func TestProduceAcksNone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		h.create(1, "t", 1, 1)
		r := n.serve(produceRequest("t", 0, 0, batch(t, "a")), "")
		assert.Nil(t, r.Message)
		assert.False(t, r.Close)
		r = n.serve(produceRequest("u", 0, 0, batch(t, "a")), "")
		assert.Nil(t, r.Message)
		assert.True(t, r.Close, "an error closes the connection: there is no other way to tell")
		h.await(func() bool { return len(n.readAll("t", 0)) == 1 })
	})
}

func TestProduceDuplicateGetsOldOffset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		h.create(1, "t", 1, 1)
		first := n.produce("t", 0, -1, producerBatch(t, 7, 0, 0, "a"))
		require.Zero(t, first.ErrorCode)
		require.Zero(t, n.produce("t", 0, -1, producerBatch(t, 7, 0, 1, "b")).ErrorCode)
		again := n.produce("t", 0, -1, producerBatch(t, 7, 0, 0, "a"))
		assert.Zero(t, again.ErrorCode)
		assert.Equal(t, first.BaseOffset, again.BaseOffset)
		assert.Equal(t, kerr.OutOfOrderSequenceNumber.Code, n.produce("t", 0, -1, producerBatch(t, 7, 0, 5, "x")).ErrorCode)
		assert.Zero(t, n.produce("t", 0, -1, producerBatch(t, 7, 1, 0, "c")).ErrorCode)
		assert.Equal(t, kerr.InvalidProducerEpoch.Code, n.produce("t", 0, -1, producerBatch(t, 7, 0, 2, "x")).ErrorCode)
		assert.Equal(t, []string{"a", "b", "c"}, n.readAll("t", 0))
	})
}

// TestProducePipelined sends many requests of an idempotent producer through a real connection without waiting: they must be appended in their order.
func TestProducePipelined(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		id := h.create(1, "t", 1, 3)
		leader := h.leader("t", 0)
		const count = 200
		var wg sync.WaitGroup
		var mu sync.Mutex
		var offsets []int64
		var want []string
		client, err := transport.NewClient(transport.ClientConfig{Network: h.net.Host("client"), Bootstrap: []string{h.addr(leader.id)}})
		require.NoError(t, err)
		defer client.Close()
		client.SetNode(transport.Node{ID: leader.id, Addr: h.addr(leader.id)})
		for i := range count {
			wg.Add(1)
			v := fmt.Sprint(i)
			want = append(want, v)
			req := produceRequest("t", 0, -1, producerBatch(t, 9, 0, int32(i), v))
			req.Topics[0].TopicID = id
			client.Send(t.Context(), leader.id, req, func(r transport.Response, err error) {
				defer wg.Done()
				if !assert.NoError(t, err) {
					return
				}
				p := r.Message.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
				assert.NoError(t, kerr.ErrorForCode(p.ErrorCode))
				mu.Lock()
				offsets = append(offsets, p.BaseOffset)
				mu.Unlock()
			})
		}
		wg.Wait()
		require.Len(t, offsets, count)
		for i, o := range offsets {
			require.Equal(t, int64(i), o, "answers come in the order of the requests")
		}
		require.Equal(t, want, leader.readAll("t", 0))
	})
}

func TestProduceTimesOutWithoutFollowers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3)
		leader := h.leader("t", 0)
		h.isr("t", 0, 3)
		leader.mustProduce("t", 0, "a")
		for _, id := range h.ids {
			if id != leader.id {
				h.net.SetLink(fmt.Sprintf("n%d", id), fmt.Sprintf("n%d", leader.id), transport.Link{Stall: true})
			}
		}
		time.Sleep(time.Second) // fetches under way are over
		req := produceRequest("t", 0, -1, batch(t, "b"))
		req.TimeoutMillis = 300
		began := time.Now()
		resp := call[*kmsg.ProduceResponse](leader, req)
		p := resp.Topics[0].Partitions[0]
		assert.Equal(t, kerr.RequestTimedOut.Code, p.ErrorCode)
		assert.Equal(t, int64(-1), p.BaseOffset)
		assert.Equal(t, 300*time.Millisecond, time.Since(began))
		r, _ := leader.Replica("t", 0)
		assert.Equal(t, int64(2), r.Log().Offsets().LogEndOffset, "the data stays")
		assert.Equal(t, int64(1), r.Log().Offsets().HighWatermark)
		h.net.Heal()
	})
}

func TestKIP951_ProduceNamesTheLeader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, func(id int32, c *Config) { c.Rack = fmt.Sprintf("rack%d", id) })
		h.create(1, "t", 1, 2)
		leader := h.leader("t", 0)
		other := h.nodes[3-leader.id]
		for v := int16(9); v <= 12; v++ {
			req := produceRequest("t", 0, -1, batch(t, "a"))
			req.Version = v
			resp := call[*kmsg.ProduceResponse](other, req)
			p := resp.Topics[0].Partitions[0]
			require.Equal(t, kerr.NotLeaderForPartition.Code, p.ErrorCode)
			if v < 10 {
				assert.Equal(t, int32(-1), p.CurrentLeader.LeaderID)
				assert.Empty(t, resp.Brokers)
				continue
			}
			assert.Equal(t, leader.id, p.CurrentLeader.LeaderID)
			assert.Equal(t, int32(0), p.CurrentLeader.LeaderEpoch)
			require.Len(t, resp.Brokers, 1)
			assert.Equal(t, leader.id, resp.Brokers[0].NodeID)
			assert.Equal(t, fmt.Sprintf("n%d", leader.id), resp.Brokers[0].Host)
			assert.Equal(t, int32(9092), resp.Brokers[0].Port)
			assert.Equal(t, fmt.Sprintf("rack%d", leader.id), *resp.Brokers[0].Rack)
		}
	})
}

func TestProduceNotEnoughReplicas(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3, "min.insync.replicas", "3")
		leader := h.leader("t", 0)
		h.isr("t", 0, 3)
		leader.mustProduce("t", 0, "a")
		for _, id := range h.ids {
			if id != leader.id {
				h.nodes[id].stop(false)
				break
			}
		}
		h.isr("t", 0, 2)
		leader = h.leader("t", 0)
		assert.Equal(t, kerr.NotEnoughReplicas.Code, leader.produce("t", 0, -1, batch(t, "b")).ErrorCode)
		r, _ := leader.Replica("t", 0)
		assert.Equal(t, int64(1), r.Log().Offsets().LogEndOffset, "nothing was appended")
		assert.Zero(t, leader.produce("t", 0, 1, batch(t, "c")).ErrorCode, "acks=1 does not ask")
		assert.Equal(t, []string{"a"}, leader.readAll("t", 0), "but stays invisible")
	})
}
