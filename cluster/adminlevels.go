package cluster

import (
	"context"
	"strconv"

	"github.com/insynclog/insync/internal/controller"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// RaiseLevel finalizes a level of the metadata's format (KIP-584: the feature insync.metadata): from then on nodes write what it brings, and versions that do not know it cannot come back. Until then a cluster that was upgraded node by node
// can go back to the version before. Status tells the present level, which each node knows (BrokerStatus.Known), and a new cluster begins with the highest that its founders know. It may be repeated; a level is never lowered.
//
// errors.Is: kerr.InvalidUpdateVersion if a node does not know the level, or may not; its text names the node.
func (a *Admin) RaiseLevel(ctx context.Context, level int16) error {
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.TimeoutMillis = timeoutMillis(ctx)
	u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	u.Feature, u.MaxVersionLevel, u.UpgradeType = controller.FeatureName, level, 1
	req.FeatureUpdates = append(req.FeatureUpdates, u)
	resp, err := request[*kmsg.UpdateFeaturesResponse](ctx, a, req)
	text := ""
	if err == nil {
		err, text = kerr.ErrorForCode(resp.ErrorCode), deref(resp.ErrorMessage)
	}
	if err == nil {
		return nil
	}
	return &AdminError{Op: "raise level", Name: strconv.Itoa(int(level)), Err: err, Text: text}
}
