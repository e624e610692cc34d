package producer

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
)

// request is one Produce request, from filling to the end of its answer.
type request struct {
	n       *node
	batches []taken
	bytes   int  // of the batches
	heavy   bool // a batch has a user's callback

	message kmsg.ProduceRequest
	done    func(transport.Response, error) // r.answered, made once

	response transport.Response
	err      error
}

// add puts a batch into the request.
func (r *request) add(t taken) {
	r.batches = append(r.batches, t)
	r.bytes += t.b.size()
	r.heavy = r.heavy || t.b.heavy
}

// encode gives the batches their bytes and puts them into the message. A batch that cannot be encoded ends here. It returns whether there is
// anything to send.
func (r *request) encode() bool {
	p := r.n.p
	m := &r.message
	m.Acks, m.TimeoutMillis = p.c.Acks.wire(), int32(p.c.RequestTimeout.Milliseconds())
	good := r.batches[:0]
	for _, t := range r.batches {
		pt := t.b.part
		if err := p.encode(&t); err != nil {
			pt.refuse(t.b, err)
			r.n.delivered = append(r.n.delivered, pt)
			continue
		}
		t.topicAt = topicOf(m, pt.topic)
		tp := &m.Topics[t.topicAt]
		t.partitionAt = len(tp.Partitions)
		tp.Partitions = append(tp.Partitions, kmsg.ProduceRequestTopicPartition{Partition: pt.number, Records: t.b.buf.b})
		good = append(good, t)
	}
	clear(r.batches[len(good):])
	r.batches = good
	return len(good) > 0
}

// send sends the request. There is no context: the client has its own timeout, and Close ignores late answers.
func (r *request) send() {
	r.n.p.client.Send(context.Background(), r.n.id, &r.message, r.done)
}

// topicOf returns the index of t in m, where it is put if it is new. Partitions of a topic mostly follow each other.
func topicOf(m *kmsg.ProduceRequest, t *topic) int {
	for i := len(m.Topics) - 1; i >= 0; i-- {
		if m.Topics[i].Topic == t.name {
			return i
		}
	}
	i := len(m.Topics)
	if i < cap(m.Topics) { // keep the partitions' memory of an earlier use
		m.Topics = m.Topics[:i+1]
	} else {
		m.Topics = append(m.Topics, kmsg.ProduceRequestTopic{})
	}
	tp := &m.Topics[i]
	tp.Topic, tp.TopicID, tp.Partitions = t.name, t.topicID(), tp.Partitions[:0]
	return i
}

// answered takes the answer and leaves it to the node's runner.
func (r *request) answered(response transport.Response, err error) {
	r.response, r.err = response, err
	r.n.answer(r)
}

// encode gives t's batch its bytes, or puts the producer's fields into those it has.
func (p *Producer) encode(t *taken) error {
	b := t.b
	if b.buf != nil {
		h := record.Batch(b.buf.b)
		if h.ProducerID() != t.id || h.ProducerEpoch() != t.epoch || h.BaseSequence() != t.sequence {
			if b.aliased { // by an attempt that nobody answered
				h = h.Clone()
				b.buf, b.aliased = &buffer{h}, false
			}
			h.PutProducer(t.id, t.epoch, t.sequence)
		}
		return nil
	}
	buf := p.buffers.Get().(*buffer)
	b.builder.SetProducer(t.id, t.epoch, t.sequence)
	out, err := b.builder.Build(buf.b[:0])
	buf.b = out
	b.buf, b.rawBytes = buf, b.builder.Size()
	p.recycleBuilder(b.builder)
	b.builder = nil
	return err
}
