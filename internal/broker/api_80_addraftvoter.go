package broker

import (
	"context"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// AddRaftVoter (80), versions 0-1 (KIP-853): an observer of the metadata quorum gets a vote. Forwarded to the active controller, again and again until the node has caught up or the request's timeout ends.
//
// Errors: INCONSISTENT_CLUSTER_ID, INVALID_REQUEST, DUPLICATE_VOTER; INVALID_VOTER_KEY if the node lives in another directory than the request says; REQUEST_TIMED_OUT if it does not follow the log, or lags, or
// another change is under way.
//
// Differs from Kafka: listeners are not looked at, for the node has told its address when it joined; a directory of zeros is any; the answer always waits for the commit, whatever AckWhenCommitted
// (v1) says.
func (b *Broker) addRaftVoter(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.AddRaftVoterRequest)
	version := req.Version // another node is asked in a version of its own
	patience := min(max(millis(req.TimeoutMillis), adminTimeoutMin), adminTimeoutMax)
	deadline := time.Now().Add(patience)
	ctx, cancel := context.WithTimeout(ctx, patience+askPatience) // the node that is asked waits, too, and answers when its patience ends
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	resp := kmsg.NewPtrAddRaftVoterResponse()
	for attempt := 0; ; attempt++ {
		got, err := b.forward(ctx, req, adminTimeoutMax)
		if err == nil {
			resp = got.(*kmsg.AddRaftVoterResponse)
		} else {
			resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
		}
		if resp.ErrorCode == kerr.DuplicateVoter.Code && attempt > 0 {
			resp.ErrorCode, resp.ErrorMessage = 0, nil // an attempt of which nothing was known
		}
		if resp.ErrorCode != kerr.RequestTimedOut.Code || !time.Now().Add(retryMax/5).Before(deadline) || !sleep(ctx, retryMax/5) {
			break
		}
	}
	if resp.ErrorCode == 0 {
		b.awaitMetadata(ctx, func(img *controller.Image) bool {
			m, ok := img.Quorum.Member(req.VoterID)
			return ok && m.Voter
		})
	}
	resp.Version = version
	reply(transport.Reply{Message: resp})
}

// memberTimeout bounds a change of the quorum whose request has no timeout: a voter that leads hands over first.
const memberTimeout = 30 * time.Second
