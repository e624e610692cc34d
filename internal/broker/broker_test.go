package broker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOneNodeProducesAndFetches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		h.create(1, "orders", 1, 1)
		require.Equal(t, int64(0), n.mustProduce("orders", 0, "a", "b"))
		require.Equal(t, int64(2), n.mustProduce("orders", 0, "c"))
		require.Equal(t, []string{"a", "b", "c"}, n.readAll("orders", 0))
	})
}

func TestThreeNodesReplicate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(2, "orders", 1, 3)
		n := h.leader("orders", 0)
		for _, v := range []string{"a", "b", "c"} {
			n.mustProduce("orders", 0, v)
		}
		require.Equal(t, []string{"a", "b", "c"}, n.readAll("orders", 0))
		h.isr("orders", 0, 3)
		for _, id := range h.ids {
			h.await(func() bool {
				r, ok := h.nodes[id].Replica("orders", 0)
				return ok && r.Log().Offsets().HighWatermark == 3
			})
		}
	})
}
