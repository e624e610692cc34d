package story

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/insynclog/insync/cluster"
)

// settle waits until the group is stable: every worker is in it, and every partition is somebody's.
func (s *story) settle(ctx context.Context) (g cluster.GroupStatus, err error) {
	settled := func() bool {
		if g, err = s.admin.Group(ctx, group); err != nil {
			return true
		}
		n := 0
		for _, m := range g.Members {
			n += len(m.Assigned)
		}
		return g.State == "Stable" && len(g.Members) == len(s.workers) && n == partitions
	}
	if waited := s.await(ctx, settled); waited != nil {
		return g, waited
	}
	return g, err
}

// table shows who has what.
func (s *story) table(what string, took time.Duration, g *cluster.GroupStatus) {
	s.say("\n%s: %d workers, epoch %d, settled after %v", what, len(s.workers), g.Epoch, took.Round(time.Millisecond))
	lag := map[string]int64{}
	for _, p := range g.Partitions {
		lag[p.Member] += max(p.Lag, 0)
	}
	s.say("  %-10s %-38s %10s %10s", "worker", "partitions", "jobs done", "lag")
	for _, w := range s.workers {
		id := w.GroupStatus().MemberID
		var numbers []string
		for _, m := range g.Members {
			if m.ID == id {
				for _, tp := range m.Assigned {
					numbers = append(numbers, fmt.Sprintf("%2d", tp.Partition))
				}
			}
		}
		behind := fmt.Sprint(lag[id])
		if s.Store != nil {
			behind = "-" // the offsets are in the store, where the group's coordinator does not see them
		}
		s.say("  %-10s %-38s %10d %10s", w.name, strings.Join(numbers, " "), w.done.Load(), behind)
	}
}
