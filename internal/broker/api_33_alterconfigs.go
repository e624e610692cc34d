package broker

import (
	"context"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// AlterConfigs (33), versions 0-2: forwarded to the active controller, which checks and answers; see there. The configs named are all that the resource has from then on: what is not named is deleted. Clients
// that mean to change one should use IncrementalAlterConfigs.
func (b *Broker) alterConfigs(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := *r.Message.(*kmsg.AlterConfigsRequest)
	version := req.Version
	req.Version = 2
	var resp *kmsg.AlterConfigsResponse
	got, err := b.forward(ctx, &req, millis(adminTimeout))
	if err == nil {
		resp = got.(*kmsg.AlterConfigsResponse)
	} else {
		resp = kmsg.NewPtrAlterConfigsResponse()
		for i := range req.Resources {
			o := kmsg.NewAlterConfigsResponseResource()
			o.ResourceType, o.ResourceName, o.ErrorCode, o.ErrorMessage = req.Resources[i].ResourceType, req.Resources[i].ResourceName, codeOf(err), messageOf(err)
			resp.Resources = append(resp.Resources, o)
		}
	}
	resp.Version = version
	reply(transport.Reply{Message: resp})
}
