package controller

import (
	"maps"
	"slices"
	"time"
)

// absences are the nodes whose process seems to have ended, as far as the leader's own messages tell: nobody listens at the node's address, it has no connection to this node, and nothing comes from it. That a
// process has ended its system tells at once; only of a system that is gone, or cut off, nobody says anything, and there a session has to end.
//
// A node that lives is not held for dead unless its address is refused, its connections are broken, and it makes no new ones, all at the same time and for as long as an absence takes. It would go on until
// its own session is over, as one that is cut off does: it can commit nothing, for it is in no in-sync set any more.
type absences map[int32]absence

type absence struct {
	since time.Time
	times int
}

// refused notes that nobody listened.
func (a absences) refused(node int32, now time.Time) {
	b, ok := a[node]
	if !ok {
		b.since = now
	}
	b.times++
	a[node] = b
}

// heard notes that a node lives.
func (a absences) heard(node int32) { delete(a, node) }

// enough tells whether a node has been absent for long enough, and more than once.
func (a absences) enough(node int32, now time.Time, long time.Duration) bool {
	b := a[node]
	return b.times > 1 && now.Sub(b.since) >= long
}

// bury ends the sessions of the nodes whose processes have ended. One that this controller has not heard of yet may only just have begun, and is given more time.
func (d *driver) bury(now time.Time) {
	for _, node := range slices.Sorted(maps.Keys(d.absences)) {
		heard, ok := d.machine.Session(node)
		if !ok {
			continue
		}
		long := d.campaign.timeout / 8
		if !heard {
			long = d.campaign.timeout * 3 / 8
		}
		if d.absences.enough(node, now, long) && d.machine.EndSession(node, now) {
			d.log.Warn("nobody listens at a node's address: its process has ended", "node", node, "since", d.absences[node].since)
			d.absences.heard(node)
		}
	}
}
