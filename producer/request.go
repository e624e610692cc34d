package producer

import (
	"context"
	"strings"
	"time"

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
		tp := topicOf(m, pt.topic)
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

// topicOf returns the part of m that is t's.
func topicOf(m *kmsg.ProduceRequest, t *topic) *kmsg.ProduceRequestTopic {
	for i := range m.Topics {
		if m.Topics[i].Topic == t.name {
			return &m.Topics[i]
		}
	}
	if len(m.Topics) < cap(m.Topics) { // keep the partitions' memory of an earlier use
		m.Topics = m.Topics[:len(m.Topics)+1]
	} else {
		m.Topics = append(m.Topics, kmsg.ProduceRequestTopic{})
	}
	tp := &m.Topics[len(m.Topics)-1]
	tp.Topic, tp.TopicID, tp.Partitions = t.name, t.topicID(), tp.Partitions[:0]
	return tp
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

// finish gives every batch of an answered request its result.
func (n *node) finish(r *request) {
	response, _ := r.response.Message.(*kmsg.ProduceResponse)
	if response != nil && response.ThrottleMillis > 0 {
		n.throttled = time.Now().Add(time.Duration(response.ThrottleMillis) * time.Millisecond)
	}
	for i := range r.batches {
		b := r.batches[i].b
		n.company += int(b.count)
		pt := b.part // b may be in use anew as soon as it is finished
		res := n.p.resultOf(r, response, b)
		other := pt.finish(b, &res)
		n.delivered = append(n.delivered, pt)
		if res.refresh {
			n.p.refresh(pt.topic.name)
		}
		if other != nil && other != n {
			other.wake(fullBatch)
		}
	}
	if r.response.Release != nil {
		r.response.Release()
	}
	if r.err == nil {
		n.p.recycleRequest(r)
	}
}

// resultOf finds what the answer to r says of b.
func (p *Producer) resultOf(r *request, response *kmsg.ProduceResponse, b *batch) result {
	switch {
	case r.err != nil:
		return resultOfError(r.err)
	case p.c.Acks == AcksNone:
		return result{kind: resultSuccess, baseOffset: -1, logAppendTime: -1}
	case response == nil:
		return result{kind: resultRetry, err: errNoAnswer, maybe: true, refresh: true}
	}
	a := findPartition(response, b.part)
	if a == nil {
		return result{kind: resultRetry, err: errNoAnswer, maybe: true, refresh: true}
	}
	if a.ErrorCode == 0 {
		return result{kind: resultSuccess, baseOffset: a.BaseOffset, logAppendTime: a.LogAppendTime}
	}
	res := resultOfCode(a.ErrorCode)
	if a.ErrorMessage != nil {
		res.message = strings.Clone(*a.ErrorMessage) // the answer's memory goes back
	}
	res.records = a.ErrorRecords
	if l := a.CurrentLeader; l.LeaderID >= 0 && l.LeaderEpoch >= 0 {
		p.client.LeaderHint(b.part.topic.name, b.part.number, l.LeaderID, l.LeaderEpoch, endpoints(response))
	}
	return res
}

// findPartition returns the answer for pt, or nil.
func findPartition(response *kmsg.ProduceResponse, pt *partition) *kmsg.ProduceResponseTopicPartition {
	for i := range response.Topics {
		t := &response.Topics[i]
		if t.Topic != pt.topic.name && (t.Topic != "" || t.TopicID != pt.topic.topicID()) { // since version 13 topics have only ids
			continue
		}
		for j := range t.Partitions {
			if t.Partitions[j].Partition == pt.number {
				return &t.Partitions[j]
			}
		}
	}
	return nil
}

// endpoints returns the addresses that came with hints of new leaders (KIP-951).
func endpoints(response *kmsg.ProduceResponse) []transport.Node {
	nodes := make([]transport.Node, 0, len(response.Brokers))
	for _, b := range response.Brokers {
		n := transport.Node{ID: b.NodeID, Addr: joinHostPort(b.Host, b.Port)}
		if b.Rack != nil {
			n.Rack = *b.Rack
		}
		nodes = append(nodes, n)
	}
	return nodes
}
