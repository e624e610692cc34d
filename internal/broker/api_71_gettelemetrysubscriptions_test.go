package broker

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// KIP-714: without a receiver of metrics nobody is told to ask, and who asks is told to push nothing.
func TestGetTelemetrySubscriptions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newHarness(t, 1, nil).nodes[1]
		av := kmsg.NewPtrApiVersionsRequest()
		for _, k := range call[*kmsg.ApiVersionsResponse](n, av).ApiKeys {
			require.NotContains(t, []int16{71, 72}, k.ApiKey)
		}
		first := call[*kmsg.GetTelemetrySubscriptionsResponse](n, kmsg.NewPtrGetTelemetrySubscriptionsRequest())
		assert.Zero(t, first.ErrorCode)
		assert.NotZero(t, first.ClientInstanceID)
		assert.EqualValues(t, 4, first.ClientInstanceID[6]>>4, "a random UUID")
		assert.EqualValues(t, 2, first.ClientInstanceID[8]>>6)
		assert.Empty(t, first.RequestedMetrics)
		assert.Equal(t, []int8{4, 3, 1, 2}, first.AcceptedCompressionTypes)
		assert.Equal(t, []any{int32(300_000), int32(1 << 20), true}, []any{first.PushIntervalMillis, first.TelemetryMaxBytes, first.DeltaTemporality})

		req := kmsg.NewPtrGetTelemetrySubscriptionsRequest()
		req.ClientInstanceID = first.ClientInstanceID
		again := call[*kmsg.GetTelemetrySubscriptionsResponse](n, req)
		assert.Equal(t, first, again, "the same client, the same subscription")
		other := call[*kmsg.GetTelemetrySubscriptionsResponse](n, kmsg.NewPtrGetTelemetrySubscriptionsRequest())
		assert.NotEqual(t, first.ClientInstanceID, other.ClientInstanceID)
		assert.NotEqual(t, first.SubscriptionID, other.SubscriptionID)
	})
}
