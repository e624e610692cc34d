package broker

import (
	"context"

	"github.com/insynclog/insync/internal/acl"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteAcls (31), versions 1-3: forwarded to the active controller, which removes what each filter matches; see there. When it is answered this node goes by what is left. Without authorization
// SECURITY_DISABLED.
func (b *Broker) deleteACLs(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := *r.Message.(*kmsg.DeleteACLsRequest)
	version := req.Version
	req.Version = 3
	var resp *kmsg.DeleteACLsResponse
	var got any
	err := error(errNoAuthorizer)
	if b.rules.Load() != nil {
		got, err = b.forward(ctx, &req, millis(adminTimeout))
	}
	if err == nil {
		resp = got.(*kmsg.DeleteACLsResponse)
		b.awaitMetadata(ctx, func(img *controller.Image) bool { return hasNotACLs(img, resp) })
	} else {
		resp = kmsg.NewPtrDeleteACLsResponse()
		for range req.Filters {
			o := kmsg.NewDeleteACLsResponseResult()
			o.ErrorCode, o.ErrorMessage = codeOf(err), messageOf(err)
			resp.Results = append(resp.Results, o)
		}
	}
	resp.Version = version
	reply(transport.Reply{Message: resp})
}

// hasNotACLs tells whether what was removed is gone from metadata.
func hasNotACLs(img *controller.Image, resp *kmsg.DeleteACLsResponse) bool {
	for i := range resp.Results {
		for j := range resp.Results[i].MatchingACLs {
			m := &resp.Results[i].MatchingACLs[j]
			if m.ErrorCode != 0 {
				continue
			}
			if _, ok := img.ACLs[acl.Binding{
				Pattern:   acl.Pattern{Type: acl.ResourceType(m.ResourceType), Name: m.ResourceName, Kind: acl.PatternType(m.ResourcePatternType)},
				Principal: m.Principal, Host: m.Host, Operation: acl.Operation(m.Operation), Permission: acl.Permission(m.PermissionType),
			}]; ok {
				return false
			}
		}
	}
	return true
}
