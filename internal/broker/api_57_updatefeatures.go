package broker

import (
	"context"
	"slices"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// UpdateFeatures (57), versions 0-2: raises the level of the metadata, the only feature there is (KIP-584, KIP-778). Forwarded to the active controller, see there: INVALID_UPDATE_VERSION for another feature, a level that a node does not
// know, and one that is lower.
//
// Versions:
//   - 0 has no upgrade types: it says whether a level may be lowered
//   - 0 and 1 have a result for each feature beside the one for all, which is the same for all of them
func (b *Broker) updateFeatures(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	const upgrade, unsafeDowngrade = 1, 3
	req := *r.Message.(*kmsg.UpdateFeaturesRequest) // what is passed on may have another version
	resp := req.ResponseKind().(*kmsg.UpdateFeaturesResponse)
	req.FeatureUpdates = slices.Clone(req.FeatureUpdates)
	level := controller.LevelBase
	for i := range req.FeatureUpdates {
		u := &req.FeatureUpdates[i]
		level = max(level, u.MaxVersionLevel)
		if resp.Version == 0 {
			u.UpgradeType = upgrade
			if u.AllowDowngrade {
				u.UpgradeType = unsafeDowngrade
			}
		}
	}
	got, err := b.forward(ctx, &req, millis(req.TimeoutMillis))
	if err == nil {
		answer := got.(*kmsg.UpdateFeaturesResponse)
		resp.ErrorCode, resp.ErrorMessage = answer.ErrorCode, answer.ErrorMessage
	} else {
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
	}
	if resp.Version <= 1 {
		for i := range req.FeatureUpdates {
			result := kmsg.NewUpdateFeaturesResponseResult()
			result.Feature, result.ErrorCode, result.ErrorMessage = req.FeatureUpdates[i].Feature, resp.ErrorCode, resp.ErrorMessage
			resp.Results = append(resp.Results, result)
		}
	}
	if resp.ErrorCode == 0 && !req.ValidateOnly {
		b.awaitMetadata(ctx, func(img *controller.Image) bool { return img.Level >= level })
	}
	reply(transport.Reply{Message: resp})
}
