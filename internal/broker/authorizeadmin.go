package broker

import (
	"github.com/insynclog/insync/internal/acl"
	"github.com/insynclog/insync/internal/controller"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The rules of the APIs for administrators.

// mayCreateTopics: CREATE on the cluster, or on each topic; the settings of a new topic are told to those with DESCRIBE_CONFIGS on it.
func mayCreateTopics(_ *Broker, g *guest, m kmsg.Request) verdict {
	if g == nil {
		return verdict{}
	}
	req := m.(*kmsg.CreateTopicsRequest)
	var no []kmsg.CreateTopicsRequestTopic
	if !g.mayCluster(acl.Create) {
		req.Topics, no = sift(req.Topics, func(t *kmsg.CreateTopicsRequestTopic) bool { return g.may(acl.Create, acl.Topic, t.Topic) })
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.CreateTopicsResponse)
		for i := range resp.Topics {
			if t := &resp.Topics[i]; t.ErrorCode == 0 && !g.may(acl.DescribeConfigs, acl.Topic, t.Topic) {
				t.ConfigErrorCode, t.Configs, t.NumPartitions, t.ReplicationFactor = topicDenied, nil, -1, -1
			}
		}
		for i := range no {
			t := kmsg.NewCreateTopicsResponseTopic()
			t.Topic, t.ErrorCode = no[i].Topic, topicDenied
			resp.Topics = append(resp.Topics, t)
		}
	}}
}

// mayDeleteTopics: DELETE on each topic. Whoever may not even DESCRIBE it is not told a name for an id.
func mayDeleteTopics(b *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.DeleteTopicsRequest)
	var names []string
	req.TopicNames, names = sift(req.TopicNames, func(name *string) bool { return g.may(acl.Delete, acl.Topic, *name) })
	var topics []kmsg.DeleteTopicsRequestTopic
	req.Topics, topics = sift(req.Topics, func(t *kmsg.DeleteTopicsRequestTopic) bool {
		name := ""
		if t.Topic != nil {
			name = *t.Topic
		}
		return b.mayTopic(g, acl.Delete, name, t.TopicID)
	})
	if names == nil && topics == nil {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.DeleteTopicsResponse)
		for i := range names {
			t := kmsg.NewDeleteTopicsResponseTopic()
			t.Topic, t.ErrorCode = &names[i], topicDenied
			resp.Topics = append(resp.Topics, t)
		}
		for i := range topics {
			t := kmsg.NewDeleteTopicsResponseTopic()
			t.Topic, t.TopicID, t.ErrorCode = topics[i].Topic, topics[i].TopicID, topicDenied
			resp.Topics = append(resp.Topics, t)
		}
	}}
}

// mayCreatePartitions: ALTER on each topic.
func mayCreatePartitions(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.CreatePartitionsRequest)
	var no []kmsg.CreatePartitionsRequestTopic
	if req.Topics, no = sift(req.Topics, func(t *kmsg.CreatePartitionsRequestTopic) bool { return g.may(acl.Alter, acl.Topic, t.Topic) }); no == nil {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.CreatePartitionsResponse)
		for i := range no {
			t := kmsg.NewCreatePartitionsResponseTopic()
			t.Topic, t.ErrorCode = no[i].Topic, topicDenied
			resp.Topics = append(resp.Topics, t)
		}
	}}
}

// mayConfig tells whether a guest may do something with the settings of a resource, and the code that says no.
func (g *guest) mayConfig(op acl.Operation, kind kmsg.ConfigResourceType, name string) (bool, int16) {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		return g.may(op, acl.Topic, name), topicDenied
	case kmsg.ConfigResourceTypeGroupConfig:
		return g.may(op, acl.Group, name), groupDenied
	default:
		return g.mayCluster(op), kerr.ClusterAuthorizationFailed.Code
	}
}

