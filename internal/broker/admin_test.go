package broker

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/internal/fuzztest"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestApiVersions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		ask := func(version int16, name, software string) *kmsg.ApiVersionsResponse {
			req := kmsg.NewPtrApiVersionsRequest()
			req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = version, name, software
			return call[*kmsg.ApiVersionsResponse](n, req)
		}
		ranges := func(r *kmsg.ApiVersionsResponse) map[int16][2]int16 {
			m := make(map[int16][2]int16)
			for _, k := range r.ApiKeys {
				m[k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
			}
			return m
		}
		// The ranges that clients test: see the traps in kafka-compat.md.
		assert.Equal(t, map[int16][2]int16{
			0: {0, 13}, 1: {4, 18}, 2: {1, 11}, 3: {0, 13}, 18: {0, 4}, 19: {2, 7}, 20: {1, 6}, 22: {0, 5}, 23: {2, 4}, 32: {1, 4}, 33: {0, 2}, 37: {0, 3}, 44: {0, 1}, 60: {0, 2}, 57: {0, 2}, 64: {0, 0}, 80: {0, 1}, 81: {0, 0}, 32102: {0, 0},
			21: {0, 2}, 35: {1, 4}, 55: {0, 2}, 61: {0, 0}, 65: {0, 0}, 66: {0, 2}, 74: {0, 1}, 75: {0, 0},
			48: {0, 1}, 49: {0, 1}, 45: {0, 1}, 46: {0, 0}, 17: {0, 1}, 29: {1, 3}, 30: {1, 3}, 31: {1, 3}, 36: {0, 2}, 50: {0, 0}, 51: {0, 0},
			8: {2, 10}, 9: {1, 10}, 10: {0, 6}, 11: {0, 9}, 12: {0, 4}, 13: {0, 5}, 14: {0, 5}, 15: {0, 6}, 16: {0, 5}, 42: {0, 2}, 43: {0, 2}, 47: {0, 0}, 68: {0, 1}, 69: {0, 1},
		}, ranges(ask(4, "kgo", "1.0")))
		assert.Contains(t, ranges(ask(3, peerSoftware, "1")), KeyRaft, "nodes are told of more")
		assert.Zero(t, ask(0, "", "").ErrorCode, "before version 3 there are no names")
		for _, bad := range []string{"", "-x", "x-", "a b", "ü", "."} {
			assert.Equal(t, kerr.InvalidRequest.Code, ask(3, bad, "1").ErrorCode, "%q", bad)
			assert.Equal(t, kerr.InvalidRequest.Code, ask(3, "x", bad).ErrorCode, "%q", bad)
		}
		assert.Zero(t, ask(3, "apache-kafka-java", "4.2.0-rc.1").ErrorCode)
		for key, v := range n.Versions() {
			req := NewRequest(key)
			require.NotNil(t, req, "key %d", key)
			assert.LessOrEqual(t, v.Max, req.MaxVersion(), "key %d: nothing is advertised that cannot be decoded", key)
		}
	})
}

// TestEveryVersionIsEncodable serves an empty request of every version of every API, and encodes and decodes the answer.
func TestEveryVersionIsEncodable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		h.create(1, "t", 1, 1)
		for _, a := range apis() {
			if a.internal {
				continue
			}
			for v := a.min; v <= a.max; v++ {
				req := NewRequest(a.key)
				req.SetVersion(v)
				switch r := req.(type) {
				case *kmsg.ApiVersionsRequest:
					r.ClientSoftwareName, r.ClientSoftwareVersion = "x", "1"
				case *kmsg.ProduceRequest:
					r.Acks = 1
					if v < 3 {
						continue
					}
				}
				again := NewRequest(a.key)
				again.SetVersion(v)
				require.NoError(t, again.ReadFrom(req.AppendTo(nil)))
				r := n.serve(again, "")
				require.NotNil(t, r.Message, "key %d version %d", a.key, v)
				require.Equal(t, v, r.Message.GetVersion(), "key %d", a.key)
				decoded := req.ResponseKind()
				decoded.SetVersion(v)
				require.NoError(t, decoded.ReadFrom(r.Message.AppendTo(nil)), "key %d version %d", a.key, v)
				if r.Release != nil {
					r.Release()
				}
			}
		}
	})
}

