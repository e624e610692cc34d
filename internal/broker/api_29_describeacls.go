package broker

import (
	"context"

	"github.com/insynclog/insync/internal/acl"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeAcls (29), versions 1-3: the access control lists that a filter matches, those of one pattern together. Any node answers, with the lists that it goes by. Without authorization SECURITY_DISABLED.
func (b *Broker) describeACLs(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.DescribeACLsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeACLsResponse)
	rules := b.rules.Load()
	filter := acl.Filter{
		Type: acl.ResourceType(req.ResourceType), Name: req.ResourceName, Kind: acl.PatternType(req.ResourcePatternType), Principal: req.Principal, Host: req.Host,
		Operation: acl.Operation(req.Operation), Permission: acl.Permission(req.PermissionType),
	}
	err := filter.Validate()
	switch {
	case rules == nil:
		err = errNoAuthorizer
	case err != nil:
		err = &configError{kerr.InvalidRequest, err.Error()}
	}
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
		reply(transport.Reply{Message: resp})
		return
	}
	var last acl.Pattern
	for _, binding := range rules.Select(filter) {
		if binding.Pattern != last {
			last = binding.Pattern
			res := kmsg.NewDescribeACLsResponseResource()
			res.ResourceType, res.ResourceName, res.ResourcePatternType = kmsg.ACLResourceType(last.Type), last.Name, kmsg.ACLResourcePatternType(last.Kind)
			resp.Resources = append(resp.Resources, res)
		}
		a := kmsg.NewDescribeACLsResponseResourceACL()
		a.Principal, a.Host, a.Operation, a.PermissionType = binding.Principal, binding.Host, kmsg.ACLOperation(binding.Operation), kmsg.ACLPermissionType(binding.Permission)
		res := &resp.Resources[len(resp.Resources)-1]
		res.ACLs = append(res.ACLs, a)
	}
	reply(transport.Reply{Message: resp})
}

// errNoAuthorizer is what there is to say about access control lists where there are none.
var errNoAuthorizer = &configError{kerr.SecurityDisabled, "No authorization is configured on this node."}
