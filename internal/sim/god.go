package sim

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/log"
)

// partition is one incarnation of a partition.
type partition struct {
	topic log.TopicID
	n     int32
}

// leadership is one reign over a partition.
type leadership struct {
	partition
	epoch int32
}

// version is one committed state of a partition.
type version struct {
	partition
	epoch int32 // of the partition
}

// view is a partition as committed, as far as anybody knows.
type view struct {
	topic string
	cluster.PartitionStatus
}

// mark is what is committed: below offset, by a leader that acted on this version of the partition, or a later one.
type mark struct {
	offset         int64
	partitionEpoch int32
}

// acquaintance is what god last read of a node's metadata.
type acquaintance struct {
	node     *cluster.Node
	metadata int64
	epoch    int64 // of the broker
}

// god sees all nodes at once, and what no node may do. It looks every few milliseconds, at the very instant when a node tells of a change, and at a partition when a producer is told of a record.
type god struct {
	w     *World
	looks int64
	wake  chan struct{} // capacity 1

	known    map[int32]acquaintance
	read     time.Time           // when nodes were asked last
	metadata int64               // the newest that anybody knows
	views    map[partition]*view // as of it; replaced, and what it points to as well
	order    []partition         // of views; replaced
	epochs   map[int32]int64     // of brokers, as of it; replaced
	fenced   map[int32]time.Time // since when brokers are, that were not about to go, as of it; replaced
	broken   time.Time           // when a node was last down, or new

	leaders map[leadership]int32
	states  map[version]uint64   // hash of what was committed
	told    map[partition]int32  // partition epochs that are in the log of events
	images  map[int64]uint64     // hash of the metadata, by the offset up to which it was applied
	highs   map[leadership]int64 // the highest high watermark that a leader had
	marks   map[partition]mark   // the highest that any had
	full    map[partition]int32  // the partition epoch in which enough were in sync, first
	blamed  map[string]bool      // problems that are told already

	// strict are the topics that lose nothing: not by an unclean election, and not what was acknowledged before it was synced. With min.insync.replicas, by name.
	strict atomic.Pointer[map[string]int]

	mu struct {
		sync.Mutex
		everything bool                // to be looked at
		fresh      map[partition]bool  // to be looked at
		acked      map[partition]int64 // end of what was acknowledged to a producer with acks=all, and not lost since
		losses     []loss
		cuts       []cut // that followers made
		reigns     map[partition]reign
	}
}

// reign is who leads a partition, or led it last, in the newest epoch that is known, and since when, after the run began, nobody else has.
type reign struct {
	leader, epoch int32
	since         time.Duration
}

// cut is a truncation.
type cut struct {
	node int32
	at   time.Time
	cluster.Truncation
}

func newGod(w *World) *god {
	g := &god{
		w: w, wake: make(chan struct{}, 1), known: map[int32]acquaintance{}, metadata: -1, leaders: map[leadership]int32{}, states: map[version]uint64{}, told: map[partition]int32{},
		images: map[int64]uint64{}, highs: map[leadership]int64{}, marks: map[partition]mark{}, blamed: map[string]bool{}, full: map[partition]int32{},
	}
	g.strict.Store(&map[string]int{})
	g.mu.fresh, g.mu.acked, g.mu.reigns = map[partition]bool{}, map[partition]int64{}, map[partition]reign{}
	return g
}

// acknowledged notes that a producer was told of a record that it sent in an era.
func (g *god) acknowledged(p partition, offset int64, era int) {
	g.mu.Lock()
	same := g.eraLocked(p) == era
	if same {
		g.mu.acked[p] = max(g.mu.acked[p], offset+1)
		g.mu.fresh[p] = true
	}
	g.mu.Unlock()
	if same {
		g.nudge()
	}
}

// changed has everything looked at, now.
func (g *god) changed() {
	g.mu.Lock()
	g.mu.everything = true
	g.mu.Unlock()
	g.nudge()
}

// truncated notes that a follower has cut its log.
func (g *god) truncated(node int32, t cluster.Truncation) {
	g.mu.Lock()
	g.mu.cuts = append(g.mu.cuts, cut{node, time.Now(), t})
	g.mu.Unlock()
	g.nudge()
}

