package producer

import (
	"time"

	"github.com/insynclog/insync/log/record"
)

// initPools says how to make what the pools are for.
func (p *Producer) initPools() {
	p.batches.New = func() any { return new(batch) }
	p.builders.New = func() any {
		return record.NewBuilder(record.BuilderConfig{Codec: p.c.Codec, Level: p.c.CompressionLevel})
	}
	p.buffers.New = func() any { return new(buffer) }
	p.waiters.New = func() any { return newWaiter() }
	p.requests.New = func() any {
		r := new(request)
		r.done = r.answered
		r.message.Default()
		return r
	}
}

// maxPooledBytes is the size of the largest memory that is kept for reuse, beyond what BatchBytes asks for.
const maxPooledBytes = 1 << 20

// newBatch opens a batch. now may be zero.
func (p *Producer) newBatch(pt *partition, now time.Time) *batch {
	if now.IsZero() {
		now = time.Now()
	}
	linger := p.c.Linger
	if linger == 0 {
		linger = patience
	}
	b := p.batches.Get().(*batch)
	*b = batch{
		part: pt, builder: p.builders.Get().(*record.Builder), callbacks: b.callbacks[:0],
		ripe: now.Add(linger), deadline: now.Add(p.c.DeliveryTimeout), baseOffset: -1, logAppendTime: -1, sequence: -1,
	}
	p.reaper.watch(p, b.deadline)
	pt.topic.observe()
	return b
}

// recycleBatch takes back the memory of a batch whose callbacks have run. A batch that failed may still be referred to by a request under way.
func (p *Producer) recycleBatch(b *batch) {
	if b.err != nil {
		return
	}
	if b.buf != nil && !b.aliased {
		p.recycleBuffer(b.buf)
	}
	clear(b.callbacks)
	b.buf, b.part, b.flushes = nil, nil, nil
	p.batches.Put(b)
}

func (p *Producer) recycleBuffer(buf *buffer) {
	if cap(buf.b) <= max(maxPooledBytes, 2*p.c.BatchBytes) {
		p.buffers.Put(buf)
	}
}

func (p *Producer) recycleBuilder(b *record.Builder) {
	if b.Size() <= max(maxPooledBytes, 2*p.c.BatchBytes) {
		b.Reset()
		p.builders.Put(b)
	}
}

func (p *Producer) newRequest(n *node) *request {
	r := p.requests.Get().(*request)
	r.n = n
	return r
}

// recycleRequest takes back a request that was answered, or never sent.
func (p *Producer) recycleRequest(r *request) {
	clear(r.batches)
	for i := range r.message.Topics {
		clear(r.message.Topics[i].Partitions)
	}
	r.message.Topics = r.message.Topics[:0]
	*r = request{batches: r.batches[:0], message: r.message, done: r.done}
	p.requests.Put(r)
}
