package broker

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestListTransactions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newHarness(t, 1, nil).nodes[1]
		pattern := "["
		for v := int16(0); v <= 2; v++ {
			req := kmsg.NewPtrListTransactionsRequest()
			req.Version, req.StateFilters = v, []string{"Ongoing", "ongoing", "PrepareEpochFence", "Nonsense", "Nonsense"}
			req.ProducerIDFilters, req.DurationFilterMillis = []int64{1}, 5
			resp := call[*kmsg.ListTransactionsResponse](n, req)
			assert.Equal(t, []any{v, int16(0)}, []any{resp.Version, resp.ErrorCode})
			assert.Equal(t, []string{"ongoing", "Nonsense"}, resp.UnknownStateFilters, "names have one spelling")
			assert.Empty(t, resp.TransactionStates)
			req.TransactionalIDPattern = &pattern
			resp = call[*kmsg.ListTransactionsResponse](n, req)
			if v < 2 {
				assert.Zero(t, resp.ErrorCode)
				continue
			}
			assert.Equal(t, kerr.InvalidRegularExpression.Code, resp.ErrorCode)
		}
		good := "^a.*"
		req := kmsg.NewPtrListTransactionsRequest()
		req.Version, req.TransactionalIDPattern = 2, &good
		assert.Zero(t, call[*kmsg.ListTransactionsResponse](n, req).ErrorCode)
	})
}
