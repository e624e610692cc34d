package machine

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// replaceConfigs answers AlterConfigs: what a resource is to have from now on, all of it. It is IncrementalAlterConfigs that sets what is named and deletes what is not.
func (b *Batch) replaceConfigs(req *kmsg.AlterConfigsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	as := kmsg.NewPtrIncrementalAlterConfigsRequest()
	as.ValidateOnly = req.ValidateOnly
	for i := range req.Resources {
		rr := &req.Resources[i]
		to := kmsg.NewIncrementalAlterConfigsRequestResource()
		to.ResourceType, to.ResourceName = rr.ResourceType, rr.ResourceName
		named := map[string]bool{}
		for _, c := range rr.Configs {
			named[c.Name] = true
			set := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
			set.Name, set.Op, set.Value = c.Name, kmsg.IncrementalAlterConfigOpSet, c.Value
			to.Configs = append(to.Configs, set)
		}
		for _, key := range slices.Sorted(maps.Keys(b.configsOf(rr.ResourceType, rr.ResourceName))) {
			if !named[key] {
				del := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
				del.Name, del.Op = key, kmsg.IncrementalAlterConfigOpDelete
				to.Configs = append(to.Configs, del)
			}
		}
		as.Resources = append(as.Resources, to)
	}
	for _, r := range b.alterConfigs(as).(*kmsg.IncrementalAlterConfigsResponse).Resources {
		out := kmsg.NewAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName, out.ErrorCode, out.ErrorMessage = r.ResourceType, r.ResourceName, r.ErrorCode, r.ErrorMessage
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

// configsOf are the dynamic configs of a resource; nil without it.
func (b *Batch) configsOf(kind kmsg.ConfigResourceType, name string) map[string]string {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		if t := b.d.img.Topics[name]; t != nil {
			return t.Configs
		}
	case kmsg.ConfigResourceTypeBroker:
		if id, err := brokerOfResource(name); err == nil {
			return b.d.img.BrokerConfigs[id]
		}
	}
	return nil
}
