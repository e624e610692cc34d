package broker

import (
	"context"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// RemoveRaftVoter (81), version 0 (KIP-853): a voter of the metadata quorum becomes an observer. Forwarded to the active controller; if that is the voter, it hands over first, and the next one removes it.
//
// Errors: INCONSISTENT_CLUSTER_ID, VOTER_NOT_FOUND; INVALID_REQUEST for the last voter; REQUEST_TIMED_OUT if too few of the voters that would remain are there.
//
// Differs from Kafka: a directory of zeros is any.
func (b *Broker) removeRaftVoter(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.RemoveRaftVoterRequest)
	resp := kmsg.NewPtrRemoveRaftVoterResponse()
	got, err := b.forward(ctx, req, memberTimeout)
	if err == nil {
		resp = got.(*kmsg.RemoveRaftVoterResponse)
	} else {
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
	}
	if resp.ErrorCode == 0 {
		b.awaitMetadata(ctx, func(img *controller.Image) bool {
			m, ok := img.Quorum.Member(req.VoterID)
			return !ok || !m.Voter
		})
	}
	resp.Version = req.Version
	reply(transport.Reply{Message: resp})
}
