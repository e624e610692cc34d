package broker

import (
	"reflect"
	"testing"

	"github.com/insynclog/insync/internal/acl"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// as serves a request as one of a client at 10.0.0.7; nil means that the connection was closed.
func (n *testNode) as(principal string, req kmsg.Request) kmsg.Response {
	n.h.t.Helper()
	got := make(chan transport.Reply, 2)
	conn := &transport.ConnInfo{Remote: "10.0.0.7:1234", Identity: transport.Identity{Principal: principal}}
	n.Serve(n.h.t.Context(), &transport.Request{Message: req, Conn: conn}, func(r transport.Reply) { got <- r })
	r := <-got
	if r.Close {
		return nil
	}
	return r.Message
}

// codes lists every error code of a response.
func codes(resp kmsg.Response) (all []int16) {
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if f := v.Type().Field(i); f.Name == "ErrorCode" {
					all = append(all, int16(v.Field(i).Int()))
				} else if f.IsExported() {
					walk(v.Field(i))
				}
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		}
	}
	walk(reflect.ValueOf(resp))
	return all
}

func grant(op acl.Operation, t acl.ResourceType, name string) acl.Binding {
	return acl.Binding{Pattern: acl.Pattern{Type: t, Name: name, Kind: acl.Literal}, Principal: "User:guest", Host: acl.Wildcard, Operation: op, Permission: acl.Allow}
}

func onTopic(op acl.Operation) acl.Binding   { return grant(op, acl.Topic, "t") }
func onGroup(op acl.Operation) acl.Binding   { return grant(op, acl.Group, "g") }
func clusterOp(op acl.Operation) acl.Binding { return grant(op, acl.Cluster, acl.ClusterName) }

func (b *Broker) setRules(t *testing.T, bindings ...acl.Binding) {
	t.Helper()
	r, err := acl.NewRules(acl.Config{SuperUsers: []string{"User:root"}}, bindings)
	require.NoError(t, err)
	b.rules.Store(r)
}

// denials are the codes of authorization.
var denials = map[int16]bool{
	kerr.TopicAuthorizationFailed.Code: true, kerr.GroupAuthorizationFailed.Code: true, kerr.ClusterAuthorizationFailed.Code: true, kerr.TransactionalIDAuthorizationFailed.Code: true,
}

