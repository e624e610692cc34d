package record

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Records that are kept are the records that were there, whatever the codec, and whether or not their timestamps become relative to something else.
func TestFilter(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	var f Filter
	for _, codec := range []Codec{None, Gzip, Snappy, LZ4, Zstd} {
		for range 50 {
			builder := NewBuilder(BuilderConfig{Codec: codec, Transactional: rng.IntN(2) == 0})
			builder.SetProducer(5, 2, 77)
			for i := range 1 + rng.IntN(30) {
				r := Record{Key: fmt.Appendf(nil, "k%d", i), Value: make([]byte, rng.IntN(200)), Timestamp: time.UnixMilli(1_700_000_000_000 + rng.Int64N(1e9))}
				if rng.IntN(4) == 0 {
					r.Value = nil
				}
				if rng.IntN(4) == 0 {
					r.Headers = []Header{{Key: "h", Value: []byte("v")}, {Key: "n"}}
				}
				builder.Append(&r)
			}
			out, err := builder.Build(nil)
			require.NoError(t, err)
			b := Batch(out)
			b.PutBaseOffset(1000)
			b.PutLeaderEpoch(9)
			appendTime := rng.IntN(4) == 0
			if appendTime {
				b.PutLogAppendTime(1_800_000_000_000)
			}
			horizon := int64(-1)
			if rng.IntN(2) == 0 {
				horizon = 1_900_000_000_000
			}
			share := rng.IntN(4)
			require.NoError(t, f.Reset(b, 0))
			var want []Record
			largest := int64(-1)
			for f.Next() {
				if rng.IntN(3) < share {
					r := *f.Record()
					r.Headers = slices.Clone(r.Headers)
					r.Key, r.Value = slices.Clone(r.Key), slices.Clone(r.Value)
					want = append(want, r)
					largest = max(largest, r.Timestamp.UnixMilli())
					f.Keep()
				}
			}
			require.NoError(t, f.Err())
			made, ok, err := f.Build([]byte("xx"), horizon)
			require.NoError(t, err)
			require.True(t, ok)
			got, rest, err := Split(made[2:])
			require.NoError(t, err)
			require.Empty(t, rest)
			require.NoError(t, got.CheckCRC())
			require.Equal(t, int32(len(want)), got.RecordCount())
			require.Equal(t, []any{b.BaseOffset(), b.LastOffset(), b.LeaderEpoch(), b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.LastSequence(), b.Transactional(), b.LogAppendTime()},
				[]any{got.BaseOffset(), got.LastOffset(), got.LeaderEpoch(), got.ProducerID(), got.ProducerEpoch(), got.BaseSequence(), got.LastSequence(), got.Transactional(), got.LogAppendTime()})
			if len(want) == 0 {
				require.Len(t, got, HeaderSize)
				require.False(t, got.HasDeleteHorizon())
				require.Equal(t, b.MaxTimestamp(), got.MaxTimestamp())
				require.Equal(t, None, got.Codec())
				continue
			}
			require.Equal(t, codec, got.Codec())
			require.Equal(t, largest, got.MaxTimestamp())
			require.Equal(t, horizon >= 0, got.HasDeleteHorizon())
			if horizon >= 0 {
				require.Equal(t, horizon, got.BaseTimestamp())
			}
			i := 0
			for r, err := range got.All() {
				require.NoError(t, err)
				require.Equal(t, want[i], *r)
				i++
			}
		}
	}
	// A second rewrite of what has a horizon keeps it.
	b := build(t, BuilderConfig{}, []Record{{Key: []byte("a"), Timestamp: time.UnixMilli(5)}, {Key: []byte("b"), Timestamp: time.UnixMilli(7)}})
	for _, horizon := range []int64{100, -1} {
		require.NoError(t, f.Reset(b, 0))
		for f.Next() {
			f.Keep()
		}
		out, ok, err := f.Build(nil, horizon)
		require.NoError(t, err)
		require.True(t, ok)
		b = out
	}
	require.Equal(t, int64(100), b.BaseTimestamp())
	require.True(t, b.HasDeleteHorizon())
	require.Equal(t, int64(7), b.MaxTimestamp())
	require.NoError(t, f.Reset(b, 0))
	require.True(t, f.Next())
	require.Equal(t, int64(5), f.Record().Timestamp.UnixMilli())
}
