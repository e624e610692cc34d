package format_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/insynclog/insync/internal/acl"
	"github.com/insynclog/insync/internal/controller/machine"
	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/partition"
	"github.com/insynclog/insync/internal/sasl"
	"github.com/insynclog/insync/log"
)

// The records inside of logs: the metadata's and the groups'. Those that the nodes have written are held against what they were told. Not every kind comes up there with every field set to
// something that tells it from its neighbours, so there are also records that are made up, and encoded by the code that nodes use.

// entries reads the records of an entry of the metadata log: kind and fields of each.
func (v *verifier) entries(b []byte) (kinds []int64, bodies []values) {
	e := v.decode("metadata.entry", b)
	v.is("entry version", e["version"], int64(1))
	v.is("records", e["recordCount"], int64(len(e["records"].([]any))))
	for _, x := range e["records"].([]any) {
		r := x.(values)
		body := r["body"].([]byte)
		v.is("length", r["length"], int64(len(body)))
		kinds = append(kinds, r["kind"].(int64))
		bodies = append(bodies, v.decode(fmt.Sprintf("metadata.%d", r["kind"]), body))
	}
	return kinds, bodies
}

// metadataLog reads all entries of a log that a cluster has written.
func (v *verifier) metadataLog(file []byte, w *clusterWorld) {
	topics := map[string]log.TopicID{}
	clusterID, retention := "", ""
	addresses := map[string]bool{}
	for i, b := range v.batches(file) {
		v.is("offset", b.values["baseOffset"], int64(i))
		v.is("records", len(b.records), 1)
		value := v.decode("metadata.value", b.records[0]["value"].([]byte))
		v.is("type", value["entryType"], int64(0))
		data := value["entry"].([]byte)
		if len(data) == 0 {
			continue
		}
		kinds, bodies := v.entries(data)
		for j, kind := range kinds {
			body := bodies[j]
			switch kind {
			case 0:
				addresses[string(body["address"].([]byte))+" "+string(body["rack"].([]byte))] = true
			case 2:
				topics[string(body["name"].([]byte))] = log.TopicID(body["topicId"].([]byte))
			case 3:
				v.is("replicas", len(body["replicas"].([]any)), 3)
			case 4:
				if string(body["key"].([]byte)) == "retention.ms" {
					retention = string(body["resourceName"].([]byte)) + " " + string(body["value"].([]byte))
				}
			case 1000:
				clusterID = string(body["clusterId"].([]byte))
			}
		}
	}
	v.is("topics", topics, w.topics)
	v.is("cluster id", clusterID, w.clusterID)
	v.is("config", retention, "orders "+w.retention)
	v.is("brokers", addresses, map[string]bool{"node1:9092 rack1": true, "node2:9092 rack2": true, "node3:9092 rack3": true})
}

// metadata holds a checkpoint against the image that it was made of.
func (v *verifier) metadata(w *metadataWorld) {
	end := w.img.Offset + 1
	met := 0
	for name, b := range w.files {
		if !strings.HasSuffix(name, ".checkpoint") {
			continue
		}
		met++
		v.is("name", name, fmt.Sprintf("%020d-%010d.checkpoint", end, w.img.Epoch))
		c := v.decode("metadata-checkpoint", b)
		records := c["records"].([]byte)
		v.fields("checkpoint", c, values{
			"magic": "insync\x00c", "version": int64(1), "reserved": int64(0), "endOffset": end, "epoch": int64(w.img.Epoch), "recordsLength": int64(len(records)), "records": records,
			"checksum": c["checksum"],
		})
		kinds, bodies := v.entries(records)
		var names []string
		for i, kind := range kinds {
			if kind == 2 {
				names = append(names, string(bodies[i]["name"].([]byte)))
			}
		}
		v.is("topics", names, w.img.TopicNames())
	}
	v.is("checkpoints", met, 1)
	v.is("version", v.text("leader-epoch-checkpoint", w.files["leader-epoch-checkpoint"])[0], values{})
}

func longs(list ...int64) []any {
	l := []any{}
	for _, n := range list {
		l = append(l, n)
	}
	return l
}

