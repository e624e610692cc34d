package broker

import (
	"context"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CreatePartitions (37), versions 0-3: forwarded to the active controller, which checks and answers; see there. Partitions are only added: keys hash differently from then on, and no data moves.
//
// Versions: v3 may be throttled (KIP-599), which we never do.
func (b *Broker) createPartitions(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := *r.Message.(*kmsg.CreatePartitionsRequest)
	version := req.Version
	req.Version = 3
	var resp *kmsg.CreatePartitionsResponse
	got, err := b.forward(ctx, &req, millis(req.TimeoutMillis))
	if err == nil {
		resp = got.(*kmsg.CreatePartitionsResponse)
		if !req.ValidateOnly {
			b.awaitMetadata(ctx, func(img *controller.Image) bool { return hasPartitions(img, &req, resp) })
		}
	} else {
		resp = kmsg.NewPtrCreatePartitionsResponse()
		for i := range req.Topics {
			t := kmsg.NewCreatePartitionsResponseTopic()
			t.Topic, t.ErrorCode, t.ErrorMessage = req.Topics[i].Topic, codeOf(err), messageOf(err)
			resp.Topics = append(resp.Topics, t)
		}
	}
	resp.Version = version
	reply(transport.Reply{Message: resp})
}

// hasPartitions tells whether metadata has the partitions that were added.
func hasPartitions(img *controller.Image, req *kmsg.CreatePartitionsRequest, resp *kmsg.CreatePartitionsResponse) bool {
	count := make(map[string]int32, len(req.Topics))
	for i := range req.Topics {
		count[req.Topics[i].Topic] = req.Topics[i].Count
	}
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if have := img.Topics[t.Topic]; t.ErrorCode == 0 && have != nil && int32(len(have.Partitions)) < count[t.Topic] {
			return false
		}
	}
	return true
}
