package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CoordinatorKind says what a coordinator coordinates.
type CoordinatorKind int8

// The kinds, as FindCoordinator numbers them.
const (
	GroupCoordinator       CoordinatorKind = 0 // of a consumer group, by its id
	TransactionCoordinator CoordinatorKind = 1 // of a producer's transactions, by its transactional id
)

// coordinators caches which node coordinates what.
type coordinators struct {
	mu    sync.Mutex
	nodes map[coordinatorKey]int32
	wrong coordinatorKey // whose node was forgotten last: who named it may do so again
}

func (cs *coordinators) order(kind CoordinatorKind, key string) candidateOrder {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.wrong == (coordinatorKey{kind, key}) {
		return othersFirst
	}
	return likelyFirst
}

type coordinatorKey struct {
	kind CoordinatorKind
	key  string
}

// Coordinator returns the node that coordinates a group or a transactional id: from the cache, else by asking until a node answers, for as long as ctx and RequestTimeout allow, with the client's
// back-off. Whoever is told by that node that it is not the coordinator (NOT_COORDINATOR, COORDINATOR_NOT_AVAILABLE), or cannot reach it, calls ForgetCoordinator and asks again.
//
// Errors: ErrClosed, ctx's, *UnsupportedVersionError, a *kerr.Error that waiting does not mend (GROUP_AUTHORIZATION_FAILED, INVALID_GROUP_ID); after RequestTimeout one that matches ErrTimeout and the last
// reason.
func (c *Client) Coordinator(ctx context.Context, kind CoordinatorKind, key string) (int32, error) {
	if c.life.Err() != nil {
		return 0, ErrClosed
	}
	if node, ok := c.coordinators.get(kind, key); ok {
		return node, nil
	}
	within, cancel := context.WithTimeoutCause(ctx, c.cfg.RequestTimeout, ErrTimeout)
	defer cancel()
	for wait, order := c.cfg.BackoffMin, c.coordinators.order(kind, key); ; wait, order = min(2*wait, c.cfg.BackoffMax), othersFirst {
		node, err := c.findCoordinator(within, kind, key, order)
		switch {
		case err == nil:
			c.coordinators.set(kind, key, node)
			return node, nil
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case !passing(err):
			return 0, err
		}
		if !sleep(within, wait) {
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			return 0, fmt.Errorf("coordinator of %q: %w", key, errors.Join(context.Cause(within), err))
		}
	}
}

// ForgetCoordinator drops a node from the cache, unless another one has taken its place there already.
func (c *Client) ForgetCoordinator(kind CoordinatorKind, key string, node int32) {
	if c.coordinators.forget(kind, key, node) {
		c.meta.suspect(node)
	}
}

func (cs *coordinators) forget(kind CoordinatorKind, key string, node int32) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	k := coordinatorKey{kind, key}
	n, ok := cs.nodes[k]
	if !ok || n != node {
		return false
	}
	delete(cs.nodes, k)
	cs.wrong = k
	return true
}

// passing tells whether asking again may help.
func passing(err error) bool {
	if ke, ok := errors.AsType[*kerr.Error](err); ok {
		return ke.Retriable
	}
	_, unsupported := errors.AsType[*UnsupportedVersionError](err)
	return !unsupported && !errors.Is(err, ErrClosed)
}

func (c *Client) findCoordinator(ctx context.Context, kind CoordinatorKind, key string, order candidateOrder) (int32, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	_, resp, err := c.firstAnswer(ctx, c.meta.candidates(order), func() kmsg.Request {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorType = int8(kind)
		req.CoordinatorKey, req.CoordinatorKeys = key, []string{key} // before version 4 the one, from then on the other
		return req
	}, func(kmsg.Response) error { return nil })
	if err != nil {
		return 0, err
	}
	r, ok := resp.(*kmsg.FindCoordinatorResponse)
	if !ok {
		return 0, errUnexpected
	}
	found := kmsg.FindCoordinatorResponseCoordinator{Key: key, NodeID: r.NodeID, Host: r.Host, Port: r.Port, ErrorCode: r.ErrorCode}
	if r.Version >= 4 {
		if len(r.Coordinators) != 1 {
			return 0, errUnexpected
		}
		found = r.Coordinators[0]
	}
	if err := kerr.ErrorForCode(found.ErrorCode); err != nil {
		return 0, err
	}
	if found.NodeID < 0 {
		return 0, kerr.CoordinatorNotAvailable
	}
	c.setAddr(found.NodeID, net.JoinHostPort(found.Host, strconv.Itoa(int(found.Port))))
	return found.NodeID, nil
}

func (cs *coordinators) get(kind CoordinatorKind, key string) (int32, bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	node, ok := cs.nodes[coordinatorKey{kind, key}]
	return node, ok
}

func (cs *coordinators) set(kind CoordinatorKind, key string, node int32) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.nodes == nil {
		cs.nodes = make(map[coordinatorKey]int32)
	}
	cs.nodes[coordinatorKey{kind, key}] = node
}

// CachedCoordinator returns what is cached, without asking.
func (c *Client) CachedCoordinator(kind CoordinatorKind, key string) (node int32, ok bool) {
	return c.coordinators.get(kind, key)
}
