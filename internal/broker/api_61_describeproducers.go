package broker

import (
	"context"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeProducers (61), version 0: the producers that a partition remembers (KIP-664).
//
// Behaviour: clients ask the leader, and may ask a follower to compare: any replica answers of its own log. Without one here it is NOT_LEADER_OR_FOLLOWER. Producers are those that have appended within
// producer.id.expiration.ms or have a transaction open; they stay when their records are deleted.
func (b *Broker) describeProducers(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.DescribeProducersRequest)
	resp := kmsg.NewPtrDescribeProducersResponse()
	resp.Version = req.Version
	for t := range req.Topics {
		topic := &req.Topics[t]
		out := kmsg.NewDescribeProducersResponseTopic()
		out.Topic = topic.Topic
		for _, index := range topic.Partitions {
			p := kmsg.NewDescribeProducersResponseTopicPartition()
			p.Partition = index
			if producers, err := b.producersOf(topic.Topic, index); err != nil {
				p.ErrorCode, p.ErrorMessage = codeOf(err), messageOf(err)
			} else {
				p.ActiveProducers = producers
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	reply(transport.Reply{Message: resp})
}

func (b *Broker) producersOf(topic string, index int32) ([]kmsg.DescribeProducersResponseTopicPartitionActiveProducer, error) {
	if !validTopicName(topic) {
		return nil, kerr.InvalidTopicException
	}
	part, err := b.local(topic, index)
	if err != nil {
		return nil, err
	}
	if err := part.replica.Log().Err(); err != nil {
		return nil, err
	}
	list := part.replica.Log().Producers()
	out := make([]kmsg.DescribeProducersResponseTopicPartitionActiveProducer, 0, len(list))
	for _, s := range list {
		p := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		p.ProducerID, p.ProducerEpoch, p.LastSequence, p.LastTimestamp = s.ProducerID, int32(s.ProducerEpoch), s.LastSequence, s.LastTimestamp
		p.CoordinatorEpoch, p.CurrentTxnStartOffset = s.CoordinatorEpoch, s.TxnStartOffset
		out = append(out, p)
	}
	return out, nil
}
