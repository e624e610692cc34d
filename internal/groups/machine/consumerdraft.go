package machine

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/groups/assignor"
	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/partition"
)

// draft collects what the heartbeats and timers of one round decide about a consumer group. What it does not mention is as it is written. The group is assigned once for all of them, and
// then every member that asked gets its answer.
type draft struct {
	members  map[string]*draftMember
	owners   map[partition.Partition]string // changes to consumerGroup.owners; "" free
	regexes  map[string]*entry.Regex
	epoch    int32         // of the classic group in whose place this one comes
	bump     bool          // members or subscriptions have changed
	first    []entry.Entry // to be written before all else: the end of a classic group in whose place this one comes
	asks     []ask         // in order of arrival
	finished []func(now time.Time, err error, fx *Effects)
}

// draftMember is a member as it is to be.
type draftMember struct {
	info   entry.Member
	target partition.Set
	cur    entry.Current
	gone   bool

	newInfo, newTarget, newCur bool
	known                      bool // it has entries
}

// ask is a member that waits for an answer.
type ask struct {
	id     uint64
	member string
	owned  *partition.Set // as it reported
	full   bool           // it wants to be told its assignment in any case
	reply  func(m *draftMember, assigned *partition.Set) any
}

// drafting opens a draft, unless one is open.
func (k *consumerGroup) drafting() *draft {
	if k.draft == nil {
		k.draft = &draft{members: map[string]*draftMember{}, owners: map[partition.Partition]string{}, regexes: map[string]*entry.Regex{}}
		k.c.open = append(k.c.open, k)
	}
	return k.draft
}

// lookup returns a member as it is to be, nil if there is none or it is about to go. What is returned must not be changed.
func (k *consumerGroup) lookup(id string) *draftMember {
	if k.draft != nil {
		if d := k.draft.members[id]; d != nil {
			if d.gone {
				return nil
			}
			return d
		}
	}
	if m := k.members[id]; m != nil {
		return &draftMember{info: m.info, target: m.target, cur: m.cur, known: true}
	}
	return nil
}

// edit returns a member to be changed, a new one if there is none.
func (k *consumerGroup) edit(id string) *draftMember {
	d := k.drafting()
	m := d.members[id]
	if m == nil {
		if m = k.lookup(id); m == nil {
			m = &draftMember{info: entry.Member{Group: k.g.id, MemberID: id}, cur: entry.Current{Group: k.g.id, MemberID: id}}
		}
		d.members[id] = m
	}
	if m.gone {
		known := m.known
		*m = draftMember{info: entry.Member{Group: k.g.id, MemberID: id}, cur: entry.Current{Group: k.g.id, MemberID: id}, known: known}
	}
	return m
}

// setCurrent moves a member, and keeps track of who has what.
func (k *consumerGroup) setCurrent(m *draftMember, to entry.Current) {
	d := k.drafting()
	had, has := m.cur.Assigned.Union(m.cur.Revoking), to.Assigned.Union(to.Revoking)
	for p := range had.Minus(has).All {
		if k.owner(p) == m.info.MemberID {
			d.owners[p] = ""
		}
	}
	for p := range has.Minus(had).All {
		d.owners[p] = m.info.MemberID
	}
	m.cur, m.newCur = to, true
}

// owner is who has a partition; "" nobody.
func (k *consumerGroup) owner(p partition.Partition) string {
	if k.draft != nil {
		if id, ok := k.draft.owners[p]; ok {
			return id
		}
	}
	return k.owners[p]
}

// expel has a member go.
func (k *consumerGroup) expel(id string) {
	m := k.edit(id)
	k.setCurrent(m, entry.Current{Group: k.g.id, MemberID: id})
	m.gone = true
	k.drafting().bump = true
}

