package machine

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/insynclog/insync/log"
)

// Apply returns the image after an entry of the metadata log with these records, and what changed. img stays as it is; what did not change is shared.
// The error (*ApplyError) says that a record does not fit the image: the log is damaged or was written by a version that this one does not understand.
func (img *Image) Apply(offset int64, epoch int32, records []Record) (*Image, Delta, error) {
	u := Begin(img)
	if err := u.Apply(offset, epoch, records); err != nil {
		return nil, Delta{}, err
	}
	img, delta := u.Finish()
	return img, delta, nil
}

// Update applies several entries to an image at the cost of one.
type Update struct{ d *draft }

// Begin starts an update of img, which stays as it is.
func Begin(img *Image) *Update { return &Update{newDraft(img)} }

// Apply applies the next entry. After an error (*ApplyError) the update must not be used any more.
func (u *Update) Apply(offset int64, epoch int32, records []Record) error {
	for i, r := range records {
		if err := r.apply(u.d); err != nil {
			return &ApplyError{Offset: offset, Index: i, Record: r, Err: err}
		}
	}
	u.d.img.Offset, u.d.img.Epoch = offset, epoch
	return nil
}

// Finish returns the new image and what changed since the old one. The update must not be used any more.
func (u *Update) Finish() (*Image, Delta) { return u.d.img, u.d.delta() }

// ApplyError is a record that does not fit the image before it.
type ApplyError struct {
	Offset int64
	Index  int // of the record in its entry
	Record Record
	Err    error
}

// Error names the record's place in the metadata log.
func (e *ApplyError) Error() string {
	return fmt.Sprintf("metadata record %d at offset %d (%v): %v", e.Index, e.Offset, e.Record, e.Err)
}

// Unwrap returns the cause.
func (e *ApplyError) Unwrap() error { return e.Err }

// draft is an image under construction. It shares with base what has not been changed yet, and clones on the first write.
type draft struct {
	base, img *Image

	ownBrokers, ownTopics, ownConfigs, ownScram, ownACLs, ownQuotas bool
	owned                                                           map[*Topic]bool // topics whose struct and partition slice are ours; partitions and configs are always replaced

	topics   map[string]struct{}
	deleted  []*Topic
	brokers  map[int32]struct{}
	configs  bool
	security bool
	quorum   bool
}

func newDraft(base *Image) *draft {
	img := *base
	return &draft{base: base, img: &img, owned: map[*Topic]bool{}, topics: map[string]struct{}{}, brokers: map[int32]struct{}{}}
}

func (d *draft) delta() Delta {
	return Delta{
		Old: d.base, New: d.img, Topics: slices.Sorted(maps.Keys(d.topics)), Deleted: d.deleted,
		Brokers: slices.Sorted(maps.Keys(d.brokers)), Configs: d.configs, Security: d.security, Quorum: d.quorum,
	}
}

func (d *draft) putBroker(b *Broker) {
	if !d.ownBrokers {
		d.img.Brokers, d.ownBrokers = maps.Clone(d.img.Brokers), true
	}
	d.img.Brokers[b.ID] = b
	d.brokers[b.ID] = struct{}{}
}

func (d *draft) deleteBroker(id int32) {
	if !d.ownBrokers {
		d.img.Brokers, d.ownBrokers = maps.Clone(d.img.Brokers), true
	}
	delete(d.img.Brokers, id)
	d.brokers[id] = struct{}{}
}

func (d *draft) ownTopicMaps() {
	if d.ownTopics {
		return
	}
	d.img.Topics, d.img.TopicIDs, d.ownTopics = maps.Clone(d.img.Topics), maps.Clone(d.img.TopicIDs), true
}

func (d *draft) putTopic(t *Topic) {
	d.ownTopicMaps()
	d.img.Topics[t.Name], d.img.TopicIDs[t.ID] = t, t
	d.owned[t] = true
	d.topics[t.Name] = struct{}{}
}

func (d *draft) deleteTopic(t *Topic) {
	d.ownTopicMaps()
	delete(d.img.Topics, t.Name)
	delete(d.img.TopicIDs, t.ID)
	d.topics[t.Name] = struct{}{}
	if old := d.base.TopicIDs[t.ID]; old != nil {
		d.deleted = append(d.deleted, old)
	}
}

// writable returns the topic as one that may be changed: its fields and the slots of Partitions, not what they point to.
func (d *draft) writable(id log.TopicID) (*Topic, error) {
	t := d.img.TopicIDs[id]
	if t == nil {
		return nil, fmt.Errorf("unknown topic id %v", id)
	}
	if d.owned[t] {
		return t, nil
	}
	clone := *t
	clone.Partitions = slices.Clone(t.Partitions)
	d.putTopic(&clone)
	return &clone, nil
}

func (r *ClusterID) apply(d *draft) error {
	if d.img.ClusterID != "" && d.img.ClusterID != r.ID {
		return fmt.Errorf("the cluster already has the id %s", d.img.ClusterID)
	}
	d.img.ClusterID = r.ID
	return nil
}

