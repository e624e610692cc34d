package broker

import (
	"strconv"
	"strings"

	"github.com/insynclog/insync/internal/configs"
	"github.com/insynclog/insync/internal/controller"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// internalTopic is how one of the brokers' own topics is made: which keys of the static configuration say how it looks, and the configs that it gets beside them.
//
// The replication factor is not here: the controller, which knows the brokers, chooses it for these topics, and raises it while brokers join. flush.messages is not either: what is
// acknowledged from an internal topic (a committed offset) is to be as durable as any other record on this cluster.
type internalTopic struct {
	partitions, segmentBytes string // keys
	minISR                   string // key, "" if there is none
	compression              string
}

func internalTopicOf(name string) (t internalTopic, ok bool) {
	switch name {
	case topicConsumerOffsets:
		return internalTopic{
			partitions: "offsets.topic.num.partitions", segmentBytes: "offsets.topic.segment.bytes", compression: "producer",
		}, true
	case topicTransactionState:
		return internalTopic{
			partitions: "transaction.state.log.num.partitions", segmentBytes: "transaction.state.log.segment.bytes",
			minISR: "transaction.state.log.min.isr", compression: "uncompressed",
		}, true
	}
	return t, false
}

// ensureInternal returns an internal topic if this node's metadata has it. If not, it has it created in the background, whatever auto.create.topics.enable says, and ok is false:
// the caller tells its client to come back (COORDINATOR_NOT_AVAILABLE). A creation that fails, for want of active brokers, is tried again by the next call.
func (b *Broker) ensureInternal(topic string) (t *controller.Topic, ok bool) {
	if t := b.metadataImage().Topics[topic]; t != nil {
		return t, true
	}
	if _, known := internalTopicOf(topic); known {
		b.autoCreate.want(topic)
	}
	return nil, false
}

// topicToCreate is the topic as the controller is asked for it.
func (b *Broker) topicToCreate(name string) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, -1, -1
	internal, ok := internalTopicOf(name)
	if !ok {
		return t
	}
	t.NumPartitions = int32(b.staticNumber(internal.partitions))
	set := func(key, value string) {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = key, &value
		t.Configs = append(t.Configs, c)
	}
	set("cleanup.policy", "compact")
	set("compression.type", internal.compression)
	// The broker's key allows segments that the topic's does not. The smallest one is meant then, and a topic that can never be created helps nobody.
	const smallestSegment = 1 << 20
	set("segment.bytes", strconv.FormatInt(max(smallestSegment, b.staticNumber(internal.segmentBytes)), 10))
	// Not set means that the number follows the replication factor (two of three), so that a cluster that has just begun is not held up by its third node. What is set is
	// bounded by the number of replicas as for any topic.
	if v, given := b.c.Static[internal.minISR]; given {
		set("min.insync.replicas", strings.TrimSpace(v))
	}
	return t
}

// staticNumber is the value of a numeric key of the static configuration, or its default.
func (b *Broker) staticNumber(key string) int64 {
	if n, err := strconv.ParseInt(strings.TrimSpace(b.c.Static[key]), 10, 64); err == nil {
		return n
	}
	k, _ := configs.LookupBroker(key)
	n, _ := strconv.ParseInt(k.Default, 10, 64) // a number, as the keys' test holds
	return n
}
