package broker

import (
	"context"
	"slices"
	"sync"

	"github.com/insynclog/insync/transport"
)

// callers are the connections that other nodes have to this one. When the process of a node ends its system closes them all, and refuses new ones.
type callers struct {
	mu sync.Mutex
	of map[int32][]context.Context // each ends with its connection
}

// called notes that a request of a node came over a connection. ctx is the request's, which is its connection's.
func (c *callers) called(ctx context.Context, r *transport.Request, node int32) {
	if r.Conn == nil || r.Conn.Direct {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	open := c.of[node]
	if slices.Contains(open, ctx) {
		return
	}
	if c.of == nil {
		c.of = make(map[int32][]context.Context)
	}
	c.of[node] = append(slices.DeleteFunc(open, ended), ctx)
}

// connected tells whether a node has a connection to this one.
func (c *callers) connected(node int32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.of[node], func(ctx context.Context) bool { return !ended(ctx) })
}

func ended(ctx context.Context) bool { return ctx.Err() != nil }
