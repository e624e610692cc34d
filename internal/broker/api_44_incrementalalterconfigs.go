package broker

import (
	"context"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// adminTimeout is the time for requests that name none: request.timeout.ms.
const adminTimeout = 30_000

// IncrementalAlterConfigs (44), versions 0-1: forwarded to the active controller, which checks and answers; see there (KIP-339). Each resource is changed as a whole or not at all.
func (b *Broker) incrementalAlterConfigs(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := *r.Message.(*kmsg.IncrementalAlterConfigsRequest)
	version := req.Version
	req.Version = 1
	var resp *kmsg.IncrementalAlterConfigsResponse
	got, err := b.forward(ctx, &req, millis(adminTimeout))
	if err == nil {
		resp = got.(*kmsg.IncrementalAlterConfigsResponse)
	} else {
		resp = kmsg.NewPtrIncrementalAlterConfigsResponse()
		for i := range req.Resources {
			o := kmsg.NewIncrementalAlterConfigsResponseResource()
			o.ResourceType, o.ResourceName, o.ErrorCode, o.ErrorMessage = req.Resources[i].ResourceType, req.Resources[i].ResourceName, codeOf(err), messageOf(err)
			resp.Resources = append(resp.Resources, o)
		}
	}
	resp.Version = version
	reply(transport.Reply{Message: resp})
}
