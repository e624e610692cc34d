package transport

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// hedge is how long a node may take to answer what any node can before the next one is asked as well. A node that is cut off looks like one that is slow.
func (c *Client) hedge() time.Duration { return 2 * c.cfg.BackoffMin }

// firstAnswer asks nodes in order, each with a request of its own, until one has a good answer: the next one when the one before has failed, or has taken longer than hedge. What has no answer by then is
// given up. The request must be one that does no harm when several nodes have it.
//
// Errors: ctx's, ErrClosed, the last one of a node, *UnknownNodeError without any node.
func (c *Client) firstAnswer(ctx context.Context, nodes []int32, request func() kmsg.Request, good func(kmsg.Response) error) (int32, kmsg.Response, error) {
	type answer struct {
		node int32
		resp kmsg.Response
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(nodes))
	var mu sync.Mutex
	over := false // what comes now nobody waits for
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
	}()
	ask := func(node int32) {
		c.Send(ctx, node, request(), func(r Response, err error) {
			mu.Lock()
			defer mu.Unlock()
			if over || err != nil {
				if r.Release != nil {
					r.Release()
				}
				answers <- answer{node, nil, err}
				return
			}
			m := r.Message
			if r.Release != nil && c.direct != nil && node == c.direct.id {
				m, err = own(r)
			}
			answers <- answer{node, m, err} // the frame of a connection is left to the garbage collector
		})
	}
	var last error = &UnknownNodeError{Node: AnyNode}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for next, out := 0, 0; next < len(nodes) || out > 0; {
		select {
		case <-timer.C:
			if next > 0 {
				c.meta.suspect(nodes[next-1]) // it is silent, or has failed
			}
			if next < len(nodes) {
				ask(nodes[next])
				next, out = next+1, out+1
				timer.Reset(c.hedge())
			}
		case a := <-answers:
			out--
			if a.err == nil {
				a.err = good(a.resp)
			}
			if a.err == nil {
				c.meta.heard(a.node, nil)
				return a.node, a.resp, nil
			}
			if errors.Is(a.err, ErrClosed) {
				return 0, nil, a.err
			}
			last = a.err
			c.meta.heard(a.node, a.err)
			c.cfg.Logger.Debug("a node did not answer", "node", a.node, "error", a.err)
			timer.Reset(0)
		case <-ctx.Done():
			for _, n := range nodes[:next] {
				c.meta.suspect(n)
			}
			if c.life.Err() != nil {
				return 0, nil, ErrClosed
			}
			return 0, nil, ctx.Err()
		}
	}
	return 0, nil, last
}
