package broker

import (
	"context"
	"maps"
	"slices"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Metadata (3), versions 0-13: brokers, controller, topics, leaders.
//
// Behaviour:
//   - Brokers are those that are registered and not fenced. The controller is the active one, if it is among them (Kafka names a random broker; any node forwards), else this node.
//   - A partition without a leader, or whose leader is fenced, is LEADER_NOT_AVAILABLE with leader -1. Replicas on brokers that are not alive are offline.
//   - An unknown topic is UNKNOWN_TOPIC_OR_PARTITION; with auto-creation allowed by request and node it is created in the background and the client asks again. A name that cannot be is
//     INVALID_TOPIC_EXCEPTION, before any creation. Asking for all topics creates none.
//
// Versions:
//   - v0: an empty list asks for all; from v1 null does, and an empty one for none
//   - v4: the request may forbid creation · v5: offline replicas · v7: leader epoch · v8: authorized operations (-2^31: not told) · v10: topic ids · v12: topics may be asked for by id, an unknown one is
//     UNKNOWN_TOPIC_ID · v13: top-level error, never set here (REBOOTSTRAP_REQUIRED)
func (b *Broker) metadata(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.MetadataRequest)
	img := b.metadataImage()
	resp := kmsg.NewPtrMetadataResponse()
	resp.Version = req.Version
	resp.ClusterID = optional(img.ClusterID)
	resp.Brokers, resp.ControllerID = b.liveBrokers(img)
	if req.Topics == nil || req.Version == 0 && len(req.Topics) == 0 {
		resp.Topics = make([]kmsg.MetadataResponseTopic, 0, len(img.Topics))
		for _, name := range slices.Sorted(maps.Keys(img.Topics)) {
			resp.Topics = append(resp.Topics, topicMetadata(img, img.Topics[name]))
		}
		reply(transport.Reply{Message: resp})
		return
	}
	create := b.c.AutoCreate && (req.Version < 4 || req.AllowAutoTopicCreation)
	for i := range req.Topics {
		resp.Topics = append(resp.Topics, b.oneTopic(img, &req.Topics[i], req.Version, create))
	}
	reply(transport.Reply{Message: resp})
}

// liveBrokers lists the brokers that clients may be sent to, by id, and the controller.
func (b *Broker) liveBrokers(img *controller.Image) (nodes []kmsg.MetadataResponseBroker, controllerID int32) {
	for _, id := range slices.Sorted(maps.Keys(img.Brokers)) {
		n, ok := alive(img, id)
		if !ok {
			continue
		}
		host, port := hostPort(n.Addr)
		m := kmsg.NewMetadataResponseBroker()
		m.NodeID, m.Host, m.Port, m.Rack = id, host, port, optional(n.Rack)
		nodes = append(nodes, m)
	}
	return nodes, b.controllerID(img)
}

// controllerID is the node that clients are told to send admin requests to.
func (b *Broker) controllerID(img *controller.Image) int32 {
	if ctl := b.ctl.Load(); ctl != nil {
		if id, _, ok := ctl.Leader(); ok {
			if _, ok := alive(img, id); ok {
				return id
			}
		}
	}
	return b.c.NodeID
}

// byID says that a topic is asked for by its id. Kafka's own client then sends an empty name, others send null.
func byID(want *kmsg.MetadataRequestTopic) bool {
	return want.Topic == nil || *want.Topic == "" && want.TopicID != [16]byte{}
}

// oneTopic answers for one topic of a request.
func (b *Broker) oneTopic(img *controller.Image, want *kmsg.MetadataRequestTopic, version int16, create bool) kmsg.MetadataResponseTopic {
	if byID(want) {
		if t := img.TopicIDs[want.TopicID]; t != nil && version >= 12 {
			return topicMetadata(img, t)
		}
		m := kmsg.NewMetadataResponseTopic()
		m.TopicID, m.ErrorCode = want.TopicID, kerr.UnknownTopicID.Code
		return m
	}
	if t := img.Topics[*want.Topic]; t != nil {
		return topicMetadata(img, t)
	}
	m := kmsg.NewMetadataResponseTopic()
	m.Topic, m.IsInternal = want.Topic, isInternal(*want.Topic)
	switch {
	case !validTopicName(*want.Topic):
		m.ErrorCode = kerr.InvalidTopicException.Code
	default:
		m.ErrorCode = kerr.UnknownTopicOrPartition.Code
		if create && !isInternal(*want.Topic) && *want.Topic != topicClusterMetadata {
			b.autoCreate.want(*want.Topic)
		}
	}
	return m
}

// topicMetadata describes a topic.
func topicMetadata(img *controller.Image, t *controller.Topic) kmsg.MetadataResponseTopic {
	m := kmsg.NewMetadataResponseTopic()
	m.Topic, m.TopicID, m.IsInternal = &t.Name, t.ID, isInternal(t.Name)
	m.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for i, p := range t.Partitions {
		out := &m.Partitions[i]
		out.Default()
		out.Partition, out.Leader, out.LeaderEpoch, out.Replicas, out.ISR = int32(i), p.Leader, p.LeaderEpoch, p.Replicas, p.ISR
		if _, ok := alive(img, p.Leader); !ok {
			out.ErrorCode, out.Leader = kerr.LeaderNotAvailable.Code, -1
		}
		for _, id := range p.Replicas {
			if _, ok := alive(img, id); !ok {
				out.OfflineReplicas = append(out.OfflineReplicas, id)
			}
		}
	}
	return m
}
