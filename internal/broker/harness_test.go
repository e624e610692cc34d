package broker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/internal/commit"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// harness is a cluster of brokers in one bubble: memory disks, memory network, real layers below.
type harness struct {
	t     testing.TB
	net   *transport.Mem
	nodes map[int32]*testNode
	conf  func(id int32, c *Config)
	ids   []int32
}

// testNode is one node with what stands under a broker.
type testNode struct {
	h      *harness
	id     int32
	disk   *vfs.Mem
	dir    *log.Directory
	commit *commit.Engine
	ctl    *controller.Controller
	server *transport.Server
	served chan error
	*Broker
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// newHarness starts n nodes and closes them in Cleanup.
func newHarness(t testing.TB, n int, conf func(id int32, c *Config)) *harness {
	t.Helper()
	h := &harness{t: t, net: transport.NewMem(), nodes: make(map[int32]*testNode), conf: conf}
	for id := int32(1); id <= int32(n); id++ {
		h.ids = append(h.ids, id)
		h.nodes[id] = &testNode{h: h, id: id, disk: vfs.NewMem()}
	}
	t.Cleanup(h.close)
	h.start(h.ids...)
	return h
}

func (h *harness) addr(id int32) string { return fmt.Sprintf("n%d:9092", id) }

// start starts nodes side by side.
func (h *harness) start(ids ...int32) {
	h.t.Helper()
	errs := make(chan error, len(ids))
	for _, id := range ids {
		n := h.nodes[id]
		go func() { errs <- n.start() }()
	}
	for range ids {
		require.NoError(h.t, <-errs)
	}
}

func (n *testNode) start() error {
	h := n.h
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	if n.dir, err = log.OpenDirectory("data", log.DirectoryConfig{FS: n.disk, NodeID: n.id}); err != nil {
		return err
	}
	n.commit = commit.New(commit.Config{})
	voters := make(map[int32]string)
	for _, id := range h.ids {
		voters[id] = h.addr(id)
	}
	host := h.net.Host(fmt.Sprintf("n%d", n.id))
	c := Config{NodeID: n.id, Addr: h.addr(n.id), Voters: voters, Directory: n.dir, Commit: n.commit, Network: host}
	if h.conf != nil {
		h.conf(n.id, &c)
	}
	if n.Broker, err = New(c); err != nil {
		return err
	}
	if n.server, err = transport.NewServer(transport.ServerConfig{Handler: n.Broker, NewRequest: NewRequest}); err != nil {
		return err
	}
	l, err := host.Listen(ctx, h.addr(n.id))
	if err != nil {
		return err
	}
	n.served = make(chan error, 1)
	server, served := n.server, n.served
	go func() { served <- server.Serve(l) }()
	n.ctl, err = controller.Start(controller.Config{
		NodeID: n.id, ClusterID: n.dir.ClusterID(), Voters: h.ids, FS: n.disk, Dir: "data/__cluster_metadata-0", DirectoryID: n.dir.ID(),
		Send: n.SendRaft, Static: c.Static, Rand: rand.New(rand.NewPCG(uint64(n.id), 1)),
	})
	if err != nil {
		return err
	}
	return n.Broker.Start(ctx, n.ctl)
}

// stop stops a node: clean, or as a crash of the process would.
func (n *testNode) stop(clean bool) {
	if n.Broker == nil {
		return
	}
	epoch := n.BrokerEpoch()
	if n.server != nil {
		_ = n.server.Close()
		<-n.served
	}
	require.NoError(n.h.t, n.Broker.Close())
	if n.ctl != nil {
		_ = n.ctl.Close(!clean)
	}
	n.commit.Close()
	if clean {
		require.NoError(n.h.t, n.dir.Close(epoch))
	} else {
		n.dir.Abandon()
		n.disk = n.disk.Crash(vfs.DropAll, nil)
	}
	n.Broker, n.ctl, n.server = nil, nil, nil
}

func (h *harness) close() {
	for _, id := range h.ids {
		h.nodes[id].stop(true)
	}
}

// serve calls a handler as a connection would.
func (n *testNode) serve(req kmsg.Request, clientID string) transport.Reply {
	n.h.t.Helper()
	got := make(chan transport.Reply, 2)
	n.Serve(n.h.t.(interface{ Context() context.Context }).Context(), &transport.Request{Message: req, ClientID: clientID, Conn: &transport.ConnInfo{Direct: true}}, func(r transport.Reply) { got <- r })
	return <-got
}

// call serves a request and returns its answer.
func call[T kmsg.Response](n *testNode, req kmsg.Request) T {
	n.h.t.Helper()
	r := n.serve(req, "test")
	require.NotNil(n.h.t, r.Message, "no answer to key %d version %d", req.Key(), req.GetVersion())
	return r.Message.(T)
}

// create creates a topic through a node and waits until every node that runs has it.
func (h *harness) create(via int32, topic string, partitions int32, rf int16, configs ...string) log.TopicID {
	h.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, 10_000
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, partitions, rf
	for i := 0; i+1 < len(configs); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = configs[i], &configs[i+1]
		rt.Configs = append(rt.Configs, c)
	}
	req.Topics = append(req.Topics, rt)
	resp := call[*kmsg.CreateTopicsResponse](h.nodes[via], req)
	require.Len(h.t, resp.Topics, 1)
	require.NoError(h.t, kerr.ErrorForCode(resp.Topics[0].ErrorCode), "%v", resp.Topics[0].ErrorMessage)
	id := log.TopicID(resp.Topics[0].TopicID)
	h.await(func() bool {
		for _, n := range h.nodes {
			if n.Broker != nil && (n.metadataImage().TopicIDs[id] == nil || n.applierOffset() < n.metadataImage().Offset) {
				return false
			}
		}
		return true
	})
	return id
}

