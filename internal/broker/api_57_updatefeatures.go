package broker

import (
	"context"
	"fmt"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// UpdateFeatures (57), versions 0-2: changes the levels of features (KIP-584). There is no feature that has levels, as ApiVersions says: what the metadata holds depends on what it is asked to hold only. So
// nothing is changed, whether it is asked to be or only to be checked, and each update has the error that Kafka has for a feature that it does not know, INVALID_UPDATE_VERSION. Any node answers.
//
// Versions:
//   - 0 and 1 have a result for each feature beside the one for all
func (b *Broker) updateFeatures(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.UpdateFeaturesRequest)
	resp := req.ResponseKind().(*kmsg.UpdateFeaturesResponse)
	for i := range req.FeatureUpdates {
		text := refusedUpdate(&req.FeatureUpdates[i], req.Version)
		result := kmsg.NewUpdateFeaturesResponseResult()
		result.Feature, result.ErrorCode, result.ErrorMessage = req.FeatureUpdates[i].Feature, kerr.InvalidUpdateVersion.Code, &text
		if resp.ErrorCode == 0 {
			all := "The update failed for all features since the following feature had an error: " + text
			resp.ErrorCode, resp.ErrorMessage = result.ErrorCode, &all
		}
		if req.Version <= 1 {
			resp.Results = append(resp.Results, result)
		}
	}
	reply(transport.Reply{Message: resp})
}

// refusedUpdate says why an update cannot be, with what Kafka looks at first.
func refusedUpdate(u *kmsg.UpdateFeaturesRequestFeatureUpdate, version int16) string {
	const upgrade, unsafeDowngrade = 1, 3
	reason := "No node supports this feature."
	switch {
	case version >= 1 && (u.UpgradeType < upgrade || u.UpgradeType > unsafeDowngrade):
		reason = "The given upgrade type is not supported."
	case u.MaxVersionLevel < 0:
		reason = "A feature version cannot be less than 0."
	case u.MaxVersionLevel == 0:
		reason = "There is no such feature."
	}
	return fmt.Sprintf("Invalid update version %d for feature %.100s. %s", u.MaxVersionLevel, u.Feature, reason)
}
