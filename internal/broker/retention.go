package broker

import (
	"time"

	"github.com/insynclog/insync/internal/configs"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log"
)

const (
	retentionInterval = 5 * time.Minute  // log.retention.check.interval.ms
	retentionDelay    = 30 * time.Second // log.initial.task.delay.ms
)

// retain gives up what the topics' retention says. Compacted topics that do not say delete, too, keep everything from their log start on.
func (b *Broker) retain(now time.Time, believeAges bool) {
	img := b.metadataImage()
	confs := map[*controller.Topic]configs.Topic{}
	for _, p := range b.replicas.all() {
		t := img.TopicIDs[p.id]
		if p.replica == nil || t == nil || b.ctx.Err() != nil {
			continue
		}
		conf, known := confs[t]
		if !known {
			conf = b.effective(img, t)
			confs[t] = conf
		}
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
