package broker

import (
	"context"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Voters (32102, private), version 0: exactly the nodes that it names vote in the metadata quorum, after one change. Forwarded to the active controller, again and again until the nodes have caught up or the
// request's timeout ends. It is done once the joint phase is over.
//
// Errors: as controller.VotersRequest; CLUSTER_AUTHORIZATION_FAILED without ALTER on the cluster.
func (b *Broker) changeVoters(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*controller.VotersRequest)
	patience := min(max(millis(req.TimeoutMillis), adminTimeoutMin), adminTimeoutMax)
	deadline := time.Now().Add(patience)
	ctx, cancel := context.WithTimeout(ctx, patience+askPatience) // the node that is asked waits, too, and answers when its patience ends
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	resp := &controller.VotersResponse{}
	for {
		got, err := b.forward(ctx, req, adminTimeoutMax)
		if err == nil {
			resp = got.(*controller.VotersResponse)
		} else {
			*resp = controller.VotersResponse{ErrorCode: codeOf(err)}
			if text := messageOf(err); text != nil {
				resp.ErrorMessage = *text
			}
		}
		if resp.ErrorCode != kerr.RequestTimedOut.Code || !time.Now().Add(retryMax/5).Before(deadline) || !sleep(ctx, retryMax/5) {
			break
		}
	}
	if resp.ErrorCode == 0 {
		want := slices.Sorted(slices.Values(req.Voters))
		b.awaitMetadata(ctx, func(img *controller.Image) bool {
			return !img.Quorum.Joint() && slices.Equal(img.Quorum.Voters(), want)
		})
	}
	reply(transport.Reply{Message: resp})
}
