package broker

import (
	"context"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// AlterClientQuotas (49), versions 0-1: forwarded to the active controller, which checks and answers; see there (KIP-546). Produced and consumed bytes per second are enforced; the share of request time, the rate of
// controller mutations and of connections are stored and shown.
func (b *Broker) alterQuotas(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := *r.Message.(*kmsg.AlterClientQuotasRequest)
	version := req.Version
	req.Version = 1
	var resp *kmsg.AlterClientQuotasResponse
	got, err := b.forward(ctx, &req, millis(adminTimeout))
	if err == nil {
		resp = got.(*kmsg.AlterClientQuotasResponse)
		if !req.ValidateOnly {
			b.awaitMetadata(ctx, func(img *controller.Image) bool { return hasQuotas(img, &req, resp) })
		}
	} else {
		resp = kmsg.NewPtrAlterClientQuotasResponse()
		for i := range req.Entries {
			o := kmsg.NewAlterClientQuotasResponseEntry()
			o.ErrorCode, o.ErrorMessage = codeOf(err), messageOf(err)
			for _, part := range req.Entries[i].Entity {
				p := kmsg.NewAlterClientQuotasResponseEntryEntity()
				p.Type, p.Name = part.Type, part.Name
				o.Entity = append(o.Entity, p)
			}
			resp.Entries = append(resp.Entries, o)
		}
	}
	resp.Version = version
	reply(transport.Reply{Message: resp})
}

// hasQuotas tells whether metadata has what was altered.
func hasQuotas(img *controller.Image, req *kmsg.AlterClientQuotasRequest, resp *kmsg.AlterClientQuotasResponse) bool {
	for i := range resp.Entries {
		if resp.Entries[i].ErrorCode != 0 || i >= len(req.Entries) {
			continue
		}
		var e controller.QuotaEntity
		for _, part := range req.Entries[i].Entity {
			n := controller.QuotaName{Has: true, Default: part.Name == nil}
			if part.Name != nil {
				n.Name = *part.Name
			}
			switch part.Type {
			case controller.QuotaUser:
				e.User = n
			case controller.QuotaClientID:
				e.ClientID = n
			case controller.QuotaIP:
				e.IP = n
			}
		}
		last := map[string]*kmsg.AlterClientQuotasRequestEntryOp{}
		for j := range req.Entries[i].Ops {
			last[req.Entries[i].Ops[j].Key] = &req.Entries[i].Ops[j]
		}
		for key, op := range last {
			if v, ok := img.Quotas[e][key]; ok == op.Remove || ok && v != op.Value {
				return false
			}
		}
	}
	return true
}
