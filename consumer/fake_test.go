package consumer

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fake is a cluster of nodes that answer from scripted partitions, so that a test can say exactly what the consumer meets.
type fake struct {
	mu      sync.Mutex
	topic   string
	id      [16]byte
	parts   []*fakePart
	changed chan struct{} // closed and replaced when something changes
	fetches int
	peak    int // of bytes given out and not released
	out     int
	failing map[int32]error // node: what fetches get
	lists   int
	timers  sync.WaitGroup

	coordinator *fakeCoordinator // nil: groups are not known
}

type fakePart struct {
	leader  int32
	epoch   int32
	start   int64
	batches []record.Batch
	aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction
	fetchAs error                             // error of the next fetches
	replica int32                             // preferred read replica; -1 none
	lags    bool                              // it does not have the offset that it is asked for, and the leader knows
	ends    map[int32]int64                   // epoch → end, for OffsetForLeaderEpoch
	mangle  func(b record.Batch) record.Batch // what goes out instead
	byTime  func(ts int64) (offset int64)     // ListOffsets by time
}

func newFake(partitions int) *fake {
	f := &fake{topic: "t", id: [16]byte{1}, failing: map[int32]error{}}
	for range partitions {
		f.parts = append(f.parts, &fakePart{leader: 1, replica: -1, ends: map[int32]int64{}})
	}
	return f
}

// change changes the script and wakes fetches that wait.
func (f *fake) change(do func()) {
	f.mu.Lock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
}

// later does something after a while; the test's end waits for it.
func (f *fake) later(d time.Duration, do func()) {
	f.timers.Go(func() {
		time.Sleep(d)
		do()
	})
}

func (p *fakePart) end() int64 {
	if len(p.batches) == 0 {
		return p.start
	}
	return p.batches[len(p.batches)-1].NextOffset()
}

// append adds a batch with these values.
func (p *fakePart) append(tb testing.TB, o batchOptions, values ...string) {
	tb.Helper()
	bld := record.NewBuilder(record.BuilderConfig{Codec: o.codec, Transactional: o.producer > 0})
	for i, v := range values {
		bld.Append(&record.Record{Value: []byte(v), Timestamp: time.UnixMilli(1000 + int64(i)), Headers: []record.Header{{Key: "v", Value: []byte(v)}}})
	}
	if o.producer > 0 {
		bld.SetProducer(o.producer, 0, 0)
	}
	b, err := bld.Build(nil)
	require.NoError(tb, err)
	batch := record.Batch(b)
	batch.PutBaseOffset(p.end())
	batch.PutLeaderEpoch(p.epoch)
	p.batches = append(p.batches, batch)
}

type batchOptions struct {
	codec    record.Codec
	producer int64
}

func (f *fake) Versions() map[int16]transport.VersionRange {
	v := map[int16]transport.VersionRange{1: {Min: 4, Max: 18}, 2: {Min: 1, Max: 11}, 3: {Min: 0, Max: 13}, 18: {Min: 0, Max: 4}, 23: {Min: 2, Max: 4}}
	if f.coordinator != nil {
		f.coordinator.addVersions(v)
	}
	return v
}

// node is one node's handler.
type node struct {
	*fake
	id int32
}

func (n node) Serve(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	switch req := r.Message.(type) {
	case *kmsg.MetadataRequest:
		reply(transport.Reply{Message: n.metadata(req)})
	case *kmsg.ListOffsetsRequest:
		reply(transport.Reply{Message: n.listOffsets(req)})
	case *kmsg.OffsetForLeaderEpochRequest:
		reply(transport.Reply{Message: n.epochEnd(req)})
	case *kmsg.FetchRequest:
		n.fetch(ctx, req, reply)
	case *kmsg.FindCoordinatorRequest, *kmsg.ConsumerGroupHeartbeatRequest, *kmsg.OffsetCommitRequest, *kmsg.OffsetFetchRequest,
		*kmsg.JoinGroupRequest, *kmsg.SyncGroupRequest, *kmsg.HeartbeatRequest, *kmsg.LeaveGroupRequest:
		n.coordinator.serve(n, r.Message, func(m kmsg.Response) { reply(transport.Reply{Message: m}) })
	case *kmsg.ApiVersionsRequest:
		resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
		for k, v := range n.Versions() {
			resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: k, MinVersion: v.Min, MaxVersion: v.Max})
		}
		reply(transport.Reply{Message: resp})
	}
}