func metadataRequest(version int16, topics ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = version
	req.Topics = []kmsg.MetadataRequestTopic{}
	for i := range topics {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = &topics[i]
		req.Topics = append(req.Topics, rt)
	}
	return req
}

func TestMetadata(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, func(id int32, c *Config) { c.Rack = fmt.Sprintf("r%d", id) })
		id := h.create(1, "t", 2, 3)
		h.create(1, topicConsumerOffsets, 1, 1)
		n := h.nodes[2]
		h.await(func() bool { return len(call[*kmsg.MetadataResponse](n, metadataRequest(12)).Brokers) == 3 })
		resp := call[*kmsg.MetadataResponse](n, metadataRequest(12, "t", "nowhere", "bad name", topicConsumerOffsets))
		require.Len(t, resp.Brokers, 3)
		for i, b := range resp.Brokers {
			assert.Equal(t, int32(i+1), b.NodeID)
			assert.Equal(t, fmt.Sprintf("n%d", i+1), b.Host)
			assert.Equal(t, int32(9092), b.Port)
			assert.Equal(t, fmt.Sprintf("r%d", i+1), *b.Rack)
		}
		leader, _, ok := n.ctl.Leader()
		require.True(t, ok)
		assert.Equal(t, leader, resp.ControllerID)
		assert.Equal(t, n.dir.ClusterID(), *resp.ClusterID)
		require.Len(t, resp.Topics, 4)
		topic := resp.Topics[0]
		assert.Equal(t, "t", *topic.Topic)
		assert.Equal(t, [16]byte(id), topic.TopicID)
		assert.False(t, topic.IsInternal)
		require.Len(t, topic.Partitions, 2)
		for i, p := range topic.Partitions {
			assert.Zero(t, p.ErrorCode)
			assert.Equal(t, int32(i), p.Partition)
			assert.Len(t, p.Replicas, 3)
			assert.Contains(t, p.ISR, p.Leader)
			assert.Equal(t, int32(0), p.LeaderEpoch)
			assert.Empty(t, p.OfflineReplicas)
		}
		assert.Equal(t, kerr.UnknownTopicOrPartition.Code, resp.Topics[1].ErrorCode)
		assert.Equal(t, kerr.InvalidTopicException.Code, resp.Topics[2].ErrorCode)
		assert.True(t, resp.Topics[3].IsInternal)

		t.Log("all topics, and none")
		all := kmsg.NewPtrMetadataRequest()
		all.Version = 1
		assert.Len(t, call[*kmsg.MetadataResponse](n, all).Topics, 2)
		assert.Empty(t, call[*kmsg.MetadataResponse](n, metadataRequest(1)).Topics)
		assert.Len(t, call[*kmsg.MetadataResponse](n, metadataRequest(0)).Topics, 2, "version 0: an empty list is all")

		t.Log("by id")
		byID := kmsg.NewPtrMetadataRequest()
		byID.Version = 12
		for _, name := range []*string{nil, new(string)} { // Kafka's Java client sends an empty name
			byID.Topics = []kmsg.MetadataRequestTopic{{Topic: name, TopicID: id}, {Topic: name, TopicID: log.TopicID{1}}}
			got := call[*kmsg.MetadataResponse](n, byID).Topics
			assert.Equal(t, "t", *got[0].Topic)
			assert.Equal(t, kerr.UnknownTopicID.Code, got[1].ErrorCode)
			assert.Equal(t, [16]byte{1}, got[1].TopicID)
			assert.Nil(t, got[1].Topic)
		}

		t.Log("a dead broker is gone, its replicas are offline")
		dead := h.leader("t", 0)
		dead.stop(false)
		for _, id := range h.ids {
			if id != dead.id {
				n = h.nodes[id]
			}
		}
		h.await(func() bool {
			resp := call[*kmsg.MetadataResponse](n, metadataRequest(7, "t"))
			return len(resp.Brokers) == 2 && len(resp.Topics[0].Partitions[0].OfflineReplicas) == 1
		})
		resp = call[*kmsg.MetadataResponse](n, metadataRequest(7, "t"))
		assert.Equal(t, []int32{dead.id}, resp.Topics[0].Partitions[0].OfflineReplicas)
		assert.NotEqual(t, dead.id, resp.Topics[0].Partitions[0].Leader)
		assert.Positive(t, resp.Topics[0].Partitions[0].LeaderEpoch)
		internal := call[*kmsg.MetadataResponse](n, metadataRequest(7, topicConsumerOffsets)).Topics[0].Partitions[0]
		if internal.Leader < 0 {
			assert.Equal(t, kerr.LeaderNotAvailable.Code, internal.ErrorCode)
		}
	})
}

