package machine

import (
	"iter"

	"github.com/insynclog/insync/internal/groups/entry"
)

// Entries yields what makes the present state when it is replayed, group by group in the order of their ids. It is a read.
func (c *Coordinator) Entries() iter.Seq[entry.Entry] {
	return func(yield func(entry.Entry) bool) {
		for _, id := range c.ids() {
			for _, e := range c.groups[id].entries() {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// entries are what makes one group as it is.
func (g *group) entries() []entry.Entry {
	var entries []entry.Entry
	switch {
	case g.classic != nil:
		if e := g.classic.written(); e != nil {
			entries = append(entries, e)
		}
	case g.consumer != nil && g.consumer.epoch > 0:
		entries = g.consumer.entries()
	}
	for _, tp := range g.committed() {
		o := g.offsets[tp]
		entries = append(entries, &entry.Offset{
			Group: g.id, Topic: tp.Topic, Partition: tp.Partition, Offset: o.offset, LeaderEpoch: o.leaderEpoch, Metadata: o.metadata,
			CommittedAt: o.committedAt, ExpiresAt: o.expiresAt, TopicID: o.topicID,
		})
	}
	return entries
}
