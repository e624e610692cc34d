package producer

import (
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/insynclog/insync/transport"
)

// finish gives every batch of an answered request its result.
func (n *node) finish(r *request) {
	response, _ := r.response.Message.(*kmsg.ProduceResponse)
	if response != nil && response.ThrottleMillis > 0 {
		n.throttled = time.Now().Add(time.Duration(response.ThrottleMillis) * time.Millisecond)
	}
	for i := range r.batches {
		t := &r.batches[i]
		b := t.b
		n.company += int(b.count)
		pt := b.part // b may be in use anew as soon as it is finished
		res := n.p.resultOf(r, response, t)
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

// resultOf finds what the answer to r says of t.
func (p *Producer) resultOf(r *request, response *kmsg.ProduceResponse, t *taken) result {
	pt := t.b.part
	switch {
	case r.err != nil:
		return resultOfError(r.err)
	case p.c.Acks == AcksNone:
		return result{kind: resultSuccess, baseOffset: -1, logAppendTime: -1}
	case response == nil:
		return result{kind: resultRetry, err: errNoAnswer, maybe: true, refresh: true}
	}
	a := findPartition(response, &r.message.Topics[t.topicAt], t)
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
		p.client.LeaderHint(pt.topic.name, pt.number, l.LeaderID, l.LeaderEpoch, endpoints(response))
	}
	return res
}

// findPartition returns the answer for t, which was asked for under asked, or nil. It looks first where the request had it.
func findPartition(response *kmsg.ProduceResponse, asked *kmsg.ProduceRequestTopic, t *taken) *kmsg.ProduceResponseTopicPartition {
	number := t.b.part.number
	about := func(rt *kmsg.ProduceResponseTopic) bool { // since version 13 topics have no names but ids
		return rt.Topic == asked.Topic || rt.Topic == "" && rt.TopicID == asked.TopicID
	}
	if t.topicAt < len(response.Topics) {
		rt := &response.Topics[t.topicAt]
		if t.partitionAt < len(rt.Partitions) && rt.Partitions[t.partitionAt].Partition == number && about(rt) {
			return &rt.Partitions[t.partitionAt]
		}
	}
	for i := range response.Topics {
		rt := &response.Topics[i]
		if !about(rt) {
			continue
		}
		for j := range rt.Partitions {
			if rt.Partitions[j].Partition == number {
				return &rt.Partitions[j]
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

func joinHostPort(host string, port int32) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
