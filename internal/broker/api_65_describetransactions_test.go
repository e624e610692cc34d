package broker

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestDescribeTransactions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newHarness(t, 1, nil).nodes[1]
		req := kmsg.NewPtrDescribeTransactionsRequest()
		req.TransactionalIDs = []string{"x", ""}
		states := call[*kmsg.DescribeTransactionsResponse](n, req).TransactionStates
		require.Len(t, states, 2)
		assert.Equal(t, []any{"x", kerr.TransactionalIDNotFound.Code}, []any{states[0].TransactionalID, states[0].ErrorCode})
		assert.Equal(t, []any{"", kerr.InvalidRequest.Code}, []any{states[1].TransactionalID, states[1].ErrorCode})
	})
}
