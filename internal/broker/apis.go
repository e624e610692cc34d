package broker

import (
	"context"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// API keys that the protocol library gives numbers only.
const (
	keyProduce                 int16 = 0
	keyFetch                   int16 = 1
	keyListOffsets             int16 = 2
	keyMetadata                int16 = 3
	keyOffsetCommit            int16 = 8
	keyOffsetFetch             int16 = 9
	keyFindCoordinator         int16 = 10
	keyJoinGroup               int16 = 11
	keyHeartbeat               int16 = 12
	keyLeaveGroup              int16 = 13
	keySyncGroup               int16 = 14
	keyDescribeGroups          int16 = 15
	keyListGroups              int16 = 16
	keySaslHandshake           int16 = 17
	keyApiVersions             int16 = 18
	keyCreateTopics            int16 = 19
	keyDeleteTopics            int16 = 20
	keyDeleteRecords           int16 = 21
	keyInitProducerID          int16 = 22
	keyOffsetForLeaderEpoch    int16 = 23
	keyDescribeACLs            int16 = 29
	keyCreateACLs              int16 = 30
	keyDeleteACLs              int16 = 31
	keyDescribeConfigs         int16 = 32
	keyAlterConfigs            int16 = 33
	keyDescribeLogDirs         int16 = 35
	keySaslAuthenticate        int16 = 36
	keyCreatePartitions        int16 = 37
	keyDeleteGroups            int16 = 42
	keyElectLeaders            int16 = 43
	keyIncrementalAlterConfigs int16 = 44
	keyAlterReassignments      int16 = 45
	keyListReassignments       int16 = 46
	keyOffsetDelete            int16 = 47
	keyDescribeQuotas          int16 = 48
	keyAlterQuotas             int16 = 49
	keyDescribeScram           int16 = 50
	keyAlterScram              int16 = 51
	keyDescribeQuorum          int16 = 55
	keyAlterPartition          int16 = 56
	keyUpdateFeatures          int16 = 57
	keyDescribeCluster         int16 = 60
	keyDescribeProducers       int16 = 61
	keyBrokerRegistration      int16 = 62
	keyBrokerHeartbeat         int16 = 63
	keyUnregisterBroker        int16 = 64
	keyDescribeTransactions    int16 = 65
	keyListTransactions        int16 = 66
	keyAllocateProducerIDs     int16 = 67
	keyConsumerGroupHeartbeat  int16 = 68
	keyConsumerGroupDescribe   int16 = 69
	keyTelemetrySubscriptions  int16 = 71
	keyListConfigResources     int16 = 74
	keyDescribeTopicPartitions int16 = 75
	keyAddRaftVoter            int16 = 80
	keyRemoveRaftVoter         int16 = 81
)

// handler answers one request; see transport.Handler.
type handler func(b *Broker, ctx context.Context, r *transport.Request, reply func(transport.Reply))

// api is one row of the table of what is served.
type api struct {
	key      int16
	min, max int16
	serve    handler
	early    bool // answered before the node has joined the cluster; others wait for that, see awaitJoined
	internal bool // between nodes: not shown to clients
}

// silent tells whether an API is served to clients, but not shown to them.
func (a api) silent() bool { return a.key == keyTelemetrySubscriptions }

// apis is the one table of what is served; ApiVersions and Versions are made from it. The ranges are Kafka 4.2's, see docs/kafka-compat.md.
//
// The APIs that take part in transactions are not in it: a client that needs one then fails at once with "not supported".
func apis() []api {
	return []api{
		{keyProduce, 0, 13, (*Broker).produce, false, false}, // 0 to 2 are advertised but refused: see api_00_produce.go
		{keyFetch, 4, 18, (*Broker).fetch, false, false},
		{keyListOffsets, 1, 11, (*Broker).listOffsets, false, false},
		{keyMetadata, 0, 13, (*Broker).metadata, false, false},
		{keyOffsetCommit, 2, 10, (*Broker).offsetCommit, false, false},
		{keyOffsetFetch, 1, 10, (*Broker).offsetFetch, false, false},
		{keyFindCoordinator, 0, 6, (*Broker).findCoordinator, false, false},
		{keyJoinGroup, 0, 9, (*Broker).joinGroup, false, false},
		{keyHeartbeat, 0, 4, (*Broker).groupHeartbeat, false, false},
		{keyLeaveGroup, 0, 5, (*Broker).leaveGroup, false, false},
		{keySyncGroup, 0, 5, (*Broker).syncGroup, false, false},
		{keyDescribeGroups, 0, 6, (*Broker).describeGroups, false, false},
		{keyListGroups, 0, 5, (*Broker).listGroups, false, false},
		{keySaslHandshake, 0, 1, (*Broker).saslHandshake, true, false},
		{keyApiVersions, 0, 4, (*Broker).apiVersions, true, false},
		{keyCreateTopics, 2, 7, (*Broker).createTopics, false, false},
		{keyDeleteTopics, 1, 6, (*Broker).deleteTopics, false, false},
		{keyDeleteRecords, 0, 2, (*Broker).deleteRecords, false, false},
		{keyInitProducerID, 0, 5, (*Broker).initProducerID, false, false},
		{keyOffsetForLeaderEpoch, 2, 4, (*Broker).offsetForLeaderEpoch, false, false},
		{keyDescribeACLs, 1, 3, (*Broker).describeACLs, false, false},
		{keyCreateACLs, 1, 3, (*Broker).createACLs, false, false},
		{keyDeleteACLs, 1, 3, (*Broker).deleteACLs, false, false},
		{keyDescribeConfigs, 1, 4, (*Broker).describeConfigs, false, false},
		{keyAlterConfigs, 0, 2, (*Broker).alterConfigs, false, false},
		{keyDescribeLogDirs, 1, 4, (*Broker).describeLogDirs, false, false},
		{keySaslAuthenticate, 0, 2, (*Broker).saslAuthenticate, true, false},
		{keyCreatePartitions, 0, 3, (*Broker).createPartitions, false, false},
		{keyDeleteGroups, 0, 2, (*Broker).deleteGroups, false, false},
		{keyElectLeaders, 0, 2, (*Broker).electLeaders, false, false},
		{keyIncrementalAlterConfigs, 0, 1, (*Broker).incrementalAlterConfigs, false, false},
		{keyAlterReassignments, 0, 1, (*Broker).alterReassignments, false, false},
		{keyListReassignments, 0, 0, (*Broker).listReassignments, false, false},
		{keyOffsetDelete, 0, 0, (*Broker).offsetDelete, false, false},
		{keyDescribeQuotas, 0, 1, (*Broker).describeQuotas, false, false},
		{keyAlterQuotas, 0, 1, (*Broker).alterQuotas, false, false},
		{keyDescribeScram, 0, 0, (*Broker).describeScram, false, false},
		{keyAlterScram, 0, 0, (*Broker).alterScram, false, false},
		{keyDescribeQuorum, 0, 2, (*Broker).describeQuorum, false, false},
		{keyUpdateFeatures, 0, 2, (*Broker).updateFeatures, false, false},
		{keyDescribeCluster, 0, 2, (*Broker).describeCluster, false, false},
		{keyUnregisterBroker, 0, 0, (*Broker).unregisterBroker, false, false},
		{keyDescribeProducers, 0, 0, (*Broker).describeProducers, false, false},
		{keyDescribeTransactions, 0, 0, (*Broker).describeTransactions, false, false},
		{keyListTransactions, 0, 2, (*Broker).listTransactions, false, false},
		{keyConsumerGroupHeartbeat, 0, 1, (*Broker).consumerGroupHeartbeat, false, false},
		{keyConsumerGroupDescribe, 0, 1, (*Broker).consumerGroupDescribe, false, false},
		{keyTelemetrySubscriptions, 0, 0, (*Broker).getTelemetrySubscriptions, false, false}, // not advertised: see api.silent
		{keyListConfigResources, 0, 1, (*Broker).listConfigResources, false, false},
		{keyDescribeTopicPartitions, 0, 0, (*Broker).describeTopicPartitions, false, false},
		{keyAddRaftVoter, 0, 1, (*Broker).addRaftVoter, false, false},
		{keyRemoveRaftVoter, 0, 0, (*Broker).removeRaftVoter, false, false},

		// between nodes
		{keyAlterPartition, 2, 3, (*Broker).controllerRequest, true, true},
		{keyBrokerRegistration, 0, 4, (*Broker).controllerRequest, true, true},
		{keyBrokerHeartbeat, 0, 1, (*Broker).controllerRequest, true, true},
		{keyAllocateProducerIDs, 0, 0, (*Broker).controllerRequest, true, true},
		{KeyRaft, 0, 0, (*Broker).raft, true, true},
		{controller.KeyJoin, 0, 1, (*Broker).joinQuorum, true, true},

		// private, of this package's Admin
		{controller.KeyVoters, 0, 0, (*Broker).changeVoters, false, false},
		{KeyRange, 0, 0, (*Broker).readRange, true, true},
	}
}

// NewRequest returns an empty request for a key that a Broker answers, nil for another. For transport.ServerConfig.NewRequest.
func NewRequest(key int16) kmsg.Request {
	switch key {
	case KeyRaft:
		return &RaftRequest{}
	case controller.KeyJoin:
		return &controller.JoinRequest{}
	case controller.KeyVoters:
		return &controller.VotersRequest{}
	case KeyRange:
		return &RangeRequest{}
	}
	return kmsg.RequestForKey(key)
}
