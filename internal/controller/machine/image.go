package machine

import (
	"maps"
	"slices"

	"github.com/insynclog/insync/internal/acl"
	"github.com/insynclog/insync/internal/configs"
	"github.com/insynclog/insync/internal/sasl"
	"github.com/insynclog/insync/log"
)

// Image is the cluster's metadata at one point of the metadata log. It is immutable: nothing reachable from it may be changed.
type Image struct {
	Offset    int64 // last applied offset of the metadata log; -1 at the start
	Epoch     int32 // raft term of that offset
	ClusterID string
	Level     int16   // of the metadata, as it was finalized; LevelBase before
	Quorum    *Quorum // nil until it is founded
	Brokers   map[int32]*Broker
	Topics    map[string]*Topic
	TopicIDs  map[log.TopicID]*Topic
	// BrokerConfigs holds dynamic broker configs by broker id; key -1 is the cluster-wide default.
	BrokerConfigs  map[int32]map[string]string
	NextProducerID int64
	Scram          map[ScramUser]sasl.Credential // the users of SCRAM
	ACLs           map[acl.Binding]struct{}
	Quotas         map[QuotaEntity]map[string]float64 // by key
}

// ClusterDefault is the key of Image.BrokerConfigs under which the cluster-wide defaults are.
const ClusterDefault int32 = -1

// Broker is one registered node.
type Broker struct {
	ID                   int32
	Epoch                int64 // offset of the registration record
	Incarnation          log.TopicID
	DirectoryID          log.TopicID
	Addr                 string // advertised "host:port"; "" if the node does not listen
	Rack                 string
	Fenced               bool
	InControlledShutdown bool
	DirectoryOffline     bool  // the node reported that its data directory failed
	SlowDisk             bool  // the node asks not to be waited for
	Known                int16 // the level of the metadata up to which the node knows it; 0: it did not say
}

// Active tells whether the broker may lead and be in sync.
func (b *Broker) Active() bool {
	return b != nil && !b.Fenced && !b.InControlledShutdown && !b.DirectoryOffline
}

// Topic is one topic.
type Topic struct {
	Name       string
	ID         log.TopicID
	Partitions []*Partition // by partition number
	Configs    map[string]string
}

// Partition is one partition.
type Partition struct {
	Replicas       []int32
	ISR            []int32
	ELR            []int32
	LastKnownELR   []int32 // while nobody is in sync: who was in sync or eligible and came back from a lossy restart (KIP-966)
	Unsure         []int32 // of ELR: who restarted in a way after which the disk might be an older copy of itself. They lead by comparison only; see change.leader
	Adding         []int32 // of Replicas: came with the reassignment under way (KIP-455)
	Removing       []int32 // of Replicas: go when it is complete. One that is in both came with an earlier target and is not in the present one
	HandOver       []int32 // to whom the leader is to hand over, once that one has all that it has: one broker in sync, or none
	Leader         int32   // -1 without
	LeaderEpoch    int32
	PartitionEpoch int32
	Recovering     bool // elected uncleanly, and the leader has not confirmed it yet
}

// NoLeader is Partition.Leader of a partition without one.
const NoLeader int32 = -1

// Empty is the image before the first record.
func Empty() *Image {
	return &Image{
		Offset: -1, Level: LevelBase, Brokers: map[int32]*Broker{}, Topics: map[string]*Topic{}, TopicIDs: map[log.TopicID]*Topic{},
		BrokerConfigs: map[int32]map[string]string{}, Scram: map[ScramUser]sasl.Credential{}, ACLs: map[acl.Binding]struct{}{},
		Quotas: map[QuotaEntity]map[string]float64{},
	}
}

// BrokerIDs lists the registered brokers in order.
func (img *Image) BrokerIDs() []int32 { return slices.Sorted(maps.Keys(img.Brokers)) }

// TopicNames lists the topics in order.
func (img *Image) TopicNames() []string { return slices.Sorted(maps.Keys(img.Topics)) }

// MinISR is the effective min.insync.replicas of a partition. static are the broker configs that all nodes were started with.
func (img *Image) MinISR(t *Topic, p *Partition, static map[string]string) int {
	set := configs.MinInSyncReplicas(t.Configs, nil, img.BrokerConfigs[ClusterDefault], static)
	return configs.Topic{MinInSyncReplicas: set}.MinISR(p.Factor())
}

// uncleanElection is the topic's effective unclean.leader.election.enable.
func (img *Image) uncleanElection(t *Topic, static map[string]string) bool {
	return configs.UncleanLeaderElection(t.Configs, nil, img.BrokerConfigs[ClusterDefault], static)
}

// partition finds a partition, or nil.
func (t *Topic) partition(n int32) *Partition {
	if t == nil || n < 0 || int(n) >= len(t.Partitions) {
		return nil
	}
	return t.Partitions[n]
}

// Reassigning tells whether a reassignment is under way.
func (p *Partition) Reassigning() bool { return len(p.Adding)+len(p.Removing) > 0 }

// Factor is the replication factor that min.insync.replicas goes by: replicas that are being added do not count before all of them are in sync.
//
// Differs from Kafka, which counts all replicas: here the minimum, where nobody set it, is a majority of them, and a reassignment would refuse appends by its mere beginning.
func (p *Partition) Factor() int { return len(p.Replicas) - len(p.Adding) }

