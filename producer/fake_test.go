package producer

import (
	"context"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
)

// fake is a scripted cluster: it keeps logs and producer states as Kafka's leaders do, and a script says what goes wrong.
type fake struct {
	t   testing.TB
	mem *transport.Mem // nil: Local only

	mu                     sync.Mutex
	nodes                  []int32
	topics                 map[string]*fakeTopic
	nextPID                int64
	lastReq                map[int32]int // produce requests by node
	underWay, mostUnderWay int
	events                 []string // what produce requests came to, for assertions

	// script is asked about each batch that arrives. nil: all goes well. It is called without the lock.
	script func(a *arrival) fault
	// onInit is asked about each InitProducerId.
	onInit func() int16
	// throttle is put into produce responses.
	throttle   time.Duration
	appendTime int64 // log append time, milliseconds; 0 is create time
	maxBatch   int   // max.message.bytes; 0 is none
	hints      bool
	reverse    bool // answers are in another order than requests
	noIDs      bool // answer by topic name only (before version 13)
}

type fakeTopic struct {
	name  string
	id    [16]byte
	parts []*fakePart
}

type fakePart struct {
	leader, epoch int32
	values        []string // by offset
	producers     map[int64]*fakeProducer
	batches       []string // id/epoch/sequence+count of what was appended
}

type fakeProducer struct {
	epoch  int16
	recent []fakeBatch
}

type fakeBatch struct {
	first, last int32
	offset      int64
}

// arrival is a batch that a node got.
type arrival struct {
	node      int32
	topic     string
	partition int32
	nth       int // of the partition, from 1
	batch     record.Batch
}

// fault is what happens to it.
type fault struct {
	code   int16         // answer with this error …
	append bool          // … after appending all the same
	drop   bool          // no answer: the connection breaks (after appending, with append)
	delay  time.Duration // before the answer
	late   time.Duration // with drop: the leader gets round to the batch only then, as if it came by a slow way
	recs   []kmsg.ProduceResponseTopicPartitionErrorRecord
	msg    string
}

func newFake(t testing.TB, nodes int) *fake {
	f := &fake{t: t, topics: make(map[string]*fakeTopic), nextPID: 1000, lastReq: make(map[int32]int)}
	for i := range nodes {
		f.nodes = append(f.nodes, int32(i+1))
	}
	return f
}

func (f *fake) topic(name string, partitions int) *fake {
	t := &fakeTopic{name: name, id: [16]byte{1, byte(len(f.topics) + 1)}}
	for i := range partitions {
		t.parts = append(t.parts, &fakePart{leader: f.nodes[i%len(f.nodes)], producers: make(map[int64]*fakeProducer)})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.topics[name] = t
	return f
}

func addrOf(node int32) string { return fmt.Sprintf("n%d:9092", node) }

// serve starts servers on an in-memory network and returns a client's config.
func (f *fake) serve() transport.ClientConfig {
	f.mem = transport.NewMem()
	c := transport.ClientConfig{Network: f.mem.Host("client")}
	for _, n := range f.nodes {
		l, err := f.mem.Host(fmt.Sprintf("n%d", n)).Listen(context.Background(), addrOf(n))
		require.NoError(f.t, err)
		s, err := transport.NewServer(transport.ServerConfig{Handler: &fakeNode{f, n}})
		require.NoError(f.t, err)
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.Serve(l) })
		f.t.Cleanup(func() {
			_ = s.Close()
			wg.Wait()
		})
		c.Bootstrap = append(c.Bootstrap, addrOf(n))
	}
	return c
}

// local returns the config of a client inside of node 1.
func (f *fake) local() transport.ClientConfig {
	return transport.ClientConfig{Local: &transport.Local{NodeID: 1, Handler: &fakeNode{f, 1}}}
}

// producer starts a producer with a client of that config; both are closed at the end of the test.
func (f *fake) producer(cc transport.ClientConfig, c Config) *Producer {
	client, err := transport.NewClient(cc)
	require.NoError(f.t, err)
	c.Client = client
	p, err := New(c)
	require.NoError(f.t, err)
	f.t.Cleanup(func() {
		_ = p.Close()
		_ = client.Close()
	})
	return p
}

// lead makes node the leader of a partition, in a new epoch.
func (f *fake) lead(topic string, partition, node int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.topics[topic].parts[partition]
	p.leader = node
	p.epoch++
}

// values returns what is in the log of a partition.
func (f *fake) values(topic string, partition int) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.topics[topic].parts[partition].values)
}

// requests returns how many produce requests a node got.
func (f *fake) requests(node int32) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lastReq[node]
}

func (f *fake) log(topic string, partition int) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.topics[topic].parts[partition].batches)
}

