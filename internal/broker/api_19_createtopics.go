package broker

import (
	"context"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// createTopicsVersion is the version in which nodes speak of CreateTopics among themselves.
const createTopicsVersion = 7

// CreateTopics (19), versions 2-7: forwarded to the active controller, which checks and answers; see there.
//
// Behaviour: answered when the topics are committed (on a quorum of the metadata log) and this node knows of them, or at the request's timeout, or with REQUEST_TIMED_OUT when the outcome is open.
//
// Versions: v4 -1 stands for the defaults of partitions and replication factor (KIP-464) · v5 configs in the answer (KIP-525) · v7 topic ids.
func (b *Broker) createTopics(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := *r.Message.(*kmsg.CreateTopicsRequest)
	version := req.Version
	req.Version = createTopicsVersion
	var resp *kmsg.CreateTopicsResponse
	got, err := b.forward(ctx, &req, millis(req.TimeoutMillis))
	if err == nil {
		resp = got.(*kmsg.CreateTopicsResponse)
		if !req.ValidateOnly {
			b.awaitMetadata(ctx, func(img *controller.Image) bool { return hasTopics(img, resp) })
		}
	} else {
		resp = kmsg.NewPtrCreateTopicsResponse()
		for i := range req.Topics {
			t := kmsg.NewCreateTopicsResponseTopic()
			t.Topic, t.ErrorCode, t.ErrorMessage, t.NumPartitions, t.ReplicationFactor = req.Topics[i].Topic, codeOf(err), messageOf(err), -1, -1
			resp.Topics = append(resp.Topics, t)
		}
	}
	resp.Version = version
	reply(transport.Reply{Message: resp})
}

func millis(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }

// hasTopics tells whether metadata has the topics that were created.
func hasTopics(img *controller.Image, resp *kmsg.CreateTopicsResponse) bool {
	for i := range resp.Topics {
		if t := &resp.Topics[i]; t.ErrorCode == 0 && img.TopicIDs[t.TopicID] == nil {
			return false
		}
	}
	return true
}