// mayDescribeConfigs: DESCRIBE_CONFIGS on each topic or group, on the cluster for the rest.
func mayDescribeConfigs(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.DescribeConfigsRequest)
	var no []kmsg.DescribeConfigsRequestResource
	req.Resources, no = sift(req.Resources, func(r *kmsg.DescribeConfigsRequestResource) bool {
		ok, _ := g.mayConfig(acl.DescribeConfigs, r.ResourceType, r.ResourceName)
		return ok
	})
	if no == nil {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.DescribeConfigsResponse)
		for i := range no {
			r := kmsg.NewDescribeConfigsResponseResource()
			r.ResourceType, r.ResourceName = no[i].ResourceType, no[i].ResourceName
			_, r.ErrorCode = g.mayConfig(acl.DescribeConfigs, r.ResourceType, r.ResourceName)
			resp.Resources = append(resp.Resources, r)
		}
	}}
}

// mayAlterConfigs: ALTER_CONFIGS on each topic or group, on the cluster for the rest.
func mayAlterConfigs(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.AlterConfigsRequest)
	var no []kmsg.AlterConfigsRequestResource
	req.Resources, no = sift(req.Resources, func(r *kmsg.AlterConfigsRequestResource) bool {
		ok, _ := g.mayConfig(acl.AlterConfigs, r.ResourceType, r.ResourceName)
		return ok
	})
	if no == nil {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.AlterConfigsResponse)
		for i := range no {
			r := kmsg.NewAlterConfigsResponseResource()
			r.ResourceType, r.ResourceName = no[i].ResourceType, no[i].ResourceName
			_, r.ErrorCode = g.mayConfig(acl.AlterConfigs, r.ResourceType, r.ResourceName)
			resp.Resources = append(resp.Resources, r)
		}
	}}
}

// mayIncrementalAlterConfigs is mayAlterConfigs for the newer API.
func mayIncrementalAlterConfigs(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.IncrementalAlterConfigsRequest)
	var no []kmsg.IncrementalAlterConfigsRequestResource
	req.Resources, no = sift(req.Resources, func(r *kmsg.IncrementalAlterConfigsRequestResource) bool {
		ok, _ := g.mayConfig(acl.AlterConfigs, r.ResourceType, r.ResourceName)
		return ok
	})
	if no == nil {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.IncrementalAlterConfigsResponse)
		for i := range no {
			r := kmsg.NewIncrementalAlterConfigsResponseResource()
			r.ResourceType, r.ResourceName = no[i].ResourceType, no[i].ResourceName
			_, r.ErrorCode = g.mayConfig(acl.AlterConfigs, r.ResourceType, r.ResourceName)
			resp.Resources = append(resp.Resources, r)
		}
	}}
}

// mayDescribeTransactions: DESCRIBE on each transactional id.
func mayDescribeTransactions(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.DescribeTransactionsRequest)
	var no []string
	if req.TransactionalIDs, no = sift(req.TransactionalIDs, func(id *string) bool { return g.may(acl.Describe, acl.TransactionalID, *id) }); no == nil {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.DescribeTransactionsResponse)
		for _, id := range no {
			s := kmsg.NewDescribeTransactionsResponseTransactionState()
			s.TransactionalID, s.ErrorCode = id, kerr.TransactionalIDAuthorizationFailed.Code
			resp.TransactionStates = append(resp.TransactionStates, s)
		}
	}}
}

// mayListTransactions: those with DESCRIBE on the transactional id are told.
func mayListTransactions(_ *Broker, g *guest, _ kmsg.Request) verdict {
	if g == nil {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.ListTransactionsResponse)
		resp.TransactionStates, _ = sift(resp.TransactionStates, func(s *kmsg.ListTransactionsResponseTransactionState) bool {
			return g.may(acl.Describe, acl.TransactionalID, s.TransactionalID)
		})
	}}
}

