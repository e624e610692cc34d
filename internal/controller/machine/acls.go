package machine

import (
	"fmt"
	"maps"
	"slices"

	"github.com/insynclog/insync/internal/acl"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Bindings lists the image's access control lists in order.
func (img *Image) Bindings() []acl.Binding {
	return slices.SortedFunc(maps.Keys(img.ACLs), acl.Binding.Compare)
}

// ACLRecord is Kafka's AccessControlEntryRecord.
type ACLRecord struct{ Binding acl.Binding }

// RemoveACL is Kafka's RemoveAccessControlEntryRecord. It names the binding by what it says, where Kafka's has an id.
type RemoveACL struct{ Binding acl.Binding }

func (r *ACLRecord) kind() kind { return kindACL }
func (r *RemoveACL) kind() kind { return kindRemoveACL }

func (r *ACLRecord) String() string { return "AccessControlEntry " + r.Binding.String() }
func (r *RemoveACL) String() string { return "RemoveAccessControlEntry " + r.Binding.String() }

func putBinding(dst []byte, b acl.Binding) []byte {
	dst = append(dst, byte(b.Pattern.Type), byte(b.Pattern.Kind), byte(b.Operation), byte(b.Permission))
	return putString(putString(putString(dst, b.Pattern.Name), b.Principal), b.Host)
}

func (r *reader) binding() (b acl.Binding) {
	b.Pattern.Type, b.Pattern.Kind = acl.ResourceType(int8(r.byte())), acl.PatternType(int8(r.byte()))
	b.Operation, b.Permission = acl.Operation(int8(r.byte())), acl.Permission(int8(r.byte()))
	b.Pattern.Name, b.Principal, b.Host = r.string(), r.string(), r.string()
	return b
}

func (r *ACLRecord) encode(dst []byte) []byte { return putBinding(dst, r.Binding) }
func (r *RemoveACL) encode(dst []byte) []byte { return putBinding(dst, r.Binding) }
func (r *ACLRecord) decode(d *reader)         { r.Binding = d.binding() }
func (r *RemoveACL) decode(d *reader)         { r.Binding = d.binding() }

func (d *draft) ownACLMap() {
	if !d.ownACLs {
		d.img.ACLs, d.ownACLs = maps.Clone(d.img.ACLs), true
	}
	d.security = true
}

func (r *ACLRecord) apply(d *draft) error {
	if err := r.Binding.Validate(); err != nil {
		return err
	}
	d.ownACLMap()
	d.img.ACLs[r.Binding] = struct{}{}
	return nil
}

func (r *RemoveACL) apply(d *draft) error {
	if _, ok := d.img.ACLs[r.Binding]; !ok {
		return fmt.Errorf("no such binding: %s", r.Binding)
	}
	d.ownACLMap()
	delete(d.img.ACLs, r.Binding)
	return nil
}

// maxACLs is how many bindings a cluster may have: each node keeps an index of them in memory.
const maxACLs = 100_000

// createACLs answers CreateAcls: each for itself; one that exists is created again.
func (b *Batch) createACLs(req *kmsg.CreateACLsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.CreateACLsResponse)
	for i := range req.Creations {
		c := &req.Creations[i]
		binding := acl.Binding{
			Pattern:   acl.Pattern{Type: acl.ResourceType(c.ResourceType), Name: c.ResourceName, Kind: acl.PatternType(c.ResourcePatternType)},
			Principal: c.Principal, Host: c.Host, Operation: acl.Operation(c.Operation), Permission: acl.Permission(c.PermissionType),
		}
		var p problem
		_, exists := b.d.img.ACLs[binding]
		switch err := binding.Validate(); {
		case err != nil:
			p = refuse(kerr.InvalidRequest, "%s", err)
		case exists:
		case len(b.records) >= maxUserRecords || len(b.d.img.ACLs) >= maxACLs:
			p = refuse(kerr.PolicyViolation, "Too many access control lists: at most %d in a request, %d in a cluster.", maxUserRecords, maxACLs)
		default:
			b.add(&ACLRecord{Binding: binding})
		}
		out := kmsg.NewCreateACLsResponseResult()
		out.ErrorCode, out.ErrorMessage = p.code, p.text()
		resp.Results = append(resp.Results, out)
	}
	return resp
}

// deleteACLs answers DeleteAcls: each filter removes what it matches.
func (b *Batch) deleteACLs(req *kmsg.DeleteACLsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DeleteACLsResponse)
	for i := range req.Filters {
		f := &req.Filters[i]
		filter := acl.Filter{
			Type: acl.ResourceType(f.ResourceType), Name: f.ResourceName, Kind: acl.PatternType(f.ResourcePatternType),
			Principal: f.Principal, Host: f.Host, Operation: acl.Operation(f.Operation), Permission: acl.Permission(f.PermissionType),
		}
		out := kmsg.NewDeleteACLsResponseResult()
		if err := filter.Validate(); err != nil {
			p := refuse(kerr.InvalidRequest, "%s", err)
			out.ErrorCode, out.ErrorMessage = p.code, p.text()
			resp.Results = append(resp.Results, out)
			continue
		}
		for _, binding := range b.d.img.Bindings() {
			if !filter.Matches(binding) {
				continue
			}
			m := kmsg.NewDeleteACLsResponseResultMatchingACL()
			m.ResourceType, m.ResourceName, m.ResourcePatternType = kmsg.ACLResourceType(binding.Pattern.Type), binding.Pattern.Name, kmsg.ACLResourcePatternType(binding.Pattern.Kind)
			m.Principal, m.Host, m.Operation, m.PermissionType = binding.Principal, binding.Host, kmsg.ACLOperation(binding.Operation), kmsg.ACLPermissionType(binding.Permission)
			if len(b.records) >= maxUserRecords {
				p := refuse(kerr.PolicyViolation, "Too many access control lists to delete: at most %d in a request.", maxUserRecords)
				m.ErrorCode, m.ErrorMessage = p.code, p.text()
			} else {
				b.add(&RemoveACL{Binding: binding})
			}
			out.MatchingACLs = append(out.MatchingACLs, m)
		}
		resp.Results = append(resp.Results, out)
	}
	return resp
}
