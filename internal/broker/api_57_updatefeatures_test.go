package broker

import (
	"testing"

	"github.com/insynclog/insync/internal/controller"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The metadata has a level, all who tell of it agree, and nothing else is a feature.
func TestUpdateFeatures(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		told := func(id int32) *kmsg.ApiVersionsResponse {
			versions := kmsg.NewPtrApiVersionsRequest()
			versions.Version, versions.ClientSoftwareName, versions.ClientSoftwareVersion = 4, "kgo", "1.0"
			return call[*kmsg.ApiVersionsResponse](h.nodes[id], versions)
		}
		for id := range h.nodes {
			applied := h.nodes[id].metadataImage().Offset
			resp := told(id)
			require.Equal(t, []kmsg.ApiVersionsResponseSupportedFeature{{Name: controller.FeatureName, MinVersion: 1, MaxVersion: controller.Newest}}, resp.SupportedFeatures)
			require.Equal(t, []kmsg.ApiVersionsResponseFinalizedFeature{{Name: controller.FeatureName, MinVersionLevel: controller.Newest, MaxVersionLevel: controller.Newest}}, resp.FinalizedFeatures)
			require.GreaterOrEqual(t, resp.FinalizedFeaturesEpoch, applied)
		}

		h.await(func() bool { return h.nodes[1].metadataImage().NextProducerID > 0 }) // a node that has started asks for ids, which is written
		before := h.nodes[1].metadataImage()
		for v := int16(0); v <= 2; v++ {
			update := func(validate bool, updates ...kmsg.UpdateFeaturesRequestFeatureUpdate) *kmsg.UpdateFeaturesResponse {
				req := kmsg.NewPtrUpdateFeaturesRequest()
				req.Version, req.ValidateOnly, req.FeatureUpdates = v, validate, updates
				resp := call[*kmsg.UpdateFeaturesResponse](h.nodes[1+int32(v)], req) // any node passes it on
				assert.Equal(t, v, resp.Version)
				again := kmsg.NewPtrUpdateFeaturesResponse()
				again.Version = v
				require.NoError(t, again.ReadFrom(resp.AppendTo(nil)))
				return again
			}
			none := update(false)
			assert.Zero(t, none.ErrorCode)
			assert.Empty(t, none.Results)
			same := update(false, kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: controller.FeatureName, MaxVersionLevel: controller.Newest, UpgradeType: 1})
			assert.Zero(t, same.ErrorCode)
			for _, validate := range []bool{false, true} {
				for _, x := range []struct {
					want   string
					update kmsg.UpdateFeaturesRequestFeatureUpdate
				}{
					{"No node supports", kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: "metadata.version", MaxVersionLevel: 20, UpgradeType: 1}},
					{"always has a level", kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: controller.FeatureName, MaxVersionLevel: 0, UpgradeType: 2}},
					{"less than 0", kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: controller.FeatureName, MaxVersionLevel: -1, UpgradeType: 3}},
					{"upgrade type", kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: "other", MaxVersionLevel: 1, UpgradeType: 4}},
					{"older versions cannot read", kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: controller.FeatureName, MaxVersionLevel: 1, UpgradeType: 3, AllowDowngrade: true}},
				} {
					if v == 0 && x.want == "upgrade type" {
						x.want = "No node supports" // has no type
					}
					resp := update(validate, kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: controller.FeatureName, MaxVersionLevel: controller.Newest, UpgradeType: 1}, x.update)
					assert.Equal(t, kerr.InvalidUpdateVersion.Code, resp.ErrorCode)
					assert.Contains(t, *resp.ErrorMessage, x.want)
					if v == 2 {
						assert.Empty(t, resp.Results)
						continue
					}
					require.Len(t, resp.Results, 2)
					for i, name := range []string{controller.FeatureName, x.update.Feature} {
						assert.Equal(t, name, resp.Results[i].Feature)
						assert.Equal(t, kerr.InvalidUpdateVersion.Code, resp.Results[i].ErrorCode)
						assert.Contains(t, *resp.Results[i].ErrorMessage, x.want)
					}
				}
			}
		}
		h.await(func() bool { return h.nodes[1].metadataImage().Offset >= before.Offset })
		assert.Equal(t, before.Level, h.nodes[1].metadataImage().Level, "nothing was raised")
	})
}