// authorizationCases has at least one for each API: who has none of the grants is refused with the code, who has all of them is not, and each of them is needed unless one of them will do.
func authorizationCases(t *testing.T) []authorizationCase {
	topic, group, cluster := kerr.TopicAuthorizationFailed.Code, kerr.GroupAuthorizationFailed.Code, kerr.ClusterAuthorizationFailed.Code
	txn := kerr.TransactionalIDAuthorizationFailed.Code
	id := "id"
	fresh := metadataRequest(9, "fresh")
	fresh.AllowAutoTopicCreation = true
	list := kmsg.NewPtrListOffsetsRequest()
	list.Version, list.ReplicaID = 6, -1
	list.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Timestamp: -1}}}}
	epoch := kmsg.NewPtrOffsetForLeaderEpochRequest()
	epoch.Version, epoch.ReplicaID = 4, -1
	epoch.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{LeaderEpoch: 0, CurrentLeaderEpoch: -1}}}}
	offsets := kmsg.NewPtrOffsetFetchRequest()
	offsets.Version, offsets.Group = 7, "g"
	offsets.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	groupOffsets := kmsg.NewPtrOffsetFetchRequest()
	groupOffsets.Version = 9
	groupOffsets.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g", Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{0}}}, MemberEpoch: -1}}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.Version, find.CoordinatorKey = 3, "g"
	findMany := kmsg.NewPtrFindCoordinatorRequest()
	findMany.Version, findMany.CoordinatorKeys = 4, []string{"g"}
	findTxn := kmsg.NewPtrFindCoordinatorRequest()
	findTxn.Version, findTxn.CoordinatorType, findTxn.CoordinatorKeys = 4, 1, []string{id}
	join := joinRequest(9, "g", "", nil)
	heartbeat := kmsg.NewPtrHeartbeatRequest()
	heartbeat.Version, heartbeat.Group = 4, "g"
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Version, leave.Group = 5, "g"
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Version, describe.Groups = 5, []string{"g"}
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version, create.TimeoutMillis = 7, 1000
	create.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "t", NumPartitions: 1, ReplicationFactor: 1}}
	drop := kmsg.NewPtrDeleteTopicsRequest()
	drop.Version, drop.TimeoutMillis = 5, 1000
	drop.TopicNames = []string{"nope"}
	dropNewer := kmsg.NewPtrDeleteTopicsRequest()
	dropNewer.Version, dropNewer.TimeoutMillis = 6, 1000
	nope := "nope"
	dropNewer.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: &nope}}
	pid := kmsg.NewPtrInitProducerIDRequest()
	pid.Version = 4
	pidTxn := kmsg.NewPtrInitProducerIDRequest()
	pidTxn.Version, pidTxn.TransactionalID = 4, &id
	configs := func(kind kmsg.ConfigResourceType, name string) kmsg.Request {
		r := kmsg.NewPtrDescribeConfigsRequest()
		r.Version = 4
		r.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name}}
		return r
	}
	alter := func(kind kmsg.ConfigResourceType, name string) kmsg.Request {
		r := kmsg.NewPtrIncrementalAlterConfigsRequest()
		r.Version = 1
		r.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kind, ResourceName: name}}
		return r
	}
	replace := func(kind kmsg.ConfigResourceType, name string) kmsg.Request {
		r := kmsg.NewPtrAlterConfigsRequest()
		r.Version = 2
		r.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kind, ResourceName: name}}
		return r
	}
	partitions := kmsg.NewPtrCreatePartitionsRequest()
	partitions.Version, partitions.TimeoutMillis = 3, 1000
	partitions.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: 2}}
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Version, remove.Groups = 2, []string{"g"}
	forget := kmsg.NewPtrOffsetDeleteRequest()
	forget.Group = "g"
	forget.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{}}}}
	beat := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	beat.Group, beat.MemberID, beat.SubscribedTopicNames, beat.RebalanceTimeoutMillis = "g", "m", []string{"t"}, 1000
	beat.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	consumers := kmsg.NewPtrConsumerGroupDescribeRequest()
	consumers.Groups = []string{"g"}
	records := kmsg.NewPtrDeleteRecordsRequest()
	records.Version, records.TimeoutMillis = 2, 1000
	records.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 0}}}}
	producers := kmsg.NewPtrDescribeProducersRequest()
	producers.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	transactions := kmsg.NewPtrDescribeTransactionsRequest()
	transactions.TransactionalIDs = []string{id}
	topics := kmsg.NewPtrDescribeTopicPartitionsRequest()
	topics.ResponsePartitionLimit, topics.Topics = 100, []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "t"}}
	elect := kmsg.NewPtrElectLeadersRequest()
	elect.Version, elect.Topics = 2, []kmsg.ElectLeadersRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	quotas := kmsg.NewPtrAlterClientQuotasRequest()
	quotas.Entries = []kmsg.AlterClientQuotasRequestEntry{{Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "user"}}}}
	scram := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	scram.Deletions = []kmsg.AlterUserSCRAMCredentialsRequestDeletion{{Name: "x", Mechanism: 1}}
	createACLs := kmsg.NewPtrCreateACLsRequest()
	createACLs.Version, createACLs.Creations = 3, []kmsg.CreateACLsRequestCreation{{}}
	deleteACLs := kmsg.NewPtrDeleteACLsRequest()
	deleteACLs.Version, deleteACLs.Filters = 3, []kmsg.DeleteACLsRequestFilter{{}}
	versioned := func(r kmsg.Request, version int16) kmsg.Request {
		r.SetVersion(version)
		return r
	}
	produceTxn := produceRequest("t", 0, -1, batch(t, "v"))
	produceTxn.TransactionID = &id

	return []authorizationCase{
		{produceRequest("t", 0, -1, batch(t, "v")), topic, all(onTopic(acl.Write))},
		{produceTxn, txn, all(onTopic(acl.Write), grant(acl.Write, acl.TransactionalID, id))},
		{fetchRequest("t", 0, 0), topic, all(onTopic(acl.Read))},
		{list, topic, all(onTopic(acl.Describe))},
		{metadataRequest(9, "t"), topic, all(onTopic(acl.Describe))},
		{metadataRequest(0, "t"), topic, all(onTopic(acl.Describe))},
		{fresh, topic, all(grant(acl.Create, acl.Topic, "fresh"), grant(acl.Describe, acl.Topic, "fresh"))},
		{commitRequest("g", "t", 1), group, all(onGroup(acl.Read), onTopic(acl.Read))},
		{offsets, group, all(onGroup(acl.Describe), onTopic(acl.Describe))},
		{groupOffsets, group, all(onGroup(acl.Describe), onTopic(acl.Describe))},
		{find, group, all(onGroup(acl.Describe))},
		{findMany, group, all(onGroup(acl.Describe))},
		{findTxn, txn, all(grant(acl.Describe, acl.TransactionalID, id))},
		{join, group, all(onGroup(acl.Read))},
		{heartbeat, group, all(onGroup(acl.Read))},
		{leave, group, all(onGroup(acl.Read))},
		{syncRequest(5, "g", 1, "m"), group, all(onGroup(acl.Read))},
		{describe, group, all(onGroup(acl.Describe))},
		{create, topic, some(onTopic(acl.Create), clusterOp(acl.Create))},
		{drop, topic, all(grant(acl.Delete, acl.Topic, nope))},
		{dropNewer, topic, all(grant(acl.Delete, acl.Topic, nope))},
		{pid, cluster, some(clusterOp(acl.IdempotentWrite), onTopic(acl.Write))},
		{pidTxn, txn, all(grant(acl.Write, acl.TransactionalID, id))},
		{epoch, topic, all(onTopic(acl.Describe))},
		{configs(kmsg.ConfigResourceTypeTopic, "t"), topic, all(onTopic(acl.DescribeConfigs))},
		{configs(kmsg.ConfigResourceTypeBroker, "1"), cluster, all(clusterOp(acl.DescribeConfigs))},
		{configs(kmsg.ConfigResourceTypeGroupConfig, "g"), group, all(onGroup(acl.DescribeConfigs))},
		{alter(kmsg.ConfigResourceTypeTopic, "t"), topic, all(onTopic(acl.AlterConfigs))},
		{alter(kmsg.ConfigResourceTypeBroker, "1"), cluster, all(clusterOp(acl.AlterConfigs))},
		{alter(kmsg.ConfigResourceTypeGroupConfig, "g"), group, all(onGroup(acl.AlterConfigs))},
		{replace(kmsg.ConfigResourceTypeTopic, "t"), topic, all(onTopic(acl.AlterConfigs))},
		{partitions, topic, all(onTopic(acl.Alter))},
		{remove, group, all(onGroup(acl.Delete))},
		{forget, group, all(onGroup(acl.Delete), onTopic(acl.Read))},
		{beat, group, all(onGroup(acl.Read), onTopic(acl.Describe))},
		{consumers, group, all(onGroup(acl.Describe), onTopic(acl.Describe))}, // beat has made it one of consumers
		{records, topic, all(onTopic(acl.Delete))},
		{producers, topic, all(onTopic(acl.Read))},
		{transactions, txn, all(grant(acl.Describe, acl.TransactionalID, id))},
		{topics, topic, all(onTopic(acl.Describe))},
		{versioned(kmsg.NewPtrDescribeLogDirsRequest(), 4), cluster, all(clusterOp(acl.Describe))},
		{elect, cluster, all(clusterOp(acl.Alter))},
		{kmsg.NewPtrAlterPartitionAssignmentsRequest(), cluster, all(clusterOp(acl.Alter))},
		{kmsg.NewPtrListPartitionReassignmentsRequest(), cluster, all(clusterOp(acl.Describe))},
		{kmsg.NewPtrDescribeClientQuotasRequest(), cluster, all(clusterOp(acl.DescribeConfigs))},
		{quotas, cluster, all(clusterOp(acl.AlterConfigs))},
		{kmsg.NewPtrDescribeUserSCRAMCredentialsRequest(), cluster, all(clusterOp(acl.Describe))},
		{scram, cluster, all(clusterOp(acl.Alter))},
		{versioned(kmsg.NewPtrDescribeACLsRequest(), 3), cluster, all(clusterOp(acl.Describe))},
		{createACLs, cluster, all(clusterOp(acl.Alter))},
		{deleteACLs, cluster, all(clusterOp(acl.Alter))},
		{kmsg.NewPtrDescribeQuorumRequest(), cluster, all(clusterOp(acl.Describe))},
		{versioned(kmsg.NewPtrUpdateFeaturesRequest(), 1), cluster, all(clusterOp(acl.Alter))},
		{kmsg.NewPtrUnregisterBrokerRequest(), cluster, all(clusterOp(acl.Alter))},
		{kmsg.NewPtrAddRaftVoterRequest(), cluster, all(clusterOp(acl.Alter))},
		{&controller.VotersRequest{Voters: []int32{1}}, cluster, all(clusterOp(acl.Alter))},
		{kmsg.NewPtrRemoveRaftVoterRequest(), cluster, all(clusterOp(acl.Alter))},
		{versioned(kmsg.NewPtrListConfigResourcesRequest(), 1), cluster, all(clusterOp(acl.DescribeConfigs))},
	}
}