func TestDescribeCluster(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, nil)
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version, req.EndpointType = 2, 1
		h.await(func() bool { return len(call[*kmsg.DescribeClusterResponse](h.nodes[1], req).Brokers) == 2 })
		resp := call[*kmsg.DescribeClusterResponse](h.nodes[1], req)
		require.Len(t, resp.Brokers, 2)
		assert.Equal(t, h.nodes[1].dir.ClusterID(), resp.ClusterID)
		req.EndpointType = 2
		assert.Equal(t, kerr.MismatchedEndpointType.Code, call[*kmsg.DescribeClusterResponse](h.nodes[1], req).ErrorCode)
		req.EndpointType = 3
		assert.Equal(t, kerr.UnsupportedEndpointType.Code, call[*kmsg.DescribeClusterResponse](h.nodes[1], req).ErrorCode)
	})
}

func TestAutoCreate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, func(id int32, c *Config) { c.AutoCreate = true })
		n := h.nodes[1]
		ask := func(version int16, allow bool, topic string) int16 {
			req := metadataRequest(version, topic)
			req.AllowAutoTopicCreation = allow
			return call[*kmsg.MetadataResponse](n, req).Topics[0].ErrorCode
		}
		assert.Equal(t, kerr.UnknownTopicOrPartition.Code, ask(12, false, "never"))
		assert.Equal(t, kerr.UnknownTopicOrPartition.Code, ask(12, true, "new"), "not yet")
		assert.Contains(t, []int16{kerr.UnknownTopicOrPartition.Code, 0}, ask(12, true, "new"), "asking again does no harm")
		assert.Equal(t, kerr.UnknownTopicOrPartition.Code, ask(3, false, "old-client"), "before version 4 it is always allowed")
		assert.Equal(t, kerr.InvalidTopicException.Code, ask(12, true, "no good"))
		assert.Equal(t, kerr.UnknownTopicOrPartition.Code, ask(12, true, topicConsumerOffsets), "internal topics are not made this way")
		h.await(func() bool { return ask(12, true, "new") == 0 && ask(12, true, "old-client") == 0 })
		time.Sleep(time.Second)
		all := kmsg.NewPtrMetadataRequest()
		all.Version = 12
		var names []string
		for _, topic := range call[*kmsg.MetadataResponse](n, all).Topics {
			names = append(names, *topic.Topic)
			assert.Len(t, topic.Partitions, 1)
			assert.Len(t, topic.Partitions[0].Replicas, 3)
		}
		assert.Equal(t, []string{"new", "old-client"}, names)
		h.leader("new", 0).mustProduce("new", 0, "v")
	})
}

func TestAutoCreateIsOffByDefault(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		req := metadataRequest(12, "new")
		req.AllowAutoTopicCreation = true
		for range 3 {
			assert.Equal(t, kerr.UnknownTopicOrPartition.Code, call[*kmsg.MetadataResponse](h.nodes[1], req).Topics[0].ErrorCode)
			time.Sleep(time.Second)
		}
	})
}

