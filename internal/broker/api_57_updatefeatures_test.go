package broker

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// There are no features, and all who tell of them agree.
func TestUpdateFeatures(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		versions := kmsg.NewPtrApiVersionsRequest()
		versions.Version, versions.ClientSoftwareName, versions.ClientSoftwareVersion = 4, "kgo", "1.0"
		told := call[*kmsg.ApiVersionsResponse](h.nodes[1], versions)
		require.Empty(t, told.SupportedFeatures)
		require.Empty(t, told.FinalizedFeatures)

		h.await(func() bool { return h.nodes[1].metadataImage().NextProducerID > 0 }) // a node that has started asks for ids, which is written
		before := h.nodes[1].metadataImage().Offset
		for v := int16(0); v <= 2; v++ {
			update := func(validate bool, updates ...kmsg.UpdateFeaturesRequestFeatureUpdate) *kmsg.UpdateFeaturesResponse {
				req := kmsg.NewPtrUpdateFeaturesRequest()
				req.Version, req.ValidateOnly, req.FeatureUpdates = v, validate, updates
				resp := call[*kmsg.UpdateFeaturesResponse](h.nodes[1], req)
				assert.Equal(t, v, resp.Version)
				again := kmsg.NewPtrUpdateFeaturesResponse()
				again.Version = v
				require.NoError(t, again.ReadFrom(resp.AppendTo(nil)))
				return again
			}
			none := update(false)
			assert.Zero(t, none.ErrorCode)
			assert.Empty(t, none.Results)
			for _, validate := range []bool{false, true} {
				resp := update(validate,
					kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: "metadata.version", MaxVersionLevel: 20, UpgradeType: 1},
					kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: "group.version", MaxVersionLevel: 0, UpgradeType: 2},
					kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: "kraft.version", MaxVersionLevel: -1, UpgradeType: 3},
					kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: "other", MaxVersionLevel: 1, UpgradeType: 4},
				)
				assert.Equal(t, kerr.InvalidUpdateVersion.Code, resp.ErrorCode)
				assert.Contains(t, *resp.ErrorMessage, "metadata.version")
				if v == 2 {
					assert.Empty(t, resp.Results)
					continue
				}
				require.Len(t, resp.Results, 4)
				for i, want := range []string{"No node supports", "no such feature", "less than 0", "upgrade type"} {
					if v == 0 && i == 3 {
						want = "No node supports" // has no type
					}
					assert.Equal(t, kerr.InvalidUpdateVersion.Code, resp.Results[i].ErrorCode)
					assert.Contains(t, *resp.Results[i].ErrorMessage, want)
				}
				assert.Equal(t, "kraft.version", resp.Results[2].Feature)
			}
		}
		assert.Equal(t, before, h.nodes[1].metadataImage().Offset, "nothing was written")
	})
}
