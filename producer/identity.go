package producer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/insynclog/insync/transport"
)

// identity is the producer id that the cluster gave. It is asked for when it is needed first, and again when a leader did not accept it.
type identity struct {
	mu       sync.Mutex
	known    bool
	asking   bool
	current  producerID
	failures int
	retry    *time.Timer
	closed   bool
}

// producerID is what a partition begins with.
type producerID struct {
	producerID int64
	epoch      int16
}

// get returns the id, if there is one.
func (i *identity) get() (producerID, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.current, i.known
}

// drop forgets an id that a leader refused. Another one is asked for when it is needed.
func (i *identity) drop(id int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.known && i.current.producerID == id {
		i.known = false
	}
}

// begin tells whether the caller is to ask for an id.
func (i *identity) begin() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.known || i.asking || i.closed {
		return false
	}
	i.asking = true
	return true
}

func (i *identity) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	if i.retry != nil {
		i.retry.Stop()
	}
}

// requestID asks for a producer id, unless that is under way. It does not wait.
func (p *Producer) requestID() {
	if !p.c.DisableIdempotence && p.identity.begin() {
		p.askID()
	}
}

func (p *Producer) askID() {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionTimeoutMillis = -1 // of no meaning without a transaction
	p.client.Send(context.Background(), transport.AnyNode, req, func(res transport.Response, err error) {
		var id producerID
		if m, ok := res.Message.(*kmsg.InitProducerIDResponse); ok && err == nil {
			err = kerr.ErrorForCode(m.ErrorCode)
			id = producerID{m.ProducerID, m.ProducerEpoch}
		} else if err == nil {
			err = errNoAnswer
		}
		if res.Release != nil {
			res.Release()
		}
		p.gotID(id, err)
	})
}

// gotID takes the answer to askID.
func (p *Producer) gotID(id producerID, err error) {
	i := &p.identity
	i.mu.Lock()
	again := err != nil && !fatalForID(err)
	switch {
	case i.closed:
		i.mu.Unlock()
		return
	case err == nil:
		i.known, i.asking, i.current, i.failures = true, false, id, 0
	case again:
		i.failures++
		i.retry = time.AfterFunc(p.backOff(i.failures, 0), func() {
			if p.enter() {
				defer p.wg.Done()
				p.askID()
			}
		})
	default:
		i.asking = false
	}
	i.mu.Unlock()
	if again {
		return
	}
	if err != nil {
		p.failUnidentified(err)
		return
	}
	p.wakeAll()
}

// fatalForID tells whether it makes no sense to ask again: the cluster refuses, or does not know of idempotence.
func fatalForID(err error) bool {
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		return !e.Retriable
	}
	_, unsupported := errors.AsType[*transport.UnsupportedVersionError](err)
	return unsupported || errors.Is(err, transport.ErrClosed)
}
