package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// askPatience bounds one question to one node.
	askPatience = 2 * time.Second
	// doubtAfter is how long a start finds no quorum before the node asks whether it still belongs to one.
	doubtAfter = 3 * time.Second
)

// joinQuorum takes a JoinRequest and has the active controller answer it.
func (b *Broker) joinQuorum(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*controller.JoinRequest)
	if req.Purpose == controller.AskStarted {
		if f := b.founding.Load(); f != nil {
			f.heard(req.NodeID, req.Level) // who asks is empty
		}
		reply(transport.Reply{Message: &controller.JoinResponse{State: b.metadataState(), Level: b.c.Levels.Highest()}})
		return
	}
	// Not on the connection's goroutine, which brings raft's messages, too.
	serve := func() {
		resp, err := b.forward(ctx, req, askPatience)
		if err != nil {
			resp = &controller.JoinResponse{ErrorCode: codeOf(err)}
		}
		reply(transport.Reply{Message: resp})
	}
	if !b.spawn(serve) {
		reply(transport.Reply{Close: true})
	}
}

// joining tells whether the node is on its way into a cluster.
func (b *Broker) joining() bool {
	select {
	case <-b.joined:
		return false
	default:
		return len(b.c.Join) > 0
	}
}

// enroll has the node join the quorum beside the rest of its start: with Config.Join it asks until it is a member; without, it asks after a while whether it still is one, and the start ends if not.
// stop ends that, and puts the reason in the place of the error of a start that ended by it.
func (b *Broker) enroll(ctx context.Context) (_ context.Context, stop func(*error)) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	join := len(b.c.Join) > 0
	if !b.spawn(func() {
		defer close(done)
		if !join && !sleep(ctx, doubtAfter) {
			return
		}
		for pause := retryMin; ; pause = min(2*pause, retryMax) {
			answered, err := b.ifMember(ctx, join)
			if err != nil {
				cancel(err)
			}
			if answered || !sleep(ctx, pause) {
				return
			}
		}
	}) {
		close(done)
	}
	return ctx, func(err *error) {
		cause := context.Cause(ctx)
		cancel(nil)
		<-done
		if *err != nil && cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
			*err = cause
		}
	}
}

// ifMember asks every node that it knows of, once, whether this node is a member of the quorum, and to become one. answered is false if nobody could tell; an error says that it is not, and cannot be:
// ErrRemoved, *controller.LevelError, or what the active controller has against it.
func (b *Broker) ifMember(ctx context.Context, join bool) (answered bool, err error) {
	purpose := controller.AskMember
	if join {
		purpose = controller.Join
	}
	req := b.joinRequest(purpose)
	for _, node := range b.askable() {
		resp, err := b.askOne(ctx, node, req)
		if err != nil {
			b.logger.Debug("no answer about membership", "node", b.c.NodeID, "from", node, "error", err)
			continue
		}
		switch err := kerr.ErrorForCode(resp.ErrorCode); {
		case err == nil:
			return true, nil
		case errors.Is(err, kerr.VoterNotFound):
			return true, ErrRemoved
		case errors.Is(err, kerr.UnsupportedVersion):
			return true, fmt.Errorf("join: %w", &controller.LevelError{Level: resp.Level, Known: b.c.Levels.Highest()})
		case errors.Is(err, kerr.DuplicateVoter):
			return true, fmt.Errorf("join: the cluster has a node %d with another data directory, remove it first: %w", b.c.NodeID, err)
		case errors.Is(err, kerr.InconsistentClusterID):
			return true, fmt.Errorf("join: the data directory belongs to cluster %s: %w", req.ClusterID, err)
		case errors.Is(err, kerr.InvalidRequest):
			return true, fmt.Errorf("join at address %q: %w", req.Addr, err)
		}
	}
	return false, nil
}

func (b *Broker) joinRequest(purpose controller.JoinPurpose) *controller.JoinRequest {
	return &controller.JoinRequest{ClusterID: b.c.Directory.ClusterID(), NodeID: b.c.NodeID, Addr: b.c.Addr, DirectoryID: b.c.Directory.ID(), Purpose: purpose, Level: b.c.Levels.Highest()}
}

func (b *Broker) askOne(ctx context.Context, node int32, req kmsg.Request) (*controller.JoinResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	resp, err := b.peers.Request(ctx, node, req)
	if err != nil {
		return nil, err
	}
	return resp.(*controller.JoinResponse), nil
}

// askable lists the nodes that may know of the quorum: those to join through, and its members.
func (b *Broker) askable() (nodes []int32) {
	for i, addr := range b.c.Join {
		if addr != b.c.Addr {
			nodes = append(nodes, transport.AnyNode-1-int32(i)) // as the client numbers them
		}
	}
	ctl := b.ctl.Load()
	if ctl == nil || ctl.Image().Quorum == nil {
		return nodes
	}
	for _, m := range ctl.Image().Quorum.Members {
		if m.ID != b.c.NodeID {
			nodes = append(nodes, m.ID)
		}
	}
	return nodes
}

// doubt takes a heartbeat's error: a node that was removed has to stop, one that hears of no leader, or cannot reach it for a session, asks whether it was.
func (l *lifecycle) doubt(err error) {
	b := l.b
	if errors.Is(err, ErrRemoved) {
		b.fail(err)
		return
	}
	_, _, led := b.ctl.Load().Leader()
	if led && !b.selfFenced(time.Now()) || !l.asking.CompareAndSwap(false, true) {
		return
	}
	if !b.spawn(func() {
		defer l.asking.Store(false)
		if _, err := b.ifMember(b.ctx, false); errors.Is(err, ErrRemoved) {
			b.fail(err)
		}
	}) {
		l.asking.Store(false)
	}
}

// fail says that the node must stop.
func (b *Broker) fail(err error) {
	b.logger.Error("broker stops serving", "node", b.c.NodeID, "error", err)
	if f := b.c.Events.Failed; f != nil {
		f(err)
	}
}