type authorizationCase struct {
	req    kmsg.Request
	code   int16
	grants grants
}

// grants are what a request needs: all of them, or any.
type grants struct {
	any  bool
	list []acl.Binding
}

func all(list ...acl.Binding) grants  { return grants{list: list} }
func some(list ...acl.Binding) grants { return grants{any: true, list: list} }

// unlimited are the APIs that need no grant: what they tell is limited by what a guest may see, or harmless.
var unlimited = map[int16]bool{keyApiVersions: true, keyListGroups: true, keyDescribeCluster: true, keySaslHandshake: true, keySaslAuthenticate: true, 66: true, 71: true}

func TestAuthorization(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, func(_ int32, c *Config) { c.AutoCreate = true })
		n := h.nodes[1]
		h.create(1, "t", 1, 1)
		h.coordinatorOf("g")
		tested := map[int16]bool{}
		for _, c := range authorizationCases(t) {
			if n.apis[c.req.Key()].serve == nil {
				continue
			}
			tested[c.req.Key()] = true
			n.as("User:root", commitRequest("g", "t", 1)) // there is a group to be refused
			name := kmsg.NameForKey(c.req.Key())
			denied := func(bindings ...acl.Binding) []int16 {
				n.setRules(t, bindings...)
				resp := n.as("User:guest", copyOf(c.req))
				require.NotNil(t, resp, "%s: closed", name)
				var no []int16
				for _, code := range codes(resp) {
					if denials[code] {
						no = append(no, code)
					}
				}
				return no
			}
			no := denied()
			require.NotEmpty(t, no, "%s: a guest without rights", name)
			for _, code := range no {
				assert.Equal(t, c.code, code, name)
			}
			for i, b := range c.grants.list {
				if c.grants.any {
					assert.Empty(t, denied(b), "%s: with %s", name, b)
					continue
				}
				without := append(append([]acl.Binding{}, c.grants.list[:i]...), c.grants.list[i+1:]...)
				assert.NotEmpty(t, denied(without...), "%s: without %s", name, b)
				deny := b
				deny.Permission = acl.Deny
				assert.NotEmpty(t, denied(append(without, b, deny)...), "%s: deny wins over %s", name, b)
				assert.Empty(t, denied(c.grants.list...), name)
			}
		}
		for _, a := range apis() {
			if !a.internal {
				assert.NotNil(t, n.authorizations[a.key], "key %d has no rule", a.key)
				assert.True(t, tested[a.key] || unlimited[a.key], "key %d has no case", a.key)
			}
		}
	})
}

