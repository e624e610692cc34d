package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/history"
)

// Sync is when the records of the load's topic are synced.
type Sync string

// The modes. Where acknowledgements come before the sync, a loss of power may take records, if it is told of.
const (
	SyncAlways   Sync = "always"   // before they are acknowledged
	SyncInterval Sync = "interval" // every so often
	SyncNever    Sync = "never"    // when the system does
)

// drawSync is the mode of a seed, and the interval.
func drawSync(seed uint64) (Sync, time.Duration) {
	h := newHash(seed).string("sync")
	switch h.uint(1).sum() % 8 {
	case 0:
		return SyncNever, 0
	case 1, 2:
		return SyncInterval, h.uint(2).between(20*time.Millisecond, 2*time.Second)
	}
	return SyncAlways, 0
}

// configs of the load's topic. Two in sync are wanted also where the operator leaves two replicas: by default it would be one then, whose disk may not be lost.
func (p *plan) configs() map[string]string {
	c := map[string]string{"min.insync.replicas": "2"}
	if p.sync != SyncAlways {
		c["flush.messages"] = fmt.Sprint(int64(1<<63 - 1))
	}
	if p.rolls {
		c["segment.ms"] = "1500"
	}
	if p.sync == SyncInterval {
		c["flush.ms"] = fmt.Sprint(p.interval.Milliseconds())
	}
	return c
}

// loss is one that a node told of.
type loss struct {
	partition
	topic string
	from  int64
	at    time.Duration // since the history began
}

// lost takes the word of a node that it may lack records.
func (g *god) lost(e cluster.Loss, at time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := partition{e.TopicID, e.Partition}
	g.mu.losses = append(g.mu.losses, loss{p, e.Topic, e.From, at})
	g.mu.acked[p] = min(g.mu.acked[p], e.From)
}

// era counts the losses of a partition. What is acknowledged may be one that was lost on the way of the answer, if there was one since it was sent.
func (g *god) era(p partition) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.eraLocked(p)
}

func (g *god) eraLocked(p partition) (n int) {
	for _, l := range g.mu.losses {
		if l.partition == p {
			n++
		}
	}
	return n
}

// reported are the losses as operations. A node knows where one begins; it ends with the last that anybody had seen.
func (g *god) reported(h history.History) (ops []history.Op) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.mu.losses {
		if l.topic == soleTopic { // what was acknowledged by a leader alone counts as nothing, and nobody has read it
			continue
		}
		op := history.Op{
			Process: "cluster", Kind: history.Lost, Place: history.Place{Topic: l.topic, ID: l.partition.topic, Partition: l.n}, Offset: l.from, To: l.from, Invoke: l.at, Complete: l.at,
		}
		for i := range h {
			if h[i].Invoke > l.at {
				continue
			}
			for _, item := range h[i].Items {
				if item.Place == op.Place {
					op.To = max(op.To, item.Offset+1)
				}
			}
			if h[i].Place == op.Place && h[i].Kind != history.Commit && h[i].Kind != history.Fetch {
				op.To = max(op.To, h[i].Offset)
			}
		}
		if op.To > op.Offset {
			ops = append(ops, op)
		}
	}
	return ops
}

// outage is a loss of power, or of a disk: what goes is what was written and not synced. A node that was killed before, or that died soon after it came up, synced nothing since.
type outage struct{ from, to time.Duration }

const syncs = 3 * time.Second // what a sync takes that has begun, on a slow disk

// suffixOnly holds what was lost against what may be lost: of a topic that is synced at intervals only what was acknowledged within one before power was lost somewhere, or a disk.
func (w *World) suffixOnly(h history.History) {
	if w.plan.sync != SyncInterval {
		return
	}
	there := map[history.Value]bool{}
	for i := range h {
		if h[i].Kind == history.Poll && h[i].Final {
			for _, item := range h[i].Items {
				there[item.Value] = true
			}
		}
	}
	lost := 0
	for i := range h {
		op := &h[i]
		if op.Kind != history.Send || op.Outcome != history.OK || op.Items[0].Place.Topic != "t" || there[op.Items[0].Value] {
			continue
		}
		lost++
		if !slices.ContainsFunc(w.outages, func(o outage) bool { return o.to >= op.Invoke && o.from <= op.Complete+w.plan.interval+syncs }) {
			w.problem("%v was acknowledged at %v, is lost, and no power was lost within %v and a sync from then on", op.Items[0].Value, op.Complete, w.plan.interval)
		}
	}
	w.event("%d values were lost that had been acknowledged", lost)
}

// sorted is the history with the losses in it.
func (w *World) withLosses(h history.History) history.History {
	return append(slices.Clone(h), w.god.reported(h)...)
}

func (p *plan) describeSync() string {
	if p.sync == SyncInterval {
		return fmt.Sprintf("every %v", p.interval.Truncate(time.Millisecond))
	}
	return string(p.sync)
}
