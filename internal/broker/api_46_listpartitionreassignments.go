package broker

import (
	"context"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListPartitionReassignments (46), version 0: forwarded to the active controller, which knows best. No list asks for all topics; only partitions that are being reassigned are told.
func (b *Broker) listReassignments(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.ListPartitionReassignmentsRequest)
	var resp *kmsg.ListPartitionReassignmentsResponse
	got, err := b.forward(ctx, req, millis(req.TimeoutMillis))
	if err == nil {
		resp = got.(*kmsg.ListPartitionReassignmentsResponse)
	} else {
		resp = kmsg.NewPtrListPartitionReassignmentsResponse()
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
	}
	reply(transport.Reply{Message: resp})
}
