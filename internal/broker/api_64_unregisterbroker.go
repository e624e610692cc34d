package broker

import (
	"context"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// UnregisterBroker (64), version 0: forwarded to the active controller, which forgets a broker that is gone for good; see there. Partitions go on naming it as a replica until they are reassigned. Unknown
// brokers are BROKER_ID_NOT_REGISTERED.
func (b *Broker) unregisterBroker(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.UnregisterBrokerRequest)
	var resp *kmsg.UnregisterBrokerResponse
	before := b.metadataImage().Brokers[req.BrokerID]
	got, err := b.forward(ctx, req, millis(adminTimeout))
	if err == nil {
		resp = got.(*kmsg.UnregisterBrokerResponse)
		if resp.ErrorCode == 0 {
			b.awaitMetadata(ctx, func(img *controller.Image) bool {
				now := img.Brokers[req.BrokerID]
				return now == nil || before != nil && now.Epoch != before.Epoch // it may be back
			})
		}
	} else {
		resp = kmsg.NewPtrUnregisterBrokerResponse()
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
	}
	reply(transport.Reply{Message: resp})
}