func (r *RegisterBroker) apply(d *draft) error {
	b := r.Broker
	d.putBroker(&b)
	return nil
}

func (r *UnregisterBroker) apply(d *draft) error {
	if d.img.Brokers[r.ID] == nil {
		return fmt.Errorf("broker %d is not registered", r.ID)
	}
	d.deleteBroker(r.ID)
	return nil
}

func (r *BrokerChange) apply(d *draft) error {
	old := d.img.Brokers[r.ID]
	if old == nil || old.Epoch != r.Epoch {
		return fmt.Errorf("broker %d is not registered with epoch %d", r.ID, r.Epoch)
	}
	b := *old
	r.Fenced.put(&b.Fenced)
	r.InControlledShutdown.put(&b.InControlledShutdown)
	r.DirectoryOffline.put(&b.DirectoryOffline)
	r.SlowDisk.put(&b.SlowDisk)
	d.putBroker(&b)
	return nil
}

func (r *TopicRecord) apply(d *draft) error {
	// A topic's name becomes the name of a directory on every node: it is checked on this path as on that of the client.
	if reason := checkTopicName(r.Name); reason != "" {
		return fmt.Errorf("%s", reason)
	}
	if d.img.Topics[r.Name] != nil {
		return fmt.Errorf("topic %s exists", r.Name)
	}
	if d.img.TopicIDs[r.ID] != nil || r.ID == (log.TopicID{}) {
		return fmt.Errorf("topic id %v cannot be used", r.ID)
	}
	d.putTopic(&Topic{Name: r.Name, ID: r.ID})
	return nil
}

func (r *RemoveTopic) apply(d *draft) error {
	t := d.img.TopicIDs[r.ID]
	if t == nil {
		return fmt.Errorf("unknown topic id %v", r.ID)
	}
	d.deleteTopic(t)
	return nil
}

func (r *PartitionRecord) apply(d *draft) error {
	t, err := d.writable(r.TopicID)
	if err != nil {
		return err
	}
	if int(r.Number) != len(t.Partitions) {
		return fmt.Errorf("partition %d of topic %s follows %d partitions", r.Number, t.Name, len(t.Partitions))
	}
	p := r.Partition
	if err := p.check(); err != nil {
		return fmt.Errorf("partition %s-%d: %w", t.Name, r.Number, err)
	}
	t.Partitions = append(t.Partitions, &p)
	return nil
}

func (r *PartitionChange) apply(d *draft) error {
	t, err := d.writable(r.TopicID)
	if err != nil {
		return err
	}
	old := t.partition(r.Number)
	if old == nil {
		return fmt.Errorf("topic %s has no partition %d", t.Name, r.Number)
	}
	p := r.applyTo(old)
	if err := p.check(); err != nil {
		return fmt.Errorf("partition %s-%d: %w", t.Name, r.Number, err)
	}
	t.Partitions[r.Number] = p
	return nil
}

// applyTo is Kafka's rule for the record: the partition epoch rises always, the leader epoch if the leader is named, even if it is the same.
func (r *PartitionChange) applyTo(old *Partition) *Partition {
	p := *old
	if r.Has&HasReplicas != 0 {
		p.Replicas = r.Replicas
	}
	if r.Has&HasISR != 0 {
		p.ISR = r.ISR
	}
	if r.Has&HasELR != 0 {
		p.ELR = r.ELR
	}
	if r.Has&HasLastKnownELR != 0 {
		p.LastKnownELR = r.LastKnownELR
	}
	if r.Has&HasUnsure != 0 {
		p.Unsure = r.Unsure
	}
	if r.Has&HasAdding != 0 {
		p.Adding = r.Adding
	}
	if r.Has&HasRemoving != 0 {
		p.Removing = r.Removing
	}
	if r.Has&HasRecovering != 0 {
		p.Recovering = r.Recovering
	}
	if r.Has&HasHandOver != 0 {
		p.HandOver = r.HandOver
	}
	if r.Has&HasLeader != 0 {
		p.Leader = r.Leader
		p.LeaderEpoch++
		p.HandOver = nil
	}
	if !subset(p.HandOver, p.ISR) { // written by a version that does not know of it
		p.HandOver = nil
	}
	p.PartitionEpoch++
	return &p
}

