package broker

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// listedResources are the types of resources that can be listed, in the order of the answer.
var listedResources = []kmsg.ConfigResourceType{
	kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger, kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigResourceTypeGroupConfig,
}

// ListConfigResources (74), versions 0-1: what has configs (KIP-714, KIP-1142).
//
// Behaviour: topics and registered brokers, which have configs whether or not one is set. Groups and subscriptions of client metrics are listed if they have configs of their own: none can be set here.
//
// Versions: v0 lists subscriptions of client metrics only, without saying so · v1 asks for types, none for all; one that cannot be listed is UNSUPPORTED_VERSION.
func (b *Broker) listConfigResources(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.ListConfigResourcesRequest)
	resp := kmsg.NewPtrListConfigResourcesResponse()
	resp.Version = req.Version
	want := listedResources
	if req.Version == 0 {
		want = []kmsg.ConfigResourceType{kmsg.ConfigResourceTypeClientMetrics}
	} else if len(req.ResourceTypes) > 0 {
		want = want[:0:0]
		for _, t := range req.ResourceTypes {
			want = append(want, kmsg.ConfigResourceType(t))
		}
	}
	for _, t := range want {
		if !slices.Contains(listedResources, t) {
			resp.ErrorCode = kerr.UnsupportedVersion.Code
			reply(transport.Reply{Message: resp})
			return
		}
	}
	img := b.metadataImage()
	list := func(t kmsg.ConfigResourceType, name string) {
		c := kmsg.NewListConfigResourcesResponseConfigResource()
		c.Name, c.Type = name, int8(t)
		resp.ConfigResources = append(resp.ConfigResources, c)
	}
	for _, t := range listedResources {
		switch {
		case !slices.Contains(want, t):
		case t == kmsg.ConfigResourceTypeTopic:
			for _, name := range slices.Sorted(maps.Keys(img.Topics)) {
				list(t, name)
			}
		case t == kmsg.ConfigResourceTypeBroker, t == kmsg.ConfigResourceTypeBrokerLogger:
			for _, id := range slices.Sorted(maps.Keys(img.Brokers)) {
				list(t, strconv.Itoa(int(id)))
			}
		}
	}
	reply(transport.Reply{Message: resp})
}