// mayDescribeCluster: anybody; what it may do with the cluster is told on request.
func mayDescribeCluster(_ *Broker, g *guest, m kmsg.Request) verdict {
	if !m.(*kmsg.DescribeClusterRequest).IncludeClusterAuthorizedOperations {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.DescribeClusterResponse)
		resp.ClusterAuthorizedOperations = 0
		if g.mayCluster(acl.Describe) {
			resp.ClusterAuthorizedOperations = g.operations(acl.Cluster, acl.ClusterName)
		}
	}}
}

// clusterRefused is the answer to who may not do something with the cluster.
func clusterRefused(m kmsg.Request, code int16) kmsg.Response {
	resp := m.ResponseKind()
	switch r := resp.(type) {
	case *kmsg.ElectLeadersResponse:
		r.ErrorCode = code
		for _, t := range m.(*kmsg.ElectLeadersRequest).Topics { // version 0 has no code for the whole
			topic := kmsg.NewElectLeadersResponseTopic()
			topic.Topic = t.Topic
			for _, n := range t.Partitions {
				p := kmsg.NewElectLeadersResponseTopicPartition()
				p.Partition, p.ErrorCode = n, code
				topic.Partitions = append(topic.Partitions, p)
			}
			r.Topics = append(r.Topics, topic)
		}
	case *kmsg.AlterPartitionAssignmentsResponse:
		r.ErrorCode = code
	case *kmsg.ListPartitionReassignmentsResponse:
		r.ErrorCode = code
	case *kmsg.DescribeClientQuotasResponse:
		r.ErrorCode = code
	case *kmsg.AlterClientQuotasResponse:
		for _, e := range m.(*kmsg.AlterClientQuotasRequest).Entries {
			entry := kmsg.NewAlterClientQuotasResponseEntry()
			entry.ErrorCode = code
			for _, part := range e.Entity {
				p := kmsg.NewAlterClientQuotasResponseEntryEntity()
				p.Type, p.Name = part.Type, part.Name
				entry.Entity = append(entry.Entity, p)
			}
			r.Entries = append(r.Entries, entry)
		}
	case *kmsg.DescribeUserSCRAMCredentialsResponse:
		r.ErrorCode = code
	case *kmsg.AddRaftVoterResponse:
		r.ErrorCode = code
	case *kmsg.RemoveRaftVoterResponse:
		r.ErrorCode = code
	case *controller.VotersResponse:
		r.ErrorCode = code
	case *kmsg.AlterUserSCRAMCredentialsResponse:
		for _, user := range scramUsers(m.(*kmsg.AlterUserSCRAMCredentialsRequest)) {
			result := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
			result.User, result.ErrorCode = user, code
			r.Results = append(r.Results, result)
		}
	case *kmsg.DescribeACLsResponse:
		r.ErrorCode = code
	case *kmsg.CreateACLsResponse:
		for range m.(*kmsg.CreateACLsRequest).Creations {
			result := kmsg.NewCreateACLsResponseResult()
			result.ErrorCode = code
			r.Results = append(r.Results, result)
		}
	case *kmsg.DeleteACLsResponse:
		for range m.(*kmsg.DeleteACLsRequest).Filters {
			result := kmsg.NewDeleteACLsResponseResult()
			result.ErrorCode = code
			r.Results = append(r.Results, result)
		}
	case *kmsg.DescribeLogDirsResponse:
		r.ErrorCode = code
	case *kmsg.DescribeQuorumResponse:
		r.ErrorCode = code
	case *kmsg.UpdateFeaturesResponse:
		r.ErrorCode = code
	case *kmsg.UnregisterBrokerResponse:
		r.ErrorCode = code
	case *kmsg.ListConfigResourcesResponse:
		r.ErrorCode = code
	}
	return resp
}

