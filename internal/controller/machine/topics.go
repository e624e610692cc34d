package machine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/insynclog/insync/internal/configs"
	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// metadataTopic is the name of the metadata log, which no topic may have.
const metadataTopic = "__cluster_metadata"

// maxNameBytes is the longest topic name: with "-<partition>" and "-delete" suffixes it has to be the name of a directory.
const maxNameBytes = 249

// checkTopicName returns what is wrong with a topic's name, or "".
func checkTopicName(name string) string {
	switch {
	case name == "":
		return "Topic name is invalid: the empty string is not allowed"
	case name == "." || name == "..":
		return "Topic name is invalid: '.' or '..' is not allowed"
	case len(name) > maxNameBytes:
		return fmt.Sprintf("Topic name is invalid: the length of '%s' is longer than the max allowed length %d", name, maxNameBytes)
	}
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return fmt.Sprintf("Topic name is invalid: '%s' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", name)
		}
	}
	return ""
}

// collision finds a topic whose name is the same once dots are underscores, as they are in names of metrics.
func (img *Image) collision(name string) (other string, found bool) {
	if !strings.ContainsAny(name, "._") {
		return "", false
	}
	unified := strings.ReplaceAll(name, ".", "_")
	for _, t := range img.Topics {
		if t.Name != name && len(t.Name) == len(name) && strings.ReplaceAll(t.Name, ".", "_") == unified {
			if other == "" || t.Name < other {
				other = t.Name
			}
		}
	}
	return other, other != ""
}

