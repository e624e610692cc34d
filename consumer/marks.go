package consumer

import (
	"context"
	"time"

	"github.com/insynclog/insync/log/record"
)

// MarkProcessed says that a record and all before it in its partition are processed, so that their offsets may be committed: by the next commit in the background, when the partition is given up, by
// Close or CommitMarked. It does not wait for any of that, keeps nothing of the record, and may be called from anywhere, in any order: marks only move forward (after a Seek, from the new place on).
// An application that processes records of one partition in parallel marks one when all before it are done, too.
//
// Errors: *LostError if the partition is not this member's any more. Whoever has it now begins at the last committed offset, so that there is nothing to be done but, perhaps, to undo; the error may be
// ignored, and CommitMarked tells of it, too. ErrNotMarked.
func (c *Consumer) MarkProcessed(r *record.Record) error {
	return c.mark(key{r.Topic, r.Partition}, r.Offset+1, r.LeaderEpoch)
}

// MarkBatch is MarkProcessed for all records of a batch.
func (c *Consumer) MarkBatch(b Batch) error {
	epoch := int32(-1)
	if n := len(b.Records); n > 0 {
		epoch = b.Records[n-1].LeaderEpoch
	}
	return c.mark(key{b.Topic, b.Partition}, b.Next, epoch)
}

func (c *Consumer) mark(k key, end int64, epoch int32) error {
	g := c.group
	if g == nil || c.config.Commit != AtLeastOnce {
		return ErrNotMarked
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.mu.partitions[k]
	if p == nil {
		g.late++
		g.lostMarks[k] = g.err
		return &LostError{Partitions: []TopicPartition{k.public()}, Err: g.err}
	}
	// A record that this run did not hand out is of an earlier assignment, or of before a Seek: what is between is not known to be processed.
	if p.floor < 0 || end <= p.floor || end > p.handing.Load() {
		return nil
	}
	if p.markedRun != p.run || end > p.marked {
		p.marked, p.markedRun, p.markedEpoch = end, p.run, epoch
	}
	return nil
}

// uncommitted is what is marked and not committed. When all that was handed out is marked, what follows and is no record for the application (markers, aborted transactions) counts as well.
func (p *partition) uncommitted() (offset int64, epoch int32, ok bool) {
	if p.marked < 0 {
		return 0, 0, false
	}
	offset = p.marked
	if p.markedRun == p.run && p.handedEnd >= 0 && p.marked >= p.handedEnd {
		offset = max(offset, p.position)
	}
	return offset, p.markedEpoch, offset != p.committed
}

// dueLocked is what the committer commits of a partition: marks, and where it begins.
func (c *Consumer) due(p *partition) (offset int64, epoch int32, ok bool) {
	if p.baseline {
		return p.position, -1, p.state == fetching && p.position >= 0
	}
	if c.config.Commit != AtLeastOnce {
		return 0, 0, false
	}
	if offset, epoch, ok = p.uncommitted(); ok || p.paused == p.pausedTold {
		return offset, epoch, ok
	}
	// Whoever looks at the group is to see that the partition is paused, or is not any more: with the offset as it is.
	if offset = p.committed; offset < 0 {
		offset = p.began()
	}
	return offset, -1, offset >= 0
}

// pausedNote is what is stored with a committed offset while the partition is paused; it names the member, so that it means nothing once another one has the partition.
func pausedNote(memberID string) string { return "paused by " + memberID }

// lastCommit is what is committed of a partition that is given up. With AtMostOnce what was committed ahead and not handed out is given back.
func (c *Consumer) lastCommit(p *partition) (offset int64, epoch int32, ok bool) {
	if c.config.Commit != AtMostOnce || p.baseline {
		return c.due(p)
	}
	given := p.lastBatch >= 0 && p.position >= 0 && p.position < p.committed && c.group.held != p
	return p.position, p.lastEpoch, given
}

// CommitMarked commits what is marked now, and waits for the coordinator's answer for as long as ctx allows. A nil error means that everything marked since the last call is committed.
//
// Errors: *LostError names partitions of which marks could not be committed, since the last call, because they are not this member's any more; the others are committed. ctx's, ErrClosed,
// *PartitionError, ErrNotMarked.
func (c *Consumer) CommitMarked(ctx context.Context) error {
	g := c.group
	if g == nil || c.config.Commit != AtLeastOnce {
		return ErrNotMarked
	}
	c.mu.Lock()
	started := c.mu.started
	c.mu.Unlock()
	if !started {
		return nil
	}
	err := c.commit(ctx, c.due)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || len(g.lostMarks) == 0 {
		return err
	}
	lost := &LostError{}
	for k, why := range g.lostMarks {
		lost.Partitions = append(lost.Partitions, k.public())
		if lost.Err == nil {
			lost.Err = why
		}
	}
	sortPartitions(lost.Partitions)
	clear(g.lostMarks)
	return lost
}

// commitLoop commits in the background.
func (c *Consumer) commitLoop() {
	for {
		t := time.NewTimer(c.config.CommitInterval)
		select {
		case <-c.ctx.Done():
			t.Stop()
			return
		case <-c.group.left:
			t.Stop()
			return
		case <-c.group.dirty:
		case <-t.C:
		}
		t.Stop()
		if err := c.commit(c.ctx, c.due); err != nil && c.config.Logger != nil && c.ctx.Err() == nil {
			c.config.Logger.Warn("commit failed", "group", c.config.Group, "error", err)
		}
	}
}
