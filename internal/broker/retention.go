package broker

import (
	"time"

	"github.com/insynclog/insync/log"
)

const (
	retentionInterval = 5 * time.Minute  // log.retention.check.interval.ms
	retentionDelay    = 30 * time.Second // log.initial.task.delay.ms
)

// wallClock watches whether the wall clock runs as time does. Records have wall-clock times, and what a clock that jumped makes look old must not be deleted for its age.
type wallClock struct {
	seen  time.Time // with the monotonic clock
	doubt time.Time // until then ages are not believed; monotonic
}

const (
	clockStep  = 10 * time.Minute // between two looks; what a clock that is being corrected does not do
	clockDoubt = time.Hour
)

// believe tells whether ages may be told from now, which must have the reading of the monotonic clock. A step of the wall clock suspends that for an hour; a step back to where it was does so again.
func (w *wallClock) believe(now time.Time) bool {
	if !w.seen.IsZero() {
		real, shown := now.Sub(w.seen), now.Round(0).Sub(w.seen.Round(0))
		w.notice(now, shown-real)
	}
	w.seen = now
	return w.doubt.IsZero() || now.Sub(w.doubt) >= 0
}

func (w *wallClock) notice(now time.Time, step time.Duration) {
	if step.Abs() > clockStep {
		w.doubt = now.Add(clockDoubt)
	}
}

// retain gives up what the topics' retention says. Compacted topics that do not say delete, too, keep everything from their log start on.
func (b *Broker) retain(now time.Time, believeAges bool) {
	img := b.metadataImage()
	for _, p := range b.replicas.all() {
		t := img.TopicIDs[p.id]
		if p.replica == nil || t == nil || b.ctx.Err() != nil {
			continue
		}
		conf := b.effective(img, t)
		if !conf.CleanupDelete {
			continue
		}
		r := log.Retention{Age: conf.RetentionAge, Bytes: conf.RetentionBytes}
		if !believeAges {
			r.Age = -1
		}
		from, to, err := p.replica.Retain(r, now)
		switch {
		case err != nil && b.ctx.Err() == nil:
			b.logger.Error("retention failed", "topic", p.topic, "partition", p.index, "error", err)
		case to > from:
			b.noteChange()
			b.logger.Info("records are given up by retention", "topic", p.topic, "partition", p.index, "from", from, "to", to)
		}
	}
}