func (p *Partition) equal(q *Partition) bool {
	return p == q || p.Leader == q.Leader && p.LeaderEpoch == q.LeaderEpoch && p.PartitionEpoch == q.PartitionEpoch && p.Recovering == q.Recovering &&
		slices.Equal(p.Replicas, q.Replicas) && slices.Equal(p.ISR, q.ISR) && slices.Equal(p.ELR, q.ELR) && slices.Equal(p.LastKnownELR, q.LastKnownELR) && slices.Equal(p.Unsure, q.Unsure) &&
		slices.Equal(p.Adding, q.Adding) && slices.Equal(p.Removing, q.Removing) && slices.Equal(p.HandOver, q.HandOver)
}

func (t *Topic) equal(u *Topic) bool {
	return t == u || t.Name == u.Name && t.ID == u.ID && maps.Equal(t.Configs, u.Configs) && slices.EqualFunc(t.Partitions, u.Partitions, (*Partition).equal)
}

// Delta tells what changed between two images.
type Delta struct {
	Old, New *Image
	Topics   []string // names of topics created, deleted or changed (partitions, configs), sorted
	Deleted  []*Topic // topics (incarnations) that are gone
	Brokers  []int32  // brokers that changed, sorted
	Configs  bool     // broker configs changed
	Quorum   bool     // the metadata quorum's members changed
	Security bool     // users of SCRAM, access control lists or quotas changed
}

// Diff finds the delta between two images whose records in between are not known (a snapshot from the leader took their place).
func Diff(from, to *Image) Delta {
	d := Delta{Old: from, New: to}
	for _, name := range from.TopicNames() {
		old, now := from.Topics[name], to.Topics[name]
		switch {
		case now == nil:
			d.Topics = append(d.Topics, name)
			d.Deleted = append(d.Deleted, old)
		case now.ID != old.ID:
			d.Topics = append(d.Topics, name)
			d.Deleted = append(d.Deleted, old)
		case !now.equal(old):
			d.Topics = append(d.Topics, name)
		}
	}
	for name := range to.Topics {
		if from.Topics[name] == nil {
			d.Topics = append(d.Topics, name)
		}
	}
	slices.Sort(d.Topics)
	for id, old := range from.Brokers {
		if now := to.Brokers[id]; now == nil || *now != *old {
			d.Brokers = append(d.Brokers, id)
		}
	}
	for id := range to.Brokers {
		if from.Brokers[id] == nil {
			d.Brokers = append(d.Brokers, id)
		}
	}
	slices.Sort(d.Brokers)
	d.Configs = !maps.EqualFunc(from.BrokerConfigs, to.BrokerConfigs, maps.Equal)
	d.Security = !maps.Equal(from.ACLs, to.ACLs) || !maps.EqualFunc(from.Scram, to.Scram, sasl.Credential.Equal) ||
		!maps.EqualFunc(from.Quotas, to.Quotas, maps.Equal)
	d.Quorum = !from.Quorum.equal(to.Quorum)
	return d
}

// Equal tells whether two images hold the same metadata.
func (img *Image) Equal(other *Image) bool {
	d := Diff(img, other)
	return len(d.Topics)+len(d.Brokers) == 0 && !d.Configs && !d.Security && !d.Quorum && img.Offset == other.Offset && img.Epoch == other.Epoch &&
		img.ClusterID == other.ClusterID && img.Level == other.Level && img.NextProducerID == other.NextProducerID
}

// Records returns records that make this image out of the empty one, in an order that depends on nothing but the image: the content of a snapshot.
func (img *Image) Records() []Record {
	var rs []Record
	if img.ClusterID != "" {
		rs = append(rs, &ClusterID{ID: img.ClusterID})
	}
	if img.Level > LevelBase {
		rs = append(rs, &FeatureLevel{Level: img.Level}) // before what needs it: who does not know it is told so
	}
	if img.Quorum != nil {
		rs = append(rs, &QuorumRecord{*img.Quorum})
	}
	for _, id := range img.BrokerIDs() {
		rs = append(rs, &RegisterBroker{*img.Brokers[id]})
	}
	for _, id := range slices.Sorted(maps.Keys(img.BrokerConfigs)) {
		rs = appendConfigs(rs, BrokerResource, brokerResourceName(id), img.BrokerConfigs[id])
	}
	for _, name := range img.TopicNames() {
		t := img.Topics[name]
		rs = append(rs, &TopicRecord{Name: name, ID: t.ID})
		rs = appendConfigs(rs, TopicResource, name, t.Configs)
		for n, p := range t.Partitions {
			rs = append(rs, &PartitionRecord{TopicID: t.ID, Number: int32(n), Partition: *p})
		}
	}
	if img.NextProducerID != 0 {
		rs = append(rs, &ProducerIDs{BrokerID: -1, BrokerEpoch: -1, Next: img.NextProducerID})
	}
	for _, u := range img.ScramUsers() {
		rs = append(rs, &ScramRecord{User: u, Credential: img.Scram[u]})
	}
	for _, b := range img.Bindings() {
		rs = append(rs, &ACLRecord{Binding: b})
	}
	return append(rs, img.quotaRecords()...)
}

func appendConfigs(rs []Record, resource ResourceType, name string, values map[string]string) []Record {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		v := values[key]
		rs = append(rs, &ConfigRecord{Resource: resource, Name: name, Key: key, Value: &v})
	}
	return rs
}