func (g *god) nudge() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// watch looks until stop is closed.
func (g *god) watch(stop <-chan struct{}) {
	due := time.Now()
	for n := int64(0); ; {
		t := time.NewTimer(time.Until(due))
		select {
		case <-stop:
			t.Stop()
			return
		case <-g.wake:
			t.Stop()
			g.glance()
		case <-t.C:
			g.look(nil)
			n++
			due = time.Now().Add(g.w.pace(10*time.Millisecond) + g.w.unique("look", n))
		}
	}
}

// glance looks at what is said to have changed.
func (g *god) glance() {
	g.mu.Lock()
	everything, fresh, cuts := g.mu.everything, g.mu.fresh, g.mu.cuts
	g.mu.everything, g.mu.fresh, g.mu.cuts = false, map[partition]bool{}, nil
	g.mu.Unlock()
	if len(cuts) > 0 {
		before, order, read := g.views, g.order, g.read
		g.readMetadata()
		for _, c := range cuts {
			if !read.Before(c.at) {
				continue // it was cut before god knew so much
			}
			for _, p := range order {
				g.judge(c, p, before[p])
			}
		}
	}
	if everything {
		g.look(nil)
	} else if len(fresh) > 0 {
		g.look(fresh)
	}
}

// judge holds a truncation against what is committed: who is in sync, or was when too few were, gives up nothing of that. Others may have a tail of their own, in the place of what is.
func (g *god) judge(c cut, p partition, before *view) {
	now := g.views[p]
	if before.topic != c.Topic || p.n != c.Partition || now == nil || !before.holds(c.node) || !now.holds(c.node) || g.minimum(before.topic, before.Replicas) == 0 {
		return
	}
	if high := g.marks[p]; c.From < high.offset && high.partitionEpoch <= before.PartitionEpoch && g.known[c.node].epoch == g.epochs[c.node] {
		g.blame("node %d: %v, but what lies below %d is committed: in sync %v, eligible %v", c.node, c.Truncation, high.offset, now.ISR, now.ELR)
	}
}

// blame is a problem, once.
func (g *god) blame(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !g.blamed[text] {
		g.blamed[text] = true
		g.w.problem("%s", text)
	}
}

// look looks at some partitions, or at all.
func (g *god) look(some map[partition]bool) {
	g.looks++
	g.readMetadata()
	g.mu.Lock()
	acked := maps.Clone(g.mu.acked)
	g.mu.Unlock()
	begun := time.Now()
	views, order, epochs, fenced := g.views, g.order, g.epochs, g.fenced
	serving := g.serving()
	seen := map[partition][]cluster.ReplicaStatus{} // by node
	for _, p := range order {
		if some == nil || some[p] {
			seen[p] = g.replicasOf(p, views[p].topic)
		}
	}
	if time.Since(begun) > 0 { // a replica that cuts its log answers when that is over: what the others said before is out of date
		return
	}
	g.readMetadata() // what has changed meanwhile is left for the next look
	for _, n := range g.w.nodes {
		epoch, since := epochs[n.id], g.fenced[n.id]
		if serving[n.id] && !since.IsZero() && fenced[n.id].Equal(since) && g.known[n.id].epoch == epoch && g.epochs[n.id] == epoch {
			g.blame("node %d serves in its life %d, and the controller has fenced that", n.id, epoch)
		}
	}
	for _, p := range order {
		if now := g.views[p]; now != nil && seen[p] != nil {
			g.partition(p, views[p], now, epochs, seen[p], min(acked[p], g.acked(p)))
		}
	}
}

// acked is the end of what was acknowledged until now, and not lost since.
func (g *god) acked(p partition) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.acked[p]
}

// serving tells which nodes believe that the controller counts on them.
func (g *god) serving() map[int32]bool {
	all := map[int32]bool{}
	for _, n := range g.w.nodes {
		if up := n.up.Load(); up != nil && g.known[n.id].node == up {
			all[n.id] = !up.Fenced()
		}
	}
	return all
}

