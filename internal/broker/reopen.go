package broker

import (
	"context"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
)

const (
	// reopenMin is how long after the failure of a disk its logs are opened again; after another failure twice as long, and so on up to reopenMax.
	reopenMin = time.Minute
	reopenMax = time.Hour
	// reopenCalm is how long a disk has to be without failure to be tried as early as in the beginning.
	reopenCalm = 2 * reopenMax
)

// A failed write or sync ends a log. The directory is one disk: the controller moves everything elsewhere, and the node is as good as one that is down, but for its reads. What had failed may have passed, a full disk above all.
//
//	a log ends ──▶ heartbeat: the directory is offline ──▶ metadata says so: nothing is led here ──▶ a minute, two, …: all logs that ended are opened again, recovered as after a crash
//	                                                                                                 │ all are open
//	unfenced, follows, in sync ◀── a new registration, as a lossy restart: out of every ISR and ELR ◀┘
//
// It is the restart of the node without the restart. What may be lost is told before anybody counts on the logs again, and as for all of the node's logs: the controller knows no other kind.

// reopening decides when logs that ended are opened again. It is of the lifecycle's goroutine.
type reopening struct {
	pause time.Duration
	at    time.Time // the next attempt; zero while nothing has failed
	last  time.Time // attempt
}

// due tells whether it is time for an attempt.
func (r *reopening) due(now time.Time, failed bool) bool {
	switch {
	case !failed:
		r.at = time.Time{}
		return false
	case r.at.IsZero():
		if now.Sub(r.last) >= reopenCalm {
			r.pause = reopenMin
		}
		r.at = now.Add(r.pause)
		return false
	case now.Before(r.at):
		return false
	}
	r.pause = min(2*r.pause, reopenMax)
	r.last, r.at = now, now.Add(r.pause)
	return true
}

// reopen has the logs that ended opened again, in the applier's own time.
func (a *applier) reopen() {
	a.mu.Lock()
	a.again = true
	start := !a.running
	a.running = true
	a.mu.Unlock()
	if start {
		a.b.spawn(a.run)
	}
}

// reopenEnded opens the logs that ended again and, if all of them could be, has the broker registered anew.
func (a *applier) reopenEnded() {
	b := a.b
	if b.ctx.Err() != nil {
		return
	}
	a.mu.Lock()
	img := a.applied
	a.mu.Unlock()
	if me := img.Brokers[b.c.NodeID]; me == nil || me.Epoch != b.BrokerEpoch() || !me.DirectoryOffline {
		return // others may count on what these logs had, and this node may have to lead with it
	}
	var states []*localState
	var topics []string
	for _, p := range b.replicas.all() {
		t := img.TopicIDs[p.id]
		if t == nil || int(p.index) >= len(t.Partitions) || !p.ended() {
			continue
		}
		states = append(states, &localState{part: p, topic: t, state: t.Partitions[p.index], conf: b.effective(img, t)})
		topics = append(topics, t.Name)
	}
	b.logger.Warn("logs that ended are opened again", "node", b.c.NodeID, "logs", len(states))
	for _, s := range states {
		a.unfollow(s.part)
		b.leaderless.drop(s.part)
		if s.part.topic == topicConsumerOffsets {
			b.groups.Resign(s.part.index)
		}
		if r := s.part.replica; r != nil {
			_ = r.Close()
			r.Log().Abandon()
		}
		s.part = &partition{topic: s.part.topic, index: s.part.index, id: s.part.id, following: -1, leader: -1, epoch: -1}
	}
	before := b.failures.Load()
	inParallel(states, a.openOne)
	for _, s := range states {
		b.replicas.add(s.part)
		if s.part.replica != nil && len(s.part.replica.Log().Damage()) > 0 {
			b.scrubber.suspect(s.part, 0)
		}
	}
	a.apply(&controller.Delta{Old: img, New: img, Topics: union(topics, nil)})
	b.noteChange()
	if b.failures.Load() == before {
		b.life.renews.Store(before + 1)
		b.life.kick()
	}
}

// ended tells whether the partition's log can be opened again, for it was the disk that ended it, or kept it from being opened.
func (p *partition) ended() bool {
	if p.replica == nil {
		return is[*log.StorageError](p.err)
	}
	st := p.replica.Status()
	return st.Role == replication.Offline && is[*log.StorageError](st.Err) || p.replica.Log().Err() != nil
}

// renew registers the broker anew, as one that lost records, once its logs are open again, unless the disk has failed since.
func (l *lifecycle) renew() error {
	failures := l.renews.Load() - 1
	if failures < 0 || l.b.failures.Load() != failures {
		return nil
	}
	ctx, cancel := context.WithTimeout(l.b.ctx, l.b.c.SessionTimeout/3)
	defer cancel()
	if err := l.registerLossy(ctx); err != nil {
		return err
	}
	l.renews.Store(0)
	l.b.diskFailed.Store(false)
	if l.b.failures.Load() != failures {
		l.b.diskFailed.Store(true) // meanwhile
	}
	return nil
}
