package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeTopics describes the topics named, or all without any, as Topics does, with those who may lead each partition when nobody is in sync (ELR and LastKnownELR, KIP-966). It asks page by page,
// so that a cluster of any size can be described; nodes before Kafka 3.8 do not know the request (*transport.UnsupportedVersionError). kerr.UnknownTopicOrPartition for a named one that is not there.
func (a *Admin) DescribeTopics(ctx context.Context, names ...string) ([]TopicStatus, error) {
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	for _, name := range names {
		rt := kmsg.NewDescribeTopicPartitionsRequestTopic()
		rt.Topic = name
		req.Topics = append(req.Topics, rt)
	}
	var topics []TopicStatus
	for {
		resp, err := request[*kmsg.DescribeTopicPartitionsResponse](ctx, a, req)
		if err != nil {
			return nil, &AdminError{Op: "describe topics", Err: err}
		}
		for _, t := range resp.Topics {
			if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
				return nil, &AdminError{Op: "describe topic", Name: deref(t.Topic), Err: err}
			}
			topics = addPage(topics, &t)
		}
		if resp.NextCursor == nil {
			return topics, nil
		}
		if c := req.Cursor; c != nil && c.Topic == resp.NextCursor.Topic && c.Partition == resp.NextCursor.Partition {
			return nil, &AdminError{Op: "describe topic", Name: c.Topic, Err: errors.New("the answer's cursor stays where it is")}
		}
		req.Topics = slices.DeleteFunc(req.Topics, func(t kmsg.DescribeTopicPartitionsRequestTopic) bool { return t.Topic < resp.NextCursor.Topic })
		c := kmsg.NewDescribeTopicPartitionsRequestCursor()
		c.Topic, c.Partition = resp.NextCursor.Topic, resp.NextCursor.Partition
		req.Cursor = &c
	}
}

// addPage adds what a page says of a topic, of which an earlier one may have had the beginning.
func addPage(topics []TopicStatus, t *kmsg.DescribeTopicPartitionsResponseTopic) []TopicStatus {
	i, found := slices.BinarySearchFunc(topics, deref(t.Topic), func(s TopicStatus, name string) int { return strings.Compare(s.Name, name) })
	if !found {
		topics = slices.Insert(topics, i, TopicStatus{Name: deref(t.Topic), ID: t.TopicID})
	}
	for _, p := range t.Partitions {
		topics[i].Partitions = append(topics[i].Partitions, PartitionStatus{
			Partition: p.Partition, Leader: p.LeaderID, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: -1,
			Replicas: p.Replicas, ISR: p.ISR, ELR: p.EligibleLeaderReplicas, LastKnownELR: p.LastKnownELR,
		})
	}
	return topics
}
