package machine

import (
	"fmt"
	"strings"

	"github.com/insynclog/insync/log"
)

// Record is one decided change of the cluster's metadata. Kinds have Kafka's ids; String is one line for transcripts and logs.
type Record interface {
	fmt.Stringer
	kind() kind
	apply(d *draft) error
	encode(dst []byte) []byte
	decode(r *reader)
}

// kind is a record's type id as it is stored. Format: never renumber. Ids up to 999 are Kafka's, ours start at 1000.
type kind uint16

// The record kinds. The names of Kafka's records are in the comments of the types.
const (
	kindRegisterBroker   kind = 0
	kindUnregisterBroker kind = 1
	kindTopic            kind = 2
	kindPartition        kind = 3
	kindConfig           kind = 4
	kindPartitionChange  kind = 5
	kindRemoveTopic      kind = 9
	kindScram            kind = 11
	kindFeatureLevel     kind = 12
	kindQuota            kind = 14
	kindProducerIDs      kind = 15
	kindBrokerChange     kind = 17
	kindACL              kind = 18
	kindRemoveACL        kind = 19
	kindRemoveScram      kind = 22
	kindClearELR         kind = 28
	kindClusterID        kind = 1000
	kindQuorum           kind = 1001
)

func newRecord(k kind) Record {
	switch k {
	case kindRegisterBroker:
		return &RegisterBroker{}
	case kindUnregisterBroker:
		return &UnregisterBroker{}
	case kindTopic:
		return &TopicRecord{}
	case kindPartition:
		return &PartitionRecord{}
	case kindConfig:
		return &ConfigRecord{}
	case kindPartitionChange:
		return &PartitionChange{}
	case kindRemoveTopic:
		return &RemoveTopic{}
	case kindScram:
		return &ScramRecord{}
	case kindRemoveScram:
		return &RemoveScram{}
	case kindACL:
		return &ACLRecord{}
	case kindRemoveACL:
		return &RemoveACL{}
	case kindFeatureLevel:
		return &FeatureLevel{}
	case kindQuota:
		return &QuotaRecord{}
	case kindProducerIDs:
		return &ProducerIDs{}
	case kindBrokerChange:
		return &BrokerChange{}
	case kindClearELR:
		return &ClearELR{}
	case kindClusterID:
		return &ClusterID{}
	case kindQuorum:
		return &QuorumRecord{}
	}
	return nil
}

// ClusterID names the cluster; the first record of every metadata log.
type ClusterID struct{ ID string }

// RegisterBroker is Kafka's RegisterBrokerRecord: a broker with a new incarnation, or in a snapshot a broker as it is.
type RegisterBroker struct{ Broker }

// UnregisterBroker is Kafka's UnregisterBrokerRecord.
type UnregisterBroker struct {
	ID    int32
	Epoch int64
}

// BrokerChange is Kafka's BrokerRegistrationChangeRecord.
type BrokerChange struct {
	ID                   int32
	Epoch                int64
	Fenced               Change
	InControlledShutdown Change
	DirectoryOffline     Change
	SlowDisk             Change
}

// Change is a new value of a flag, or none.
type Change int8

// The changes.
const (
	Keep  Change = 0
	Set   Change = 1
	Unset Change = -1
)

func (c Change) put(v *bool) {
	if c != Keep {
		*v = c == Set
	}
}

// TopicRecord is Kafka's TopicRecord: a new topic, without partitions yet.
type TopicRecord struct {
	Name string
	ID   log.TopicID
}

// RemoveTopic is Kafka's RemoveTopicRecord: the topic is gone, with partitions and configs.
type RemoveTopic struct{ ID log.TopicID }

// PartitionRecord is Kafka's PartitionRecord: a new partition, the next by number.
type PartitionRecord struct {
	TopicID log.TopicID
	Number  int32
	Partition
}

// PartitionChange is Kafka's PartitionChangeRecord: the fields that Has names, and a higher partition epoch; with HasLeader a higher leader epoch, too, and no hand-over any more.
type PartitionChange struct {
	TopicID      log.TopicID
	Number       int32
	Has          Fields
	Replicas     []int32
	ISR          []int32
	ELR          []int32
	LastKnownELR []int32
	Unsure       []int32
	Adding       []int32
	Removing     []int32
	HandOver     []int32
	Leader       int32
	Recovering   bool
}

// Fields says which fields of a PartitionChange count. Format: never renumber; the first eight are stored as a byte, later ones as tagged fields.
type Fields uint16

// The fields.
const (
	HasISR Fields = 1 << iota
	HasLeader
	HasReplicas
	HasELR
	HasLastKnownELR
	HasRecovering
	HasAdding
	HasRemoving
	HasUnsure
	HasHandOver
)

// ConfigRecord is Kafka's ConfigRecord: a dynamic config set, or removed with a nil Value.
type ConfigRecord struct {
	Resource ResourceType
	Name     string
	Key      string
	Value    *string
}

// ResourceType is what a config belongs to, with Kafka's numbers.
type ResourceType int8

// The resource types that are stored.
const (
	TopicResource  ResourceType = 2
	BrokerResource ResourceType = 4
)

// ProducerIDs is Kafka's ProducerIdsRecord: ids below Next have been given out, the last block to that broker.
type ProducerIDs struct {
	BrokerID    int32
	BrokerEpoch int64
	Next        int64
}

// ClearELR is Kafka's ClearElrRecord: the meaning of the ELR changed with min.insync.replicas. Topic "" is all topics.
type ClearELR struct{ Topic string }