// TestAdminIsForwarded sends admin requests to nodes that are not the controller.
func TestAdminIsForwarded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		controller, _, _ := h.nodes[1].ctl.Leader()
		via := h.nodes[controller%3+1]
		require.NotEqual(t, controller, via.id)

		for v := int16(2); v <= 7; v++ {
			req := kmsg.NewPtrCreateTopicsRequest()
			req.Version, req.TimeoutMillis = v, 5000
			rt := kmsg.NewCreateTopicsRequestTopic()
			rt.Topic, rt.NumPartitions, rt.ReplicationFactor = fmt.Sprintf("v%d", v), 2, 3
			req.Topics = append(req.Topics, rt)
			resp := call[*kmsg.CreateTopicsResponse](via, req)
			require.Equal(t, v, resp.Version)
			require.NoError(t, kerr.ErrorForCode(resp.Topics[0].ErrorCode), "version %d", v)
			require.NotNil(t, via.metadataImage().Topics[rt.Topic], "the node that answered knows the topic")
			_, ok := via.Replica(rt.Topic, 1)
			require.True(t, ok, "and has its replicas")
			assert.Equal(t, kerr.TopicAlreadyExists.Code, call[*kmsg.CreateTopicsResponse](via, req).Topics[0].ErrorCode)
		}
		bad := kmsg.NewPtrCreateTopicsRequest()
		bad.Version, bad.TimeoutMillis = 7, 5000
		for _, name := range []string{"no good", "..", ""} {
			rt := kmsg.NewCreateTopicsRequestTopic()
			rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, 1, 1
			bad.Topics = append(bad.Topics, rt)
		}
		for _, topic := range call[*kmsg.CreateTopicsResponse](via, bad).Topics {
			assert.Equal(t, kerr.InvalidTopicException.Code, topic.ErrorCode, "%q", topic.Topic)
		}

		parts := kmsg.NewPtrCreatePartitionsRequest()
		parts.Version, parts.TimeoutMillis = 0, 5000
		pt := kmsg.NewCreatePartitionsRequestTopic()
		pt.Topic, pt.Count = "v2", 5
		parts.Topics = append(parts.Topics, pt)
		require.Zero(t, call[*kmsg.CreatePartitionsResponse](via, parts).Topics[0].ErrorCode)
		h.leader("v2", 4).mustProduce("v2", 4, "x")
		assert.Equal(t, kerr.InvalidPartitions.Code, call[*kmsg.CreatePartitionsResponse](via, parts).Topics[0].ErrorCode)

		for v := int16(1); v <= 6; v++ {
			req := kmsg.NewPtrDeleteTopicsRequest()
			req.Version, req.TimeoutMillis = v, 5000
			name := fmt.Sprintf("v%d", v+1)
			if v < 6 {
				req.TopicNames = []string{name, "nowhere"}
			} else {
				a, b := kmsg.NewDeleteTopicsRequestTopic(), kmsg.NewDeleteTopicsRequestTopic()
				a.TopicID, b.TopicID = via.metadataImage().Topics[name].ID, log.TopicID{9}
				req.Topics = append(req.Topics, a, b)
			}
			resp := call[*kmsg.DeleteTopicsResponse](via, req)
			require.Equal(t, v, resp.Version)
			require.Len(t, resp.Topics, 2)
			for _, topic := range resp.Topics {
				if topic.Topic != nil && *topic.Topic == name {
					assert.NoError(t, kerr.ErrorForCode(topic.ErrorCode), "version %d", v)
				} else {
					assert.Contains(t, []int16{kerr.UnknownTopicOrPartition.Code, kerr.UnknownTopicID.Code}, topic.ErrorCode)
				}
			}
			assert.Nil(t, via.metadataImage().Topics[name])
		}
	})
}

func TestTopicDeletionMayBeDisabled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, func(id int32, c *Config) { c.Static = map[string]string{"delete.topic.enable": "false"} })
		h.create(1, "t", 1, 1)
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version, req.TimeoutMillis, req.TopicNames = 2, 1000, []string{"t"}
		assert.Equal(t, kerr.InvalidRequest.Code, call[*kmsg.DeleteTopicsResponse](h.nodes[1], req).Topics[0].ErrorCode)
		req.Version = 3
		assert.Equal(t, kerr.TopicDeletionDisabled.Code, call[*kmsg.DeleteTopicsResponse](h.nodes[1], req).Topics[0].ErrorCode)
	})
}

func TestAdminWithoutController(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.nodes[1].stop(false)
		h.nodes[2].stop(false)
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version, req.TimeoutMillis = 7, 3000
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = "t", 1, 1
		req.Topics = append(req.Topics, rt)
		began := time.Now()
		resp := call[*kmsg.CreateTopicsResponse](h.nodes[3], req)
		assert.Equal(t, kerr.RequestTimedOut.Code, resp.Topics[0].ErrorCode)
		assert.InDelta(t, 3, time.Since(began).Seconds(), 1.1, "within its own time")
	})
}

