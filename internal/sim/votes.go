package sim

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/transport"
)

// votes takes nodes' votes in the metadata quorum and gives them back, one change after the other.
type votes struct {
	w     *World
	stop  chan struct{} // closed when all votes are to be given back
	ended chan struct{}

	until atomic.Int64 // a change may be under way until then, in nanoseconds since the run began
}

// underWay tells whether a change may be under way: one that was not answered well may still come about.
func (v *votes) underWay() bool { return v != nil && int64(time.Since(v.w.begun)) < v.until.Load() }

// unvote takes a node's vote, or takes that back; of the goroutine that injects faults.
func (w *World) unvote(n *node, by int64) {
	n.voteless.Store(max(0, n.voteless.Load()+by))
	if w.votes == nil {
		w.votes = &votes{w: w, stop: make(chan struct{}), ended: make(chan struct{})}
		go w.votes.run(w.Client("secretary", transport.ClientConfig{RequestTimeout: 5 * time.Second, DialTimeout: time.Second}))
	}
}

// everybodyVotes gives all votes back, and ends the goroutine that does.
func (w *World) everybodyVotes() bool {
	for _, n := range w.nodes {
		n.voteless.Store(0)
	}
	if w.votes != nil {
		close(w.votes.stop)
		<-w.votes.ended
		w.votes = nil
	}
	return w.await("every node votes", w.settle(), w.allVote)
}

// voters are those that the node that knows most knows.
func (w *World) voters() (ids []int32) {
	newest := int64(-1)
	for _, n := range w.nodes {
		if up := n.up.Load(); up != nil {
			if s := up.Status(); s.Metadata > newest {
				newest, ids = s.Metadata, s.Voters
			}
		}
	}
	return ids
}

func (w *World) allVote() bool {
	voters := w.voters()
	return !slices.ContainsFunc(w.nodes, func(n *node) bool { return n.voteless.Load() > 0 || !slices.Contains(voters, n.id) })
}

// run makes the quorum what it is to be, as long as there are faults, and after them until it is.
func (v *votes) run(client *transport.Client) {
	defer close(v.ended)
	defer client.Close()
	w := v.w
	admin := cluster.NewAdmin(client)
	begun := time.Time{} // the end
	for i := int64(0); ; i++ {
		if begun.IsZero() {
			select {
			case <-v.stop:
				begun = time.Now()
			default:
			}
		}
		if change := v.next(); change != nil {
			v.until.Store(math.MaxInt64)
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			what, err := change(ctx, admin)
			cancel()
			if v.until.Store(0); err != nil {
				v.until.Store(int64(time.Since(w.begun) + w.pace(2*time.Second)))
			}
			w.event("%s: %v", what, err)
		} else if !begun.IsZero() {
			return
		}
		if !begun.IsZero() && time.Since(begun) > w.settle() {
			return // which is found
		}
		time.Sleep(20*time.Millisecond + w.unique("votes", i))
	}
}

// next is the next change to be made, nil without. The last votes but two stay, and nobody loses one who has none.
func (v *votes) next() func(context.Context, *cluster.Admin) (string, error) {
	voters := v.w.voters()
	if len(voters) == 0 {
		return nil
	}
	for _, n := range v.w.nodes {
		votes := slices.Contains(voters, n.id)
		switch wanted := n.voteless.Load() == 0; {
		case wanted && !votes:
			return func(ctx context.Context, a *cluster.Admin) (string, error) {
				return fmt.Sprintf("add voter %d", n.id), a.AddVoter(ctx, n.id)
			}
		case !wanted && votes && len(voters) > 2:
			return func(ctx context.Context, a *cluster.Admin) (string, error) {
				return fmt.Sprintf("remove voter %d", n.id), a.RemoveVoter(ctx, n.id)
			}
		}
	}
	return nil
}
