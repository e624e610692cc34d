package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeClientQuotas (48), versions 0-1: the quotas of the entities that a filter matches. Any node answers. A component asks for a name, for the default, or for either; strict leaves out entities with parts
// that no component names.
func (b *Broker) describeQuotas(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.DescribeClientQuotasRequest)
	resp := req.ResponseKind().(*kmsg.DescribeClientQuotasResponse)
	img := b.metadataImage()
	match, err := quotaFilter(req)
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
		reply(transport.Reply{Message: resp})
		return
	}
	resp.Entries = []kmsg.DescribeClientQuotasResponseEntry{} // null is an error
	for _, e := range img.QuotaEntities() {
		if !match(e) {
			continue
		}
		out := kmsg.NewDescribeClientQuotasResponseEntry()
		for _, kind := range quotaKinds {
			if n := quotaPart(e, kind); n.Has {
				part := kmsg.NewDescribeClientQuotasResponseEntryEntity()
				part.Type = kind
				if !n.Default {
					part.Name = &n.Name
				}
				out.Entity = append(out.Entity, part)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(img.Quotas[e])) {
			v := kmsg.NewDescribeClientQuotasResponseEntryValue()
			v.Key, v.Value = key, img.Quotas[e][key]
			out.Values = append(out.Values, v)
		}
		resp.Entries = append(resp.Entries, out)
	}
	reply(transport.Reply{Message: resp})
}

var quotaKinds = [...]string{controller.QuotaUser, controller.QuotaClientID, controller.QuotaIP}

func quotaPart(e controller.QuotaEntity, kind string) controller.QuotaName {
	switch kind {
	case controller.QuotaUser:
		return e.User
	case controller.QuotaClientID:
		return e.ClientID
	case controller.QuotaIP:
		return e.IP
	}
	return controller.QuotaName{}
}

// quotaFilter reads the components of a request.
func quotaFilter(req *kmsg.DescribeClientQuotasRequest) (match func(controller.QuotaEntity) bool, err error) {
	bad := func(format string, args ...any) error {
		return &configError{kerr.InvalidRequest, fmt.Sprintf(format, args...)}
	}
	seen := map[string]bool{}
	for i := range req.Components {
		c := &req.Components[i]
		switch {
		case c.EntityType == "":
			return nil, bad("Invalid empty entity type.")
		case seen[c.EntityType]:
			return nil, bad("Entity type %.100s cannot appear more than once in the filter.", c.EntityType)
		case !slices.Contains(quotaKinds[:], c.EntityType):
			return nil, &configError{kerr.UnsupportedVersion, fmt.Sprintf("Unsupported entity type %.100s", c.EntityType)}
		case c.MatchType == 0 && c.Match == nil:
			return nil, bad("Request specified MATCH_TYPE_EXACT, but set match string to null.")
		case (c.MatchType == 1 || c.MatchType == 2) && c.Match != nil:
			return nil, bad("Request specified another match type than MATCH_TYPE_EXACT, but also specified a match string.")
		case c.MatchType < 0 || c.MatchType > 2:
			return nil, bad("Unknown match type %d", c.MatchType)
		}
		seen[c.EntityType] = true
	}
	if seen[controller.QuotaIP] && len(seen) > 1 {
		return nil, bad("Invalid entity filter component combination. IP filter component should not be used with user or clientId filter component.")
	}
	return func(e controller.QuotaEntity) bool {
		for i := range req.Components {
			c := &req.Components[i]
			n := quotaPart(e, c.EntityType)
			switch {
			case !n.Has, c.MatchType == 0 && (n.Default || n.Name != *c.Match), c.MatchType == 1 && !n.Default:
				return false
			}
		}
		for _, kind := range quotaKinds {
			if req.Strict && quotaPart(e, kind).Has && !seen[kind] {
				return false
			}
		}
		return true
	}, nil
}
