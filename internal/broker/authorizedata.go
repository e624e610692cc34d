package broker

import (
	"github.com/insynclog/insync/internal/acl"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The rules of the APIs about records and topics.

var topicDenied = kerr.TopicAuthorizationFailed.Code

// mayProduce: WRITE on each topic, and on the transactional id.
func mayProduce(b *Broker, g *guest, m kmsg.Request) verdict {
	if g == nil {
		return verdict{}
	}
	req := m.(*kmsg.ProduceRequest)
	code := topicDenied
	may := func(t *kmsg.ProduceRequestTopic) bool { return b.mayTopic(g, acl.Write, t.Topic, t.TopicID) }
	if req.TransactionID != nil && !g.may(acl.Write, acl.TransactionalID, *req.TransactionID) {
		code, may = kerr.TransactionalIDAuthorizationFailed.Code, func(*kmsg.ProduceRequestTopic) bool { return false }
	}
	var no []kmsg.ProduceRequestTopic
	if req.Topics, no = sift(req.Topics, may); no == nil {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.ProduceResponse)
		for i := range no {
			t := kmsg.NewProduceResponseTopic()
			t.Topic, t.TopicID = no[i].Topic, no[i].TopicID
			for j := range no[i].Partitions {
				p := kmsg.NewProduceResponseTopicPartition()
				p.Partition, p.ErrorCode, p.BaseOffset = no[i].Partitions[j].Partition, code, -1
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
	}}
}

// mayListOffsets: DESCRIBE on each topic.
func mayListOffsets(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.ListOffsetsRequest)
	var no []kmsg.ListOffsetsRequestTopic
	if req.Topics, no = sift(req.Topics, func(t *kmsg.ListOffsetsRequestTopic) bool { return g.may(acl.Describe, acl.Topic, t.Topic) }); no == nil {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.ListOffsetsResponse)
		for i := range no {
			t := kmsg.NewListOffsetsResponseTopic()
			t.Topic = no[i].Topic
			for j := range no[i].Partitions {
				p := kmsg.NewListOffsetsResponseTopicPartition()
				p.Partition, p.ErrorCode = no[i].Partitions[j].Partition, topicDenied
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
	}}
}

// mayOffsetForLeaderEpoch: DESCRIBE on each topic.
func mayOffsetForLeaderEpoch(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.OffsetForLeaderEpochRequest)
	var no []kmsg.OffsetForLeaderEpochRequestTopic
	if req.Topics, no = sift(req.Topics, func(t *kmsg.OffsetForLeaderEpochRequestTopic) bool { return g.may(acl.Describe, acl.Topic, t.Topic) }); no == nil {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.OffsetForLeaderEpochResponse)
		for i := range no {
			t := kmsg.NewOffsetForLeaderEpochResponseTopic()
			t.Topic = no[i].Topic
			for j := range no[i].Partitions {
				p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				p.Partition, p.ErrorCode, p.LeaderEpoch, p.EndOffset = no[i].Partitions[j].Partition, topicDenied, -1, -1
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
	}}
}

// mayMetadata: DESCRIBE on each topic, and CREATE on the cluster or on the topic to have it made. Of all topics, those that it may not see are not told.
func mayMetadata(b *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.MetadataRequest)
	all := req.Topics == nil || req.Version == 0 && len(req.Topics) == 0
	var no []kmsg.MetadataRequestTopic
	if g != nil && !all {
		creates := b.c.AutoCreate && (req.Version < 4 || req.AllowAutoTopicCreation)
		req.Topics, no = sift(req.Topics, func(t *kmsg.MetadataRequestTopic) bool {
			name := ""
			if t.Topic != nil {
				name = *t.Topic
			}
			if !b.mayTopic(g, acl.Describe, name, t.TopicID) {
				return false
			}
			if name == "" || !creates || b.metadataImage().Topics[name] != nil {
				return true
			}
			return g.mayCluster(acl.Create) || g.may(acl.Create, acl.Topic, name)
		})
		if len(req.Topics) == 0 && req.Version == 0 { // which would be all of them
			unseen := ""
			req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &unseen})
		}
	}
	if g == nil && !req.IncludeTopicAuthorizedOperations && !req.IncludeClusterAuthorizedOperations {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.MetadataResponse)
		if all || req.Version == 0 {
			resp.Topics, _ = sift(resp.Topics, func(t *kmsg.MetadataResponseTopic) bool {
				return t.Topic != nil && *t.Topic != "" && g.may(acl.Describe, acl.Topic, *t.Topic)
			})
		}
		if req.IncludeTopicAuthorizedOperations {
			for i := range resp.Topics {
				if t := &resp.Topics[i]; t.ErrorCode == 0 && t.Topic != nil {
					t.AuthorizedOperations = g.operations(acl.Topic, *t.Topic)
				}
			}
		}
		if req.IncludeClusterAuthorizedOperations {
			resp.AuthorizedOperations = 0
			if g.mayCluster(acl.Describe) {
				resp.AuthorizedOperations = g.operations(acl.Cluster, acl.ClusterName)
			}
		}
		for i := range no {
			t := kmsg.NewMetadataResponseTopic()
			t.ErrorCode = topicDenied
			if byID(&no[i]) {
				t.TopicID = no[i].TopicID
			} else {
				t.Topic = no[i].Topic
			}
			resp.Topics = append(resp.Topics, t)
		}
	}}
}