func TestConfigs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, func(id int32, c *Config) { c.Static = map[string]string{"log.retention.ms": "1000"} })
		h.create(1, "t", 1, 2, "max.message.bytes", "5000")
		n := h.nodes[1]
		describe := func(n *testNode, kind kmsg.ConfigResourceType, name string, keys ...string) kmsg.DescribeConfigsResponseResource {
			req := kmsg.NewPtrDescribeConfigsRequest()
			req.Version, req.IncludeSynonyms, req.IncludeDocumentation = 4, true, true
			rr := kmsg.NewDescribeConfigsRequestResource()
			rr.ResourceType, rr.ResourceName, rr.ConfigNames = kind, name, keys
			req.Resources = append(req.Resources, rr)
			return call[*kmsg.DescribeConfigsResponse](n, req).Resources[0]
		}
		value := func(r kmsg.DescribeConfigsResponseResource, key string) (string, kmsg.ConfigSource) {
			for _, c := range r.Configs {
				if c.Name == key && c.Value != nil {
					return *c.Value, c.Source
				}
			}
			return "", 0
		}
		alter := func(kind kmsg.ConfigResourceType, name, key, v string) int16 {
			req := kmsg.NewPtrIncrementalAlterConfigsRequest()
			req.Version = 1
			rr := kmsg.NewIncrementalAlterConfigsRequestResource()
			rr.ResourceType, rr.ResourceName = kind, name
			rc := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
			rc.Name, rc.Value = key, &v
			rr.Configs = append(rr.Configs, rc)
			req.Resources = append(req.Resources, rr)
			return call[*kmsg.IncrementalAlterConfigsResponse](h.nodes[2], req).Resources[0].ErrorCode
		}
		topic := kmsg.ConfigResourceTypeTopic
		r := describe(n, topic, "t")
		v, source := value(r, "max.message.bytes")
		assert.Equal(t, "5000", v)
		assert.Equal(t, kmsg.ConfigSourceDynamicTopicConfig, source)
		v, source = value(r, "retention.ms")
		assert.Equal(t, "1000", v)
		assert.Equal(t, kmsg.ConfigSourceStaticBrokerConfig, source)
		v, source = value(r, "flush.messages")
		assert.Equal(t, "1", v, "a default that differs from Kafka's")
		assert.Equal(t, kmsg.ConfigSourceDefaultConfig, source)
		for _, c := range r.Configs {
			assert.NotEmpty(t, *c.Documentation, c.Name)
			assert.NotZero(t, c.ConfigType, c.Name)
		}
		assert.Len(t, describe(n, topic, "t", "retention.ms", "unheard.of").Configs, 1)
		assert.Equal(t, kerr.UnknownTopicOrPartition.Code, describe(n, topic, "nowhere").ErrorCode)
		assert.Equal(t, kerr.InvalidTopicException.Code, describe(n, topic, "no good").ErrorCode)
		broker := kmsg.ConfigResourceTypeBroker
		assert.NotEmpty(t, describe(n, broker, "1").Configs)
		assert.Equal(t, kerr.InvalidRequest.Code, describe(n, broker, "2").ErrorCode, "each node knows its own")
		assert.Empty(t, describe(n, broker, "").Configs)
		assert.Equal(t, kerr.InvalidRequest.Code, describe(n, kmsg.ConfigResourceTypeBrokerLogger, "1").ErrorCode)

		t.Log("changes take effect")
		leader := h.leader("t", 0)
		require.Zero(t, leader.produce("t", 0, -1, batch(t, string(make([]byte, 1000)))).ErrorCode)
		require.Zero(t, alter(topic, "t", "max.message.bytes", "500"))
		h.await(func() bool {
			return leader.produce("t", 0, -1, batch(t, string(make([]byte, 1000)))).ErrorCode == kerr.MessageTooLarge.Code
		})
		assert.NotZero(t, alter(topic, "t", "max.message.bytes", "nonsense"))
		require.Zero(t, alter(broker, "", "log.flush.interval.messages", "100"))
		h.await(func() bool { v, _ := value(describe(n, topic, "t"), "flush.messages"); return v == "100" })
		v, source = value(describe(n, broker, ""), "log.flush.interval.messages")
		assert.Equal(t, "100", v)
		assert.Equal(t, kmsg.ConfigSourceDynamicDefaultBrokerConfig, source)
	})
}

func initProducer(n *testNode, txn *string) *kmsg.InitProducerIDResponse {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionalID = 4, txn
	return call[*kmsg.InitProducerIDResponse](n, req)
}

