package record

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// start is the timestamp of the first record in tests.
var start = time.UnixMilli(1_700_000_000_000)

// sample returns n records with all the shapes a record can have: with and without key, value and headers, null and empty.
func sample(n int) []Record {
	rs := make([]Record, n)
	for i := range rs {
		r := &rs[i]
		r.Offset, r.LeaderEpoch = int64(i), -1
		r.Timestamp = start.Add(time.Duration(i*i%977-300) * time.Millisecond)
		if i%3 != 0 {
			r.Key = fmt.Appendf(nil, "key-%d", i%17)
		}
		switch i % 5 {
		case 0:
			r.Value = []byte{}
		case 1:
		default:
			r.Value = fmt.Appendf(nil, "value %d of some length, %0*d", i, i%200, i)
		}
		for h := range i % 4 {
			hdr := Header{Key: fmt.Sprintf("header-%d", h)}
			if h > 0 {
				hdr.Value = fmt.Appendf(nil, "%d", i*h)
			}
			r.Headers = append(r.Headers, hdr)
		}
	}
	return rs
}

// build returns the batch of rs.
func build(t testing.TB, c BuilderConfig, rs []Record) Batch {
	t.Helper()
	b := NewBuilder(c)
	for i := range rs {
		b.Append(&rs[i])
	}
	out, err := b.Build(nil)
	require.NoError(t, err)
	return out
}

// read returns copies of b's records.
func read(t testing.TB, b Batch) []Record {
	t.Helper()
	var rs []Record
	for r, err := range b.All() {
		require.NoError(t, err)
		rs = append(rs, r.Clone())
	}
	return rs
}

var codecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

func TestRoundTrip(t *testing.T) {
	rs := sample(2000) // more than one block of each codec
	for _, c := range codecs {
		lo, hi, _ := c.levels()
		for _, level := range []int{0, lo, 2, 9, hi} {
			b := build(t, BuilderConfig{Codec: c, Level: level}, rs)
			require.NoError(t, b.CheckCRC())
			assert.Equal(t, c, b.Codec())
			require.Equal(t, rs, read(t, b), "%s level %d", c, level)
		}
	}
}