// mayDescribeTopicPartitions: DESCRIBE on each topic.
func mayDescribeTopicPartitions(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.DescribeTopicPartitionsRequest)
	all := len(req.Topics) == 0
	var no []kmsg.DescribeTopicPartitionsRequestTopic
	req.Topics, no = sift(req.Topics, func(t *kmsg.DescribeTopicPartitionsRequestTopic) bool { return g.may(acl.Describe, acl.Topic, t.Topic) })
	refused := func(resp *kmsg.DescribeTopicPartitionsResponse) {
		for i := range no {
			t := kmsg.NewDescribeTopicPartitionsResponseTopic()
			t.Topic, t.ErrorCode = &no[i].Topic, topicDenied
			resp.Topics = append(resp.Topics, t)
		}
	}
	if !all && len(req.Topics) == 0 { // an empty list would ask for all
		resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
		refused(resp)
		return refuse(resp)
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.DescribeTopicPartitionsResponse)
		resp.Topics, _ = sift(resp.Topics, func(t *kmsg.DescribeTopicPartitionsResponseTopic) bool {
			return t.Topic == nil || g.may(acl.Describe, acl.Topic, *t.Topic)
		})
		for i := range resp.Topics {
			if t := &resp.Topics[i]; t.ErrorCode == 0 && t.Topic != nil {
				t.AuthorizedOperations = g.operations(acl.Topic, *t.Topic)
			}
		}
		refused(resp)
	}}
}

// mayInitProducerID: WRITE on the transactional id; without one IDEMPOTENT_WRITE on the cluster, or WRITE on some topic (KIP-679).
func mayInitProducerID(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.InitProducerIDRequest)
	code := int16(0)
	switch {
	case g == nil:
	case req.TransactionalID != nil:
		if !g.may(acl.Write, acl.TransactionalID, *req.TransactionalID) {
			code = kerr.TransactionalIDAuthorizationFailed.Code
		}
	case !g.mayCluster(acl.IdempotentWrite) && !g.rules.AuthorizeAny(g.principal, g.host, acl.Write, acl.Topic).Allowed():
		code = kerr.ClusterAuthorizationFailed.Code
	}
	if code == 0 {
		return verdict{}
	}
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = code, -1, -1
	return refuse(resp)
}

// mayDescribeProducers: READ on each topic.
func mayDescribeProducers(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.DescribeProducersRequest)
	var no []kmsg.DescribeProducersRequestTopic
	if req.Topics, no = sift(req.Topics, func(t *kmsg.DescribeProducersRequestTopic) bool { return g.may(acl.Read, acl.Topic, t.Topic) }); no == nil {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.DescribeProducersResponse)
		for i := range no {
			t := kmsg.NewDescribeProducersResponseTopic()
			t.Topic = no[i].Topic
			for _, n := range no[i].Partitions {
				p := kmsg.NewDescribeProducersResponseTopicPartition()
				p.Partition, p.ErrorCode = n, topicDenied
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
	}}
}

// mayDeleteRecords: DELETE on each topic.
func mayDeleteRecords(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.DeleteRecordsRequest)
	var no []kmsg.DeleteRecordsRequestTopic
	if req.Topics, no = sift(req.Topics, func(t *kmsg.DeleteRecordsRequestTopic) bool { return g.may(acl.Delete, acl.Topic, t.Topic) }); no == nil {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.DeleteRecordsResponse)
		for i := range no {
			t := kmsg.NewDeleteRecordsResponseTopic()
			t.Topic = no[i].Topic
			for j := range no[i].Partitions {
				p := kmsg.NewDeleteRecordsResponseTopicPartition()
				p.Partition, p.ErrorCode, p.LowWatermark = no[i].Partitions[j].Partition, topicDenied, -1
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
	}}
}