// scramUsers lists the users that a request is about, each once.
func scramUsers(m *kmsg.AlterUserSCRAMCredentialsRequest) (users []string) {
	seen := map[string]bool{}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			users = append(users, name)
		}
	}
	for i := range m.Deletions {
		add(m.Deletions[i].Name)
	}
	for i := range m.Upsertions {
		add(m.Upsertions[i].Name)
	}
	return users
}

// rules is the table of authorizations: Kafka's, API by API.
func rules() map[int16]authorization {
	return map[int16]authorization{
		keyProduce:                 mayProduce,
		keyFetch:                   open, // READ on each topic, looked at where it is read: a session outlives the request that named its topics
		keyListOffsets:             mayListOffsets,
		keyMetadata:                mayMetadata,
		keyOffsetCommit:            mayOffsetCommit,
		keyOffsetFetch:             mayOffsetFetch,
		keyFindCoordinator:         mayFindCoordinator,
		keyJoinGroup:               mayMember,
		keyHeartbeat:               mayMember,
		keyLeaveGroup:              mayMember,
		keySyncGroup:               mayMember,
		keyDescribeGroups:          mayDescribeGroups,
		keyListGroups:              mayListGroups,
		keyApiVersions:             open,
		keyCreateTopics:            mayCreateTopics,
		keyDeleteTopics:            mayDeleteTopics,
		keyInitProducerID:          mayInitProducerID,
		keyOffsetForLeaderEpoch:    mayOffsetForLeaderEpoch,
		keyDescribeConfigs:         mayDescribeConfigs,
		keyCreatePartitions:        mayCreatePartitions,
		keyDeleteGroups:            mayDeleteGroups,
		keyIncrementalAlterConfigs: mayIncrementalAlterConfigs,
		keyOffsetDelete:            mayOffsetDelete,
		keyDescribeCluster:         mayDescribeCluster,
		keyConsumerGroupHeartbeat:  mayConsumerGroupHeartbeat,
		keyConsumerGroupDescribe:   mayConsumerGroupDescribe,

		keySaslHandshake:     open, // where a login means something, the server answers
		keySaslAuthenticate:  open, // likewise
		21:                   mayDeleteRecords,
		29:                   onCluster(acl.Describe, clusterRefused), // DescribeAcls
		30:                   onCluster(acl.Alter, clusterRefused),    // CreateAcls
		31:                   onCluster(acl.Alter, clusterRefused),    // DeleteAcls
		keyAlterConfigs:      mayAlterConfigs,
		35:                   onCluster(acl.Describe, clusterRefused), // DescribeLogDirs
		43:                   onCluster(acl.Alter, clusterRefused),    // ElectLeaders
		45:                   onCluster(acl.Alter, clusterRefused),    // AlterPartitionReassignments
		46:                   onCluster(acl.Describe, clusterRefused), // ListPartitionReassignments
		keyDescribeQuotas:    onCluster(acl.DescribeConfigs, clusterRefused),
		keyAlterQuotas:       onCluster(acl.AlterConfigs, clusterRefused),
		50:                   onCluster(acl.Describe, clusterRefused), // DescribeUserScramCredentials
		51:                   onCluster(acl.Alter, clusterRefused),    // AlterUserScramCredentials
		55:                   onCluster(acl.Describe, clusterRefused), // DescribeQuorum
		keyUpdateFeatures:    onCluster(acl.Alter, clusterRefused),
		61:                   mayDescribeProducers,
		keyUnregisterBroker:  onCluster(acl.Alter, clusterRefused),
		65:                   mayDescribeTransactions,
		66:                   mayListTransactions,
		71:                   open,                                           // GetTelemetrySubscriptions
		74:                   onCluster(acl.DescribeConfigs, clusterRefused), // ListConfigResources
		75:                   mayDescribeTopicPartitions,
		80:                   onCluster(acl.Alter, clusterRefused), // AddRaftVoter
		81:                   onCluster(acl.Alter, clusterRefused), // RemoveRaftVoter
		controller.KeyVoters: onCluster(acl.Alter, clusterRefused),
	}
}
