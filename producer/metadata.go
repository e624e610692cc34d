package producer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/insynclog/insync/transport"
)

// unknownTopicRetries is how often a topic that the cluster does not know is asked for again: it may have been created a moment ago.
const unknownTopicRetries = 4

// topic returns what the producer keeps of a topic. The first time, it waits for the cluster's metadata.
func (p *Producer) topic(ctx context.Context, name string) (*topic, error) {
	if t := (*p.topics.Load())[name]; t != nil {
		return t, nil
	}
	p.requestID() // the answer is on its way while the metadata is
	meta, err := p.topicMetadata(ctx, name)
	if err != nil {
		return nil, err
	}
	return p.addTopic(name, meta)
}

// topicMetadata asks until it knows the topic, ctx ends, or it makes no sense any more.
func (p *Producer) topicMetadata(ctx context.Context, name string) (*transport.Topic, error) {
	callers := ctx
	ctx, cancel := context.WithTimeout(ctx, p.c.DeliveryTimeout)
	defer cancel()
	stop := context.AfterFunc(p.ctx, cancel)
	defer stop()
	for n := 1; ; n++ {
		meta, err := p.client.Topic(ctx, name, p.c.AllowAutoCreate)
		if err == nil && meta.Err != nil {
			err = meta.Err
		}
		if err == nil && len(meta.Partitions) == 0 {
			err = kerr.LeaderNotAvailable
		}
		switch {
		case err == nil:
			return meta, nil
		case p.ctx.Err() != nil:
			return nil, ErrClosed
		case callers.Err() != nil:
			return nil, fmt.Errorf("%w while asking for the topic: %w", callers.Err(), err)
		case ctx.Err() != nil:
			return nil, fmt.Errorf("%w while asking for the topic: %w", ErrDeliveryTimeout, err)
		case errors.Is(err, transport.ErrClosed), isKafka(err) && !kerr.IsRetriable(err):
			return nil, err
		case errors.Is(err, kerr.UnknownTopicOrPartition) && n > unknownTopicRetries:
			return nil, err
		}
		pause := time.NewTimer(p.backOff(n, 0))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

func isKafka(err error) bool {
	_, ok := errors.AsType[*kerr.Error](err)
	return ok
}

// addTopic puts a topic into the table, if nobody else did.
func (p *Producer) addTopic(name string, meta *transport.Topic) (*topic, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	old := *p.topics.Load()
	if t := old[name]; t != nil {
		return t, nil
	}
	t := &topic{p: p, name: name}
	t.batchBytes.Store(int64(p.c.BatchBytes))
	t.updateLocked(meta)
	t.sticky.Store(-1)
	t.unstick(-1)
	topics := make(map[string]*topic, len(old)+1)
	for k, v := range old {
		topics[k] = v
	}
	topics[name] = t
	p.topics.Store(&topics)
	return t, nil
}

// refresh asks for new metadata of a topic soon. It does not wait.
func (p *Producer) refresh(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	if p.stale == nil {
		p.stale = make(map[string]bool)
	}
	p.stale[name] = true
	if !p.refreshing {
		p.refreshing = true
		p.wg.Go(p.refreshStale)
	}
}

// refreshStale is the goroutine that waits for metadata. It ends when nobody waits for any.
func (p *Producer) refreshStale() {
	for {
		p.mu.Lock()
		names := make([]string, 0, len(p.stale))
		for name := range p.stale {
			names = append(names, name)
		}
		clear(p.stale)
		if len(names) == 0 || p.closed {
			p.refreshing = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		select {
		case <-p.client.Refresh(names...):
		case <-p.ctx.Done():
			continue
		}
		for _, name := range names {
			if p.refreshed(name) {
				p.pollAgain(name)
			}
		}
	}
}

// pollEvery is how often metadata is asked for while a partition backs off: the pause before an attempt grows, but a new leader is to be noticed soon.
const pollEvery = minBackOff

// pollAgain has the next round ask for a topic, too, after a pause.
func (p *Producer) pollAgain(name string) {
	t := time.NewTimer(pollEvery)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.ctx.Done():
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stale == nil {
		p.stale = make(map[string]bool)
	}
	p.stale[name] = true
}

// refreshed takes over new metadata of a topic and sends what waited for it. It tells whether something still waits for another leader.
func (p *Producer) refreshed(name string) (waits bool) {
	t := (*p.topics.Load())[name]
	if t == nil {
		return false
	}
	t.observe()
	for _, pt := range *t.partitions.Load() {
		n, backs := pt.wakeAfterMetadata()
		if n != nil {
			n.wake(fullBatch)
		}
		waits = waits || backs
	}
	return waits
}
