package machine

import (
	"maps"
	"slices"
	"strings"

	"github.com/insynclog/insync/internal/configs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const minISRKey = "min.insync.replicas"

// alterConfigs answers IncrementalAlterConfigs (KIP-339): each resource changes as a whole or not at all, independently of the others.
func (b *Batch) alterConfigs(req *kmsg.IncrementalAlterConfigsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	type resource struct {
		kind kmsg.ConfigResourceType
		name string
	}
	times := map[resource]int{}
	for _, rr := range req.Resources {
		times[resource{rr.ResourceType, rr.ResourceName}]++
	}
	for i := range req.Resources {
		rr := &req.Resources[i]
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = rr.ResourceType, rr.ResourceName
		key := resource{rr.ResourceType, rr.ResourceName}
		var p problem
		switch n := times[key]; {
		case n == 0:
			continue
		case n > 1:
			times[key] = 0
			p = refuse(kerr.InvalidRequest, "Each resource must appear at most once.")
		default:
			on := b
			if req.ValidateOnly {
				on = b.trial()
			}
			p = on.alterResource(rr)
		}
		out.ErrorCode, out.ErrorMessage = p.code, p.text()
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

func (b *Batch) alterResource(rr *kmsg.IncrementalAlterConfigsRequestResource) problem {
	switch rr.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		t := b.d.img.Topics[rr.ResourceName]
		switch {
		case rr.ResourceName == "":
			return refuse(kerr.InvalidRequest, "Default topic resources are not allowed.")
		case t == nil:
			return refuse(kerr.UnknownTopicOrPartition, "The topic '%s' does not exist.", rr.ResourceName)
		}
		return b.alter(rr, TopicResource, t.Configs, configs.LookupTopic, configs.ValidateTopic)
	case kmsg.ConfigResourceTypeBroker:
		id, err := brokerOfResource(rr.ResourceName)
		switch {
		case err != nil:
			return refuse(kerr.InvalidRequest, "%s", err)
		case id != ClusterDefault && b.d.img.Brokers[id] == nil:
			return refuse(kerr.BrokerIDNotRegistered, "No broker with id %d found.", id)
		case id != ClusterDefault && names(rr, minISRKey):
			return refuse(kerr.InvalidConfig, "Broker-level %s cannot be altered: all brokers have to agree on it.", minISRKey)
		}
		return b.alter(rr, BrokerResource, b.d.img.BrokerConfigs[id], configs.LookupBroker, configs.ValidateBroker)
	}
	return refuse(kerr.InvalidRequest, "Unexpected resource type %d.", rr.ResourceType)
}

func names(rr *kmsg.IncrementalAlterConfigsRequestResource, key string) bool {
	return slices.ContainsFunc(rr.Configs, func(c kmsg.IncrementalAlterConfigsRequestResourceConfig) bool { return c.Name == key })
}

// alter works out the resource's configs after the request, checks them as a whole, and decides what differs.
func (b *Batch) alter(rr *kmsg.IncrementalAlterConfigsRequestResource, kind ResourceType, now map[string]string,
	lookup func(string) (configs.Key, bool), validate func(map[string]string) error,
) problem {
	want := maps.Clone(now)
	if want == nil {
		want = map[string]string{}
	}
	seen := map[string]bool{}
	for _, c := range rr.Configs {
		if seen[c.Name] {
			return refuse(kerr.InvalidRequest, "Error due to duplicate config keys: %s", c.Name)
		}
		seen[c.Name] = true
		if p := alterKey(want, c, lookup); p.code != 0 {
			return p
		}
	}
	// Only what the request names is checked: a stored value that a later version refuses must not block other changes.
	changed := map[string]string{}
	for name := range seen {
		if v, ok := want[name]; ok {
			changed[name] = v
		}
	}
	if err := validate(changed); err != nil {
		return refuse(kerr.InvalidConfig, "%s", err)
	}
	if kind == TopicResource && (seen["min.compaction.lag.ms"] || seen["max.compaction.lag.ms"]) {
		if err := validate(want); err != nil {
			return refuse(kerr.InvalidConfig, "%s", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		old, had := now[name]
		v, has := want[name]
		if had == has && old == v {
			continue
		}
		r := &ConfigRecord{Resource: kind, Name: rr.ResourceName, Key: name}
		if has {
			r.Value = &v
		}
		b.add(r)
		b.follow(kind, rr.ResourceName, name)
	}
	return problem{}
}

// alterKey applies one operation to want.
func alterKey(want map[string]string, c kmsg.IncrementalAlterConfigsRequestResourceConfig, lookup func(string) (configs.Key, bool)) problem {
	key, known := lookup(c.Name)
	switch {
	case c.Op == kmsg.IncrementalAlterConfigOpDelete:
		delete(want, c.Name)
		return problem{}
	case c.Op < kmsg.IncrementalAlterConfigOpSet || c.Op > kmsg.IncrementalAlterConfigOpSubtract:
		return refuse(kerr.InvalidRequest, "Unknown operation %d for %s.", c.Op, c.Name)
	case c.Value == nil:
		return refuse(kerr.InvalidRequest, "Null value not supported for: %s", c.Name)
	case c.Op == kmsg.IncrementalAlterConfigOpSet:
		want[c.Name] = strings.Clone(*c.Value)
		return problem{}
	case !known || key.Type != configs.List:
		return refuse(kerr.InvalidConfig, "Can't %v to key %s because its type is not LIST.", c.Op, c.Name)
	}
	old, has := want[c.Name]
	if !has {
		old = key.Default
	}
	list := configs.SplitList(old)
	for _, v := range configs.SplitList(*c.Value) {
		i := slices.Index(list, v)
		switch {
		case c.Op == kmsg.IncrementalAlterConfigOpAppend && i < 0:
			list = append(list, v)
		case c.Op == kmsg.IncrementalAlterConfigOpSubtract && i >= 0:
			list = slices.Delete(list, i, i+1)
		}
	}
	want[c.Name] = strings.Join(list, ",")
	return problem{}
}

// follow decides what a changed config means for partitions: with another min.insync.replicas the ELR has lost its meaning, and where unclean elections became
// possible a leaderless partition need not wait for the next round.
func (b *Batch) follow(kind ResourceType, resource, key string) {
	topic := resource
	if kind == BrokerResource {
		if resource != "" {
			return
		}
		topic = ""
	}
	switch key {
	case minISRKey:
		b.add(&ClearELR{Topic: topic})
	case "unclean.leader.election.enable":
		b.electUnclean()
	}
}
