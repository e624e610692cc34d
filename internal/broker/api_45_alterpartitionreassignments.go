package broker

import (
	"context"
	"slices"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// AlterPartitionReassignments (45), versions 0-1: forwarded to the active controller, which decides and answers; see there (KIP-455). It is answered when the new lists are committed, long before replicas have
// moved: ListPartitionReassignments tells when they have.
//
// Versions: v1 may forbid another replication factor (KIP-860).
func (b *Broker) alterReassignments(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := *r.Message.(*kmsg.AlterPartitionAssignmentsRequest)
	version := req.Version
	if version < 1 {
		req.AllowReplicationFactorChange = true
	}
	req.Version = 1
	var resp *kmsg.AlterPartitionAssignmentsResponse
	got, err := b.forward(ctx, &req, millis(req.TimeoutMillis))
	if err == nil {
		resp = got.(*kmsg.AlterPartitionAssignmentsResponse)
		b.awaitMetadata(ctx, func(img *controller.Image) bool { return hasTargets(img, &req, resp) })
	} else {
		resp = kmsg.NewPtrAlterPartitionAssignmentsResponse()
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
	}
	resp.Version = version
	reply(transport.Reply{Message: resp})
}

// hasTargets tells whether metadata has the targets that were accepted. A partition that went back need not be looked at: whoever waits for that asks for the list.
func hasTargets(img *controller.Image, req *kmsg.AlterPartitionAssignmentsRequest, resp *kmsg.AlterPartitionAssignmentsResponse) bool {
	if resp.ErrorCode != 0 {
		return true
	}
	for i := range resp.Topics {
		for j, out := range resp.Topics[i].Partitions {
			if out.ErrorCode != 0 || i >= len(req.Topics) || j >= len(req.Topics[i].Partitions) {
				continue
			}
			want, p := req.Topics[i].Partitions[j].Replicas, partitionOf(img, resp.Topics[i].Topic, out.Partition)
			if want == nil || p == nil {
				continue
			}
			if len(p.Replicas) < len(want) || !slices.Equal(p.Replicas[:len(want)], want) {
				return false
			}
		}
	}
	return true
}
