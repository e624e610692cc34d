package broker

import (
	"context"

	"github.com/insynclog/insync/internal/groups"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a client may look for the coordinator of.
const (
	coordinatorOfGroup       int8 = 0
	coordinatorOfTransaction int8 = 1
)

// FindCoordinator (10), versions 0-6: which node coordinates a group.
//
// Behaviour:
//   - It is the leader of the group's partition of __consumer_offsets. The first request has the topic created; until it has a leader that lives the answer is COORDINATOR_NOT_AVAILABLE, and the client
//     asks again.
//   - Transactions and share groups have no coordinator here: INVALID_REQUEST, as Kafka says to a kind that it does not know. Clients give up on it, whereas they would repeat
//     COORDINATOR_NOT_AVAILABLE for ever.
//
// Versions: v0 groups only · v1 key type, message · v4 several keys (KIP-699) · v5 only changes errors of transactions · v6 share groups (KIP-932).
func (b *Broker) findCoordinator(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.FindCoordinatorRequest)
	resp := kmsg.NewPtrFindCoordinatorResponse()
	resp.Version = req.Version
	kind := req.CoordinatorType
	if req.Version == 0 {
		kind = coordinatorOfGroup
	}
	if req.Version >= 4 {
		for _, key := range req.CoordinatorKeys {
			resp.Coordinators = append(resp.Coordinators, b.coordinator(kind, key))
		}
	} else {
		c := b.coordinator(kind, req.CoordinatorKey)
		resp.NodeID, resp.Host, resp.Port, resp.ErrorCode, resp.ErrorMessage = c.NodeID, c.Host, c.Port, c.ErrorCode, c.ErrorMessage
	}
	reply(transport.Reply{Message: resp})
}

// coordinator finds one.
func (b *Broker) coordinator(kind int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	c := kmsg.NewFindCoordinatorResponseCoordinator()
	c.Key, c.NodeID, c.Port = key, -1, -1
	fail := func(err *kerr.Error, message string) kmsg.FindCoordinatorResponseCoordinator {
		c.ErrorCode, c.ErrorMessage = err.Code, &message
		return c
	}
	switch kind {
	case coordinatorOfGroup:
	case coordinatorOfTransaction:
		return fail(kerr.InvalidRequest, "transactions are not served")
	default:
		return fail(kerr.InvalidRequest, "coordinators are for groups only")
	}
	t, ok := b.ensureInternal(topicConsumerOffsets)
	if !ok {
		return fail(kerr.CoordinatorNotAvailable, "the topic of committed offsets is being created")
	}
	img := b.metadataImage()
	leader := t.Partitions[groups.PartitionOf(key, int32(len(t.Partitions)))].Leader
	n, ok := alive(img, leader)
	if leader < 0 || !ok {
		return fail(kerr.CoordinatorNotAvailable, "the group's partition of the committed offsets has no leader")
	}
	c.NodeID = leader
	c.Host, c.Port = hostPort(n.Addr)
	return c
}
