package broker

import (
	"context"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteRecords (21), versions 0-2: has partitions begin later (KIP-107). Only a leader answers.
//
// Behaviour:
//   - Offset -1 is the high watermark; above it, and below -1, is OFFSET_OUT_OF_RANGE. An offset below the log start changes nothing. A batch that the offset lies in stays whole: consumers skip what is below.
//   - Topics that are only compacted are POLICY_VIOLATION, the brokers' own INVALID_TOPIC_EXCEPTION.
//   - The answer comes when the log start of all live replicas has reached the offset, and says how far they have come; after the request's timeout it is REQUEST_TIMED_OUT with the low watermark as it was
//     when the request came, and the log start stays where it is. Files go later.
//   - Differs from Kafka: a log start counts when it is on stable storage, here and on each follower, not within a minute. After the answer only two things can take it back, both Kafka's rules: a replica that
//     was not alive and is elected before it has fetched, and a truncation below the log start after an unclean election.
//
// Versions: v2 is flexible.
func (b *Broker) deleteRecords(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.DeleteRecordsRequest)
	resp := kmsg.NewPtrDeleteRecordsResponse()
	resp.Version = req.Version
	resp.Topics = make([]kmsg.DeleteRecordsResponseTopic, len(req.Topics))
	timeout := time.NewTimer(time.Duration(req.TimeoutMillis) * time.Millisecond)
	defer timeout.Stop()
	var open []*deletion
	img, fenced := b.metadataImage(), b.selfFenced(time.Now())
	for t := range req.Topics {
		topic, out := &req.Topics[t], &resp.Topics[t]
		out.Default()
		out.Topic = topic.Topic
		out.Partitions = make([]kmsg.DeleteRecordsResponseTopicPartition, len(topic.Partitions))
		for i := range topic.Partitions {
			p, o := &topic.Partitions[i], &out.Partitions[i]
			o.Default()
			o.Partition, o.LowWatermark = p.Partition, -1
			d := &deletion{topic: topic.Topic, index: p.Partition, out: o}
			if err := b.beginDeletion(img, d, p.Offset, fenced); err != nil {
				o.ErrorCode = codeOf(err)
				continue
			}
			open = append(open, d)
		}
	}
	b.awaitDeletions(ctx, open, timeout.C)
	reply(transport.Reply{Message: resp})
}

// deletion is a partition of a DeleteRecords request that has not been answered.
type deletion struct {
	topic   string
	index   int32
	to      int64
	replica *replication.Replica
	out     *kmsg.DeleteRecordsResponseTopicPartition
}

// beginDeletion raises the log start here.
func (b *Broker) beginDeletion(img *controller.Image, d *deletion, offset int64, fenced bool) error {
	switch {
	case partitionOf(img, d.topic, d.index) == nil:
		return replication.ErrUnknownTopic
	case isInternal(d.topic):
		return kerr.InvalidTopicException
	case fenced:
		return b.silence()
	}
	part, err := b.local(d.topic, d.index)
	if err != nil {
		return err
	}
	if err := part.replica.CheckLeader(-1); err != nil {
		return err
	}
	if c := b.effective(img, img.Topics[d.topic]); c.CleanupCompact && !c.CleanupDelete {
		return kerr.PolicyViolation
	}
	d.replica = part.replica
	d.to, err = part.replica.DeleteRecords(offset)
	return err
}

// awaitDeletions waits until all are answered, or time is up.
func (b *Broker) awaitDeletions(ctx context.Context, open []*deletion, timeout <-chan time.Time) {
	if len(open) == 0 {
		return
	}
	b.noteChange() // a checkpoint removes the segments
	w := &deletionWatcher{make(chan struct{}, 1)}
	for _, d := range open {
		d.replica.WatchLowWatermark(w)
		defer d.replica.Unwatch(w)
		// All have been raised before the first is stored: they go to the same file.
		if err := d.replica.SyncLogStart(); err != nil {
			d.answer(-1, err)
			continue
		}
		low, err := d.replica.LowWatermark(b.counts)
		if d.answer(low, err); d.out.ErrorCode == 0 && low < d.to {
			d.out.ErrorCode = kerr.RequestTimedOut.Code // unless there is another answer
		}
	}
	for {
		waiting := false
		for _, d := range open {
			waiting = !b.proceed(d) || waiting
		}
		if !waiting {
			return
		}
		select {
		case <-w.woken:
		case <-timeout:
			return
		case <-ctx.Done():
			return
		case <-b.ctx.Done():
			return
		}
	}
}

// counts tells whether a broker's replica has to have deleted what is deleted.
func (b *Broker) counts(id int32) bool {
	_, ok := alive(b.metadataImage(), id)
	return ok
}

// proceed tells whether a partition is answered by now.
func (b *Broker) proceed(d *deletion) bool {
	if d.out.ErrorCode != kerr.RequestTimedOut.Code {
		return true
	}
	part, err := b.local(d.topic, d.index)
	if err != nil {
		d.answer(-1, err)
		return true
	}
	low, err := part.replica.LowWatermark(b.counts)
	if err == nil && low < d.to {
		return false
	}
	d.answer(low, err)
	return true
}

func (d *deletion) answer(low int64, err error) {
	d.out.LowWatermark, d.out.ErrorCode = low, codeOf(err)
	if err != nil {
		d.out.LowWatermark = -1
	}
}

// deletionWatcher wakes who waits for low watermarks.
type deletionWatcher struct{ woken chan struct{} }

// Wake implements replication.Watcher.
func (w *deletionWatcher) Wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}
