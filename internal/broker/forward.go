package broker

import (
	"context"
	"errors"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ask sends a request to the active controller until one answers as such or ctx ends. req may be sent more than once: it must be harmless to repeat.
func (b *Broker) ask(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		resp, err := b.askOnce(ctx, req)
		if err == nil || ctx.Err() != nil || errors.Is(err, transport.ErrClosed) || is[*transport.UnsupportedVersionError](err) {
			return resp, err
		}
		if !sleep(ctx, pause) {
			return nil, err
		}
	}
}

// askOnce sends a request to the active controller. A node that is not (any longer) is kerr.NotController.
func (b *Broker) askOnce(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	ctl := b.ctl.Load()
	if ctl == nil {
		return nil, ErrNotStarted
	}
	node, err := ctl.WaitLeader(ctx)
	if err != nil {
		return nil, err
	}
	var resp kmsg.Response
	if node == b.c.NodeID {
		resp, err = ctl.Handle(ctx, req)
	} else {
		resp, err = b.peers.Request(ctx, node, req)
	}
	if err != nil {
		return nil, err
	}
	if notController(resp) {
		return nil, kerr.NotController
	}
	return resp, nil
}

// notController tells whether an answer says that its sender is not the active controller, in which case nothing happened.
func notController(resp kmsg.Response) bool {
	not := func(code int16) bool { return code == kerr.NotController.Code }
	switch r := resp.(type) {
	case *kmsg.CreateTopicsResponse:
		return len(r.Topics) > 0 && not(r.Topics[0].ErrorCode)
	case *kmsg.DeleteTopicsResponse:
		return len(r.Topics) > 0 && not(r.Topics[0].ErrorCode)
	case *kmsg.CreatePartitionsResponse:
		return len(r.Topics) > 0 && not(r.Topics[0].ErrorCode)
	case *kmsg.IncrementalAlterConfigsResponse:
		return len(r.Resources) > 0 && not(r.Resources[0].ErrorCode)
	case *kmsg.AlterConfigsResponse:
		return len(r.Resources) > 0 && not(r.Resources[0].ErrorCode)
	case *kmsg.UnregisterBrokerResponse:
		return not(r.ErrorCode)
	case *kmsg.UpdateFeaturesResponse:
		return not(r.ErrorCode)
	case *kmsg.ElectLeadersResponse:
		return not(r.ErrorCode)
	case *kmsg.AlterPartitionAssignmentsResponse:
		return not(r.ErrorCode)
	case *kmsg.ListPartitionReassignmentsResponse:
		return not(r.ErrorCode)
	case *kmsg.AlterClientQuotasResponse:
		return len(r.Entries) > 0 && not(r.Entries[0].ErrorCode)
	case *kmsg.AlterUserSCRAMCredentialsResponse:
		return len(r.Results) > 0 && not(r.Results[0].ErrorCode)
	case *kmsg.CreateACLsResponse:
		return len(r.Results) > 0 && not(r.Results[0].ErrorCode)
	case *kmsg.DeleteACLsResponse:
		return len(r.Results) > 0 && not(r.Results[0].ErrorCode)
	case *kmsg.AlterPartitionResponse:
		return not(r.ErrorCode)
	case *kmsg.BrokerRegistrationResponse:
		return not(r.ErrorCode)
	case *kmsg.BrokerHeartbeatResponse:
		return not(r.ErrorCode)
	case *kmsg.AllocateProducerIDsResponse:
		return not(r.ErrorCode)
	case *controller.JoinResponse:
		return not(r.ErrorCode)
	case *controller.VotersResponse:
		return not(r.ErrorCode)
	case *kmsg.AddRaftVoterResponse:
		return not(r.ErrorCode)
	case *kmsg.RemoveRaftVoterResponse:
		return not(r.ErrorCode)
	}
	return false
}

// Bounds of the time that a client may ask for.
const (
	adminTimeoutMin = 100 * time.Millisecond
	adminTimeoutMax = 5 * time.Minute
)

// forward has the active controller answer a client's request: tried again while nothing can have happened, until the request's own timeout. The error's code is for every item of the answer;
// REQUEST_TIMED_OUT leaves the outcome open.
func (b *Broker) forward(ctx context.Context, req kmsg.Request, timeout time.Duration) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, min(max(timeout, adminTimeoutMin), adminTimeoutMax))
	defer cancel()
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		resp, err := b.askOnce(ctx, req)
		if err == nil || ctx.Err() != nil || !unsent(err) || !sleep(ctx, pause) {
			return resp, err
		}
	}
}

// unsent tells whether a request certainly had no effect and may find a controller later.
func unsent(err error) bool {
	if c, ok := errors.AsType[*transport.ConnError](err); ok {
		return !c.Sent
	}
	return errors.Is(err, kerr.NotController) || is[*transport.UnknownNodeError](err)
}

// controllerRequest answers what nodes ask the active controller: AlterPartition (56), BrokerRegistration (62), BrokerHeartbeat (63), AllocateProducerIds (67). A node that is not the active
// controller says NOT_CONTROLLER; it does not forward, for the asker shall learn who is.
func (b *Broker) controllerRequest(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	if req, ok := r.Message.(*kmsg.BrokerHeartbeatRequest); ok {
		b.callers.called(ctx, r, req.BrokerID)
	}
	ctl := b.ctl.Load()
	if ctl == nil {
		reply(transport.Reply{Message: refusal(r.Message, kerr.NotController.Code)})
		return
	}
	// Not on the connection's goroutine: a change that waits for the quorum must not hold up the same node's heartbeats.
	serve := func() {
		resp, err := ctl.Handle(ctx, r.Message)
		if err != nil {
			reply(transport.Reply{Close: true}) // the outcome is unknown, and that is what a lost connection means
			return
		}
		reply(transport.Reply{Message: resp})
	}
	if !b.spawn(serve) {
		reply(transport.Reply{Close: true})
	}
}

// refusal is a node-to-node answer with nothing but an error.
func refusal(req kmsg.Request, code int16) kmsg.Response {
	resp := req.ResponseKind()
	switch r := resp.(type) {
	case *kmsg.AlterPartitionResponse:
		r.ErrorCode = code
	case *kmsg.BrokerRegistrationResponse:
		r.ErrorCode = code
	case *kmsg.BrokerHeartbeatResponse:
		r.ErrorCode = code
	case *kmsg.AllocateProducerIDsResponse:
		r.ErrorCode = code
	}
	return resp
}

// metadataWait is how long an answer waits for this node's own metadata to follow.
const metadataWait = 2 * time.Second

// awaitMetadata waits until this node's replicas and metadata show what a request has changed, so that a client that asks the same node next sees it. It is a courtesy: after a while it gives up.
func (b *Broker) awaitMetadata(ctx context.Context, ok func(applied *controller.Image) bool) {
	ctx, cancel := context.WithTimeout(ctx, metadataWait)
	defer cancel()
	_ = b.applier.wait(ctx, ok)
}
