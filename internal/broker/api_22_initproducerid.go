package broker

import (
	"context"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// InitProducerId (22), versions 0-5: an id for an idempotent producer (KIP-98).
//
// Behaviour:
//   - Without a transactional id: a fresh id with epoch 0, whatever id and epoch the request carries. No id within a few seconds is COORDINATOR_LOAD_IN_PROGRESS, which clients retry.
//   - With one: this node has no transaction coordinator. The answer is UNSUPPORTED_VERSION, which clients do not retry. An empty transactional id is INVALID_REQUEST.
//
// Versions: v3 carries id and epoch of a producer that goes on (KIP-360) · v4, v5 only change errors of transactions.
func (b *Broker) initProducerID(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.InitProducerIDRequest)
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.Version = req.Version
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	switch {
	case req.TransactionalID != nil && (*req.TransactionalID == "" || len(*req.TransactionalID) > maxTransactionalID):
		resp.ErrorCode = kerr.InvalidRequest.Code
	case req.TransactionalID != nil:
		resp.ErrorCode = kerr.UnsupportedVersion.Code
	default:
		ctx, cancel := context.WithTimeout(ctx, producerIDWait)
		defer cancel()
		id, err := b.ids.take(ctx)
		if err != nil {
			resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code
			break
		}
		resp.ProducerID, resp.ProducerEpoch = id, 0
	}
	reply(transport.Reply{Message: resp})
}

// maxTransactionalID is the longest transactional id, in bytes.
const maxTransactionalID = 255