func (n node) metadata(req *kmsg.MetadataRequest) kmsg.Response {
	n.mu.Lock()
	defer n.mu.Unlock()
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	for id := int32(1); id <= 2; id++ {
		resp.Brokers = append(resp.Brokers, kmsg.MetadataResponseBroker{NodeID: id, Host: fakeHost(id), Port: 9092})
	}
	resp.ControllerID = 1
	if req.Topics == nil {
		req.Topics = []kmsg.MetadataRequestTopic{{Topic: &n.topic}}
	}
	for _, asked := range req.Topics {
		t := kmsg.NewMetadataResponseTopic()
		if asked.Topic == nil && asked.TopicID == n.fake.id {
			asked.Topic = &n.topic
		}
		t.Topic = asked.Topic
		if asked.Topic == nil || *asked.Topic != n.topic {
			t.ErrorCode = kerr.UnknownTopicOrPartition.Code
			if *asked.Topic == "bad/name" {
				t.ErrorCode = kerr.InvalidTopicException.Code
			}
		} else {
			t.TopicID = n.fake.id
			for i, p := range n.parts {
				mp := kmsg.NewMetadataResponseTopicPartition()
				mp.Partition, mp.Leader, mp.LeaderEpoch, mp.Replicas, mp.ISR = int32(i), p.leader, p.epoch, []int32{1, 2}, []int32{1, 2}
				if p.leader < 0 {
					mp.ErrorCode = kerr.LeaderNotAvailable.Code
				}
				t.Partitions = append(t.Partitions, mp)
			}
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

func (n node) listOffsets(req *kmsg.ListOffsetsRequest) kmsg.Response {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lists++
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	for _, t := range req.Topics {
		rt := kmsg.ListOffsetsResponseTopic{Topic: t.Topic}
		for _, asked := range t.Partitions {
			p := n.parts[asked.Partition]
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition, rp.Timestamp, rp.LeaderEpoch = asked.Partition, -1, -1
			switch {
			case p.leader != n.id:
				rp.ErrorCode = kerr.NotLeaderForPartition.Code
			case asked.Timestamp == -1:
				rp.Offset = p.end()
			case asked.Timestamp == -2:
				rp.Offset = p.start
			default:
				rp.Offset = p.byTime(asked.Timestamp)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func (n node) epochEnd(req *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	n.mu.Lock()
	defer n.mu.Unlock()
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, t := range req.Topics {
		rt := kmsg.OffsetForLeaderEpochResponseTopic{Topic: t.Topic}
		for _, asked := range t.Partitions {
			p := n.parts[asked.Partition]
			rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			rp.Partition, rp.LeaderEpoch, rp.EndOffset = asked.Partition, asked.LeaderEpoch, p.end()
			if end, ok := p.ends[asked.LeaderEpoch]; ok {
				rp.EndOffset = end
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// fetch waits as a broker does: until there is something, an error, or the time is over.
func (n node) fetch(ctx context.Context, req *kmsg.FetchRequest, reply func(transport.Reply)) {
	timeout := time.NewTimer(time.Duration(req.MaxWaitMillis) * time.Millisecond)
	defer timeout.Stop()
	for last := false; ; {
		n.mu.Lock()
		n.fetches++
		resp, some, size := n.answer(req)
		changed := n.changed
		if some || last {
			n.out += size
			n.peak = max(n.peak, n.out)
			n.mu.Unlock()
			reply(transport.Reply{Message: resp, Release: func() {
				n.mu.Lock()
				n.out -= size
				n.mu.Unlock()
			}})
			return
		}
		n.mu.Unlock()
		select {
		case <-changed:
		case <-timeout.C:
			last = true
		case <-ctx.Done():
			last = true
		}
	}
}

func (n node) answer(req *kmsg.FetchRequest) (resp *kmsg.FetchResponse, some bool, size int) {
	resp = req.ResponseKind().(*kmsg.FetchResponse)
	if err, ok := n.failing[n.id]; ok {
		resp.ErrorCode = err.(*kerr.Error).Code
		return resp, true, 0
	}
	for _, t := range req.Topics {
		rt := kmsg.FetchResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
		for _, asked := range t.Partitions {
			rp := n.answerPartition(asked, req.Rack)
			size += len(rp.RecordBatches)
			some = some || len(rp.RecordBatches) > 0 || rp.ErrorCode != 0 || rp.PreferredReadReplica >= 0
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, some, size
}

func (n node) answerPartition(asked kmsg.FetchRequestTopicPartition, rack string) kmsg.FetchResponseTopicPartition {
	rp := kmsg.NewFetchResponseTopicPartition()
	p := n.parts[asked.Partition]
	rp.Partition, rp.PreferredReadReplica, rp.RecordBatches = asked.Partition, -1, []byte{}
	rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = p.end(), p.end(), p.start
	set := func(err *kerr.Error) { rp.ErrorCode = err.Code }
	switch {
	case p.fetchAs != nil:
		set(p.fetchAs.(*kerr.Error))
	case p.lags && n.id == p.replica:
		set(kerr.OffsetOutOfRange)
	case rack != "" && p.replica >= 0 && n.id == p.leader && !p.lags:
		rp.PreferredReadReplica = p.replica
	case n.id != p.leader && n.id != p.replica:
		set(kerr.NotLeaderForPartition)
	case asked.CurrentLeaderEpoch >= 0 && asked.CurrentLeaderEpoch < p.epoch:
		set(kerr.FencedLeaderEpoch)
	case asked.FetchOffset < p.start || asked.FetchOffset > p.end():
		set(kerr.OffsetOutOfRange)
	default:
		rp.AbortedTransactions = p.aborted
		for _, b := range p.batches {
			if b.NextOffset() <= asked.FetchOffset {
				continue
			}
			if len(rp.RecordBatches) > 0 && len(rp.RecordBatches)+b.Size() > int(asked.PartitionMaxBytes) {
				rp.RecordBatches = append(rp.RecordBatches, b[:b.Size()/2]...) // a batch cut off, as brokers do
				break
			}
			if p.mangle != nil {
				b = p.mangle(b)
			}
			rp.RecordBatches = append(rp.RecordBatches, b...)
		}
	}
	return rp
}

func fakeHost(id int32) string { return map[int32]string{1: "one", 2: "two"}[id] }

// serve puts the fake's nodes on a network and returns a client; everything ends with the test's function.
func serve(t *testing.T, f *fake, use func(*transport.Client)) {
	t.Helper()
	f.changed = make(chan struct{}) // of this bubble
	network := transport.NewMem()
	var servers []*transport.Server
	var wg sync.WaitGroup
	for id := int32(1); id <= 2; id++ {
		s, err := transport.NewServer(transport.ServerConfig{Handler: node{f, id}})
		require.NoError(t, err)
		l, err := network.Host(fakeHost(id)).Listen(t.Context(), fakeHost(id)+":9092")
		require.NoError(t, err)
		wg.Go(func() { s.Serve(l) })
		servers = append(servers, s)
	}
	client, err := transport.NewClient(transport.ClientConfig{Bootstrap: []string{"one:9092"}, Network: network.Host("client")})
	require.NoError(t, err)
	use(client)
	f.timers.Wait()
	require.NoError(t, client.Close())
	for _, s := range servers {
		require.NoError(t, s.Close())
	}
	wg.Wait()
}
