package consumer

import (
	"context"
	"errors"
)

// Process hands batches to handle, one after the other, until ctx ends (it then returns nil), an iteration ends with an error (see Records), or handle returns one.
//
// A nil error of handle means that the batch is processed: with AtLeastOnce it is marked. After any other error the batch is handed out again: by the next Process, or, if the error matches ErrFenced, in
// this one when the partition is still this member's after all (External). With External, where that is comes from Config.LoadOffsets, which is asked anew: a transaction whose outcome was not known may have been
// committed.
//
// handle's context ends with ctx, and when the partition is lost (cause: *LostError), so that a transaction under way can be given up. It is not what keeps two members apart: that is the comparison of
// Batch.Fence and Batch.Expected in the transaction itself.
func (c *Consumer) Process(ctx context.Context, handle func(ctx context.Context, b Batch) error) error {
	for b, err := range c.Batches(ctx) {
		if err != nil {
			return err
		}
		lost, err := c.handle(ctx, b, handle)
		if err == nil {
			if c.group != nil && c.config.Commit == AtLeastOnce {
				_ = c.MarkBatch(b) // lost: it comes again elsewhere
			}
			continue
		}
		if !lost || c.config.Commit == External { // if it is this member's again it begins where the group is
			c.again(b, err)
		}
		if errors.Is(err, ErrFenced) && (c.config.Commit == External || lost || c.isLost(b)) {
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	return nil
}

// isLost tells whether the partition of a batch is not this member's any more.
func (c *Consumer) isLost(b Batch) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.mu.partitions[key{b.Topic, b.Partition}]
	return c.group != nil && (p == nil || p.memberGeneration != b.Generation || p.memberID != b.MemberID)
}

// handle tells, besides, whether the partition was lost meanwhile. It may be this member's again, and look as if it had been all the time.
func (c *Consumer) handle(ctx context.Context, b Batch, handle func(ctx context.Context, b Batch) error) (lost bool, err error) {
	g := c.group
	if g == nil {
		return false, handle(ctx, b)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	g.heldCancel = cancel
	if g.held != nil && g.held.tenure == gone {
		cancel(&LostError{Partitions: []TopicPartition{g.held.public()}, Err: g.err})
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		g.heldCancel = nil
		c.mu.Unlock()
	}()
	err = handle(ctx, b)
	_, lost = errors.AsType[*LostError](context.Cause(ctx))
	return lost, err
}

// again makes a batch that was handed out and not processed come again. With AtMostOnce it does not.
func (c *Consumer) again(b Batch, err error) {
	k := key{b.Topic, b.Partition}
	switch {
	case c.group != nil && c.config.Commit == External:
		c.reload(k, err)
	case c.group != nil && c.config.Commit == AtMostOnce || len(b.Records) == 0:
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		if p := c.mu.partitions[k]; p != nil && p.tenure == reading && p.memberGeneration == b.Generation && p.memberID == b.MemberID {
			p.seek(AtOffset(b.Records[0].Offset))
			signal(c.resolve)
			c.wakeFetchersLocked()
		}
	}
}
