package broker

import (
	"context"

	"github.com/insynclog/insync/internal/acl"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CreateAcls (30), versions 1-3: forwarded to the active controller, which checks and answers; see there. When it is answered this node goes by the new lists, the others soon after. Without authorization
// SECURITY_DISABLED.
func (b *Broker) createACLs(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := *r.Message.(*kmsg.CreateACLsRequest)
	version := req.Version
	req.Version = 3
	var resp *kmsg.CreateACLsResponse
	var got any
	err := error(errNoAuthorizer)
	if b.rules.Load() != nil {
		got, err = b.forward(ctx, &req, millis(adminTimeout))
	}
	if err == nil {
		resp = got.(*kmsg.CreateACLsResponse)
		b.awaitMetadata(ctx, func(img *controller.Image) bool { return hasACLs(img, &req, resp) })
	} else {
		resp = kmsg.NewPtrCreateACLsResponse()
		for range req.Creations {
			o := kmsg.NewCreateACLsResponseResult()
			o.ErrorCode, o.ErrorMessage = codeOf(err), messageOf(err)
			resp.Results = append(resp.Results, o)
		}
	}
	resp.Version = version
	reply(transport.Reply{Message: resp})
}

// hasACLs tells whether metadata has what was created.
func hasACLs(img *controller.Image, req *kmsg.CreateACLsRequest, resp *kmsg.CreateACLsResponse) bool {
	for i := range resp.Results {
		if resp.Results[i].ErrorCode != 0 || i >= len(req.Creations) {
			continue
		}
		c := &req.Creations[i]
		if _, ok := img.ACLs[acl.Binding{
			Pattern:   acl.Pattern{Type: acl.ResourceType(c.ResourceType), Name: c.ResourceName, Kind: acl.PatternType(c.ResourcePatternType)},
			Principal: c.Principal, Host: c.Host, Operation: acl.Operation(c.Operation), Permission: acl.Permission(c.PermissionType),
		}]; !ok {
			return false
		}
	}
	return true
}