func (*ClusterID) kind() kind        { return kindClusterID }
func (*RegisterBroker) kind() kind   { return kindRegisterBroker }
func (*UnregisterBroker) kind() kind { return kindUnregisterBroker }
func (*BrokerChange) kind() kind     { return kindBrokerChange }
func (*TopicRecord) kind() kind      { return kindTopic }
func (*RemoveTopic) kind() kind      { return kindRemoveTopic }
func (*PartitionRecord) kind() kind  { return kindPartition }
func (*PartitionChange) kind() kind  { return kindPartitionChange }
func (*ConfigRecord) kind() kind     { return kindConfig }
func (*ProducerIDs) kind() kind      { return kindProducerIDs }
func (*ClearELR) kind() kind         { return kindClearELR }

func (r *ClusterID) String() string { return "ClusterID " + r.ID }

func (r *RegisterBroker) String() string {
	s := fmt.Sprintf("RegisterBroker id=%d epoch=%d", r.ID, r.Epoch)
	if r.Addr != "" {
		s += " addr=" + r.Addr
	}
	if r.Rack != "" {
		s += " rack=" + r.Rack
	}
	if r.Known != 0 {
		s += fmt.Sprintf(" knows=%d", r.Known)
	}
	return s + flags(r.Fenced, "fenced", r.InControlledShutdown, "in-controlled-shutdown", r.DirectoryOffline, "directory-offline", r.SlowDisk, "slow-disk")
}

func flags(pairs ...any) string {
	var s string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i].(bool) {
			s += " " + pairs[i+1].(string)
		}
	}
	return s
}

func (r *UnregisterBroker) String() string {
	return fmt.Sprintf("UnregisterBroker id=%d epoch=%d", r.ID, r.Epoch)
}

func (r *BrokerChange) String() string {
	s := fmt.Sprintf("BrokerRegistrationChange id=%d epoch=%d", r.ID, r.Epoch)
	for _, c := range []struct {
		change Change
		name   string
	}{{r.Fenced, "fenced"}, {r.InControlledShutdown, "in-controlled-shutdown"}, {r.DirectoryOffline, "directory-offline"}, {r.SlowDisk, "slow-disk"}} {
		if c.change != Keep {
			s += fmt.Sprintf(" %s=%v", c.name, c.change == Set)
		}
	}
	return s
}

func (r *TopicRecord) String() string { return fmt.Sprintf("Topic %s id=%v", r.Name, r.ID) }
func (r *RemoveTopic) String() string { return fmt.Sprintf("RemoveTopic id=%v", r.ID) }

func (r *PartitionRecord) String() string {
	return fmt.Sprintf("Partition %v-%d %v", r.TopicID, r.Number, &r.Partition)
}

// String is the partition's state in one line.
func (p *Partition) String() string {
	s := fmt.Sprintf("replicas=%v isr=%v", ids(p.Replicas), ids(p.ISR))
	if len(p.ELR) > 0 {
		s += fmt.Sprintf(" elr=%v", ids(p.ELR))
	}
	if len(p.LastKnownELR) > 0 {
		s += fmt.Sprintf(" last-known=%v", ids(p.LastKnownELR))
	}
	if len(p.Unsure) > 0 {
		s += fmt.Sprintf(" unsure=%v", ids(p.Unsure))
	}
	if len(p.Adding) > 0 {
		s += fmt.Sprintf(" adding=%v", ids(p.Adding))
	}
	if len(p.Removing) > 0 {
		s += fmt.Sprintf(" removing=%v", ids(p.Removing))
	}
	if len(p.HandOver) > 0 {
		s += fmt.Sprintf(" hand-over=%v", ids(p.HandOver))
	}
	s += fmt.Sprintf(" leader=%d leader-epoch=%d partition-epoch=%d", p.Leader, p.LeaderEpoch, p.PartitionEpoch)
	return s + flags(p.Recovering, "recovering")
}

type ids []int32

func (l ids) String() string { return strings.ReplaceAll(fmt.Sprint([]int32(l)), " ", ",") }

func (r *PartitionChange) String() string {
	s := fmt.Sprintf("PartitionChange %v-%d", r.TopicID, r.Number)
	for _, f := range []struct {
		has  Fields
		name string
		list []int32
	}{
		{HasReplicas, "replicas", r.Replicas},
		{HasISR, "isr", r.ISR},
		{HasELR, "elr", r.ELR},
		{HasLastKnownELR, "last-known", r.LastKnownELR},
		{HasUnsure, "unsure", r.Unsure},
		{HasAdding, "adding", r.Adding},
		{HasRemoving, "removing", r.Removing},
		{HasHandOver, "hand-over", r.HandOver},
	} {
		if r.Has&f.has != 0 {
			s += fmt.Sprintf(" %s=%v", f.name, ids(f.list))
		}
	}
	if r.Has&HasLeader != 0 {
		s += fmt.Sprintf(" leader=%d", r.Leader)
	}
	if r.Has&HasRecovering != 0 {
		s += fmt.Sprintf(" recovering=%v", r.Recovering)
	}
	return s
}

func (r *ConfigRecord) String() string {
	resource := fmt.Sprintf("topic %s", r.Name)
	if r.Resource == BrokerResource {
		resource = "broker " + r.Name
		if r.Name == "" {
			resource = "cluster"
		}
	}
	if r.Value == nil {
		return fmt.Sprintf("Config %s %s removed", resource, r.Key)
	}
	return fmt.Sprintf("Config %s %s=%s", resource, r.Key, *r.Value)
}

func (r *ProducerIDs) String() string {
	return fmt.Sprintf("ProducerIds broker=%d epoch=%d next=%d", r.BrokerID, r.BrokerEpoch, r.Next)
}

func (r *ClearELR) String() string {
	if r.Topic == "" {
		return "ClearElr all topics"
	}
	return "ClearElr topic " + r.Topic
}
