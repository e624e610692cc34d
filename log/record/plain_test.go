package record

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lenient asks nothing of keys and times.
var lenient = ValidateOptions{BeforeMaxMillis: math.MaxInt64, AfterMaxMillis: math.MaxInt64}

// samePlain holds the short cut against the long way: what it lets pass the other lets pass, too, with the same result.
func samePlain(t *testing.T, b Batch, o ValidateOptions) (plain bool) {
	t.Helper()
	got, plain := b.validatePlain(b.records(), &o)
	if plain {
		want, err := b.validateEach(b.records(), &o)
		require.NoError(t, err, "only the short cut lets %x pass", []byte(b))
		require.Equal(t, want, got)
	}
	return plain
}

// TestPlainKinds says which records the short cut is for, at the edges of every field's length.
func TestPlainKinds(t *testing.T) {
	lengths := []int{-1, 0, 1, 63, 64, 8191, 8192, 1<<20 - 1, 1 << 20}
	const tooLong = 1<<20 - 64 // the length of a plain record has three bytes
	for _, key := range lengths {
		for _, value := range lengths {
			b := build(t, BuilderConfig{}, []Record{{Key: ofSize(key), Value: ofSize(value), Timestamp: start}})
			assert.Equal(t, max(key, 0)+max(value, 0) < tooLong, samePlain(t, b, lenient), "key %d, value %d", key, value)
		}
	}
	for _, delta := range []time.Duration{0, 63, 64, -64, -65, 8191, 8192, -8192, -8193, 1 << 40} {
		b := build(t, BuilderConfig{}, []Record{{Value: ofSize(5), Timestamp: start}, {Value: ofSize(5), Timestamp: start.Add(delta * time.Millisecond)}})
		assert.True(t, samePlain(t, b, lenient), "timestamp delta %d", delta)
	}
	many := make([]Record, 1<<13+10) // offset deltas of one, two and three bytes
	for i := range many {
		many[i] = Record{Value: ofSize(3), Timestamp: start}
	}
	assert.True(t, samePlain(t, build(t, BuilderConfig{}, many), lenient))
	b := build(t, BuilderConfig{}, []Record{{Value: ofSize(5), Headers: []Header{{Key: "k"}}}})
	assert.False(t, samePlain(t, b, lenient), "headers")
}

func ofSize(n int) []byte {
	if n < 0 {
		return nil
	}
	return make([]byte, n)
}

// TestPlainRules: what a batch as a whole must not have is left to the long way.
func TestPlainRules(t *testing.T) {
	at := func(millis int64) Record { return Record{Key: ofSize(1), Timestamp: time.UnixMilli(millis)} }
	noKey := build(t, BuilderConfig{}, []Record{at(5), {Timestamp: time.UnixMilli(5)}})
	o := lenient
	assert.True(t, samePlain(t, noKey, o))
	o.RequireKeys = true
	assert.False(t, samePlain(t, noKey, o))

	o = ValidateOptions{CheckTimestamps: true, NowMillis: 1000, BeforeMaxMillis: 10, AfterMaxMillis: 20}
	for millis, want := range map[int64]bool{989: false, 990: true, 1020: true, 1021: false} {
		assert.Equal(t, want, samePlain(t, build(t, BuilderConfig{}, []Record{at(1000), at(millis)}), o), "%d", millis)
		assert.Equal(t, want, samePlain(t, build(t, BuilderConfig{}, []Record{at(millis), at(1000)}), o), "%d", millis)
	}
	for _, delta := range []int64{math.MaxInt64, math.MinInt64} {
		b := rawBatch(t, None, 1, rawRecord(0, delta, 0, 1, "k", 1, "v", 0))
		_, err := b.validateEach(b.records(), &lenient)
		assert.Equal(t, err == nil, samePlain(t, b, lenient), "delta %d", delta)
	}
}

// TestPlainMutants changes bytes of batches that are plain: wherever the short cut says yes, the long way does.
func TestPlainMutants(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	yes, no := 0, 0
	for range 300 {
		var rs []Record
		for range 1 + random.IntN(80) {
			rs = append(rs, Record{Key: ofSize(random.IntN(70) - 1), Value: ofSize(random.IntN(140) - 1), Timestamp: start.Add(time.Duration(random.IntN(100)) * time.Millisecond)})
		}
		b := build(t, BuilderConfig{}, rs)
		require.True(t, samePlain(t, b, lenient))
		for range 300 {
			m := b.Clone()
			for range 1 + random.IntN(2) {
				at := recordsAt + random.IntN(len(m)-recordsAt)
				if random.IntN(2) == 0 { // where the fields are, not in the middle of a value
					at = recordsAt + random.IntN(min(len(m)-recordsAt, 12))
				}
				m[at] = [...]byte{0, 1, 2, m[at] + 2, m[at] - 2, 0x7f, 0x80, 0xff, byte(random.Uint32())}[random.IntN(9)]
			}
			if samePlain(t, m, lenient) {
				yes++
			} else {
				no++
			}
		}
	}
	// Both happen, or nothing is tested: most bytes are a value's.
	assert.Greater(t, yes, 1000)
	assert.Greater(t, no, 1000)
}
