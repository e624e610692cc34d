package broker

import (
	"cmp"
	"slices"
	"sync"

	"github.com/insynclog/insync/internal/controller"
)

// leaderless are the partitions on this node that have no leader. The controller is told with heartbeats where their logs end, as long as they have none: it may have to compare, and another controller
// does not know what the last one was told.
type leaderless struct {
	mu    sync.Mutex
	parts map[*partition]int32 // leader epoch
	next  int                  // who is told first, when there are more than one heartbeat takes
}

// note takes the state of a partition, and tells whether there is something new to tell.
func (l *leaderless) note(s *localState) (news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.state.Leader >= 0 || s.part.replica == nil {
		delete(l.parts, s.part)
		return false
	}
	if epoch, ok := l.parts[s.part]; ok && epoch == s.state.LeaderEpoch {
		return false
	}
	if l.parts == nil {
		l.parts = map[*partition]int32{}
	}
	l.parts[s.part] = s.state.LeaderEpoch
	return true
}

func (l *leaderless) drop(p *partition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.parts, p)
}

// ends are the log ends that the next heartbeat carries.
func (l *leaderless) ends() []controller.LogEnd {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.parts) == 0 {
		return nil
	}
	ends := make([]controller.LogEnd, 0, len(l.parts))
	for p, epoch := range l.parts {
		e := controller.LogEnd{TopicID: p.id, Partition: p.index, LeaderEpoch: epoch, LastEpoch: -1, Offset: p.replica.Log().Offsets().LogEndOffset}
		if last, ok := p.replica.Log().LatestEpoch(); ok {
			e.LastEpoch = last
		}
		ends = append(ends, e)
	}
	slices.SortFunc(ends, func(a, b controller.LogEnd) int {
		return cmp.Or(slices.Compare(a.TopicID[:], b.TopicID[:]), cmp.Compare(a.Partition, b.Partition))
	})
	if len(ends) <= controller.MaxLogEnds {
		return ends
	}
	l.next %= len(ends)
	turned := slices.Concat(ends[l.next:], ends[:l.next])[:controller.MaxLogEnds]
	l.next += controller.MaxLogEnds
	return turned
}