// metadataKinds has a record of every kind that the code knows, with fields that differ.
func (v *verifier) metadataKinds() {
	id := func(n byte) log.TopicID { return log.TopicID{n, 15: n} }
	raw := func(n byte) string { i := id(n); return string(i[:]) }
	none := map[int64][]byte{}
	value := "v"
	keys := sasl.Keys{Salt: []byte("salt salt salt"), StoredKey: []byte(strings.Repeat("s", 32)), ServerKey: []byte(strings.Repeat("k", 32))}
	credential, err := sasl.MakeCredential(sasl.ScramSHA256, 4096, keys)
	v.ok("credential", err)
	binding := acl.Binding{
		Pattern: acl.Pattern{Type: acl.Topic, Kind: acl.Prefixed, Name: "orders."}, Principal: "User:eve", Host: "10.0.0.1", Operation: acl.Read, Permission: acl.Deny,
	}
	bound := values{
		"resourceType": int64(acl.Topic), "patternType": int64(acl.Prefixed), "operation": int64(acl.Read), "permission": int64(acl.Deny), "resourceName": "orders.", "principal": "User:eve", "host": "10.0.0.1",
		"tags": none,
	}
	all := []struct {
		kind   int64
		record machine.Record
		want   values
	}{
		{0, &machine.RegisterBroker{Broker: machine.Broker{ID: 1, Epoch: 2, Incarnation: id(3), DirectoryID: id(4), Addr: "host:1", Rack: "r", InControlledShutdown: true}}, values{
			"brokerId": int64(1), "brokerEpoch": int64(2), "incarnationId": raw(3), "directoryId": raw(4), "address": "host:1", "rack": "r", "fenced": int64(0), "inControlledShutdown": int64(1),
			"directoryOffline": int64(0), "tags": none,
		}},
		{0, &machine.RegisterBroker{Broker: machine.Broker{ID: 1, Epoch: 2, DirectoryOffline: true}}, values{
			"brokerId": int64(1), "brokerEpoch": int64(2), "incarnationId": raw(0), "directoryId": raw(0), "address": "", "rack": "", "fenced": int64(0), "inControlledShutdown": int64(0),
			"directoryOffline": int64(1), "tags": none,
		}},
		{0, &machine.RegisterBroker{Broker: machine.Broker{ID: 1, Known: 3, SlowDisk: true}}, values{
			"brokerId": int64(1), "brokerEpoch": int64(0), "incarnationId": raw(0), "directoryId": raw(0), "address": "", "rack": "", "fenced": int64(0), "inControlledShutdown": int64(0),
			"directoryOffline": int64(0), "tags": map[int64][]byte{0: {6}, 1: {}},
		}},
		{1, &machine.UnregisterBroker{ID: 1, Epoch: 700}, values{"brokerId": int64(1), "brokerEpoch": int64(700), "tags": none}},
		{2, &machine.TopicRecord{Name: "t", ID: id(9)}, values{"name": "t", "topicId": raw(9), "tags": none}},
		{
			3, &machine.PartitionRecord{TopicID: id(1), Number: 200, Partition: machine.Partition{
				Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}, ELR: []int32{3}, LastKnownELR: []int32{4}, Leader: -1, LeaderEpoch: 8, PartitionEpoch: 9, Recovering: true, Adding: []int32{5},
				Removing: []int32{6}, Unsure: []int32{7}, HandOver: []int32{9},
			}},
			values{
				"topicId": raw(1), "partition": int64(200), "replicas": longs(1, 2, 3), "isr": longs(1, 2), "elr": longs(3), "lastKnownElr": longs(4), "leader": int64(-1), "leaderEpoch": int64(8),
				"partitionEpoch": int64(9), "recovering": int64(1), "tags": map[int64][]byte{0: {1, 10}, 1: {1, 12}, 2: {1, 14}, 3: {1, 18}},
			},
		},
		{4, &machine.ConfigRecord{Resource: 2, Name: "t", Key: "k", Value: &value}, values{"resourceType": int64(2), "resourceName": "t", "key": "k", "hasValue": int64(1), "value": "v", "tags": none}},
		{4, &machine.ConfigRecord{Resource: 4, Name: "1", Key: "k"}, values{"resourceType": int64(4), "resourceName": "1", "key": "k", "hasValue": int64(0), "value": nil, "tags": none}},
		{
			5, &machine.PartitionChange{TopicID: id(1), Number: 7, Has: 1023, Replicas: []int32{1}, ISR: []int32{2}, ELR: []int32{3}, LastKnownELR: []int32{4}, Adding: []int32{5}, Removing: []int32{6}, Unsure: []int32{8}, HandOver: []int32{9}, Leader: 7, Recovering: true},
			values{
				"topicId": raw(1), "partition": int64(7), "has": int64(-1), "replicas": longs(1), "isr": longs(2), "elr": longs(3), "lastKnownElr": longs(4), "adding": longs(5), "removing": longs(6),
				"leader": int64(7), "recovering": int64(1), "tags": map[int64][]byte{0: {1, 16}, 1: {1, 18}},
			},
		},
		{9, &machine.RemoveTopic{ID: id(3)}, values{"topicId": raw(3), "tags": none}},
		{11, &machine.ScramRecord{User: machine.ScramUser{Name: "eve", Mechanism: sasl.ScramSHA256}, Credential: credential}, values{
			"user": "eve", "mechanism": int64(sasl.ScramSHA256), "iterations": int64(4096), "salt": string(keys.Salt), "storedKey": string(keys.StoredKey), "serverKey": string(keys.ServerKey), "tags": none,
		}},
		{12, &machine.FeatureLevel{Level: 300}, values{"feature": "insync.metadata", "level": int64(300), "tags": none}},
		{
			14, &machine.QuotaRecord{Entity: machine.QuotaEntity{User: machine.QuotaName{Has: true, Name: "u"}, IP: machine.QuotaName{Has: true, Name: "10.0.0.1"}}, Key: "k", Value: 1.5}, values{
				"userHas": int64(1), "userDefault": int64(0), "user": "u", "clientIdHas": int64(0), "clientIdDefault": int64(0), "clientId": "", "ipHas": int64(1), "ipDefault": int64(0), "ip": "10.0.0.1",
				"key": "k", "remove": int64(0), "value": 1.5, "tags": none,
			},
		},
		{
			14, &machine.QuotaRecord{Entity: machine.QuotaEntity{User: machine.QuotaName{Has: true, Default: true}, ClientID: machine.QuotaName{Has: true, Name: "c"}}, Key: "k", Remove: true}, values{
				"userHas": int64(1), "userDefault": int64(1), "user": "", "clientIdHas": int64(1), "clientIdDefault": int64(0), "clientId": "c", "ipHas": int64(0), "ipDefault": int64(0), "ip": "",
				"key": "k", "remove": int64(1), "value": 0.0, "tags": none,
			},
		},
		{15, &machine.ProducerIDs{BrokerID: 1, BrokerEpoch: 2, Next: 3000}, values{"brokerId": int64(1), "brokerEpoch": int64(2), "nextProducerId": int64(3000), "tags": none}},
		{17, &machine.BrokerChange{ID: 1, Epoch: 2, Fenced: machine.Set, InControlledShutdown: machine.Unset}, values{
			"brokerId": int64(1), "brokerEpoch": int64(2), "fenced": int64(1), "inControlledShutdown": int64(-1), "directoryOffline": int64(0), "tags": none,
		}},
		{17, &machine.BrokerChange{ID: 1, Epoch: 2, DirectoryOffline: machine.Set}, values{
			"brokerId": int64(1), "brokerEpoch": int64(2), "fenced": int64(0), "inControlledShutdown": int64(0), "directoryOffline": int64(1), "tags": none,
		}},
		{17, &machine.BrokerChange{ID: 1, Epoch: 2, SlowDisk: machine.Unset}, values{
			"brokerId": int64(1), "brokerEpoch": int64(2), "fenced": int64(0), "inControlledShutdown": int64(0), "directoryOffline": int64(0), "tags": map[int64][]byte{0: {0xff}},
		}},
		{18, &machine.ACLRecord{Binding: binding}, bound},
		{19, &machine.RemoveACL{Binding: binding}, bound},
		{22, &machine.RemoveScram{User: machine.ScramUser{Name: "eve", Mechanism: sasl.ScramSHA256}}, values{"user": "eve", "mechanism": int64(sasl.ScramSHA256), "tags": none}},
		{28, &machine.ClearELR{Topic: "t"}, values{"topic": "t", "tags": none}},
		{1000, &machine.ClusterID{ID: "abc"}, values{"clusterId": "abc", "tags": none}},
		{1001, &machine.QuorumRecord{Quorum: machine.Quorum{Version: 300, Members: []machine.Member{{ID: 1, Voter: true}, {ID: 200, Addr: "h:1", DirectoryID: id(3), Returning: true}}}}, values{
			"quorumVersion": int64(300), "memberCount": int64(2), "tags": none, "members": []any{
				values{"nodeId": int64(1), "address": []byte{}, "directoryId": []byte(raw(0)), "voting": int64(1)},
				values{"nodeId": int64(200), "address": []byte("h:1"), "directoryId": []byte(raw(3)), "voting": int64(2)},
			},
		}},
		{1001, &machine.QuorumRecord{Quorum: machine.Quorum{Version: 1, Members: []machine.Member{{ID: 1, Voter: true}}, Outgoing: []int32{1, 200}}}, values{
			"quorumVersion": int64(1), "memberCount": int64(1), "members": []any{values{"nodeId": int64(1), "address": []byte{}, "directoryId": []byte(raw(0)), "voting": int64(1)}},
			"tags": map[int64][]byte{0: {2, 2, 0x90, 3}},
		}},
	}
	for _, x := range all {
		kinds, bodies := v.entries(machine.EncodeRecords(nil, []machine.Record{x.record}))
		v.is("kinds", kinds, []int64{x.kind})
		v.fields(x.record.String(), bodies[0], x.want)
		if tags, _ := bodies[0]["tags"].(map[int64][]byte); x.kind == 3 {
			v.fields("added", v.decode("metadata.replicas", tags[0]), values{"replicas": longs(5)})
			v.fields("removed", v.decode("metadata.replicas", tags[1]), values{"replicas": longs(6)})
			v.fields("unsure", v.decode("metadata.replicas", tags[2]), values{"replicas": longs(7)})
			v.fields("hand-over", v.decode("metadata.replicas", tags[3]), values{"replicas": longs(9)})
		} else if x.kind == 5 {
			v.fields("changed unsure", v.decode("metadata.replicas", tags[0]), values{"replicas": longs(8)})
			v.fields("changed hand-over", v.decode("metadata.replicas", tags[1]), values{"replicas": longs(9)})
		}
		if r, ok := x.record.(*machine.RegisterBroker); ok && r.Known > 0 {
			tags, _ := bodies[0]["tags"].(map[int64][]byte)
			v.fields("known", v.decode("metadata.known", tags[0]), values{"known": int64(3)})
		}
		if r, ok := x.record.(*machine.BrokerChange); ok && r.SlowDisk != machine.Keep {
			tags, _ := bodies[0]["tags"].(map[int64][]byte)
			v.fields("slow", v.decode("metadata.slow", tags[0]), values{"slowDisk": int64(-1)})
		}
		if q, ok := x.record.(*machine.QuorumRecord); ok && q.Joint() {
			tags, _ := bodies[0]["tags"].(map[int64][]byte)
			v.fields("outgoing", v.decode("metadata.outgoing", tags[0]), values{"outgoing": longs(1, 200)})
		}
	}
	for kind := range int64(2000) {
		// Whether the body of one zero is one of that kind does not matter.
		_, err := machine.DecodeRecords(append(binary.AppendUvarint([]byte{1, 1}, uint64(kind)), 1, 0))
		v.is(fmt.Sprintf("a table of kind %d", kind), v.t[fmt.Sprintf("metadata.%d", kind)] != nil, !errors.Is(err, machine.ErrUnknownRecord))
	}
	for i, f := range []struct {
		name string
		has  machine.Fields
	}{
		{"isr", machine.HasISR},
		{"leader", machine.HasLeader},
		{"replicas", machine.HasReplicas},
		{"elr", machine.HasELR},
		{"lastKnownElr", machine.HasLastKnownELR},
		{"recovering", machine.HasRecovering},
		{"adding", machine.HasAdding},
		{"removing", machine.HasRemoving},
	} {
		bits, err := v.t.decodeBits("metadata.5.has", int64(f.has))
		v.ok("fields of a change", err)
		v.is(f.name, bits[f.name], int64(1))
		v.is("its bit", int64(f.has), int64(1)<<i)
		_, bodies := v.entries(machine.EncodeRecords(nil, []machine.Record{&machine.PartitionChange{
			Has: f.has, Replicas: []int32{1}, ISR: []int32{2}, ELR: []int32{3}, LastKnownELR: []int32{4}, Adding: []int32{5}, Removing: []int32{6}, Leader: 7, Recovering: true,
		}}))
		v.is(f.name+" is there", bodies[0][f.name] != nil, true)
	}
}

