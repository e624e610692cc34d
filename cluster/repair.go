package cluster

import (
	"fmt"
	"time"

	"github.com/insynclog/insync/internal/broker"
)

// RepairStatus is damage that was found in a replica of a node, and what became of it. Damaged offsets are not served and not replicated until they are mended.
type RepairStatus struct {
	Topic     string
	Partition int32
	From, To  int64  // the offsets [From, To); equal for a file that follows from the log, and was made anew
	Path      string // of the damaged file
	Reason    error  // what is wrong with its bytes
	Found     time.Time
	Mended    time.Time // zero: not yet
	Source    int32     // the node that had good bytes; -1: nobody so far
	Err       error     // why the last attempt failed
}

// String returns one line for people.
func (r RepairStatus) String() string {
	what := fmt.Sprintf("%s-%d: offsets [%d, %d) in %s were damaged: %v", r.Topic, r.Partition, r.From, r.To, r.Path, r.Reason)
	if r.Mended.IsZero() {
		return fmt.Sprintf("%s; not mended yet: %v", what, r.Err)
	}
	return fmt.Sprintf("%s; mended from node %d after %v", what, r.Source, r.Mended.Sub(r.Found))
}

func repairStatus(r broker.Repair) RepairStatus {
	d := r.Damage
	return RepairStatus{
		Topic: r.Topic, Partition: r.Partition, From: d.From, To: d.To, Path: d.Path, Reason: d.Reason, Found: r.Found, Mended: r.Mended, Source: r.From, Err: r.Err,
	}
}

// Scrub has everything that the node stores read and checked now, at Config.ScrubRate, beside all else. Status.Repairs and Listener.Repair tell what was damaged.
func (n *Node) Scrub() { n.broker.Scrub() }
