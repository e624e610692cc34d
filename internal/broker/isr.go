package broker

import (
	"context"
	"sync"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxProposals bounds the partitions of one AlterPartition request.
	maxProposals = 10_000
	// proposalTimeout is how long one request may take before its proposals count as unanswered.
	proposalTimeout = 10 * time.Second
	// proposalPause is the pause after a request that failed as a whole.
	proposalPause = 50 * time.Millisecond
)

// isrProposer sends the ISR changes that replicas propose to the controller: all that are pending in one AlterPartition request, one request at a time (KIP-497). It never repeats one by itself: what an
// answer means depends on whether an earlier attempt may still be on its way, and the replica knows that.
//
// Its goroutine runs while there is something to propose.
type isrProposer struct {
	b *Broker

	mu      sync.Mutex
	pending []proposal
	running bool
}

type proposal struct {
	replication.ISRProposal
	done func(replication.ISRResult)
}

func newISRProposer(b *Broker) *isrProposer { return &isrProposer{b: b} }

// propose is replication.Config.ProposeISR.
func (p *isrProposer) propose(change replication.ISRProposal, done func(replication.ISRResult)) {
	p.mu.Lock()
	p.pending = append(p.pending, proposal{change, done})
	start := !p.running
	p.running = true
	p.mu.Unlock()
	if start && !p.b.spawn(p.run) {
		// The broker is closing, and so is the replica: nobody waits for an answer.
		p.mu.Lock()
		p.running, p.pending = false, nil
		p.mu.Unlock()
	}
}

func (p *isrProposer) run() {
	for {
		p.mu.Lock()
		batch := p.pending
		if len(batch) > maxProposals {
			batch, p.pending = batch[:maxProposals:maxProposals], batch[maxProposals:]
		} else {
			p.pending = nil
		}
		if len(batch) == 0 || p.b.ctx.Err() != nil {
			p.running = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		if !p.send(batch) {
			sleep(p.b.ctx, proposalPause)
		}
	}
}

// send sends one request and hands out the answers. False: the request failed as a whole.
func (p *isrProposer) send(batch []proposal) bool {
	ctx, cancel := context.WithTimeout(p.b.ctx, proposalTimeout)
	defer cancel()
	resp, err := p.b.askOnce(ctx, p.request(batch))
	if err == nil {
		r := resp.(*kmsg.AlterPartitionResponse)
		if err = kerr.ErrorForCode(r.ErrorCode); err == nil {
			p.answer(batch, r)
			return true
		}
	}
	p.b.logger.Debug("ISR changes were not answered", "count", len(batch), "error", err)
	for i := range batch {
		batch[i].done(replication.ISRResult{Err: err})
	}
	return false
}

// request puts proposals into a request, by topic in the order of their coming.
func (p *isrProposer) request(batch []proposal) *kmsg.AlterPartitionRequest {
	req := kmsg.NewPtrAlterPartitionRequest()
	req.Version = 3
	req.BrokerID, req.BrokerEpoch = p.b.c.NodeID, p.b.BrokerEpoch()
	topics := make(map[log.TopicID]int)
	for i := range batch {
		c := &batch[i]
		at, ok := topics[c.TopicID]
		if !ok {
			at = len(req.Topics)
			topics[c.TopicID] = at
			t := kmsg.NewAlterPartitionRequestTopic()
			t.Topic, t.TopicID = c.Topic, c.TopicID
			req.Topics = append(req.Topics, t)
		}
		part := kmsg.NewAlterPartitionRequestTopicPartition()
		part.Partition, part.LeaderEpoch, part.PartitionEpoch = c.Partition, c.LeaderEpoch, c.PartitionEpoch
		for _, m := range c.ISR {
			e := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
			e.BrokerID, e.BrokerEpoch = m.ID, m.Epoch
			part.NewEpochISR = append(part.NewEpochISR, e)
			part.NewISR = append(part.NewISR, m.ID)
		}
		if len(c.HandOver) > 0 {
			controller.SetDrained(&part, c.HandOver[0])
		}
		req.Topics[at].Partitions = append(req.Topics[at].Partitions, part)
	}
	return req
}

type proposalKey struct {
	id        log.TopicID
	partition int32
}

// answer hands each proposal its partition's answer. One that the response leaves out counts as not answered.
func (p *isrProposer) answer(batch []proposal, resp *kmsg.AlterPartitionResponse) {
	answers := make(map[proposalKey]*kmsg.AlterPartitionResponseTopicPartition)
	for t := range resp.Topics {
		topic := &resp.Topics[t]
		for i := range topic.Partitions {
			answers[proposalKey{topic.TopidID, topic.Partitions[i].Partition}] = &topic.Partitions[i]
		}
	}
	img := p.b.metadataImage()
	for i := range batch {
		c := &batch[i]
		a := answers[proposalKey{c.TopicID, c.Partition}]
		switch {
		case a == nil:
			c.done(replication.ISRResult{Err: kerr.UnknownServerError})
		case a.ErrorCode != 0:
			c.done(replication.ISRResult{Err: errorOf(a.ErrorCode)})
		default:
			c.done(replication.ISRResult{State: committed(img, c.ISRProposal, a)})
		}
	}
}

// committed is the state that an answer tells of; the replicas are those of metadata, for the answer has none.
func committed(img *controller.Image, c replication.ISRProposal, a *kmsg.AlterPartitionResponseTopicPartition) replication.State {
	s := replication.State{Leader: a.LeaderID, LeaderEpoch: a.LeaderEpoch, PartitionEpoch: a.PartitionEpoch, ISR: a.ISR}
	if t := img.TopicIDs[c.TopicID]; t != nil && int(c.Partition) < len(t.Partitions) {
		s.Replicas, s.ELR = t.Partitions[c.Partition].Replicas, t.Partitions[c.Partition].ELR
	}
	return s
}
