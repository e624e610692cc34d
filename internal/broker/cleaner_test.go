package broker

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
)

// keyed is a batch of one record; an empty value is a tombstone, an empty key none.
func keyed(t testing.TB, key, value string) []byte {
	b := record.NewBuilder(record.BuilderConfig{})
	r := record.Record{Timestamp: time.Now()}
	if key != "" {
		r.Key = []byte(key)
	}
	if value != "" {
		r.Value = []byte(value)
	}
	b.Append(&r)
	out, err := b.Build(nil)
	require.NoError(t, err)
	return out
}

// lastValues is what a reader of a replica's log ends up with, and how many records it came past.
func lastValues(t testing.TB, n *testNode, topic string) (m map[string]string, records int) {
	r, ok := n.Replica(topic, 0)
	require.True(t, ok)
	m = map[string]string{}
	for rec, err := range r.Log().Records(t.Context(), r.Log().Offsets().LogStartOffset) {
		require.NoError(t, err)
		records++
		delete(m, string(rec.Key))
		if rec.Value != nil {
			m[string(rec.Key)] = string(rec.Value[:8])
		}
	}
	return m, records
}

// fillCompacted writes large values under a few keys, so that some segments are full of superseded ones.
func fillCompacted(h *harness, topic string, from, to int, want map[string]string) {
	for i := from; i < to; i++ {
		key := fmt.Sprintf("k%d", i%5)
		want[key] = fmt.Sprintf("%08d", i)
		p := h.leader(topic, 0).produce(topic, 0, -1, keyed(h.t, key, fmt.Sprintf("%08d%0100000d", i, i)))
		require.NoError(h.t, kerr.ErrorForCode(p.ErrorCode), "%v", p.ErrorMessage)
	}
}

// Every replica is compacted by its own node; leaders and followers show the same.
func TestCompaction(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "c", 1, 3, "cleanup.policy", "compact", "segment.bytes", "1048576", "delete.retention.ms", "60000")
		p := h.leader("c", 0).produce("c", 0, -1, keyed(t, "", "v"))
		assert.Equal(t, kerr.InvalidRecord.Code, p.ErrorCode, "a record without a key")
		want := map[string]string{}
		fillCompacted(h, "c", 0, 60, want)
		check := func(most int) {
			t.Helper()
			for _, id := range h.ids {
				got, records := lastValues(t, h.nodes[id], "c")
				assert.Equal(t, want, got, "node %d", id)
				assert.Less(t, records, most, "node %d", id)
			}
		}
		time.Sleep(time.Minute)
		check(25)
		for _, id := range h.ids {
			list := h.nodes[id].Cleanings()
			require.NotEmpty(t, list)
			require.Equal(t, "c", list[0].Topic)
			assert.Positive(t, list[0].Passes)
			assert.Positive(t, list[0].ReleasedBytes)
			assert.Positive(t, list[0].FirstDirty)
			assert.NoError(t, list[0].Err)
			assert.LessOrEqual(t, list[0].DirtyRatio, 0.5)
		}
		// A tombstone, then enough to have it compacted, twice.
		delete(want, "k3")
		require.Zero(t, h.leader("c", 0).produce("c", 0, -1, keyed(t, "k3", "")).ErrorCode)
		for i := range 2 {
			for k := range 20 {
				want["x"] = fmt.Sprintf("%08d", k)
				require.Zero(t, h.leader("c", 0).produce("c", 0, -1, keyed(t, "x", fmt.Sprintf("%08d%0200000d", k, i))).ErrorCode)
			}
			time.Sleep(2 * time.Minute)
		}
		check(25)
		for _, id := range h.ids {
			r, _ := h.nodes[id].Replica("c", 0)
			for rec, err := range r.Log().Records(t.Context(), 0) {
				require.NoError(t, err)
				assert.NotEqual(t, "k3", string(rec.Key), "node %d: the tombstone has had its time", id)
			}
		}
		// Another leads, and all have been opened anew.
		for _, id := range h.ids {
			h.nodes[id].stop(id == 2)
			h.start(id)
			h.isr("c", 0, 3)
		}
		check(25)
		h.isr("c", 0, 3)
		fillCompacted(h, "c", 100, 130, want)
		time.Sleep(time.Minute)
		check(30)
	})
}