// check holds a partition to the invariants of the package comment that need no other state.
func (p *Partition) check() error {
	switch {
	case len(p.Replicas) == 0:
		return fmt.Errorf("no replicas")
	case hasDuplicates(p.Replicas) || hasDuplicates(p.ISR) || hasDuplicates(p.ELR) || hasDuplicates(p.Adding) || hasDuplicates(p.Removing):
		return fmt.Errorf("a broker is named twice: replicas=%v isr=%v elr=%v adding=%v removing=%v", p.Replicas, p.ISR, p.ELR, p.Adding, p.Removing)
	case !subset(p.Adding, p.Replicas) || !subset(p.Removing, p.Replicas):
		return fmt.Errorf("adding %v or removing %v not among the replicas %v", p.Adding, p.Removing, p.Replicas)
	case len(p.Adding) == len(p.Replicas) || len(p.Removing) == len(p.Replicas):
		return fmt.Errorf("all replicas %v are being added, or removed", p.Replicas)
	case !subset(p.ISR, p.Replicas) || !subset(p.ELR, p.Replicas) || !subset(p.LastKnownELR, p.Replicas):
		return fmt.Errorf("isr %v, elr %v or the last known %v not among the replicas %v", p.ISR, p.ELR, p.LastKnownELR, p.Replicas)
	case !subset(p.Unsure, p.ELR):
		return fmt.Errorf("unsure %v not among the elr %v", p.Unsure, p.ELR)
	case len(p.HandOver) > 1 || !subset(p.HandOver, p.ISR) || slices.Contains(p.HandOver, p.Leader) || len(p.HandOver) > 0 && p.Leader == NoLeader:
		return fmt.Errorf("leader %d is to hand over to %v, of the isr %v", p.Leader, p.HandOver, p.ISR)
	case p.Leader != NoLeader && !slices.Contains(p.ISR, p.Leader):
		return fmt.Errorf("leader %d not in the isr %v", p.Leader, p.ISR)
	}
	for _, id := range p.ELR {
		if slices.Contains(p.ISR, id) {
			return fmt.Errorf("broker %d is in both isr and elr", id)
		}
	}
	return nil
}

func (r *ConfigRecord) apply(d *draft) error {
	switch r.Resource {
	case TopicResource:
		t := d.img.Topics[r.Name]
		if t == nil {
			return fmt.Errorf("config of unknown topic %s", r.Name)
		}
		t, err := d.writable(t.ID)
		if err != nil {
			return err
		}
		t.Configs = withConfig(t.Configs, r.Key, r.Value)
		return nil
	case BrokerResource:
		id, err := brokerOfResource(r.Name)
		if err != nil {
			return err
		}
		if !d.ownConfigs {
			d.img.BrokerConfigs, d.ownConfigs = maps.Clone(d.img.BrokerConfigs), true
		}
		if m := withConfig(d.img.BrokerConfigs[id], r.Key, r.Value); len(m) > 0 {
			d.img.BrokerConfigs[id] = m
		} else {
			delete(d.img.BrokerConfigs, id)
		}
		d.configs = true
		return nil
	}
	return fmt.Errorf("config of unknown resource type %d", r.Resource)
}

func withConfig(m map[string]string, key string, value *string) map[string]string {
	m = maps.Clone(m)
	if value == nil {
		delete(m, key)
		if len(m) == 0 {
			return nil
		}
		return m
	}
	if m == nil {
		m = map[string]string{}
	}
	m[key] = *value
	return m
}

// brokerOfResource reads the name of a broker resource; "" is the cluster-wide default.
func brokerOfResource(name string) (int32, error) {
	if name == "" {
		return ClusterDefault, nil
	}
	n, err := strconv.ParseInt(name, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a broker id", name)
	}
	return int32(n), nil
}

func brokerResourceName(id int32) string {
	if id == ClusterDefault {
		return ""
	}
	return strconv.Itoa(int(id))
}

func (r *ProducerIDs) apply(d *draft) error {
	if r.Next < d.img.NextProducerID {
		return fmt.Errorf("producer ids up to %d were given out", d.img.NextProducerID)
	}
	d.img.NextProducerID = r.Next
	return nil
}

// apply empties the ELR where the ISR has members. Differs from Kafka, which empties it everywhere: where the ISR is empty the ELR is all there is to elect from,
// and nothing was committed since.
func (r *ClearELR) apply(d *draft) error {
	names := []string{r.Topic}
	if r.Topic == "" {
		names = d.img.TopicNames()
	}
	for _, name := range names {
		topic := d.img.Topics[name]
		if topic == nil {
			return fmt.Errorf("unknown topic %s", name)
		}
		for n, p := range topic.Partitions {
			if len(p.ELR) == 0 || len(p.ISR) == 0 {
				continue
			}
			t, err := d.writable(topic.ID)
			if err != nil {
				return err
			}
			q := *p
			q.ELR, q.Unsure = nil, nil
			q.PartitionEpoch++
			t.Partitions[n] = &q
		}
	}
	return nil
}

func hasDuplicates(ids []int32) bool {
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			return true
		}
	}
	return false
}

func subset(a, b []int32) bool {
	for _, id := range a {
		if !slices.Contains(b, id) {
			return false
		}
	}
	return true
}

// without returns ids less the ones named, in order, as a new slice; nil if nothing is left.
func without(ids []int32, remove ...int32) []int32 {
	var out []int32
	for _, id := range ids {
		if !slices.Contains(remove, id) {
			out = append(out, id)
		}
	}
	return out
}
