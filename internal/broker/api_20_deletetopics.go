package broker

import (
	"context"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// deleteTopicsVersion is the version in which nodes speak of DeleteTopics among themselves.
const deleteTopicsVersion = 6

// DeleteTopics (20), versions 1-6: forwarded to the active controller, which checks and answers; see there.
//
// Behaviour: answered when the deletion is committed; files go later. With delete.topic.enable=false TOPIC_DELETION_DISABLED.
//
// Versions: up to v5 names only · up to v2 INVALID_REQUEST stands for TOPIC_DELETION_DISABLED · v6 names or ids (KIP-516).
func (b *Broker) deleteTopics(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := *r.Message.(*kmsg.DeleteTopicsRequest)
	version := req.Version
	if version < deleteTopicsVersion {
		req.Topics = make([]kmsg.DeleteTopicsRequestTopic, 0, len(req.TopicNames))
		for i := range req.TopicNames {
			t := kmsg.NewDeleteTopicsRequestTopic()
			t.Topic = &req.TopicNames[i]
			req.Topics = append(req.Topics, t)
		}
	}
	req.Version, req.TopicNames = deleteTopicsVersion, nil
	resp, err := b.forwardDelete(ctx, &req, version)
	if err != nil {
		resp = kmsg.NewPtrDeleteTopicsResponse()
		for i := range req.Topics {
			t := kmsg.NewDeleteTopicsResponseTopic()
			t.Topic, t.TopicID, t.ErrorCode, t.ErrorMessage = req.Topics[i].Topic, req.Topics[i].TopicID, codeOf(err), messageOf(err)
			resp.Topics = append(resp.Topics, t)
		}
	}
	resp.Version = version
	reply(transport.Reply{Message: resp})
}

func (b *Broker) forwardDelete(ctx context.Context, req *kmsg.DeleteTopicsRequest, version int16) (*kmsg.DeleteTopicsResponse, error) {
	if b.c.Static["delete.topic.enable"] == "false" {
		if version < 3 {
			return nil, kerr.InvalidRequest
		}
		return nil, kerr.TopicDeletionDisabled
	}
	got, err := b.forward(ctx, req, millis(req.TimeoutMillis))
	if err != nil {
		return nil, err
	}
	resp := got.(*kmsg.DeleteTopicsResponse)
	b.awaitMetadata(ctx, func(img *controller.Image) bool {
		for i := range resp.Topics {
			if t := &resp.Topics[i]; t.ErrorCode == 0 && img.TopicIDs[t.TopicID] != nil {
				return false
			}
		}
		return true
	})
	return resp, nil
}
