package broker

import (
	"context"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ApiVersions (18), versions 0-4: what this node answers.
//
// Behaviour:
//   - The answer comes from the table in apis.go, and always goes out with response header 0 (the transport sees to that, and answers a version it does not know with the version 0 body).
//   - APIs between nodes are shown to nodes only, as Kafka does with its controllers' listener.
//   - It is answered before the node has joined the cluster.
//
// Versions:
//   - v3 names the client's software; a malformed name or version is INVALID_REQUEST (KIP-511). Features and their epoch are in the answer (KIP-584): the level of the metadata.
//   - v4 may report features with a minimum of 0.
func (b *Broker) apiVersions(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.ApiVersionsRequest)
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = req.Version
	if req.Version >= 3 {
		if !validSoftwareName(req.ClientSoftwareName) || !validSoftwareName(req.ClientSoftwareVersion) {
			resp.ErrorCode = kerr.InvalidRequest.Code
			reply(transport.Reply{Message: resp})
			return
		}
		if r.Conn != nil && !r.Conn.Direct {
			r.Conn.ClientSoftwareName, r.Conn.ClientSoftwareVersion = req.ClientSoftwareName, req.ClientSoftwareVersion
		}
		b.tellFeatures(resp)
	}
	resp.ApiKeys = b.apiKeys
	if req.ClientSoftwareName == peerSoftware {
		resp.ApiKeys = b.peerKeys
	}
	reply(transport.Reply{Message: resp})
}

// tellFeatures tells of the level of the metadata: what this node knows, and what is finalized as far as it has heard. It knows nothing of a cluster that it has not joined yet.
func (b *Broker) tellFeatures(resp *kmsg.ApiVersionsResponse) {
	known := b.c.Levels.Highest()
	if known > controller.LevelBase {
		supported := kmsg.NewApiVersionsResponseSupportedFeature()
		supported.Name, supported.MinVersion, supported.MaxVersion = controller.FeatureName, controller.LevelBase, known
		resp.SupportedFeatures = append(resp.SupportedFeatures, supported)
	}
	img := b.image.Load()
	if img == nil {
		return
	}
	resp.FinalizedFeaturesEpoch = img.Offset
	if known > controller.LevelBase && img.Offset >= 0 {
		finalized := kmsg.NewApiVersionsResponseFinalizedFeature()
		finalized.Name, finalized.MinVersionLevel, finalized.MaxVersionLevel = controller.FeatureName, img.Level, img.Level
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, finalized)
	}
}

// peerSoftware is how nodes and this library's clients name themselves; they are told of the APIs between nodes, too.
const peerSoftware = "insync"

// validSoftwareName is the rule [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])? of KIP-511.
func validSoftwareName(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		inner := i > 0 && i < len(s)-1
		if !alnum && !(inner && (c == '-' || c == '.')) {
			return false
		}
	}
	return true
}
