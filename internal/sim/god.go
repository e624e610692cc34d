package sim

import (
	"fmt"
	"maps"
	"slices"
	"sync"
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

// god sees all nodes at once, and what no node may do.
type god struct {
	w       *World
	looks   int64
	leaders map[leadership]int32
	told    map[partition]int32  // partition epochs that are in the log of events
	newest  map[partition]int32  // epoch that anybody knows
	images  map[int64]uint64     // hash of the metadata, by the offset up to which it was applied
	highs   map[leadership]int64 // the highest high watermark that a leader had

	mu     sync.Mutex
	acked  map[partition]int64 // end of what was acknowledged to a producer with acks=all, and not lost since
	losses []loss
}

func newGod(w *World) *god {
	return &god{w: w, leaders: map[leadership]int32{}, told: map[partition]int32{}, newest: map[partition]int32{}, images: map[int64]uint64{}, highs: map[leadership]int64{}, acked: map[partition]int64{}}
}

// acknowledged notes that a producer was told of a record that it sent in an era.
func (g *god) acknowledged(p partition, offset int64, era int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.eraLocked(p) != era {
		return
	}
	g.acked[p] = max(g.acked[p], offset+1)
}

// ends are the ends of what was acknowledged until now.
func (g *god) ends() map[partition]int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.acked)
}

// watch looks at everything until stop is closed.
func (g *god) watch(stop <-chan struct{}) {
	for n := int64(0); ; n++ {
		t := time.NewTimer(g.w.pace(10*time.Millisecond) + g.w.unique("look", n))
		select {
		case <-stop:
			t.Stop()
			return
		case <-t.C:
			g.look()
		}
	}
}

func (g *god) look() {
	g.looks++
	ends := g.ends() // before: what is acknowledged while a node is looked at may be too new for what is seen
	for _, n := range g.w.nodes {
		up := n.up.Load()
		if up == nil {
			continue
		}
		s := up.Status()
		if s.ClusterID == "" {
			continue
		}
		g.image(n.id, &s)
		g.replicas(n.id, &s, ends)
	}
}

// image holds what a node knows of the cluster against what others knew, and against what must hold at any time.
func (g *god) image(id int32, s *cluster.Status) {
	h := newHash(0)
	fenced := map[int32]bool{}
	for _, b := range s.Brokers {
		fenced[b.ID] = b.Fenced
	}
	for _, t := range s.Topics {
		h = h.string(t.Name).string(t.ID.String())
		for _, p := range t.Partitions {
			at := leadership{partition{t.ID, p.Partition}, p.LeaderEpoch}
			h = h.uint(uint64(p.Leader)).uint(uint64(p.LeaderEpoch)).uint(uint64(p.PartitionEpoch))
			for _, list := range [][]int32{p.Replicas, p.ISR, p.ELR} {
				h = h.uint(uint64(len(list)))
				for _, r := range list {
					h = h.uint(uint64(r))
				}
			}
			if e, ok := g.told[at.partition]; !ok || p.PartitionEpoch > e {
				g.told[at.partition] = p.PartitionEpoch
				g.w.event("metadata %d: %s-%d led by %d in epoch %d: in sync %v, eligible %v, last %v", s.Metadata, t.Name, p.Partition, p.Leader, p.LeaderEpoch, p.ISR, p.ELR, p.LastKnownELR)
			}
			name := fmt.Sprintf("node %d: %s-%d in epoch %d", id, t.Name, p.Partition, p.LeaderEpoch)
			if p.Leader >= 0 {
				if other, ok := g.leaders[at]; ok && other != p.Leader {
					g.w.problem("%s is led by %d, and by %d", name, other, p.Leader)
				}
				g.leaders[at] = p.Leader
				g.newest[at.partition] = max(g.newest[at.partition], p.LeaderEpoch)
				if !slices.Contains(p.ISR, p.Leader) {
					g.w.problem("%s is led by %d, which is not in sync: %v", name, p.Leader, p.ISR)
				}
			}
			for _, r := range p.ISR {
				if slices.Contains(p.ELR, r) {
					g.w.problem("%s: %d is in sync, and eligible because it was: %v, %v", name, r, p.ISR, p.ELR)
				}
				if fenced[r] && len(p.ISR) > 1 {
					g.w.problem("%s: node %d is in sync %v, and fenced", name, r, p.ISR)
				}
			}
		}
	}
	if other, ok := g.images[s.Metadata]; ok && other != uint64(h) {
		g.w.problem("node %d: the metadata up to offset %d is not what another node made of it", id, s.Metadata)
	}
	g.images[s.Metadata] = uint64(h)
}

// replicas holds what a node has on its disk against what it must have.
func (g *god) replicas(id int32, s *cluster.Status, ends map[partition]int64) {
	for _, r := range s.Replicas {
		t, ok := s.Topic(r.Topic)
		if !ok || t.ID != r.TopicID || int(r.Partition) >= len(t.Partitions) || r.Err != nil {
			continue
		}
		o, p := r.Offsets, t.Partitions[r.Partition]
		name := fmt.Sprintf("node %d: %s-%d", id, r.Topic, r.Partition)
		if o.HighWatermark > o.LogEndOffset || o.LogStartOffset > o.HighWatermark || o.SyncedEndOffset > o.LogEndOffset {
			g.w.problem("%s: offsets out of order: %+v", name, o)
		}
		if r.Role != "leader" || p.Leader != id {
			continue
		}
		at := partition{t.ID, r.Partition}
		// A leader of an epoch that is over may not know it yet, but it cannot have committed anything since.
		if g.leaders[leadership{at, p.LeaderEpoch}] != id || g.newest[at] != p.LeaderEpoch {
			continue
		}
		if end := min(ends[at], g.ends()[at]); o.LogEndOffset < end && !p.Recovering {
			g.w.problem("%s leads in epoch %d with the end %d: what was acknowledged ends at %d", name, p.LeaderEpoch, o.LogEndOffset, end)
		}
		reign := leadership{at, p.LeaderEpoch}
		if high := g.highs[reign]; o.HighWatermark < high {
			g.w.problem("%s leads in epoch %d, and its high watermark fell from %d to %d", name, p.LeaderEpoch, high, o.HighWatermark)
		}
		g.highs[reign] = max(g.highs[reign], o.HighWatermark)
	}
}