// draftIDs lists the members as they are to be, in order.
func (k *consumerGroup) draftIDs() []string {
	ids := make([]string, 0, len(k.members)+1)
	for id := range k.members {
		ids = append(ids, id)
	}
	if k.draft != nil {
		for id, m := range k.draft.members {
			switch {
			case m.gone:
				ids = slices.DeleteFunc(ids, func(o string) bool { return o == id })
			case k.members[id] == nil:
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// size counts the members as they are to be.
func (k *consumerGroup) size() int {
	n := len(k.members)
	if k.draft != nil {
		for id, m := range k.draft.members {
			switch {
			case m.gone && k.members[id] != nil:
				n--
			case !m.gone && k.members[id] == nil:
				n++
			}
		}
	}
	return n
}

// instance finds the member with an instance id as it is to be; "" without one.
func (k *consumerGroup) instance(instanceID string) string {
	if k.draft != nil {
		for id, m := range k.draft.members {
			if !m.gone && m.info.InstanceID == instanceID {
				return id
			}
		}
	}
	id := k.instances[instanceID]
	if id != "" && k.lookup(id) == nil {
		return ""
	}
	return id
}

// finishDraft makes the entries of what was decided: epochs, assignment, and where each member that asked is now.
func (k *consumerGroup) finishDraft(now time.Time, fx *Effects) {
	d := k.drafting()
	ids := k.draftIDs()
	if (d.bump || len(d.members) > 0) && k.onlyClassic(ids) {
		k.revert(d, ids)
		return
	}
	epoch, hash := max(k.epoch, d.epoch), k.hash
	if d.bump || k.stale {
		k.stale = false
		if hash = k.topicsHash(ids); hash != k.hash {
			d.bump = true
		}
	}
	if d.bump {
		epoch = max(epoch+1, 1)
	}
	retarget := epoch > k.targetEpoch
	if retarget {
		k.assign(ids)
	}
	answers := make([]Reply, len(d.asks))
	for i, a := range d.asks {
		answers[i] = k.answer(now, epoch, a)
	}
	entries := k.draftEntries(ids, epoch, hash, d.bump, retarget)
	k.draft = nil
	if len(entries) == 0 {
		for _, f := range d.finished {
			f(now, nil, fx)
		}
		fx.Replies = append(fx.Replies, answers...)
		k.c.resume(k.g, now, fx)
		return
	}
	if d.bump {
		fx.note(k.g.id, "epoch %d: %d members", epoch, len(ids))
	}
	k.c.write(k.g, false, entries, func(now time.Time, err error, fx *Effects) { k.written(now, d, answers, err, fx) })
}

// written ends the write of a draft.
func (k *consumerGroup) written(now time.Time, d *draft, answers []Reply, err error, fx *Effects) {
	for _, f := range d.finished {
		f(now, err, fx)
	}
	if err != nil {
		for _, a := range answers {
			fx.refuse(a.ID, err)
		}
		if k.epoch == 0 && len(k.members) == 0 && k.g.consumer == k {
			k.stop()
			k.g.consumer = nil // it was never born
			return
		}
		k.undone(now, d)
		return
	}
	for _, id := range slices.Sorted(maps.Keys(d.members)) {
		if m := k.members[id]; m != nil {
			if !m.session.set() {
				k.keepAlive(now, m)
			}
			k.watchRevocation(now, m)
		}
	}
	if k.sessions {
		k.resolveNew(now, fx)
	}
	fx.Replies = append(fx.Replies, answers...)
}

// undone goes on after a draft that could not be written: what nobody would ask for again is tried again.
func (k *consumerGroup) undone(now time.Time, d *draft) {
	k.stale = k.stale || d.bump
	for _, id := range slices.Sorted(maps.Keys(d.members)) {
		if m := k.members[id]; m != nil {
			if !m.session.set() { // it was to be expelled
				k.endSession(m, now.Add(retryInterval))
			}
			k.watchRevocation(now, m)
		}
	}
	for pattern := range d.regexes { // in any order: each for itself
		delete(k.asked, pattern)
	}
	if len(d.regexes) > 0 && !k.refresh.set() {
		k.c.start(k.g, &k.refresh, now.Add(retryInterval), k.resolveAll)
	}
}

// draftEntries are in Kafka's order: members, epoch, targets, their epoch, where members are; what goes away ends with the member itself.
func (k *consumerGroup) draftEntries(ids []string, epoch int32, hash int64, bump, retarget bool) []entry.Entry {
	d, group := k.draft, k.g.id
	entries := d.first
	touched := slices.Sorted(maps.Keys(d.members))
	for _, id := range touched {
		if m := d.members[id]; m.gone && m.known {
			entries = append(entries, &entry.Current{Group: group, MemberID: id, Gone: true}, &entry.TargetMember{Group: group, MemberID: id, Gone: true},
				&entry.Member{Group: group, MemberID: id, Gone: true})
		}
	}
	for _, id := range touched {
		if m := d.members[id]; !m.gone && m.newInfo {
			info := m.info
			entries = append(entries, &info)
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(d.regexes)) {
		entries = append(entries, d.regexes[pattern])
	}
	entries = append(entries, k.unusedRegexes(ids)...)
	if bump {
		entries = append(entries, &entry.Group{Group: group, Epoch: epoch, MetadataHash: hash})
	}
	for _, id := range touched {
		if m := d.members[id]; !m.gone && m.newTarget {
			entries = append(entries, &entry.TargetMember{Group: group, MemberID: id, Partitions: m.target})
		}
	}
	if retarget {
		entries = append(entries, &entry.Target{Group: group, Epoch: epoch})
	}
	for _, id := range touched {
		if m := d.members[id]; !m.gone && m.newCur {
			cur := m.cur
			entries = append(entries, &cur)
		}
	}
	return entries
}

// topicsHash sums up the topics subscribed to that exist, with their ids and partition counts.
func (k *consumerGroup) topicsHash(ids []string) int64 {
	names := map[string]bool{}
	for _, id := range ids {
		for _, name := range k.subscription(&k.lookup(id).info) {
			names[name] = true
		}
	}
	h := uint64(14695981039346656037) // FNV-1a: fixed for ever, since the sum is stored
	mix := func(bs []byte) {
		for _, b := range bs {
			h = (h ^ uint64(b)) * 1099511628211
		}
	}
	some := false
	for _, name := range slices.Sorted(maps.Keys(names)) {
		t, ok := k.c.metadata.Topic(name)
		if !ok {
			continue
		}
		some = true
		mix([]byte(name))
		mix(t.ID[:])
		mix(binary.BigEndian.AppendUint32(nil, uint32(t.Partitions)))
	}
	if !some {
		return 0
	}
	return int64(h)
}

// subscription is the names of topics that a member subscribes to, sorted; not all need exist.
func (k *consumerGroup) subscription(info *entry.Member) []string {
	r := k.regex(info.Regex)
	switch {
	case r == nil || len(r.Topics) == 0:
		return info.Topics
	case len(info.Topics) == 0:
		return r.Topics
	}
	names := slices.Concat(info.Topics, r.Topics)
	slices.Sort(names)
	return slices.Compact(names)
}

// regex is what a pattern is resolved to, as it is to be.
func (k *consumerGroup) regex(pattern string) *entry.Regex {
	if pattern == "" {
		return nil
	}
	if k.draft != nil {
		if r := k.draft.regexes[pattern]; r != nil {
			return r
		}
	}
	return k.regexes[pattern]
}

// assign runs the assignor for the members as they are to be, and takes what it changes into the draft.
func (k *consumerGroup) assign(ids []string) {
	members := make([]assignor.Member, len(ids))
	topics := map[partition.TopicID]int32{}
	for i, id := range ids {
		m := k.lookup(id)
		members[i] = assignor.Member{ID: id, InstanceID: m.info.InstanceID, Rack: m.info.Rack, Target: m.target}
		if i > 0 { // most members of a group subscribe to the same
			before := k.lookup(ids[i-1])
			if before.info.Regex == m.info.Regex && slices.Equal(before.info.Topics, m.info.Topics) {
				members[i].Topics = members[i-1].Topics
				continue
			}
		}
		members[i].Topics = k.topicIDs(&m.info, topics)
	}
	list := make([]assignor.Topic, 0, len(topics))
	for id, n := range topics {
		list = append(list, assignor.Topic{ID: id, Partitions: n})
	}
	slices.SortFunc(list, func(a, b assignor.Topic) int {
		return partition.Partition{Topic: a.ID}.Compare(partition.Partition{Topic: b.ID})
	})
	name := k.assignorName(ids, func(id string) *entry.Member { return &k.lookup(id).info })
	assign, ok := assignor.ByName(name)
	if !ok {
		assign = assignor.Uniform
	}
	for i, target := range assign(members, list) {
		if m := k.lookup(ids[i]); m.newInfo && !m.known || !target.Equal(m.target) {
			m := k.edit(ids[i])
			m.target, m.newTarget = target, true
		}
	}
}

// topicIDs are the ids of the topics that a member subscribes to and that exist, sorted; their partition counts go into counts.
func (k *consumerGroup) topicIDs(info *entry.Member, counts map[partition.TopicID]int32) []partition.TopicID {
	var ids []partition.TopicID
	for _, name := range k.subscription(info) {
		if t, ok := k.c.metadata.Topic(name); ok {
			ids = append(ids, t.ID)
			counts[t.ID] = t.Partitions
		}
	}
	slices.SortFunc(ids, func(a, b partition.TopicID) int {
		return partition.Partition{Topic: a}.Compare(partition.Partition{Topic: b})
	})
	return slices.Compact(ids)
}

// assignorName is the assignor that most members ask for, the coordinator's first one if none does.
func (k *consumerGroup) assignorName(ids []string, info func(id string) *entry.Member) string {
	votes := map[string]int{}
	for _, id := range ids {
		if a := info(id).Assignor; a != "" {
			votes[a]++
		}
	}
	best := k.c.c.Assignors[0]
	if len(votes) == 0 {
		return best
	}
	return slices.MaxFunc(k.c.c.Assignors, func(a, b string) int { return cmp.Compare(votes[a], votes[b]) })
}