// A log that cannot be compacted is told of, left alone, and tried again; the others go on.
func TestCompactionFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told atomic.Int32
		h := newHarness(t, 1, func(_ int32, c *Config) {
			c.Events.CompactionFailed = func(topic string, partition int32, err error) {
				assert.Equal(t, []any{"bad", int32(0)}, []any{topic, partition})
				assert.Error(t, err)
				told.Add(1)
			}
		})
		n := h.nodes[1]
		want := map[string]string{}
		for _, topic := range []string{"bad", "good"} {
			h.create(1, topic, 1, 1, "cleanup.policy", "compact", "segment.bytes", "1048576")
			fillCompacted(h, topic, 0, 30, want)
		}
		r, ok := n.Replica("bad", 0)
		require.True(t, ok)
		require.NoError(t, n.disk.Corrupt(r.Log().Dir()+"/00000000000000000000.log", 300_000, 1))
		time.Sleep(50 * time.Second)
		assert.EqualValues(t, 1, told.Load())
		list := n.Cleanings()
		require.Len(t, list, 2)
		_, damaged := list[0].Err.(*log.CorruptError) //nolint:errorlint // it is not wrapped
		assert.True(t, damaged, "%v", list[0].Err)
		assert.True(t, list[0].RetryAt.After(time.Now()))
		assert.NoError(t, list[1].Err)
		got, records := lastValues(t, n, "good")
		assert.Equal(t, want, got)
		assert.Less(t, records, 20)
		h.mustLive("bad")
		time.Sleep(4 * time.Minute)
		assert.EqualValues(t, 3, told.Load(), "after one minute, and two more")
		// What was damaged is whole again.
		require.NoError(t, n.disk.Corrupt(r.Log().Dir()+"/00000000000000000000.log", 300_000, 1))
		time.Sleep(10 * time.Minute)
		assert.NoError(t, n.Cleanings()[0].Err)
		got, _ = lastValues(t, n, "bad")
		want["live"] = "00000000"
		assert.Equal(t, want, got)
	})
}

// mustLive appends one more record.
func (h *harness) mustLive(topic string) {
	require.Zero(h.t, h.leader(topic, 0).produce(topic, 0, -1, keyed(h.t, "live", "00000000")).ErrorCode)
}

// The cleaner does not read and write faster than it may.
func TestCompactionPace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, func(_ int32, c *Config) {
			c.Static = map[string]string{"log.cleaner.io.max.bytes.per.second": "200000"}
		})
		h.create(1, "c", 1, 1, "cleanup.policy", "compact", "segment.bytes", "1048576")
		want := map[string]string{}
		fillCompacted(h, "c", 0, 30, want)
		time.Sleep(2 * time.Minute)
		s := h.nodes[1].Cleanings()[0]
		assert.Positive(t, s.Passes)
		seconds := float64(s.ReadBytes+s.WrittenBytes) / 200_000
		assert.InDelta(t, seconds, s.LastTook.Seconds(), seconds/4+2)
		got, _ := lastValues(t, h.nodes[1], "c")
		assert.Equal(t, want, got)
	})
}

// Without a limit the cleaner rests as long as it works, on a disk that takes its time.
func TestCompactionRests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		h.create(1, "c", 1, 1, "cleanup.policy", "compact", "segment.bytes", "1048576")
		want := map[string]string{}
		fillCompacted(h, "c", 0, 30, want)
		var worked time.Duration
		h.nodes[1].disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpRead && strings.Contains(op.Name, "/c-0/") {
				worked += 2 * time.Millisecond
				time.Sleep(2 * time.Millisecond)
			}
			return nil
		})
		h.await(func() bool { s := h.nodes[1].Cleanings(); return len(s) > 0 && s[0].Passes > 0 })
		h.nodes[1].disk.SetFault(nil)
		took := h.nodes[1].Cleanings()[0].LastTook
		assert.Greater(t, worked, 30*time.Millisecond)
		assert.InDelta(t, 2*worked.Seconds(), took.Seconds(), worked.Seconds()/5)
		got, _ := lastValues(t, h.nodes[1], "c")
		assert.Equal(t, want, got)
	})
}
