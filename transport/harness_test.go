package transport

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNode answers what tests need: ApiVersions from its versions, Metadata from its map, Produce with the sizes of the records as offsets, everything else through its hooks.
type fakeNode struct {
	id       int32
	versions map[int16]VersionRange
	served   atomic.Int64
	released atomic.Int64

	mu      sync.Mutex
	hooks   map[int16]func(ctx context.Context, r *Request, reply func(Reply))
	brokers []kmsg.MetadataResponseBroker
	topics  map[string]kmsg.MetadataResponseTopic
	asked   []*kmsg.MetadataRequest
}

func newFakeNode(id int32) *fakeNode {
	n := &fakeNode{id: id, versions: make(map[int16]VersionRange), hooks: make(map[int16]func(context.Context, *Request, func(Reply)))}
	n.versions[0] = VersionRange{3, 13}
	n.versions[1] = VersionRange{4, 18}
	n.versions[2] = VersionRange{1, 11}
	n.versions[3] = VersionRange{0, 13}
	n.versions[18] = VersionRange{0, 4}
	n.versions[22] = VersionRange{0, 5}
	n.topics = make(map[string]kmsg.MetadataResponseTopic)
	return n
}

func (n *fakeNode) Versions() map[int16]VersionRange { return n.versions }

func (n *fakeNode) hook(key int16, f func(ctx context.Context, r *Request, reply func(Reply))) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hooks[key] = f
}

func (n *fakeNode) Serve(ctx context.Context, r *Request, reply func(Reply)) {
	n.served.Add(1)
	n.mu.Lock()
	hook := n.hooks[r.Message.Key()]
	n.mu.Unlock()
	if hook != nil {
		hook(ctx, r, reply)
		return
	}
	answer := Reply{Message: n.answer(r)}
	if r.Message.Key() != keyApiVersions {
		answer.Release = func() { n.released.Add(1) }
	}
	reply(answer)
}

func (n *fakeNode) answer(r *Request) kmsg.Response {
	switch q := r.Message.(type) {
	case *kmsg.ApiVersionsRequest:
		resp := q.ResponseKind().(*kmsg.ApiVersionsResponse)
		for k, v := range n.versions {
			a := kmsg.NewApiVersionsResponseApiKey()
			a.ApiKey, a.MinVersion, a.MaxVersion = k, v.Min, v.Max
			resp.ApiKeys = append(resp.ApiKeys, a)
		}
		return resp
	case *kmsg.MetadataRequest:
		return n.metadata(q)
	case *kmsg.ProduceRequest:
		if q.Acks == 0 {
			return nil
		}
		return produced(q)
	default:
		return r.Message.ResponseKind()
	}
}

// produced answers a produce request with the number of record bytes of each partition as its base offset.
func produced(q *kmsg.ProduceRequest) *kmsg.ProduceResponse {
	resp := q.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range q.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.BaseOffset = p.Partition, int64(len(p.Records))
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func (n *fakeNode) metadata(q *kmsg.MetadataRequest) kmsg.Response {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, q)
	resp := q.ResponseKind().(*kmsg.MetadataResponse)
	resp.Brokers, resp.ControllerID = n.brokers, n.id
	for _, t := range q.Topics {
		if got, ok := n.topics[*t.Topic]; ok {
			resp.Topics = append(resp.Topics, got)
			continue
		}
		rt := kmsg.NewMetadataResponseTopic()
		rt.Topic, rt.ErrorCode = t.Topic, 3
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func (n *fakeNode) setTopic(name string, leaders ...int32) {
	rt := kmsg.NewMetadataResponseTopic()
	rt.Topic, rt.TopicID = &name, [16]byte{1, byte(len(name))}
	for i, l := range leaders {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR = int32(i), l, 5, []int32{l}, []int32{l}
		rt.Partitions = append(rt.Partitions, p)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.topics[name] = rt
}

func (n *fakeNode) setBrokers(addrs ...string) {
	var brokers []kmsg.MetadataResponseBroker
	for i, addr := range addrs {
		host, port, _ := net.SplitHostPort(addr)
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host = int32(i+1), host
		for _, d := range port {
			b.Port = b.Port*10 + d - '0'
		}
		brokers = append(brokers, b)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.brokers = brokers
}

// startServer serves h on network at addr until the returned function is called, or the test ends.
func startServer(t testing.TB, network Network, addr string, c ServerConfig) (string, func()) {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	s, err := NewServer(c)
	require.NoError(t, err)
	l, err := network.Listen(t.Context(), addr)
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Serve(l); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	stop := sync.OnceFunc(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close server: %v", err)
		}
		wg.Wait()
	})
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

func newClient(t testing.TB, c ClientConfig) *Client {
	t.Helper()
	cl, err := NewClient(c)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := cl.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return cl
}

func produceRequest(acks int16, records []byte) *kmsg.ProduceRequest {
	q := kmsg.NewPtrProduceRequest()
	q.Acks = acks
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = "t", [16]byte{7}
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = records
	t.Partitions = append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return q
}
