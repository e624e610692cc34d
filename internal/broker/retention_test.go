package broker

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRetention has three nodes give up what is older than ten minutes, and what a topic has beyond its size, while they go on.
func TestRetention(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "old", 1, 3, "retention.ms", "600000", "segment.bytes", "1048576")
		h.create(1, "large", 1, 3, "retention.bytes", "2200000", "segment.bytes", "1048576", "retention.ms", "-1")
		h.create(1, "kept", 1, 3, "cleanup.policy", "compact", "retention.ms", "1000", "segment.bytes", "1048576")
		h.create(1, "forever", 1, 3, "retention.ms", "-1")
		value := string(bytes.Repeat([]byte("x"), 400_000))
		for range 20 { // three minutes between two of them
			for _, topic := range []string{"old", "large", "forever"} {
				h.leader(topic, 0).mustProduce(topic, 0, value)
			}
			time.Sleep(3 * time.Minute)
		}
		starts := func(topic string) (list []int64) {
			for _, id := range h.ids {
				r, ok := h.nodes[id].Replica(topic, 0)
				require.True(t, ok)
				list = append(list, r.Log().Offsets().LogStartOffset)
			}
			return list
		}
		for _, start := range starts("old") { // two are in a segment, and the next look may be five minutes away
			assert.GreaterOrEqual(t, start, int64(12))
			assert.LessOrEqual(t, start, int64(16))
		}
		for _, start := range starts("large") { // five or six of them stay, to a segment
			assert.GreaterOrEqual(t, start, int64(10))
			assert.LessOrEqual(t, start, int64(14))
		}
		assert.Equal(t, []int64{0, 0, 0}, starts("kept"))
		assert.Equal(t, []int64{0, 0, 0}, starts("forever"))
		time.Sleep(20 * time.Minute)
		assert.Equal(t, []int64{20, 20, 20}, starts("old"), "the active segment is not too young to go")
		assert.EqualValues(t, 20, h.leader("old", 0).mustProduce("old", 0, value))
		for _, id := range h.ids { // and stays gone
			h.nodes[id].stop(false)
		}
		h.start(h.ids...)
		h.isr("old", 0, 3)
		assert.Equal(t, []int64{20, 20, 20}, starts("old"))
	})
}

// A wall clock that jumps makes nothing old for an hour: somebody may set it right.
func TestRetentionDoubtsAClockThatJumps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var skew atomic.Int64
		h := newHarness(t, 1, func(_ int32, c *Config) {
			c.Wall = func(now time.Time) time.Time { return now.Add(time.Duration(skew.Load())) }
		})
		h.create(1, "old", 1, 1, "retention.ms", "36000000")
		h.leader("old", 0).mustProduce("old", 0, "value")
		start := func() int64 {
			r, ok := h.nodes[1].Replica("old", 0)
			require.True(t, ok)
			return r.Log().Offsets().LogStartOffset
		}
		time.Sleep(2 * retentionInterval)
		skew.Store(int64(1000 * time.Hour))
		time.Sleep(clockDoubt / 2)
		assert.Zero(t, start())
		time.Sleep(clockDoubt)
		assert.EqualValues(t, 1, start(), "nobody has")
	})
}
