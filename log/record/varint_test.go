package record

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// encoding/binary's varints are the same ZigZag ones; it is the second opinion here.
func TestVarint(t *testing.T) {
	var values []int64
	for shift := range 64 {
		for d := int64(-2); d <= 2; d++ {
			values = append(values, 1<<shift+d, -(1<<shift)+d)
		}
	}
	for _, v := range values {
		want := binary.AppendVarint(nil, v)
		buf := make([]byte, 3+len(want))
		require.Equal(t, len(buf), putVarint(buf, 3, v))
		require.Equal(t, want, buf[3:], "%d", v)
		require.Equal(t, len(want), varintSize(v), "%d", v)

		got, i := varint64(buf, 3)
		require.Equal(t, v, got)
		require.Equal(t, len(buf), i)
		for cut := range want {
			_, i = varint64(buf[:3+cut], 3)
			require.Equal(t, -1, i, "%d cut at %d", v, cut)
			_, i = varint32(buf[:3+cut], 3)
			require.Equal(t, -1, i, "%d cut at %d", v, cut)
		}
		got32, i := varint32(buf, 3)
		if v < math.MinInt32 || v > math.MaxInt32 {
			require.Equal(t, -1, i, "%d is no int32", v)
			continue
		}
		require.EqualValues(t, v, got32)
		require.Equal(t, len(buf), i)
	}
}

func TestVarint_Malformed(t *testing.T) {
	endless := make([]byte, 20)
	for i := range endless {
		endless[i] = 0xff
	}
	for _, s := range [][]byte{nil, {0x80}, endless, endless[:5], endless[:10]} {
		_, i := varint32(s, 0)
		assert.Equal(t, -1, i)
		_, i = varint64(s, 0)
		assert.Equal(t, -1, i)
		for _, at := range []int{-1, len(s), len(s) + 1, math.MaxInt} {
			_, i = varint32(s, at)
			assert.Equal(t, -1, i)
			_, i = varint64(s, at)
			assert.Equal(t, -1, i)
		}
	}
	// Bits beyond the type's are an error, not lost.
	nine := endless[:9:9]
	_, i := varint64(append(nine, 0x02), 0)
	assert.Equal(t, -1, i)
	_, i = varint64(append(nine, 0x01), 0)
	assert.Equal(t, 10, i)
	_, i = varint32(append(endless[:4:4], 0x10), 0)
	assert.Equal(t, -1, i)
	_, i = varint32(append(endless[:4:4], 0x0f), 0)
	assert.Equal(t, 5, i)
	// Longer than needed, as some writer might, is still the same number.
	v, i := varint32([]byte{0x82, 0x80, 0x00}, 0)
	assert.EqualValues(t, 1, v)
	assert.Equal(t, 3, i)
}
