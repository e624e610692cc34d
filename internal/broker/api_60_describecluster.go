package broker

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeCluster (60), versions 0-2: the cluster's id, controller and brokers (KIP-700).
//
// Versions: v1 asks for endpoints of brokers (1) or controllers (2); there are no controller endpoints apart, so 2 is MISMATCHED_ENDPOINT_TYPE. v2 may ask for fenced brokers, too (KIP-1073).
func (b *Broker) describeCluster(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.DescribeClusterRequest)
	resp := kmsg.NewPtrDescribeClusterResponse()
	resp.Version = req.Version
	if req.Version >= 1 && req.EndpointType != 1 {
		err := kerr.UnsupportedEndpointType
		if req.EndpointType == 2 {
			err = kerr.MismatchedEndpointType
		}
		resp.ErrorCode, resp.ErrorMessage = err.Code, messageOf(err)
		reply(transport.Reply{Message: resp})
		return
	}
	img := b.metadataImage()
	resp.EndpointType, resp.ClusterID, resp.ControllerID = 1, img.ClusterID, b.controllerID(img)
	for _, n := range slices.SortedFunc(maps.Values(img.Brokers), func(x, y *controller.Broker) int { return cmp.Compare(x.ID, y.ID) }) {
		if n.Fenced && !(req.Version >= 2 && req.IncludeFencedBrokers) {
			continue
		}
		out := kmsg.NewDescribeClusterResponseBroker()
		out.NodeID, out.Rack, out.IsFenced = n.ID, optional(n.Rack), n.Fenced
		out.Host, out.Port = hostPort(n.Addr)
		resp.Brokers = append(resp.Brokers, out)
	}
	reply(transport.Reply{Message: resp})
}
