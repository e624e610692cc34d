package machine

import (
	"time"

	"github.com/insynclog/insync/internal/groups/entry"
)

type classicState int8

func (classicState) String() string { return "Empty" }

type classicGroup struct {
	generation   int32
	protocolType string
	state        classicState
}

func (k *classicGroup) empty() bool                                { return true }
func (k *classicGroup) consumers() bool                            { return true }
func (k *classicGroup) subscribed(topic string) bool               { return false }
func (k *classicGroup) emptySince() (int64, bool)                  { return 0, false }
func (k *classicGroup) checkCommit(now time.Time, r *Commit) error { return nil }
func (k *classicGroup) tombstones() []entry.Entry                  { return nil }
func (k *classicGroup) loaded(now time.Time, fx *Effects)          {}
func (k *classicGroup) describe() Description                      { return Description{} }
func (c *Coordinator) replayClassic(e *entry.Classic)              {}
func (c *Coordinator) join(now time.Time, id uint64, g *group, r *Join, fx *Effects) {
}

func (c *Coordinator) sync(now time.Time, id uint64, g *group, r *Sync, fx *Effects) {
}

func (c *Coordinator) heartbeat(now time.Time, id uint64, g *group, r *Heartbeat, fx *Effects) {
}

func (c *Coordinator) leave(now time.Time, id uint64, g *group, r *Leave, fx *Effects) {
}

// used by consumerconvert.go:

// convertible tells whether the coordinator could assign the group's members: they are consumers, and their subscriptions (all of a member's protocols carry the same) can be read.
func (k *classicGroup) convertible() bool { return false }

// migrants are the members, in order of joining.
func (k *classicGroup) migrants() []migrant { return nil }

// dissolve refuses whatever waits, and stops all timers.
func (k *classicGroup) dissolve(now time.Time, err error, fx *Effects) {}

// entry is the group as it is written.
func (k *classicGroup) entry() *entry.Classic { return nil }

// rebalance has the members join again.
func (k *classicGroup) rebalance(now time.Time, reason string, fx *Effects) {}

// newClassicFrom makes a stable group without timers, which loaded starts.
func newClassicFrom(c *Coordinator, g *group, generation int32, protocol, leader string, members []migrant) *classicGroup {
	return nil
}

// written is the group as it was last written, nil if it never was; used by entries.go.
func (k *classicGroup) written() *entry.Classic { return nil }