func (b *Broker) applierOffset() int64 {
	b.applier.mu.Lock()
	defer b.applier.mu.Unlock()
	return b.applier.applied.Offset
}

// await waits in virtual time until ok.
func (h *harness) await(ok func() bool) {
	h.t.Helper()
	for range 60_000 {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	for _, id := range h.ids {
		if n := h.nodes[id]; n.Broker != nil {
			for _, st := range n.Replicas() {
				h.t.Logf("node %d: %s-%d role %d %+v %+v isr %v err %v", id, st.Topic, st.Partition, st.Role, st.State, st.Offsets, st.MaximalISR, st.Err)
			}
		}
	}
	h.t.Fatal("did not come true within a minute")
}

// leader waits for a leader of a partition that serves, and returns its node.
func (h *harness) leader(topic string, partition int32) *testNode {
	h.t.Helper()
	var found *testNode
	h.await(func() bool {
		for _, id := range h.ids {
			n := h.nodes[id]
			if n.Broker == nil {
				continue
			}
			if r, ok := n.Replica(topic, partition); ok && r.CheckLeader(-1) == nil && !n.selfFenced(time.Now()) {
				found = n
				return true
			}
		}
		return false
	})
	return found
}

// isr waits until a partition has so many in-sync replicas.
func (h *harness) isr(topic string, partition int32, size int) {
	h.t.Helper()
	h.await(func() bool {
		p := partitionOf(h.leader(topic, partition).metadataImage(), topic, partition)
		return p != nil && len(p.ISR) == size
	})
}

// batch encodes records with the given values.
func batch(t testing.TB, values ...string) []byte {
	t.Helper()
	return producerBatch(t, -1, -1, -1, values...)
}

func producerBatch(t testing.TB, id int64, epoch int16, sequence int32, values ...string) []byte {
	t.Helper()
	b := record.NewBuilder(record.BuilderConfig{})
	for _, v := range values {
		b.Append(&record.Record{Value: []byte(v), Timestamp: time.Now()})
	}
	b.SetProducer(id, epoch, sequence)
	out, err := b.Build(nil)
	require.NoError(t, err)
	return out
}

// produceRequest is a request for one partition.
func produceRequest(topic string, partition int32, acks int16, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 12, acks, 10_000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = partition, records
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// produce sends one batch and returns the partition's answer.
func (n *testNode) produce(topic string, partition int32, acks int16, records []byte) kmsg.ProduceResponseTopicPartition {
	n.h.t.Helper()
	resp := call[*kmsg.ProduceResponse](n, produceRequest(topic, partition, acks, records))
	require.Len(n.h.t, resp.Topics, 1)
	require.Len(n.h.t, resp.Topics[0].Partitions, 1)
	return resp.Topics[0].Partitions[0]
}

func (n *testNode) mustProduce(topic string, partition int32, values ...string) int64 {
	n.h.t.Helper()
	p := n.produce(topic, partition, -1, batch(n.h.t, values...))
	require.NoError(n.h.t, kerr.ErrorForCode(p.ErrorCode), "%v", p.ErrorMessage)
	return p.BaseOffset
}

// fetchRequest is a full fetch of one partition without a session.
func fetchRequest(topic string, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 12, 0, 1, 1<<20
	addFetch(req, topic, log.TopicID{}, partition, offset)
	return req
}

func addFetch(req *kmsg.FetchRequest, topic string, id log.TopicID, partition int32, offset int64) {
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = topic, id
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = partition, offset, 1<<20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
}

// values decodes the records of fetched bytes from an offset on.
func values(t testing.TB, records []byte, from int64) (out []string) {
	t.Helper()
	for b, err := range record.Batches(records) {
		require.NoError(t, err)
		require.NoError(t, b.CheckCRC())
		if b.Control() {
			continue
		}
		for rec, err := range b.All() {
			require.NoError(t, err)
			if rec.Offset >= from {
				out = append(out, string(rec.Value))
			}
		}
	}
	return out
}

// readAll fetches a partition from the start to the high watermark.
func (n *testNode) readAll(topic string, partition int32) (out []string) {
	n.h.t.Helper()
	for offset := int64(0); ; {
		resp := call[*kmsg.FetchResponse](n, fetchRequest(topic, partition, offset))
		p := resp.Topics[0].Partitions[0]
		require.NoError(n.h.t, kerr.ErrorForCode(p.ErrorCode))
		if len(p.RecordBatches) == 0 {
			return out
		}
		out = append(out, values(n.h.t, p.RecordBatches, offset)...)
		for b := range record.Batches(p.RecordBatches) {
			offset = b.NextOffset()
		}
	}
}