// groupTables are the tables of key and value by the key's type.
var groupTables = map[int64]string{0: "offset", 1: "offset", 2: "classic", 3: "group", 5: "member", 6: "target", 7: "target-member", 8: "current", 16: "regex"}

// groupRecord reads a record of __consumer_offsets.
func (v *verifier) groupRecord(k, val []byte) (name string, key, value values) {
	name = groupTables[int64(binary.BigEndian.Uint16(k))]
	key = v.decode(name+".key", k)
	if val == nil {
		return name, key, nil
	}
	table := name + ".value"
	if name == "offset" {
		table += fmt.Sprintf(".%d", binary.BigEndian.Uint16(val))
	}
	return name, key, v.decode(table, val)
}

// groups reads what the coordinators of a cluster have written.
func (v *verifier) groups(w *clusterWorld, f files) {
	committed, members, met := map[string]int64{}, map[string]string{}, map[string]bool{}
	orders := w.topics["orders"]
	for _, b := range v.batches(f["__consumer_offsets-0/00000000000000000000.log"]) {
		for _, r := range b.records {
			name, key, value := v.groupRecord(r["key"].([]byte), r["value"].([]byte))
			if value == nil {
				continue
			}
			met[name] = true
			group := string(key["group"].([]byte))
			switch name {
			case "offset":
				v.is("topic", fmt.Sprintf("%s-%d", key["topic"], key["partition"]), "orders-0")
				if tags, ok := value["tags"].(map[int64][]byte); ok {
					v.is("topic id", string(tags[0]), string(orders[:]))
				}
				committed[group] = value["offset"].(int64)
			case "classic":
				for _, m := range value["members"].([]any) {
					m := m.(values)
					members[group] = string(m["memberId"].([]byte))
					v.is("instance", string(m["groupInstanceId"].([]byte)), group+"-1")
				}
			case "member":
				members[group] = string(key["memberId"].([]byte))
				v.is("instance", string(value["instanceId"].([]byte)), group+"-1")
				v.is("topics", value["topics"], []any{[]byte("orders")})
			case "target-member", "current":
				list, _ := value["topics"].([]any)
				if name == "current" {
					list = value["assigned"].([]any)
				}
				for _, x := range list {
					x := x.(values)
					v.fields("assignment", x, values{"topicId": string(orders[:]), "partitionCount": int64(1), "partitions": longs(0), "tags": map[int64][]byte{}})
				}
			}
		}
	}
	v.is("committed", committed, map[string]int64{"audit": w.committed[0], "fresh": w.deletedBelow + 5, "classic": w.deletedBelow + 5})
	v.is("members", members, w.members)
	for _, name := range []string{"offset", "classic", "group", "member", "target", "target-member", "current"} {
		v.is("a record of "+name, met[name], true)
	}
}