func TestInitProducerID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, nil)
		seen := make(map[int64]bool)
		for i := range 3000 { // several blocks
			r := initProducer(h.nodes[int32(i%2+1)], nil)
			require.Zero(t, r.ErrorCode)
			require.Zero(t, r.ProducerEpoch)
			require.False(t, seen[r.ProducerID], "id %d again", r.ProducerID)
			seen[r.ProducerID] = true
		}
		id, empty := "txn", ""
		assert.Equal(t, kerr.UnsupportedVersion.Code, initProducer(h.nodes[1], &id).ErrorCode)
		assert.Equal(t, kerr.InvalidRequest.Code, initProducer(h.nodes[1], &empty).ErrorCode)
		h.nodes[1].stop(true)
		h.start(1)
		for range 100 {
			r := initProducer(h.nodes[1], nil)
			require.Zero(t, r.ErrorCode)
			require.False(t, seen[r.ProducerID], "nor after a restart")
			seen[r.ProducerID] = true
		}
	})
}

func TestInitProducerIDWithoutController(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, nil)
		require.Zero(t, initProducer(h.nodes[2], nil).ErrorCode)
		h.nodes[1].stop(false)
		code := int16(0)
		for range 2001 {
			if code = initProducer(h.nodes[2], nil).ErrorCode; code != 0 {
				break
			}
		}
		assert.Equal(t, kerr.CoordinatorLoadInProgress.Code, code, "retriable, when the block is used up")
	})
}

func TestRaftRequestCodec(t *testing.T) {
	in := &RaftRequest{From: 3, Addr: "host:1", Messages: [][]byte{[]byte("one"), {}, []byte("three")}}
	b := in.AppendTo(nil)
	var out RaftRequest
	require.NoError(t, out.ReadFrom(b))
	assert.Equal(t, *in, out)
	for i := range b {
		assert.Error(t, (&RaftRequest{}).ReadFrom(b[:i]), "cut at %d", i)
	}
	assert.Error(t, (&RaftRequest{}).ReadFrom(append(b, 0)))
	huge := binary.BigEndian.AppendUint32(make([]byte, 22), 1<<31)
	assert.Error(t, (&RaftRequest{}).ReadFrom(huge))
}

// private are the messages that only nodes and this package's own Admin send: they have decoders of their own.
func private() []interface {
	AppendTo(dst []byte) []byte
	ReadFrom(src []byte) error
} {
	return []interface {
		AppendTo(dst []byte) []byte
		ReadFrom(src []byte) error
	}{
		&RaftRequest{From: 1, Addr: "h:1", DirectoryID: log.TopicID{3}, Messages: [][]byte{[]byte("one"), {}}}, &RaftResponse{},
		&controller.JoinRequest{ClusterID: "c", NodeID: 2, Addr: "h:2", DirectoryID: log.TopicID{4}, Purpose: controller.Return}, &controller.JoinResponse{ErrorCode: 7, ClusterID: "c", State: controller.StateStarted},
		&controller.VotersRequest{ClusterID: "c", TimeoutMillis: 5, Voters: []int32{1, 2, 3}}, &controller.VotersResponse{ErrorCode: 7, ErrorMessage: "m"},
		&RangeRequest{TopicID: log.TopicID{5}, Partition: 3, Offset: 4, End: 9, Bytes: 100}, &RangeResponse{},
	}
}

func FuzzPrivateMessages(f *testing.F) {
	for i, m := range private() {
		f.Add(byte(i), m.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, i byte, b []byte) {
		all := private()
		m := all[int(i)%len(all)]
		fuzztest.Bounded(t, len(b), func() { _ = m.ReadFrom(b) })
		again := private()[int(i)%len(all)]
		if again.ReadFrom(b) != nil {
			return
		}
		require.True(t, bytes.Equal(b, again.AppendTo(nil)), "%T: %x", again, b)
	})
}

func TestSendRaftIsBounded(t *testing.T) {
	var s raftSender
	for range maxRaftRequests {
		require.True(t, s.take(2, 10))
	}
	require.False(t, s.take(2, 10))
	require.True(t, s.take(3, 10), "per peer")
	s.give(2, 10)
	require.True(t, s.take(2, 10))
	var big raftSender
	require.True(t, big.take(2, 2*maxRaftBytes), "one is always taken")
	require.False(t, big.take(2, 1))
}

func TestNothingIsServedBeforeStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		b, err := New(Config{NodeID: 7, Directory: n.dir, Commit: n.commit, Network: h.net.Host("n7")})
		require.NoError(t, err)
		defer b.Close()
		serve := func(req kmsg.Request) transport.Reply {
			got := make(chan transport.Reply, 1)
			b.Serve(t.Context(), &transport.Request{Message: req}, func(r transport.Reply) { got <- r })
			return <-got
		}
		av := kmsg.NewPtrApiVersionsRequest()
		assert.NotNil(t, serve(av).Message)
		asked := time.Now()
		assert.True(t, serve(metadataRequest(4, "t")).Close)
		assert.Equal(t, joinPatience, time.Since(asked), "it might have started")
		hb := kmsg.NewPtrBrokerHeartbeatRequest()
		assert.Equal(t, kerr.NotController.Code, serve(hb).Message.(*kmsg.BrokerHeartbeatResponse).ErrorCode)
		assert.ErrorIs(t, b.HandOver(t.Context()), ErrNotStarted)
		assert.Equal(t, int64(-1), b.BrokerEpoch())
		require.NoError(t, b.Close())
		client, err := transport.NewClient(transport.ClientConfig{Network: h.net.Host("n7"), Local: &transport.Local{NodeID: 7, Handler: b}})
		require.NoError(t, err)
		defer client.Close()
		for _, req := range []kmsg.Request{
			metadataRequest(4, "t"), produceRequest("t", 0, -1, batch(t, "v")), fetchRequest("t", 0, 0), kmsg.NewPtrInitProducerIDRequest(), kmsg.NewPtrListOffsetsRequest(),
			kmsg.NewPtrCreateTopicsRequest(), kmsg.NewPtrDeleteTopicsRequest(), kmsg.NewPtrDescribeConfigsRequest(), kmsg.NewPtrBrokerHeartbeatRequest(),
		} {
			resp, err := client.Request(t.Context(), 7, req)
			require.NoError(t, err)
			assert.NotNil(t, resp, "a direct caller always gets an answer, of a closed broker too: key %d", req.Key())
		}
	})
}

func TestRequestWaitsForAStartingNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, nil)
		h.nodes[1].stop(true)
		h.nodes[2].stop(true)
		started := make(chan error, 1)
		go func() { started <- h.nodes[1].start() }() // which needs the other
		time.Sleep(time.Second)
		synctest.Wait()
		b := h.nodes[1].Broker
		require.Nil(t, b.image.Load())
		got := make(chan transport.Reply, 1)
		go b.Serve(t.Context(), &transport.Request{Message: metadataRequest(4, "t")}, func(r transport.Reply) { got <- r })
		synctest.Wait()
		require.Empty(t, got)
		h.start(2)
		require.NoError(t, <-started)
		r := <-got
		require.False(t, r.Close)
		assert.NotEmpty(t, r.Message.(*kmsg.MetadataResponse).Brokers, "a client that is told of no broker is lost")

		ended, cancel := context.WithCancel(t.Context())
		cancel()
		c, err := New(Config{NodeID: 7, Directory: h.nodes[1].dir, Commit: h.nodes[1].commit, Network: h.net.Host("n7")})
		require.NoError(t, err)
		defer c.Close()
		c.Serve(ended, &transport.Request{Message: metadataRequest(4, "t")}, func(r transport.Reply) { got <- r })
		assert.True(t, (<-got).Close, "the connection ended")
	})
}

func TestConfigProblemsAreReportedAtOnce(t *testing.T) {
	_, err := New(Config{NodeID: -1, HeartbeatInterval: time.Minute})
	for _, part := range []string{"node id", "Directory", "Commit", "heartbeat"} {
		assert.ErrorContains(t, err, part)
	}
}

func TestTopicNames(t *testing.T) {
	long := make([]byte, 250)
	for i := range long {
		long[i] = 'a'
	}
	for name, want := range map[string]bool{
		"a": true, "A.b_c-9": true, "...": true, string(long[:249]): true,
		"": false, ".": false, "..": false, string(long): false, "a b": false, "a/b": false, "ü": false, "a\x00": false,
	} {
		assert.Equal(t, want, validTopicName(name), "%q", name)
	}
}
