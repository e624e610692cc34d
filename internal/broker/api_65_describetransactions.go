package broker

import (
	"context"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeTransactions (65), version 0: the state of transactional ids (KIP-664).
//
// Behaviour: no transactional id has state on these nodes, for they coordinate no transactions: each is TRANSACTIONAL_ID_NOT_FOUND, an empty one INVALID_REQUEST.
func (b *Broker) describeTransactions(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.DescribeTransactionsRequest)
	resp := kmsg.NewPtrDescribeTransactionsResponse()
	resp.Version = req.Version
	for _, id := range req.TransactionalIDs {
		s := kmsg.NewDescribeTransactionsResponseTransactionState()
		s.TransactionalID, s.ErrorCode = id, kerr.TransactionalIDNotFound.Code
		if id == "" {
			s.ErrorCode = kerr.InvalidRequest.Code
		}
		resp.TransactionStates = append(resp.TransactionStates, s)
	}
	reply(transport.Reply{Message: resp})
}