// offsetsKinds has entries of every kind, with fields that differ.
func (v *verifier) offsetsKinds() {
	topic := partition.TopicID{1, 15: 2}
	set := partition.Of(partition.Partition{Topic: topic, Number: 3}, partition.Partition{Topic: topic, Number: 4})
	other := partition.Of(partition.Partition{Topic: topic, Number: 5})
	none := map[int64][]byte{}
	assigned := func(numbers ...int64) []any {
		return []any{values{"topicId": topic[:], "partitionCount": int64(len(numbers)), "partitions": longs(numbers...), "tags": none}}
	}
	var null []byte
	all := []struct {
		entry      entry.Entry
		key, value values
	}{
		{
			&entry.Offset{Group: "g", Topic: "top", Partition: 4, Offset: 5, LeaderEpoch: 6, Metadata: "m", CommittedAt: 7, ExpiresAt: 8},
			values{"type": int64(1), "group": "g", "topic": "top", "partition": int64(4)},
			values{"version": int64(1), "offset": int64(5), "metadata": "m", "commitTimestamp": int64(7), "expireTimestamp": int64(8)},
		},
		{
			&entry.Offset{Group: "g", Topic: "top", Partition: 4, Offset: 5, LeaderEpoch: 6, Metadata: "m", CommittedAt: 7, ExpiresAt: -1},
			values{"type": int64(1), "group": "g", "topic": "top", "partition": int64(4)},
			values{"version": int64(3), "offset": int64(5), "leaderEpoch": int64(6), "metadata": "m", "commitTimestamp": int64(7)},
		},
		{
			&entry.Offset{Group: "g", Topic: "top", Partition: 4, Offset: 5, LeaderEpoch: 6, Metadata: "m", CommittedAt: 7, ExpiresAt: -1, TopicID: topic},
			values{"type": int64(1), "group": "g", "topic": "top", "partition": int64(4)},
			values{"version": int64(4), "offset": int64(5), "leaderEpoch": int64(6), "metadata": "m", "commitTimestamp": int64(7), "tags": map[int64][]byte{0: topic[:]}},
		},
		{
			&entry.Classic{Group: "g", ProtocolType: "consumer", Generation: 2, Protocol: "range", Leader: "lead", StateAt: 9, Members: []entry.ClassicMember{{
				ID: "id", ClientID: "client", ClientHost: "host", RebalanceTimeoutMillis: 3, SessionTimeoutMillis: 4, Subscription: []byte("sub"), Assignment: []byte("as"),
			}}},
			values{"type": int64(2), "group": "g"},
			values{
				"version": int64(3), "protocolType": "consumer", "generation": int64(2), "protocol": "range", "leader": "lead", "currentStateTimestamp": int64(9), "memberCount": int64(1),
				"members": []any{values{
					"memberId": []byte("id"), "groupInstanceId": null, "clientId": []byte("client"), "clientHost": []byte("host"), "rebalanceTimeout": int64(3), "sessionTimeout": int64(4),
					"subscription": []byte("sub"), "assignment": []byte("as"),
				}},
			},
		},
		{
			&entry.Group{Group: "g", Epoch: 3, MetadataHash: 258},
			values{"type": int64(3), "group": "g"},
			values{"version": int64(0), "epoch": int64(3), "tags": map[int64][]byte{0: {0, 0, 0, 0, 0, 0, 1, 2}}},
		},
		{
			&entry.Member{
				Group: "g", MemberID: "m", InstanceID: "i", Rack: "r", ClientID: "c", ClientHost: "h", Topics: []string{"t"}, Regex: "x", RebalanceTimeoutMillis: 5, Assignor: "a",
				Classic: &entry.ClassicMetadata{SessionTimeoutMillis: 6, Protocols: []entry.ClassicProtocol{{Name: "p", Metadata: []byte("md")}}},
			},
			values{"type": int64(5), "group": "g", "memberId": "m"},
			values{
				"version": int64(0), "instanceId": "i", "rackId": "r", "clientId": "c", "clientHost": "h", "topicCount": int64(1), "topics": []any{[]byte("t")}, "regex": "x",
				"rebalanceTimeout": int64(5), "assignor": "a", "tags": map[int64][]byte{0: {1, 0, 0, 0, 6, 2, 2, 'p', 3, 'm', 'd', 0, 0}},
			},
		},
		{&entry.Target{Group: "g", Epoch: 4}, values{"type": int64(6), "group": "g"}, values{"version": int64(0), "assignmentEpoch": int64(4), "tags": none}},
		{
			&entry.TargetMember{Group: "g", MemberID: "m", Partitions: set},
			values{"type": int64(7), "group": "g", "memberId": "m"},
			values{"version": int64(0), "topicCount": int64(1), "topics": assigned(3, 4), "tags": none},
		},
		{
			&entry.Current{Group: "g", MemberID: "m", Epoch: 4, PreviousEpoch: 3, State: entry.Unrevoked, Assigned: set, Revoking: other},
			values{"type": int64(8), "group": "g", "memberId": "m"},
			values{
				"version": int64(0), "memberEpoch": int64(4), "previousMemberEpoch": int64(3), "state": int64(1), "assignedCount": int64(1), "assigned": assigned(3, 4), "revokingCount": int64(1),
				"revoking": assigned(5), "tags": none,
			},
		},
		{
			&entry.Regex{Group: "g", Regex: "x", Topics: []string{"t"}, Version: 2, ResolvedAt: 3},
			values{"type": int64(16), "group": "g", "regex": "x"},
			values{"version": int64(0), "topicCount": int64(1), "topics": []any{[]byte("t")}, "resolvedVersion": int64(2), "resolvedAt": int64(3), "tags": none},
		},
	}
	for typ := range int64(64) {
		e, err := entry.Parse([]byte{0, byte(typ)}, nil)
		v.is(fmt.Sprintf("tables of type %d", typ), groupTables[typ] != "", e != nil || err != nil)
	}
	for _, x := range all {
		b, ok := x.entry.AppendValue(nil)
		v.is("a value", ok, true)
		name, key, value := v.groupRecord(x.entry.AppendKey(nil), b)
		v.fields(name+" key", key, x.key)
		v.fields(name+" value", value, x.value)
		if _, ok := x.entry.(*entry.Member); ok {
			tags, _ := value["tags"].(map[int64][]byte)
			v.fields("classic member", v.decode("member.classic", slices.Clone(tags[0])), values{
				"present": int64(1), "sessionTimeout": int64(6), "protocolCount": int64(1), "protocols": []any{values{"name": []byte("p"), "metadata": []byte("md"), "tags": none}}, "tags": none,
			})
		}
	}
}