// fakeNode is one node's handler.
type fakeNode struct {
	f  *fake
	id int32
}

func (n *fakeNode) Versions() map[int16]transport.VersionRange {
	produce := int16(13)
	if n.f.noIDs {
		produce = 9
	}
	return map[int16]transport.VersionRange{
		18: {Min: 0, Max: 4}, 3: {Min: 0, Max: 12}, 0: {Min: 3, Max: produce}, 22: {Min: 0, Max: 4},
	}
}

func (n *fakeNode) Serve(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	switch m := r.Message.(type) {
	case *kmsg.ApiVersionsRequest:
		res := m.ResponseKind().(*kmsg.ApiVersionsResponse)
		for k, v := range n.Versions() {
			res.ApiKeys = append(res.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: k, MinVersion: v.Min, MaxVersion: v.Max})
		}
		reply(transport.Reply{Message: res})
	case *kmsg.MetadataRequest:
		reply(transport.Reply{Message: n.f.metadata(m)})
	case *kmsg.InitProducerIDRequest:
		res := m.ResponseKind().(*kmsg.InitProducerIDResponse)
		if n.f.onInit != nil {
			res.ErrorCode = n.f.onInit()
		}
		if res.ErrorCode == 0 {
			n.f.mu.Lock()
			n.f.nextPID++
			res.ProducerID, res.ProducerEpoch = n.f.nextPID, 0
			n.f.mu.Unlock()
		}
		reply(transport.Reply{Message: res})
	case *kmsg.ProduceRequest:
		n.produce(m, reply)
	default:
		n.f.t.Errorf("unexpected request %T", m)
		reply(transport.Reply{Close: true})
	}
}

func (f *fake) metadata(m *kmsg.MetadataRequest) kmsg.Response {
	f.mu.Lock()
	defer f.mu.Unlock()
	res := m.ResponseKind().(*kmsg.MetadataResponse)
	res.ControllerID = f.nodes[0]
	for _, n := range f.nodes {
		host, port, _ := net.SplitHostPort(addrOf(n))
		num, _ := strconv.Atoi(port)
		res.Brokers = append(res.Brokers, kmsg.MetadataResponseBroker{NodeID: n, Host: host, Port: int32(num)})
	}
	for _, want := range m.Topics {
		mt := kmsg.NewMetadataResponseTopic()
		mt.Topic = want.Topic
		t := f.topics[*want.Topic]
		if t == nil {
			mt.ErrorCode = kerr.UnknownTopicOrPartition.Code
			res.Topics = append(res.Topics, mt)
			continue
		}
		mt.TopicID = t.id
		for i, p := range t.parts {
			mp := kmsg.NewMetadataResponseTopicPartition()
			mp.Partition, mp.Leader, mp.LeaderEpoch = int32(i), p.leader, p.epoch
			mp.Replicas, mp.ISR = f.nodes, f.nodes
			mt.Partitions = append(mt.Partitions, mp)
		}
		res.Topics = append(res.Topics, mt)
	}
	return res
}

func (n *fakeNode) produce(m *kmsg.ProduceRequest, reply func(transport.Reply)) {
	f := n.f
	res := m.ResponseKind().(*kmsg.ProduceResponse)
	res.ThrottleMillis = int32(f.throttle.Milliseconds())
	var drop bool
	var delay time.Duration
	f.mu.Lock()
	f.lastReq[n.id]++
	f.underWay++
	f.mostUnderWay = max(f.mostUnderWay, f.underWay)
	f.mu.Unlock()
	answered := reply
	reply = func(r transport.Reply) {
		f.mu.Lock()
		f.underWay--
		f.mu.Unlock()
		answered(r)
	}
	for i := range m.Topics {
		mt := &m.Topics[i]
		rt := kmsg.NewProduceResponseTopic()
		name := mt.Topic
		f.mu.Lock()
		for _, t := range f.topics {
			if m.Version >= 13 && t.id == mt.TopicID {
				name = t.name
			}
		}
		f.mu.Unlock()
		if m.Version >= 13 {
			rt.TopicID = mt.TopicID
		} else {
			rt.Topic = name
		}
		for j := range mt.Partitions {
			rp, fl := n.produceOne(res, name, &mt.Partitions[j])
			drop = drop || fl.drop
			delay = max(delay, fl.delay)
			rt.Partitions = append(rt.Partitions, rp)
		}
		res.Topics = append(res.Topics, rt)
	}
	if f.reverse {
		slices.Reverse(res.Topics)
		for i := range res.Topics {
			slices.Reverse(res.Topics[i].Partitions)
		}
	}
	answer := transport.Reply{Message: res}
	if m.Acks == 0 {
		answer = transport.Reply{}
	}
	if drop {
		answer = transport.Reply{Close: true}
	}
	if delay > 0 {
		time.AfterFunc(delay, func() { reply(answer) })
		return
	}
	reply(answer)
}

