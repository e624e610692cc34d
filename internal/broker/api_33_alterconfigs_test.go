package broker

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// AlterConfigs names all that a topic has; other resources of the request are on their own.
func TestAlterConfigs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 1, "max.message.bytes", "5000")
		controller, _, _ := h.nodes[1].ctl.Leader()
		via := h.nodes[controller%3+1]
		for v := int16(0); v <= 2; v++ {
			req := kmsg.NewPtrAlterConfigsRequest()
			req.Version = v
			for _, name := range []string{"t", "nowhere"} {
				rr := kmsg.NewAlterConfigsRequestResource()
				rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceTypeTopic, name
				c, value := kmsg.NewAlterConfigsRequestResourceConfig(), []string{"1000", "2000", "3000"}[v]
				c.Name, c.Value = "retention.ms", &value
				rr.Configs = append(rr.Configs, c)
				req.Resources = append(req.Resources, rr)
			}
			resp := call[*kmsg.AlterConfigsResponse](via, req)
			require.Equal(t, v, resp.Version)
			require.Zero(t, resp.Resources[0].ErrorCode)
			assert.Equal(t, kerr.UnknownTopicOrPartition.Code, resp.Resources[1].ErrorCode)
			want := map[string]string{"retention.ms": *req.Resources[0].Configs[0].Value}
			h.await(func() bool { return via.metadataImage().Topics["t"].Configs["retention.ms"] == want["retention.ms"] })
			assert.Equal(t, want, via.metadataImage().Topics["t"].Configs)
		}
		h.nodes[controller].stop(false)
		h.nodes[6-controller-via.id].stop(false)
		req := kmsg.NewPtrAlterConfigsRequest()
		rr := kmsg.NewAlterConfigsRequestResource()
		rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
		req.Resources = append(req.Resources, rr)
		assert.Equal(t, kerr.RequestTimedOut.Code, call[*kmsg.AlterConfigsResponse](via, req).Resources[0].ErrorCode)
	})
}

// A broker that is gone is forgotten, wherever it is asked for.
func TestUnregisterBroker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		unregister := func(n *testNode, id int32) int16 {
			req := kmsg.NewPtrUnregisterBrokerRequest()
			req.BrokerID = id
			return call[*kmsg.UnregisterBrokerResponse](n, req).ErrorCode
		}
		controller, _, _ := h.nodes[1].ctl.Leader()
		gone, via := h.nodes[controller%3+1], h.nodes[(controller+1)%3+1]
		assert.Equal(t, kerr.BrokerIDNotRegistered.Code, unregister(via, 9))
		gone.stop(false)
		require.Zero(t, unregister(via, gone.id))
		assert.NotContains(t, via.metadataImage().Brokers, gone.id, "the node that answered knows")
		assert.Equal(t, kerr.BrokerIDNotRegistered.Code, unregister(via, gone.id))

		h.start(gone.id)
		_, ok := alive(gone.metadataImage(), gone.id)
		require.True(t, ok, "it may come back")
	})
}
