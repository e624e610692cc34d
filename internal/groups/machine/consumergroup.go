package machine

import (
	"maps"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/partition"
)

// consumerGroup is the members of a group that the coordinator assigns (KIP-848).
//
// Three epochs chase each other: the group's rises when members, subscriptions or topics change; the target assignment's reaches it when the assignor has run; a member's reaches that one when it has
// given up what it must.
//
//	targetEpoch <= epoch; member.cur.Epoch <= targetEpoch, or LeaveStaticEpoch for a static member that will be back
//
// Everything here but timers and what is being resolved is written, and changed by Replay only; a draft collects what is decided until then.
type consumerGroup struct {
	c *Coordinator
	g *group

	epoch       int32
	hash        int64 // of the topics subscribed to, when epoch was reached
	targetEpoch int32
	members     map[string]*member
	instances   map[string]string              // instance id → member id
	owners      map[partition.Partition]string // who has a partition assigned, or has not given it up yet
	regexes     map[string]*entry.Regex        // by pattern, those resolved at least once

	draft    *draft               // open between Step and Flush
	asked    map[string]time.Time // patterns: when they were last asked to be resolved
	refresh  timer                // patterns are to be resolved again
	stale    bool                 // metadata has changed since the hash was made
	sessions bool                 // timers run: loading is over
}

// member is one member of a consumer group.
type member struct {
	id     string
	info   entry.Member
	target partition.Set
	cur    entry.Current

	session timer
	revoke  timer // it has to give partitions up
	owed    timer // a classic member has to join, or to ask for its assignment
}

func newConsumerGroup(c *Coordinator, g *group) *consumerGroup {
	return &consumerGroup{
		c: c, g: g, members: map[string]*member{}, instances: map[string]string{}, owners: map[partition.Partition]string{}, regexes: map[string]*entry.Regex{},
		asked: map[string]time.Time{},
	}
}

// replayed returns the consumer group that an entry is about: a new one unless the entry says that something is gone.
func (c *Coordinator) replayed(id string, gone bool) *consumerGroup {
	g := c.groups[id]
	if g != nil && g.consumer != nil {
		return g.consumer
	}
	if gone {
		return nil
	}
	g = c.group(id)
	g.consumer = newConsumerGroup(c, g)
	return g.consumer
}

func (c *Coordinator) replayGroup(e *entry.Group) {
	k := c.replayed(e.Group, e.Gone)
	switch {
	case k == nil:
	case e.Gone:
		k.stop()
		k.g.consumer = nil
		c.prune(k.g)
	default:
		k.epoch, k.hash = e.Epoch, e.MetadataHash
	}
}

func (c *Coordinator) replayTarget(e *entry.Target) {
	if k := c.replayed(e.Group, e.Gone); k != nil {
		k.targetEpoch = e.Epoch
	}
}

func (c *Coordinator) replayMember(e *entry.Member) {
	k := c.replayed(e.Group, e.Gone)
	if k == nil {
		return
	}
	m := k.members[e.MemberID]
	if e.Gone {
		if m != nil {
			k.remove(m)
		}
		return
	}
	if m == nil {
		m = k.replayedMember(e.MemberID)
	}
	m.info = *e
	if e.InstanceID != "" {
		k.instances[e.InstanceID] = m.id
	}
}

// replayedMember is a member of which nothing is known yet: its entries may come in any order once the log has been compacted.
func (k *consumerGroup) replayedMember(id string) *member {
	m := k.members[id]
	if m == nil {
		m = &member{id: id, info: entry.Member{Group: k.g.id, MemberID: id}, cur: entry.Current{Group: k.g.id, MemberID: id}}
		k.members[id] = m
	}
	return m
}

func (k *consumerGroup) remove(m *member) {
	k.c.timers.stop(&m.session)
	k.c.timers.stop(&m.revoke)
	k.c.timers.stop(&m.owed)
	k.disown(m)
	delete(k.members, m.id)
	if k.instances[m.info.InstanceID] == m.id {
		delete(k.instances, m.info.InstanceID)
	}
}

// disown frees what a member has.
func (k *consumerGroup) disown(m *member) {
	for _, set := range []partition.Set{m.cur.Assigned, m.cur.Revoking} {
		for p := range set.All {
			if k.owners[p] == m.id {
				delete(k.owners, p)
			}
		}
	}
}

func (c *Coordinator) replayTargetMember(e *entry.TargetMember) {
	k := c.replayed(e.Group, e.Gone)
	if k == nil {
		return
	}
	if e.Gone {
		if m := k.members[e.MemberID]; m != nil {
			m.target = nil
		}
		return
	}
	k.replayedMember(e.MemberID).target = e.Partitions
}

func (c *Coordinator) replayCurrent(e *entry.Current) {
	k := c.replayed(e.Group, e.Gone)
	if k == nil {
		return
	}
	if e.Gone {
		if m := k.members[e.MemberID]; m != nil {
			k.disown(m)
			m.cur = entry.Current{Group: k.g.id, MemberID: m.id}
		}
		return
	}
	m := k.replayedMember(e.MemberID)
	k.disown(m)
	m.cur = *e
	for _, set := range []partition.Set{e.Assigned, e.Revoking} {
		for p := range set.All {
			k.owners[p] = m.id
		}
	}
}

func (c *Coordinator) replayRegex(e *entry.Regex) {
	k := c.replayed(e.Group, e.Gone)
	switch {
	case k == nil:
	case e.Gone:
		delete(k.regexes, e.Regex)
	default:
		k.regexes[e.Regex] = e
	}
}

