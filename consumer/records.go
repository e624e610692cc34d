package consumer

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/insynclog/insync/log/record"
)

// Batch is a run of records of one partition.
type Batch struct {
	Topic         string
	Partition     int32
	HighWatermark int64 // of the partition, as of the answer that brought the latest records
	Records       []record.Record

	// Next is where reading goes on when the batch is processed. It may lie beyond the last record: compaction and aborted transactions leave gaps.
	Next int64
	// Expected is, with Config.Commit External, what the application's store should have as the next offset of the partition: Next of the batch before or, of the first one, what LoadOffsets said; -1
	// if it had nothing. Storing Next where Expected was, in one transaction with the results, makes every record count once.
	Expected int64
	// Fence says under which assignment the batch was read; zero without a group.
	Fence
}

// Records iterates over records as they come, and waits for more, until ctx ends (the iteration then ends without an error), the loop is left, or a partition has an error that the consumer cannot
// get over: that is the last element. Order holds per partition. The record and its bytes are valid until the next iteration; Clone keeps one. A further iteration goes on where the last one
// stopped; the record at which the loop was left counts as read.
//
// With a group, records come from the partitions that the group gives; when one is taken away, what was fetched of it and not handed out is dropped, and the iteration goes on with the others, for ever:
// falling out of the group and coming back is told by Config's functions, not here. What has been handed out counts as done when the next one is asked for, or the loop is left.
//
// Errors: ErrClosed, ErrBusy, *OffsetOutOfRangeError, *LogTruncatedError, *PartitionError; *GroupError and *InstanceError, after which no iteration will work; one that wraps transport.ErrClosed if Config.Client was closed, as a node's is when the node stops.
func (c *Consumer) Records(ctx context.Context) iter.Seq2[*record.Record, error] {
	return func(yield func(*record.Record, error) bool) {
		var d delivery
		if err := c.begin(); err != nil {
			yield(nil, err)
			return
		}
		defer c.end(&d)
	batches:
		for {
			ok, err := c.nextBatch(ctx, &d)
			if err != nil {
				yield(nil, err)
				return
			}
			if !ok {
				return
			}
			p := d.chunk.p
			for d.reader.Next() {
				r := d.reader.Record()
				if r.Offset < d.from {
					continue
				}
				r.Topic, r.Partition = p.topic, p.number
				d.read = r.Offset + 1
				if d.marks {
					p.handing.Store(d.read)
				}
				if d.timed {
					c.holdsSince()
				}
				if !yield(r, nil) {
					return
				}
				if p.stopped.Load() {
					c.cut(&d)
					continue batches
				}
			}
			if err := c.finishBatch(&d); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// Batches is Records by runs of one partition. The slice and its bytes are valid until the next iteration.
func (c *Consumer) Batches(ctx context.Context) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		var d delivery
		if err := c.begin(); err != nil {
			yield(Batch{}, err)
			return
		}
		defer c.end(&d)
		var out Batch
		var headers []record.Header
		for {
			ok, err := c.nextBatch(ctx, &d)
			if err != nil {
				yield(Batch{}, err)
				return
			}
			if !ok {
				return
			}
			out = Batch{Topic: d.chunk.p.topic, Partition: d.chunk.p.number, HighWatermark: d.highWatermark, Records: out.Records[:0], Next: d.batch.NextOffset(), Expected: d.expected, Fence: d.fence}
			headers = headers[:0]
			for d.reader.Next() {
				r := *d.reader.Record()
				if r.Offset < d.from {
					continue
				}
				r.Topic, r.Partition = out.Topic, out.Partition
				if n := len(r.Headers); n > 0 { // the reader reuses its headers from record to record
					headers = append(headers, r.Headers...)
					r.Headers = headers[len(headers)-n : len(headers) : len(headers)]
				}
				out.Records = append(out.Records, r)
				d.read = r.Offset + 1
			}
			if err := c.finishBatch(&d); err != nil {
				yield(Batch{}, err)
				return
			}
			if len(out.Records) == 0 {
				continue
			}
			if d.marks {
				d.chunk.p.handing.Store(out.Next)
			}
			if !yield(out, nil) {
				return
			}
		}
	}
}

// delivery is the place of an iteration.
type delivery struct {
	chunk  *chunk // being handed out; nil between chunks. Its data begins with batch until finishBatch.
	reader record.Reader
	batch  record.Batch // under reader; nil between batches
	from   int64        // records below are not wanted
	read   int64        // next offset after what was handed out
	timed  bool         // Config.MaxProcessing is watched
	marks  bool         // what is handed out may be marked

	expected int64 // of the batch; see Batch
	fence    Fence

	highWatermark int64
}

// begin reserves the iteration.
func (c *Consumer) begin() error {
	if err := c.start(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.iterating {
		return ErrBusy
	}
	c.mu.iterating = true
	return nil
}

// end leaves the iteration: what is left of the chunk goes back to the queue's front, so that the next iteration goes on there.
func (c *Consumer) end(d *delivery) {
	c.mu.Lock()
	c.mu.iterating = false
	c.letGoLocked()
	drop := d.chunk
	if drop != nil && d.batch != nil && drop.generation == drop.p.generation {
		drop.p.position = max(drop.p.position, d.read)
		drop.p.handedEnd = max(drop.p.handedEnd, d.read) // the record at which the loop was left is not processed before it is marked
	}
	if drop != nil && !c.mu.closed {
		c.mu.queue = append([]*chunk{drop}, c.mu.queue...)
		drop = nil
	}
	c.mu.Unlock()
	if drop != nil {
		drop.release()
	}
}

// nextBatch waits for a batch whose records are to be handed out and puts the reader on it; false without an error when ctx or the consumer ended.
func (c *Consumer) nextBatch(ctx context.Context, d *delivery) (bool, error) {
	for {
		if ctx.Err() != nil {
			return false, nil
		}
		select {
		case <-c.stop:
			return false, nil
		default:
		}
		ok, err := c.step(d)
		if ok && c.group != nil {
			ok, err = c.admit(ctx, d)
		}
		if ok || err != nil {
			return ok, err
		}
		if d.chunk != nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-c.stop:
			return false, nil
		case <-c.ready:
		}
	}
}

// step goes one batch or one chunk further; false with a chunk: go on; false without: wait.
func (c *Consumer) step(d *delivery) (bool, error) {
	c.mu.Lock()
	if c.group != nil {
		c.letGoLocked()
		c.expireLocked(time.Now())
	}
	if d.chunk != nil && (d.chunk.p.paused || d.chunk.generation != d.chunk.p.generation) {
		if d.chunk.p.paused && d.chunk.generation == d.chunk.p.generation {
			c.mu.queue = append([]*chunk{d.chunk}, c.mu.queue...)
			d.chunk = nil
		} else {
			d.chunk.data = nil
		}
	}
	if d.chunk == nil {
		if err := c.takeErrorLocked(); err != nil {
			c.mu.Unlock()
			return false, err
		}
		d.chunk = c.dequeueLocked()
	}
	ch := d.chunk
	if ch == nil {
		ended := c.mu.ended // after what was fetched before
		c.mu.Unlock()
		return false, ended
	}
	position := ch.p.position
	if ch.p.tenure == reading && !c.mu.closed {
		ch.p.stopped.Store(false) // a Seek or a Pause of before
	}
	c.mu.Unlock()

	b, _, err := record.Split(ch.data)
	if len(ch.data) == 0 || errors.Is(err, record.ErrPartial) {
		c.retire(d)
		signal(c.ready) // there may be more in the queue
		return false, nil
	}
	if err == nil {
		err = b.CheckCRC()
	}
	if err != nil {
		return false, c.damaged(d, position, err)
	}
	d.batch, d.from, d.read = b, position, position
	if c.skip(ch, b) {
		c.finish(d)
		return false, nil
	}
	if err := d.reader.Reset(b, 0); err != nil {
		return false, c.damaged(d, position, err)
	}
	return true, nil
}

// takeErrorLocked returns the error of a failed partition once; Seek revives the partition.
func (c *Consumer) takeErrorLocked() error {
	var first *partition
	for _, p := range c.mu.partitions {
		if p.state == failed && !p.told && p.buffered == 0 && (first == nil || compareKeys(p.key, first.key) < 0) { // what came before the error is handed out first
			first = p
		}
	}
	if first == nil {
		return nil
	}
	first.told = true
	return first.err
}

// dequeueLocked takes the first chunk that is not kept back by a pause, and drops those that a seek has outdated.
func (c *Consumer) dequeueLocked() *chunk {
	for i, ch := range c.mu.queue {
		if ch.p.paused && ch.generation == ch.p.generation {
			continue
		}
		c.mu.queue = slices.Delete(c.mu.queue, i, i+1)
		if ch.generation != ch.p.generation || ch.p.gated() {
			ch.data = nil // nextBatch retires it
		}
		return ch
	}
	return nil
}

// skip tells whether a batch holds nothing for the application: control batches, batches without records, aborted transactions, batches below the position.
func (c *Consumer) skip(ch *chunk, b record.Batch) bool {
	if c.config.Isolation == ReadCommitted {
		for len(ch.aborted) > 0 && ch.aborted[0].FirstOffset <= b.LastOffset() {
			if ch.active == nil {
				ch.active = map[int64]bool{}
			}
			ch.active[ch.aborted[0].ProducerID] = true
			ch.aborted = ch.aborted[1:]
		}
	}
	if b.Control() {
		if t, ok := b.ControlType(); ok && t == record.ControlAbort {
			delete(ch.active, b.ProducerID())
		}
		return true
	}
	return b.RecordCount() == 0 || b.Transactional() && ch.active[b.ProducerID()]
}

// finishBatch moves past the batch that was handed out, unless its records could not all be read.
func (c *Consumer) finishBatch(d *delivery) error {
	if err := d.reader.Err(); err != nil {
		return c.damaged(d, d.read, err)
	}
	c.finish(d)
	return nil
}

func (c *Consumer) finish(d *delivery) {
	d.chunk.data = d.chunk.data[len(d.batch):]
	c.mu.Lock()
	p := d.chunk.p
	if d.read > d.from { // else the application's store does not hear of the batch
		p.expected = d.batch.NextOffset()
	}
	if d.chunk.generation == p.generation {
		if d.read > d.from {
			p.handedEnd = d.read
		}
		p.position = max(p.position, d.batch.NextOffset())
	}
	c.mu.Unlock()
	d.batch = nil
}

// retire gives the memory of a chunk back and lets its fetcher go on.
func (c *Consumer) retire(d *delivery) {
	ch := d.chunk
	d.chunk, d.batch = nil, nil
	ch.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	ch.p.buffered -= ch.size
	c.mu.buffered -= ch.size
	if f := c.mu.fetchers[ch.p.node(time.Now())]; f != nil {
		signal(f.wake)
	}
}

// damaged ends a partition at a batch that cannot be read.
func (c *Consumer) damaged(d *delivery, offset int64, err error) error {
	p := d.chunk.p
	err = &PartitionError{Topic: p.topic, Partition: p.number, Offset: offset, Err: err}
	c.mu.Lock()
	if d.chunk.generation == p.generation {
		p.fail(err)
		p.told = true
	}
	c.mu.Unlock()
	d.chunk.data = nil
	c.retire(d)
	return err
}