func (n *fakeNode) produceOne(res *kmsg.ProduceResponse, topic string, mp *kmsg.ProduceRequestTopicPartition) (kmsg.ProduceResponseTopicPartition, fault) {
	f := n.f
	rp := kmsg.NewProduceResponseTopicPartition()
	rp.Partition, rp.BaseOffset, rp.LogAppendTime = mp.Partition, -1, -1
	f.mu.Lock()
	t := f.topics[topic]
	if t == nil || int(mp.Partition) >= len(t.parts) {
		f.mu.Unlock()
		rp.ErrorCode = kerr.UnknownTopicOrPartition.Code
		return rp, fault{}
	}
	p := t.parts[mp.Partition]
	a := &arrival{node: n.id, topic: topic, partition: mp.Partition, batch: record.Batch(mp.Records), nth: len(f.events) + 1}
	f.mu.Unlock()
	var fl fault
	if f.script != nil {
		fl = f.script(a)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case p.leader != n.id:
		rp.ErrorCode = kerr.NotLeaderForPartition.Code
		if f.hints {
			rp.CurrentLeader.LeaderID, rp.CurrentLeader.LeaderEpoch = p.leader, p.epoch
			res.Brokers = append(res.Brokers, kmsg.ProduceResponseBroker{NodeID: p.leader, Host: fmt.Sprintf("n%d", p.leader), Port: 9092})
		}
	case fl.late > 0:
		late := a.batch.Clone()
		time.AfterFunc(fl.late, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.append(p, late)
		})
	case fl.code != 0 && !fl.append, fl.drop && !fl.append:
		rp.ErrorCode = fl.code
	default:
		rp.ErrorCode, rp.BaseOffset = f.append(p, a.batch)
		if f.appendTime > 0 {
			rp.LogAppendTime = f.appendTime
		}
		if rp.ErrorCode == 0 && fl.code != 0 {
			rp.ErrorCode, rp.BaseOffset = fl.code, -1
		}
	}
	rp.ErrorRecords = fl.recs
	if fl.msg != "" {
		rp.ErrorMessage = kmsg.StringPtr(fl.msg)
	}
	f.events = append(f.events, fmt.Sprintf("%s-%d node=%d e=%d s=%d n=%d -> %d", topic, mp.Partition, n.id, a.batch.ProducerEpoch(), a.batch.BaseSequence(), a.batch.RecordCount(), rp.ErrorCode))
	return rp, fl
}

// append does what a leader does: size, CRC, sequence, append.
func (f *fake) append(p *fakePart, b record.Batch) (code int16, base int64) {
	var r record.Reader
	if _, err := record.Validate(b, record.ValidateOptions{CheckTimestamps: false}, &r); err != nil {
		f.t.Errorf("invalid batch: %v", err)
		return kerr.InvalidRecord.Code, -1
	}
	if f.maxBatch > 0 && len(b) > f.maxBatch {
		return kerr.MessageTooLarge.Code, -1
	}
	if id := b.ProducerID(); id >= 0 {
		s := p.producers[id]
		switch {
		case s == nil:
			s = &fakeProducer{epoch: b.ProducerEpoch()}
			p.producers[id] = s
		case b.ProducerEpoch() == s.epoch:
			for _, o := range s.recent {
				if o.first == b.BaseSequence() && o.last == b.LastSequence() {
					return 0, o.offset
				}
			}
			if want := int32((int64(s.recent[len(s.recent)-1].last) + 1) & math.MaxInt32); b.BaseSequence() != want {
				return kerr.OutOfOrderSequenceNumber.Code, -1
			}
		case b.ProducerEpoch() < s.epoch:
			return kerr.InvalidProducerEpoch.Code, -1
		case b.BaseSequence() != 0:
			return kerr.OutOfOrderSequenceNumber.Code, -1
		default:
			s.epoch, s.recent = b.ProducerEpoch(), nil
		}
		s.recent = append(s.recent, fakeBatch{b.BaseSequence(), b.LastSequence(), int64(len(p.values))})
		if len(s.recent) > 5 {
			s.recent = s.recent[1:]
		}
	}
	base = int64(len(p.values))
	for rec, err := range b.All() {
		require.NoError(f.t, err)
		p.values = append(p.values, string(rec.Value))
	}
	p.batches = append(p.batches, fmt.Sprintf("%d/%d/%d+%d", b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.RecordCount()))
	return 0, base
}