// ids lists the members in order.
func (k *consumerGroup) ids() []string { return slices.Sorted(maps.Keys(k.members)) }

// loaded begins the sessions of all members, and drops those of which an interrupted removal left a part (entries of one decision are one batch, so that there are none but after damage).
func (k *consumerGroup) loaded(now time.Time, fx *Effects) {
	k.sessions = true
	for _, id := range k.ids() {
		m := k.members[id]
		if m.info.ClientID == "" && m.info.ClientHost == "" && m.info.RebalanceTimeoutMillis == 0 && len(m.info.Topics) == 0 && m.info.Regex == "" {
			k.remove(m)
			continue
		}
		k.keepAlive(now, m)
		k.watchRevocation(now, m)
	}
	k.stale = true
	k.resolveAll(now, fx)
}

// stop ends the timers.
func (k *consumerGroup) stop() {
	for _, id := range k.ids() {
		m := k.members[id]
		k.c.timers.stop(&m.session)
		k.c.timers.stop(&m.revoke)
		k.c.timers.stop(&m.owed)
	}
	k.c.timers.stop(&k.refresh)
}

func (k *consumerGroup) empty() bool { return len(k.members) == 0 }

// state is the group's state in Kafka's words.
func (k *consumerGroup) state() string {
	switch {
	case len(k.members) == 0:
		return "Empty"
	case k.epoch > k.targetEpoch:
		return "Assigning"
	}
	for _, m := range k.members { // in any order: all or not
		if m.cur.State != entry.Stable || m.cur.Epoch != k.targetEpoch {
			return "Reconciling"
		}
	}
	return "Stable"
}

// subscribed tells whether a member subscribes to a topic.
func (k *consumerGroup) subscribed(topic string) bool {
	for _, m := range k.members { // in any order: one is enough
		if k.wants(&m.info, topic) {
			return true
		}
	}
	return false
}

// wants tells whether a member's subscription has a topic.
func (k *consumerGroup) wants(info *entry.Member, topic string) bool {
	if _, ok := slices.BinarySearch(info.Topics, topic); ok {
		return true
	}
	if r := k.regexes[info.Regex]; r != nil && info.Regex != "" {
		_, ok := slices.BinarySearch(r.Topics, topic)
		return ok
	}
	return false
}

// checkCommit tells whether a commit comes from a member in its present epoch.
func (k *consumerGroup) checkCommit(now time.Time, r *Commit) error {
	if r.Epoch < 0 && len(k.members) == 0 {
		return nil // an administrator's, or a consumer's that assigns its partitions itself
	}
	m := k.members[r.MemberID]
	switch {
	case m == nil:
		return ErrUnknownMember
	case r.InstanceID != "" && m.info.InstanceID != r.InstanceID:
		return ErrFencedInstance
	case m.info.Classic != nil:
		if r.Epoch != m.cur.Epoch {
			return ErrIllegalGeneration
		}
		k.keepAlive(now, m)
	case !r.ByEpoch:
		return ErrUnsupportedVersion
	case r.Epoch != m.cur.Epoch:
		return ErrStaleMemberEpoch
	}
	return nil
}

// checkFetch tells whether a fetch of offsets comes from a member in its present epoch.
func (k *consumerGroup) checkFetch(memberID string, epoch int32) error {
	m := k.members[memberID]
	switch {
	case m == nil:
		return ErrUnknownMember
	case epoch != m.cur.Epoch:
		return ErrStaleMemberEpoch
	}
	return nil
}

// tombstones delete the group, which is empty.
func (k *consumerGroup) tombstones() []entry.Entry {
	if k.epoch == 0 {
		return nil
	}
	var entries []entry.Entry
	for _, pattern := range slices.Sorted(maps.Keys(k.regexes)) {
		entries = append(entries, &entry.Regex{Group: k.g.id, Regex: pattern, Gone: true})
	}
	return append(entries, &entry.Target{Group: k.g.id, Gone: true}, &entry.Group{Group: k.g.id, Gone: true})
}

// entries are what makes the group as it is.
func (k *consumerGroup) entries() []entry.Entry {
	var entries []entry.Entry
	ids := k.ids()
	for _, id := range ids {
		info := k.members[id].info
		entries = append(entries, &info)
	}
	for _, pattern := range slices.Sorted(maps.Keys(k.regexes)) {
		entries = append(entries, k.regexes[pattern])
	}
	entries = append(entries, &entry.Group{Group: k.g.id, Epoch: k.epoch, MetadataHash: k.hash})
	for _, id := range ids {
		entries = append(entries, &entry.TargetMember{Group: k.g.id, MemberID: id, Partitions: k.members[id].target})
	}
	entries = append(entries, &entry.Target{Group: k.g.id, Epoch: k.targetEpoch})
	for _, id := range ids {
		cur := k.members[id].cur
		entries = append(entries, &cur)
	}
	return entries
}

func (k *consumerGroup) describe() ConsumerDescription {
	d := ConsumerDescription{State: k.state(), Epoch: k.epoch, TargetEpoch: k.targetEpoch, Assignor: k.assignorName(k.ids(), func(id string) *entry.Member { return &k.members[id].info })}
	for _, id := range k.ids() {
		m := k.members[id]
		d.Members = append(d.Members, ConsumerMemberDescription{
			MemberID: id, InstanceID: m.info.InstanceID, Rack: m.info.Rack, Epoch: m.cur.Epoch, ClientID: m.info.ClientID, ClientHost: m.info.ClientHost,
			Topics: m.info.Topics, Regex: m.info.Regex, Assigned: m.cur.Assigned, Target: m.target, Classic: m.info.Classic != nil,
		})
	}
	return d
}
