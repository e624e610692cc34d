package broker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// autoCreateTimeout is how long one attempt to create topics may take.
	autoCreateTimeout = 30 * time.Second
	// maxAutoCreate bounds the topics that wait to be created; what exceeds it is asked for again by the client.
	// Internal topics are few, and clients must not be able to keep them from coming into being.
	maxAutoCreate = 1000
)

// autoCreator creates topics that do not exist yet: those that Metadata requests name, and internal ones when they are first needed (see ensureInternal). What is pending goes out in one request, one
// request at a time. Its goroutine runs while there is any.
type autoCreator struct {
	b *Broker

	mu      sync.Mutex
	pending []string        // not sent yet, in order
	known   map[string]bool // pending or under way
	running bool
}

// want has a topic created soon. It does not wait.
func (a *autoCreator) want(topic string) {
	a.mu.Lock()
	if a.known[topic] || len(a.known) >= maxAutoCreate && !isInternal(topic) {
		a.mu.Unlock()
		return
	}
	if a.known == nil {
		a.known = make(map[string]bool)
	}
	a.known[topic] = true
	a.pending = append(a.pending, topic)
	start := !a.running
	a.running = true
	a.mu.Unlock()
	if start {
		a.b.spawn(a.run)
	}
}

func (a *autoCreator) run() {
	for {
		a.mu.Lock()
		topics := a.pending
		a.pending = nil
		if len(topics) == 0 {
			a.running = false
			a.mu.Unlock()
			return
		}
		a.mu.Unlock()
		a.create(topics)
		a.mu.Lock()
		for _, t := range topics {
			delete(a.known, t)
		}
		a.mu.Unlock()
	}
}

func (a *autoCreator) create(topics []string) {
	slices.Sort(topics)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = createTopicsVersion, int32(autoCreateTimeout.Milliseconds())
	for _, name := range topics {
		req.Topics = append(req.Topics, a.b.topicToCreate(name))
	}
	resp, err := a.b.forward(a.b.ctx, req, autoCreateTimeout)
	if err != nil {
		if a.b.ctx.Err() == nil {
			a.b.logger.Warn("cannot create topics on demand", "topics", topics, "error", err)
		}
		return
	}
	created := false
	for _, t := range resp.(*kmsg.CreateTopicsResponse).Topics {
		if t.ErrorCode != 0 && t.ErrorCode != kerr.TopicAlreadyExists.Code {
			a.b.logger.Warn("cannot create a topic on demand", "topic", t.Topic, "error", kerr.ErrorForCode(t.ErrorCode))
		}
		if t.ErrorCode == 0 {
			created = true
		}
	}
	if created {
		a.await(topics)
	}
}

// await waits a little until this node's metadata has the topics, lest the next Metadata request has them created again.
func (a *autoCreator) await(topics []string) {
	ctx, cancel := context.WithTimeout(a.b.ctx, time.Second)
	defer cancel()
	_ = a.b.applier.wait(ctx, func(img *controller.Image) bool {
		return !slices.ContainsFunc(topics, func(t string) bool { return img.Topics[t] == nil })
	})
}
