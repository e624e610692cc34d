package broker

import (
	"context"
	"regexp"
	"slices"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListTransactions (66), versions 0-2: the transactional ids that this node coordinates (KIP-664).
//
// Behaviour: there are none, for these nodes coordinate no transactions. Filters are checked all the same: states that do not exist are named in the answer, once each.
//
// Versions: v1 filters by duration (KIP-994) · v2 filters by a pattern (RE2, KIP-1152); one that is none is INVALID_REGULAR_EXPRESSION.
func (b *Broker) listTransactions(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.ListTransactionsRequest)
	resp := kmsg.NewPtrListTransactionsResponse()
	resp.Version = req.Version
	if req.Version >= 2 && req.TransactionalIDPattern != nil {
		if _, err := regexp.Compile(*req.TransactionalIDPattern); err != nil {
			resp.ErrorCode = kerr.InvalidRegularExpression.Code
			reply(transport.Reply{Message: resp})
			return
		}
	}
	for _, state := range req.StateFilters {
		if !transactionState(state) && !slices.Contains(resp.UnknownStateFilters, state) {
			resp.UnknownStateFilters = append(resp.UnknownStateFilters, state)
		}
	}
	reply(transport.Reply{Message: resp})
}

// transactionState tells whether a transaction can be in a state of that name.
func transactionState(name string) bool {
	switch name {
	case "Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence":
		return true
	}
	return false
}