// createTopics answers CreateTopics. One bad topic does not fail the others.
func (b *Batch) createTopics(req *kmsg.CreateTopicsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	on := b
	if req.ValidateOnly {
		on = b.trial()
	}
	names := map[string]int{}
	var total int64
	for i := range req.Topics {
		rt := &req.Topics[i]
		names[rt.Topic]++
		switch {
		case len(rt.ReplicaAssignment) > 0:
			total += int64(len(rt.ReplicaAssignment))
		case rt.NumPartitions > 0:
			total += int64(rt.NumPartitions)
		default:
			total += int64(b.m.c.DefaultPartitions)
		}
	}
	for i := range req.Topics {
		rt := &req.Topics[i]
		out := kmsg.NewCreateTopicsResponseTopic()
		out.Topic = rt.Topic
		var p problem
		switch n := names[rt.Topic]; {
		case n == 0:
			continue // a duplicate that has been answered
		case n > 1:
			names[rt.Topic] = 0
			p = refuse(kerr.InvalidRequest, "Duplicate topic name.")
		case total > maxUserRecords:
			p = refuse(kerr.PolicyViolation, "Excessively large number of partitions per request.")
		default:
			p = on.createTopic(rt, &out, req.Version >= 5)
			if req.ValidateOnly {
				out.TopicID = [16]byte{} // there is none
			}
		}
		out.ErrorCode, out.ErrorMessage = p.code, p.text()
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

// createTopic creates one topic. describe asks for its configs in the answer.
func (b *Batch) createTopic(rt *kmsg.CreateTopicsRequestTopic, out *kmsg.CreateTopicsResponseTopic, describe bool) problem {
	img := b.d.img
	if reason := checkTopicName(rt.Topic); reason != "" {
		return refuse(kerr.InvalidTopicException, "%s", reason)
	}
	if rt.Topic == metadataTopic {
		return refuse(kerr.InvalidRequest, "Creation of internal topic %s is prohibited.", metadataTopic)
	}
	if img.Topics[rt.Topic] != nil {
		return refuse(kerr.TopicAlreadyExists, "Topic '%s' already exists.", rt.Topic)
	}
	if other, found := img.collision(rt.Topic); found {
		return refuse(kerr.InvalidTopicException, "Topic '%s' collides with existing topic: %s", rt.Topic, other)
	}
	overrides, p := newTopicConfigs(rt.Configs)
	if p.code != 0 {
		return p
	}
	var partitions []*Partition
	switch {
	case len(rt.ReplicaAssignment) > 0:
		partitions, p = b.assigned(rt)
	case rt.ReplicationFactor < -1 || rt.ReplicationFactor == 0:
		p = refuse(kerr.InvalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value.")
	case rt.NumPartitions < -1 || rt.NumPartitions == 0:
		p = refuse(kerr.InvalidPartitions, "Number of partitions was set to an invalid non-positive value.")
	default:
		partitions, p = b.placed(b.partitionCount(rt.NumPartitions), b.replication(rt.Topic, rt.ReplicationFactor))
	}
	if p.code != 0 {
		return p
	}
	id := b.newID()
	b.add(&TopicRecord{Name: strings.Clone(rt.Topic), ID: id})
	for _, key := range slices.Sorted(maps.Keys(overrides)) {
		v := overrides[key]
		b.add(&ConfigRecord{Resource: TopicResource, Name: rt.Topic, Key: key, Value: &v})
	}
	b.addPartitions(id, 0, partitions)

	out.TopicID = id
	out.NumPartitions, out.ReplicationFactor = int32(len(partitions)), int16(len(partitions[0].Replicas))
	if describe {
		out.Configs = b.describeNew(overrides, len(partitions[0].Replicas))
	}
	return problem{}
}

func newTopicConfigs(given []kmsg.CreateTopicsRequestTopicConfig) (map[string]string, problem) {
	overrides := make(map[string]string, len(given))
	for _, c := range given {
		if c.Value == nil {
			return nil, refuse(kerr.InvalidConfig, "Null value not supported for topic configs: %s", c.Name)
		}
		overrides[c.Name] = *c.Value
	}
	if err := configs.ValidateTopic(overrides); err != nil {
		return nil, refuse(kerr.InvalidConfig, "%s", err)
	}
	return overrides, problem{}
}

func (b *Batch) partitionCount(asked int32) int {
	if asked == -1 {
		return int(b.m.c.DefaultPartitions)
	}
	return int(asked)
}

func (b *Batch) replication(topic string, asked int16) int {
	if asked != -1 {
		return int(asked)
	}
	if n, ok := b.internalReplication(topic, len(b.d.img.Brokers)); ok {
		return n
	}
	if n := int(b.m.c.DefaultReplication); n > 0 {
		return n
	}
	return max(1, min(3, len(b.d.img.Brokers)))
}

// placed makes new partitions on brokers of the placer's choice.
func (b *Batch) placed(count, replication int) ([]*Partition, problem) {
	pl, p := b.newPlacer(replication)
	if p.code != 0 {
		return nil, p
	}
	partitions := make([]*Partition, count)
	for i := range partitions {
		partitions[i], _ = b.newPartition(pl.place(replication))
	}
	return partitions, problem{}
}

// newPartition is a partition whose live replicas are in sync; ok is false without one.
func (b *Batch) newPartition(replicas []int32) (p *Partition, ok bool) {
	p = &Partition{Replicas: replicas, Leader: NoLeader}
	for _, id := range replicas {
		if b.active(id) {
			p.ISR = append(p.ISR, id)
		}
	}
	if len(p.ISR) == 0 {
		return nil, false
	}
	p.Leader = p.ISR[0]
	return p, true
}

func (b *Batch) addPartitions(id log.TopicID, first int, partitions []*Partition) {
	for i, p := range partitions {
		b.add(&PartitionRecord{TopicID: id, Number: int32(first + i), Partition: *p})
	}
}

// assigned makes the partitions of a manual assignment.
func (b *Batch) assigned(rt *kmsg.CreateTopicsRequestTopic) ([]*Partition, problem) {
	if rt.ReplicationFactor != -1 {
		return nil, refuse(kerr.InvalidRequest, "A manual partition assignment was specified, but replication factor was not set to -1.")
	}
	if rt.NumPartitions != -1 {
		return nil, refuse(kerr.InvalidRequest, "A manual partition assignment was specified, but numPartitions was not set to -1.")
	}
	partitions := make([]*Partition, len(rt.ReplicaAssignment))
	replication := 0
	for _, a := range rt.ReplicaAssignment {
		if a.Partition < 0 || int(a.Partition) >= len(partitions) {
			return nil, refuse(kerr.InvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence")
		}
		if partitions[a.Partition] != nil {
			return nil, refuse(kerr.InvalidReplicaAssignment, "Found multiple manual partition assignments for partition %d", a.Partition)
		}
		p, bad := b.assignedOne(int(a.Partition), a.Replicas, replication)
		if bad.code != 0 {
			return nil, bad
		}
		replication = len(a.Replicas)
		partitions[a.Partition] = p
	}
	return partitions, problem{}
}

// checkAssignment checks a list of replicas.
func (b *Batch) checkAssignment(replicas []int32) problem {
	if len(replicas) == 0 {
		return refuse(kerr.InvalidReplicaAssignment, "The manual partition assignment includes an empty replica list.")
	}
	for i, id := range replicas {
		if b.d.img.Brokers[id] == nil {
			return refuse(kerr.InvalidReplicaAssignment, "The manual partition assignment includes broker %d, but no such broker is registered.", id)
		}
		if slices.Contains(replicas[:i], id) {
			return refuse(kerr.InvalidReplicaAssignment, "The manual partition assignment includes the broker %d more than once.", id)
		}
	}
	return problem{}
}

// assignedOne checks one manual assignment. replication is that of the other partitions, 0 if there is none yet.
func (b *Batch) assignedOne(n int, replicas []int32, replication int) (*Partition, problem) {
	if p := b.checkAssignment(replicas); p.code != 0 {
		return nil, p
	}
	if replication != 0 && len(replicas) != replication {
		return nil, refuse(kerr.InvalidReplicaAssignment,
			"The manual partition assignment includes a partition with %d replica(s), but this is not consistent with previous partitions, which have %d replica(s).", len(replicas), replication)
	}
	p, ok := b.newPartition(slices.Clone(replicas))
	if !ok {
		return nil, refuse(kerr.InvalidReplicaAssignment, "All brokers specified in the manual partition assignment for partition %d are fenced or in controlled shutdown.", n)
	}
	return p, problem{}
}

func (b *Batch) describeNew(overrides map[string]string, replicas int) []kmsg.CreateTopicsResponseTopicConfig {
	entries := configs.DescribeTopic(overrides, nil, b.d.img.BrokerConfigs[ClusterDefault], b.m.c.Static)
	out := make([]kmsg.CreateTopicsResponseTopicConfig, len(entries))
	for i, e := range entries {
		e = e.ForReplicas(replicas)
		out[i] = kmsg.NewCreateTopicsResponseTopicConfig()
		out[i].Name, out[i].Value, out[i].ReadOnly = e.Key.Name, &e.Value, e.Key.ReadOnly
		out[i].Source, out[i].IsSensitive = int8(e.Source), e.Key.Sensitive
	}
	return out
}

// deleteTopics answers DeleteTopics, by name or by id.
func (b *Batch) deleteTopics(req *kmsg.DeleteTopicsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	asked := req.Topics
	if len(asked) == 0 {
		for i := range req.TopicNames {
			t := kmsg.NewDeleteTopicsRequestTopic()
			t.Topic = &req.TopicNames[i]
			asked = append(asked, t)
		}
	}
	names, ids := map[string]int{}, map[log.TopicID]int{}
	for _, rt := range asked {
		if t := b.find(rt); t != nil {
			ids[t.ID]++ // a topic asked for by name and by id is a duplicate, too
		} else if rt.Topic != nil {
			names[*rt.Topic]++
		} else {
			ids[rt.TopicID]++
		}
	}
	var gone []*Topic
	for _, rt := range asked {
		out := kmsg.NewDeleteTopicsResponseTopic()
		if rt.Topic != nil {
			name := strings.Clone(*rt.Topic)
			out.Topic = &name
		}
		out.TopicID = rt.TopicID
		t := b.find(rt)
		var p problem
		switch {
		case rt.Topic != nil && rt.TopicID != [16]byte{}:
			p = refuse(kerr.InvalidRequest, "Topic name and topic ID can not both be specified.")
		case rt.Topic == nil && rt.TopicID == [16]byte{}:
			p = refuse(kerr.InvalidRequest, "Neither topic name nor id were specified.")
		case t != nil && ids[t.ID] > 1, t == nil && rt.Topic != nil && names[*rt.Topic] > 1, t == nil && rt.Topic == nil && ids[rt.TopicID] > 1:
			p = refuse(kerr.InvalidRequest, "Duplicate topic name or id.")
		case b.static("delete.topic.enable") == "false" && req.Version < 3:
			p = refuse(kerr.InvalidRequest, "Topic deletion is disabled.")
		case b.static("delete.topic.enable") == "false":
			p = refuse(kerr.TopicDeletionDisabled, "Topic deletion is disabled.")
		case t == nil && rt.Topic != nil:
			p = refuse(kerr.UnknownTopicOrPartition, "This server does not host this topic-partition.")
		case t == nil:
			p = refuse(kerr.UnknownTopicID, "This server does not host this topic ID.")
		default:
			name := t.Name
			out.Topic, out.TopicID = &name, t.ID
			gone = append(gone, t)
		}
		out.ErrorCode, out.ErrorMessage = p.code, p.text()
		resp.Topics = append(resp.Topics, out)
	}
	for _, t := range gone {
		b.add(&RemoveTopic{ID: t.ID})
	}
	return resp
}

func (b *Batch) find(rt kmsg.DeleteTopicsRequestTopic) *Topic {
	if rt.Topic != nil {
		return b.d.img.Topics[*rt.Topic]
	}
	return b.d.img.TopicIDs[rt.TopicID]
}

// createPartitions answers CreatePartitions: a topic can only grow.
func (b *Batch) createPartitions(req *kmsg.CreatePartitionsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	on := b
	if req.ValidateOnly {
		on = b.trial()
	}
	names := map[string]int{}
	var total int64
	for i := range req.Topics {
		rt := &req.Topics[i]
		names[rt.Topic]++
		if t := b.d.img.Topics[rt.Topic]; t != nil {
			total += max(0, int64(rt.Count)-int64(len(t.Partitions)))
		}
	}
	for i := range req.Topics {
		rt := &req.Topics[i]
		out := kmsg.NewCreatePartitionsResponseTopic()
		out.Topic = rt.Topic
		var p problem
		switch n := names[rt.Topic]; {
		case n == 0:
			continue
		case n > 1:
			names[rt.Topic] = 0
			p = refuse(kerr.InvalidRequest, "Duplicate topic name.")
		case total > maxUserRecords:
			p = refuse(kerr.PolicyViolation, "Excessively large number of partitions per request.")
		default:
			p = on.grow(rt)
		}
		out.ErrorCode, out.ErrorMessage = p.code, p.text()
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (b *Batch) grow(rt *kmsg.CreatePartitionsRequestTopic) problem {
	t := b.d.img.Topics[rt.Topic]
	if t == nil {
		return refuse(kerr.UnknownTopicOrPartition, "This server does not host this topic-partition.")
	}
	have := len(t.Partitions)
	more := int(rt.Count) - have
	switch {
	case more == 0:
		return refuse(kerr.InvalidPartitions, "Topic already has %d partition(s).", have)
	case more < 0:
		return refuse(kerr.InvalidPartitions, "The topic %s currently has %d partition(s); %d would not be an increase.", rt.Topic, have, rt.Count)
	case len(rt.Assignment) > 0 && len(rt.Assignment) != more:
		return refuse(kerr.InvalidReplicaAssignment, "Attempted to add %d additional partition(s), but only %d assignment(s) were specified.", more, len(rt.Assignment))
	}
	replication := len(t.Partitions[0].Replicas)
	if len(rt.Assignment) == 0 {
		partitions, p := b.placed(more, replication)
		if p.code == 0 {
			b.addPartitions(t.ID, have, partitions)
		}
		return p
	}
	partitions := make([]*Partition, more)
	for i, a := range rt.Assignment {
		p, bad := b.assignedOne(have+i, a.Replicas, replication)
		if bad.code != 0 {
			return bad
		}
		partitions[i] = p
	}
	b.addPartitions(t.ID, have, partitions)
	return problem{}
}
