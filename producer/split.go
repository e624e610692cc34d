package producer

import (
	"fmt"

	"github.com/insynclog/insync/log/record"
)

// minSplitBytes is the smallest size of batches that refusals lead to.
const minSplitBytes = 1 << 10

// splitLocked replaces b by two halves, or ends it if it has one record only.
func (pt *partition) splitLocked(b *batch, r *result) {
	if b.count <= 1 {
		pt.window.fail(b, pt.errorOf(b, r))
		return
	}
	parts, err := pt.topic.p.split(b)
	if err != nil {
		pt.window.fail(b, pt.errorOf(b, &result{err: err}))
		return
	}
	pt.window.split(b, parts)
	// Batches that are opened from now on are small enough, or will be soon.
	if limit, half := pt.topic.batchBytes.Load(), int64(b.rawBytes/2); half < limit {
		pt.topic.batchBytes.CompareAndSwap(limit, max(half, minSplitBytes))
	}
}

// split encodes the records of b anew, in two batches of half the number. They share b's memory of the bound.
func (p *Producer) split(b *batch) ([]*batch, error) {
	half := int(b.count) / 2
	builder := p.builders.Get().(*record.Builder)
	defer func() { p.recycleBuilder(builder) }()
	var parts []*batch
	var i, from int
	emit := func(to int) error {
		buf := p.buffers.Get().(*buffer)
		out, err := builder.Build(buf.b[:0])
		if err != nil {
			return err
		}
		buf.b = out
		part := *b
		part.buf, part.builder, part.rawBytes = buf, nil, builder.Size()
		builder.Reset()
		part.callbacks = append([]callback(nil), b.callbacks[from:to]...)
		part.count = int32(to - from)
		part.reserved = b.reserved / 2
		part.flushes = append([]*flush(nil), b.flushes...)
		parts = append(parts, &part)
		from = to
		return nil
	}
	for r, err := range record.Batch(b.buf.b).All() {
		if err != nil {
			return nil, fmt.Errorf("split: %w", err)
		}
		if i == half {
			if err := emit(half); err != nil {
				return nil, fmt.Errorf("split: %w", err)
			}
		}
		builder.Append(r)
		i++
	}
	if err := emit(i); err != nil {
		return nil, fmt.Errorf("split: %w", err)
	}
	parts[0].reserved = b.reserved - parts[1].reserved
	for _, f := range b.flushes {
		f.left.Add(1) // b counted once
	}
	b.state, b.reserved = finished, 0
	return parts, nil
}