// replicasOf asks every node for its replica of a partition. Who cannot be asked has the role "".
func (g *god) replicasOf(p partition, topic string) []cluster.ReplicaStatus {
	all := make([]cluster.ReplicaStatus, len(g.w.nodes))
	for i, n := range g.w.nodes {
		up := n.up.Load()
		if up == nil || g.known[n.id].node != up {
			continue
		}
		r, ok := up.Replica(topic, p.n)
		switch {
		case n.up.Load() != up || r.Err != nil:
		case ok && r.TopicID == p.topic:
			all[i] = r
		default:
			all[i].Role = "none"
		}
	}
	return all
}

// readMetadata reads what nodes know of the cluster, where it is news.
func (g *god) readMetadata() {
	g.read = time.Now()
	for _, n := range g.w.nodes {
		up := n.up.Load()
		k := g.known[n.id]
		if up == nil || k.node != up {
			g.broken = g.read
		}
		if up == nil {
			continue
		}
		if k.node == up && k.metadata == up.Metadata() {
			continue
		}
		s := up.Status()
		if s.ClusterID == "" {
			continue
		}
		g.known[n.id] = acquaintance{up, s.Metadata, s.BrokerEpoch}
		g.image(n.id, &s)
		if s.Metadata > g.metadata {
			g.take(&s)
		}
	}
}

// take makes a node's metadata the newest.
func (g *god) take(s *cluster.Status) {
	g.metadata, g.views, g.order, g.epochs = s.Metadata, map[partition]*view{}, nil, map[int32]int64{}
	before := g.fenced
	g.fenced = map[int32]time.Time{}
	for _, t := range s.Topics {
		for _, p := range t.Partitions {
			at := partition{t.ID, p.Partition}
			g.views[at], g.order = &view{t.Name, p}, append(g.order, at)
			g.reigns(at, &p)
		}
	}
	for _, b := range s.Brokers {
		g.epochs[b.ID] = b.Epoch
		if b.Fenced && !b.ShuttingDown {
			if g.fenced[b.ID] = before[b.ID]; before[b.ID].IsZero() {
				g.fenced[b.ID] = time.Now()
			}
		}
	}
}

// reigns notes who leads, or led last. In an epoch that god has not seen it may have been another.
func (g *god) reigns(at partition, p *cluster.PartitionStatus) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, known := g.mu.reigns[at]
	switch {
	case !known && p.LeaderEpoch == 0:
		r.since = math.MinInt64 // nobody else ever did
	case !known, p.LeaderEpoch > r.epoch+1, p.Leader >= 0 && p.Leader != r.leader:
		r.since = time.Since(g.w.begun)
	}
	if r.epoch = p.LeaderEpoch; p.Leader >= 0 || !known {
		r.leader = p.Leader
	}
	g.mu.reigns[at] = r
}

// moved tells whether a partition has got another leader since a time.
func (g *god) moved(at partition, since time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.reigns[at].since >= since
}

// committed holds what anybody takes for a committed state of a partition against what others do.
func (g *god) committed(name string, v version, leaderEpoch int32, isr []int32) {
	h := newHash(0).uint(uint64(leaderEpoch)).ids(slices.Sorted(slices.Values(isr)))
	if other, ok := g.states[v]; ok && other != h.sum() {
		g.blame("%s: partition epoch %d, in sync %v in leader epoch %d, is not what another node knows", name, v.epoch, isr, leaderEpoch)
	}
	g.states[v] = h.sum()
}