// copyOf is a deep copy: rules change requests.
func copyOf(req kmsg.Request) kmsg.Request {
	c := NewRequest(req.Key())
	c.SetVersion(req.GetVersion())
	if err := c.ReadFrom(req.AppendTo(nil)); err != nil {
		panic(err)
	}
	return c
}

// TestGuestsSeeTheirOwn checks what is left out rather than refused, and that what is allowed beside something that is not is served.
func TestGuestsSeeTheirOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		secret := h.create(1, "secret", 1, 1)
		h.create(1, "t", 1, 1)
		n.mustProduce("secret", 0, "s")
		n.mustProduce("t", 0, "v")
		n.setRules(t, onTopic(acl.Read), onTopic(acl.Write))

		all := metadataRequest(9)
		all.Topics = nil
		resp := n.as("User:guest", copyOf(all)).(*kmsg.MetadataResponse)
		require.Len(t, resp.Topics, 1)
		assert.Equal(t, "t", *resp.Topics[0].Topic)
		resp = n.as("User:root", copyOf(all)).(*kmsg.MetadataResponse)
		assert.Len(t, resp.Topics, 2)
		old := metadataRequest(0, "secret") // which version 0 must not turn into all topics
		resp = n.as("User:guest", old).(*kmsg.MetadataResponse)
		require.Len(t, resp.Topics, 1)
		assert.Equal(t, kerr.TopicAuthorizationFailed.Code, resp.Topics[0].ErrorCode)
		byID := metadataRequest(12)
		for _, name := range []*string{nil, new(string)} {
			byID.Topics = []kmsg.MetadataRequestTopic{{Topic: name, TopicID: secret}}
			resp = n.as("User:guest", copyOf(byID)).(*kmsg.MetadataResponse)
			require.Len(t, resp.Topics, 1)
			assert.Equal(t, kerr.TopicAuthorizationFailed.Code, resp.Topics[0].ErrorCode)
			assert.Nil(t, resp.Topics[0].Topic, "the name of an id is not told")
			assert.Equal(t, [16]byte(secret), resp.Topics[0].TopicID)
		}

		ops := metadataRequest(9, "t")
		ops.IncludeTopicAuthorizedOperations = true
		resp = n.as("User:guest", ops).(*kmsg.MetadataResponse)
		assert.EqualValues(t, 1<<acl.Read|1<<acl.Write|1<<acl.Describe, resp.Topics[0].AuthorizedOperations)

		fetch := fetchRequest("secret", 0, 0)
		addFetch(fetch, "t", [16]byte{}, 0, 0)
		got := n.as("User:guest", fetch).(*kmsg.FetchResponse)
		require.Len(t, got.Topics, 2)
		for i := range got.Topics {
			p := &got.Topics[i].Partitions[0]
			if got.Topics[i].Topic == "secret" {
				assert.Equal(t, kerr.TopicAuthorizationFailed.Code, p.ErrorCode)
				assert.Empty(t, p.RecordBatches)
				continue
			}
			assert.Equal(t, []string{"v"}, values(t, p.RecordBatches, 0))
		}

		// A session does not outlive the right, and is no key for others.
		open := fetchRequest("t", 0, 0)
		open.SessionEpoch = 0
		got = n.as("User:guest", open).(*kmsg.FetchResponse)
		require.NotZero(t, got.SessionID)
		go1 := func(who string, epoch int32) *kmsg.FetchResponse {
			req := kmsg.NewPtrFetchRequest()
			req.Version, req.MaxBytes, req.MinBytes, req.SessionID, req.SessionEpoch = 12, 1<<20, 1, got.SessionID, epoch
			return n.as(who, req).(*kmsg.FetchResponse)
		}
		first := go1("User:guest", 1)
		require.Len(t, first.Topics, 1)
		assert.Equal(t, []string{"v"}, values(t, first.Topics[0].Partitions[0].RecordBatches, 0))
		n.setRules(t)
		second := go1("User:guest", 2)
		require.Len(t, second.Topics, 1)
		assert.Equal(t, kerr.TopicAuthorizationFailed.Code, second.Topics[0].Partitions[0].ErrorCode)

		// acks=0 has no answer but the end of the connection.
		assert.Nil(t, n.as("User:guest", produceRequest("t", 0, 0, batch(t, "x"))))
		assert.Equal(t, []string{"v"}, n.readAll("t", 0))
	})
}

