package broker

import (
	"context"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// RemoveRaftVoter (81), version 0 (KIP-853): a voter of the metadata quorum becomes an observer. Forwarded to the active controller; if that is the voter, it hands over first, and the next one removes it.
//
// Errors: INCONSISTENT_CLUSTER_ID, VOTER_NOT_FOUND; INVALID_REQUEST for the last voter; REQUEST_TIMED_OUT if too few of the voters that would remain are there.
//
// A leader that has just taken over has not heard of all voters yet, so for a few seconds REQUEST_TIMED_OUT is asked again about.
//
// Differs from Kafka: a directory of zeros is any.
func (b *Broker) removeRaftVoter(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.RemoveRaftVoterRequest)
	resp := kmsg.NewPtrRemoveRaftVoterResponse()
	for deadline, attempt := time.Now().Add(removePatience), 0; ; attempt++ {
		got, err := b.forward(ctx, req, memberTimeout)
		if err == nil {
			resp = got.(*kmsg.RemoveRaftVoterResponse)
		} else {
			resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
		}
		if resp.ErrorCode == kerr.VoterNotFound.Code && attempt > 0 {
			resp.ErrorCode, resp.ErrorMessage = 0, nil // an attempt of which nothing was known
		}
		if resp.ErrorCode != kerr.RequestTimedOut.Code || !time.Now().Before(deadline) || !sleep(ctx, retryMax/5) {
			break
		}
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

// removePatience is how long a removal waits for the voters that would remain.
const removePatience = 5 * time.Second