// image holds what a node knows of the cluster against what others knew, and against what must hold at any time.
func (g *god) image(id int32, s *cluster.Status) {
	h := newHash(0)
	fenced := map[int32]bool{}
	for _, b := range s.Brokers {
		fenced[b.ID] = b.Fenced
		h = h.uint(uint64(b.ID)).uint(uint64(b.Epoch)).bool(b.Fenced).bool(b.ShuttingDown)
	}
	h = h.ids(s.Voters).ids(s.Observers)
	for _, t := range s.Topics {
		h = h.string(t.Name).string(t.ID.String())
		for _, p := range t.Partitions {
			at := leadership{partition{t.ID, p.Partition}, p.LeaderEpoch}
			h = h.uint(uint64(p.Leader)).uint(uint64(p.LeaderEpoch)).uint(uint64(p.PartitionEpoch)).ids(p.Replicas).ids(p.ISR).ids(p.ELR)
			if e, ok := g.told[at.partition]; !ok || p.PartitionEpoch > e {
				g.told[at.partition] = p.PartitionEpoch
				g.w.event("metadata %d: %s-%d led by %d in epoch %d: in sync %v, eligible %v, last %v", s.Metadata, t.Name, p.Partition, p.Leader, p.LeaderEpoch, p.ISR, p.ELR, p.LastKnownELR)
			}
			name := fmt.Sprintf("node %d: %s-%d in epoch %d", id, t.Name, p.Partition, p.LeaderEpoch)
			g.committed(name, version{at.partition, p.PartitionEpoch}, p.LeaderEpoch, p.ISR)
			if p.Leader >= 0 {
				g.leads(name, at, p.Leader)
				if !slices.Contains(p.ISR, p.Leader) {
					g.blame("%s is led by %d, which is not in sync: %v", name, p.Leader, p.ISR)
				}
			}
			for _, r := range p.ISR {
				if slices.Contains(p.ELR, r) {
					g.blame("%s: %d is in sync, and eligible because it was: %v, %v", name, r, p.ISR, p.ELR)
				}
				if fenced[r] && len(p.ISR) > 1 {
					g.blame("%s: node %d is in sync %v, and fenced", name, r, p.ISR)
				}
			}
			g.eligible(name, t.Name, at.partition, &p)
		}
	}
	if other, ok := g.images[s.Metadata]; ok && other != h.sum() {
		g.blame("node %d: the metadata up to offset %d is not what another node made of it", id, s.Metadata)
	}
	g.images[s.Metadata] = h.sum()
}

// minimum is how many must be in sync for the high watermark to move; 0: who knows.
func (g *god) minimum(topic string, replicas []int32) int {
	return min((*g.strict.Load())[topic], len(replicas))
}

// eligible holds who is in sync, and who was, against the rules: once enough are in sync, they are together as many as the minimum, unless one of them has lost what it had; and nobody is eligible beside
// enough that are in sync.
func (g *god) eligible(name, topic string, at partition, p *cluster.PartitionStatus) {
	minimum := g.minimum(topic, p.Replicas)
	since, full := g.full[at]
	switch {
	case minimum == 0:
	case len(p.ISR) >= minimum && len(p.ELR) > 0:
		g.blame("%s: %v are in sync, and %v eligible beside them", name, p.ISR, p.ELR)
	case len(p.ISR) >= minimum && !full:
		g.full[at] = p.PartitionEpoch
	case full && p.PartitionEpoch > since && !g.w.mayHaveLost.Load() && len(p.ISR)+len(p.ELR) < minimum:
		g.blame("%s: only %v in sync and %v eligible, and nobody has lost anything", name, p.ISR, p.ELR)
	}
}

// leads notes who leads in an epoch.
func (g *god) leads(name string, at leadership, id int32) {
	if other, ok := g.leaders[at]; ok && other != id {
		g.blame("%s is led by %d, and by %d", name, other, id)
	}
	g.leaders[at] = id
}

// partition holds what the nodes have of a partition against what they must have. before and now are what was committed before they were looked at and after; epochs are those of the brokers before.
func (g *god) partition(p partition, before, now *view, epochs map[int32]int64, replicas []cluster.ReplicaStatus, acked int64) {
	high, minimum := g.marks[p], g.minimum(now.topic, now.Replicas)
	synced := 0 // who has everything that was acknowledged, or cannot be asked
	for i := range replicas {
		r, id := &replicas[i], g.w.nodes[i].id
		switch r.Role {
		case "":
			synced++
			continue
		case "none":
			continue
		}
		o := r.Offsets
		name := fmt.Sprintf("node %d: %s-%d", id, r.Topic, r.Partition)
		if o.HighWatermark > o.LogEndOffset || o.LastStableOffset > o.HighWatermark || o.LogStartOffset > o.LastStableOffset || o.SyncedEndOffset > o.LogEndOffset {
			g.blame("%s: offsets out of order: %+v", name, o)
		}
		end := o.LogEndOffset
		if minimum > 0 {
			end = o.SyncedEndOffset
		}
		if end >= acked {
			synced++
		}
		sameLife := g.known[id].epoch == epochs[id] && g.epochs[id] == epochs[id]
		if minimum > 0 && sameLife && before.holds(id) && now.holds(id) && end < high.offset && high.partitionEpoch <= before.PartitionEpoch {
			g.blame("%s has %d: with in sync %v, eligible %v what lies below %d is committed", name, end, now.ISR, now.ELR, high.offset)
		}
		if r.Role == "leader" {
			g.leader(p, name, id, r, before, now, replicas, acked)
		}
	}
	if g.w.mayHaveLost.Load() {
		minimum = min(minimum, 1) // of two, one may have lost it
	}
	if acked > 0 && synced < minimum {
		g.blame("%s-%d: what was acknowledged ends at %d, and %d replicas have it", now.topic, p.n, acked, synced)
	}
}