func TestClientsAreNotPeers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		h.create(1, "t", 1, 1)
		follower := fetchRequest("t", 0, 0)
		follower.ReplicaID = 2
		newer := fetchRequest("t", 0, 0)
		newer.Version, newer.ReplicaState.ID = 15, 2
		epochs := kmsg.NewPtrOffsetForLeaderEpochRequest()
		epochs.Version, epochs.ReplicaID = 4, 2
		for _, req := range []kmsg.Request{
			follower, newer, epochs, kmsg.NewPtrAlterPartitionRequest(), kmsg.NewPtrBrokerRegistrationRequest(), kmsg.NewPtrBrokerHeartbeatRequest(), kmsg.NewPtrAllocateProducerIDsRequest(), &RaftRequest{}, &controller.JoinRequest{},
		} {
			if req.Key() < KeyRaft && req.GetVersion() == 0 {
				req.SetVersion(n.apis[req.Key()].max)
			}
			assert.Nil(t, n.as("User:root", req), "key %d", req.Key())
		}
		for _, a := range apis() {
			if a.internal {
				req := NewRequest(a.key)
				req.SetVersion(a.max)
				assert.Nil(t, n.as("User:root", req), "key %d", a.key)
			}
		}
	})
}

func guestRequest() *transport.Request {
	return &transport.Request{Conn: &transport.ConnInfo{Remote: "10.0.0.7:1", Identity: transport.Identity{Principal: "User:guest"}}}
}
