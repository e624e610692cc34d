package record

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBuilder_Batch has Batch give what Build gives, as often as it is asked, until something changes.
func TestBuilder_Batch(t *testing.T) {
	for _, c := range codecs {
		bd := NewBuilder(BuilderConfig{Codec: c})
		_, err := bd.Batch()
		require.ErrorIs(t, err, ErrEmpty)
		for n := range 3 {
			bd.Reset()
			rs := sample(50 + n)
			for i := range rs {
				bd.Append(&rs[i])
				if i == 10 {
					_, err := bd.Batch()
					require.NoError(t, err)
				}
			}
			want, err := bd.Build(nil)
			require.NoError(t, err)
			got, err := bd.Batch()
			require.NoError(t, err)
			require.Equal(t, Batch(want), got, "%s", c)
			again, err := bd.Batch()
			require.NoError(t, err)
			require.Equal(t, Batch(want), again)
			require.Same(t, &got[0], &again[0])
			bd.SetProducer(5, 6, 7)
			got, err = bd.Batch()
			require.NoError(t, err)
			require.NoError(t, got.CheckCRC())
			require.EqualValues(t, 5, got.ProducerID())
		}
	}
}

// TestBuilder_ValidateBuilt compares ValidateBuilt with Validate, for batches that are refused for all that a builder's can be.
func TestBuilder_ValidateBuilt(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	refused := map[string]int{}
	for range 20_000 {
		bd := NewBuilder(BuilderConfig{Codec: codecs[rng.IntN(len(codecs))], Transactional: rng.IntN(20) == 0})
		if rng.IntN(2) == 0 {
			bd = NewBuilder(BuilderConfig{})
		}
		now := int64(1_700_000_000_000)
		for range rng.IntN(4) {
			r := Record{Key: []byte("k"), Value: make([]byte, rng.IntN(300)), Timestamp: time.UnixMilli(now + rng.Int64N(2000) - 1000)}
			switch rng.IntN(30) {
			case 0:
				r.Key = nil
			case 1:
				r.Timestamp = time.UnixMilli(-1)
			case 2:
				r.Timestamp = time.UnixMilli(math.MaxInt64)
			case 3:
				r.Timestamp = time.UnixMilli(math.MinInt64)
			case 4:
				r.Headers = make([]Header, MaxHeaders+1)
			case 5:
				r.Headers = []Header{{Key: "h"}}
			}
			bd.Append(&r)
		}
		if rng.IntN(4) == 0 {
			bd.SetProducer(rng.Int64N(4)-2, int16(rng.IntN(3)-1), int32(rng.IntN(3)-1))
		}
		o := ValidateOptions{
			MaxBytes: []int{0, 200, 1000}[rng.IntN(3)], MaxDecompressed: []int{0, 400}[rng.IntN(2)], RequireKeys: rng.IntN(2) == 0,
			CheckTimestamps: rng.IntN(2) == 0, NowMillis: now, BeforeMaxMillis: 900, AfterMaxMillis: 900, AllowControl: rng.IntN(2) == 0,
		}
		var r Reader
		var wantMax int64
		data, wantErr := bd.Build(nil)
		if wantErr == nil {
			wantMax, wantErr = Validate(data, o, &r)
		}
		got, gotMax, gotErr := bd.ValidateBuilt(o, &r)
		if wantErr != nil {
			refused[wantErr.Error()[:min(len(wantErr.Error()), 30)]]++
			require.Error(t, gotErr)
			require.Equal(t, wantErr, gotErr)
			continue
		}
		require.NoError(t, gotErr)
		require.Equal(t, wantMax, gotMax)
		require.Equal(t, Batch(data), got)
		got.PutBaseOffset(100)
		again, err := bd.Batch()
		require.NoError(t, err)
		require.Equal(t, Batch(data), again)
	}
	assert.Greater(t, len(refused), 5, "%v", refused)
}