// holds tells whether a replica must have everything that is committed.
func (v *view) holds(id int32) bool { return slices.Contains(v.ISR, id) || slices.Contains(v.ELR, id) }

// leader holds what a leader has, and believes of others, against what is.
func (g *god) leader(p partition, name string, id int32, r *cluster.ReplicaStatus, before, now *view, replicas []cluster.ReplicaStatus, acked int64) {
	o := r.Offsets
	reign := leadership{p, r.LeaderEpoch}
	g.leads(name, reign, id)
	g.committed(name, version{p, r.PartitionEpoch}, r.LeaderEpoch, r.ISR)
	if high := g.highs[reign]; o.HighWatermark < high {
		g.blame("%s leads in epoch %d, and its high watermark fell from %d to %d", name, r.LeaderEpoch, high, o.HighWatermark)
	}
	g.highs[reign] = max(g.highs[reign], o.HighWatermark)
	if m := g.marks[p]; o.HighWatermark > m.offset {
		g.marks[p] = mark{o.HighWatermark, max(m.partitionEpoch, r.PartitionEpoch)}
	}
	const lately = 5 * time.Second // what was committed may be known to the controller alone, and that be down
	if r.PartitionEpoch > now.PartitionEpoch && time.Since(g.broken) > lately {
		g.blame("%s acts on partition epoch %d: nobody knows of one beyond %d", name, r.PartitionEpoch, now.PartitionEpoch)
	}
	for _, f := range r.Followers {
		other := &replicas[f.ID-1]
		if f.BrokerEpoch != g.known[f.ID].epoch || other.Role != "follower" || other.LeaderEpoch != r.LeaderEpoch {
			continue
		}
		if end := other.Offsets.LogEndOffset; f.Confirmed > end {
			g.blame("%s leads in epoch %d and believes that node %d has what lies below %d: it has %d", name, r.LeaderEpoch, f.ID, f.Confirmed, end)
		}
	}
	if before.Leader != id || before.LeaderEpoch != r.LeaderEpoch || now.PartitionEpoch != before.PartitionEpoch {
		return // of an epoch that is over, perhaps, and it may not know
	}
	if o.LogEndOffset < acked && !before.Recovering && !now.Recovering {
		g.blame("%s leads in epoch %d with the end %d: what was acknowledged ends at %d", name, r.LeaderEpoch, o.LogEndOffset, acked)
	}
	if minimum := g.minimum(now.topic, now.Replicas); minimum == 0 || len(r.ISR) < minimum || r.PartitionEpoch > now.PartitionEpoch {
		return // the high watermark stands still; or the leader has had an answer of which god has not heard
	}
	for _, m := range slices.Concat(now.ISR, now.ELR) {
		if m != id && !slices.ContainsFunc(r.Followers, func(f cluster.FollowerStatus) bool { return f.ID == m && f.Counts }) {
			g.blame("%s leads in epoch %d, and its high watermark does not wait for node %d: in sync %v, eligible %v in partition epoch %d, and as it knows %v in %d: %+v",
				name, r.LeaderEpoch, m, now.ISR, now.ELR, now.PartitionEpoch, r.ISR, r.PartitionEpoch, r.Followers)
		}
	}
}
