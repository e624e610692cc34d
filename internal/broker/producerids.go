package broker

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// producerIDWait is how long an InitProducerId request waits for a block of ids.
const producerIDWait = 5 * time.Second

// producerIDs hands out producer ids from blocks that the controller gave this node alone (KIP-730). The next block is asked for when a tenth of the present one is left, so that nobody waits for it.
type producerIDs struct {
	b *Broker

	mu       sync.Mutex
	block    idBlock
	spare    idBlock       // the next one, if it came early
	fetching chan struct{} // closed when the request under way is over; nil without
}

type idBlock struct{ next, end, size int64 }

func (b idBlock) left() int64 { return b.end - b.next }

// take returns an id, waiting for a block if need be. Errors: ctx's, ErrClosed.
func (p *producerIDs) take(ctx context.Context) (int64, error) {
	for {
		p.mu.Lock()
		if p.block.left() == 0 {
			p.block, p.spare = p.spare, idBlock{}
		}
		if p.block.left() > 0 {
			id := p.block.next
			p.block.next++
			if p.spare.left() == 0 && p.block.left() <= p.block.size/10 {
				p.fetchLocked()
			}
			p.mu.Unlock()
			return id, nil
		}
		done := p.fetchLocked()
		p.mu.Unlock()
		if done == nil {
			return 0, ErrClosed
		}
		select {
		case <-done:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
}

// prefetch asks for the first block before anybody needs it.
func (p *producerIDs) prefetch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetchLocked()
}

// fetchLocked makes sure that a block is being asked for and returns what is closed when that is over; nil after Close.
func (p *producerIDs) fetchLocked() <-chan struct{} {
	if p.fetching != nil {
		return p.fetching
	}
	done := make(chan struct{})
	if !p.b.spawn(func() { p.fetch(done) }) {
		return nil
	}
	p.fetching = done
	return done
}

// fetch asks the controller for a block until it gets one or the broker closes.
func (p *producerIDs) fetch(done chan struct{}) {
	block, err := p.ask()
	for err != nil && sleep(p.b.ctx, retryMax) {
		p.b.logger.Debug("producer ids are asked for again", "error", err)
		block, err = p.ask()
	}
	p.mu.Lock()
	if err == nil {
		p.spare = block
	}
	p.fetching = nil
	close(done)
	p.mu.Unlock()
}

func (p *producerIDs) ask() (idBlock, error) {
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	req.BrokerID, req.BrokerEpoch = p.b.c.NodeID, p.b.BrokerEpoch()
	ctx, cancel := context.WithTimeout(p.b.ctx, producerIDWait)
	defer cancel()
	resp, err := p.b.askOnce(ctx, req)
	if err != nil {
		return idBlock{}, err
	}
	r := resp.(*kmsg.AllocateProducerIDsResponse)
	if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
		return idBlock{}, err
	}
	if r.ProducerIDStart < 0 || r.ProducerIDLen <= 0 {
		return idBlock{}, kerr.UnknownServerError
	}
	n := int64(r.ProducerIDLen)
	return idBlock{next: r.ProducerIDStart, end: r.ProducerIDStart + n, size: n}, nil
}
