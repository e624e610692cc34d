package record

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBuilder_Header(t *testing.T) {
	rs := sample(100)
	b := build(t, BuilderConfig{Codec: Zstd}, rs)
	newest := rs[0].Timestamp
	for _, r := range rs {
		if r.Timestamp.After(newest) {
			newest = r.Timestamp
		}
	}
	assert.EqualValues(t, 0, b.BaseOffset())
	assert.EqualValues(t, -1, b.LeaderEpoch())
	assert.EqualValues(t, 2, b.Magic())
	assert.EqualValues(t, Zstd, b.Attributes())
	assert.EqualValues(t, 99, b.LastOffsetDelta())
	assert.EqualValues(t, 100, b.RecordCount())
	assert.Equal(t, rs[0].Timestamp.UnixMilli(), b.BaseTimestamp())
	assert.Equal(t, newest.UnixMilli(), b.MaxTimestamp())
	assert.EqualValues(t, -1, b.ProducerID())
	assert.EqualValues(t, -1, b.ProducerEpoch())
	assert.EqualValues(t, -1, b.BaseSequence())
	assert.EqualValues(t, -1, b.LastSequence())
}

// AppendSize and Size say what Append and Build will do, for every shape of record.
func TestBuilder_Size(t *testing.T) {
	b := NewBuilder(BuilderConfig{})
	assert.Equal(t, HeaderSize, b.Size())
	for i, r := range sample(9000) { // offset deltas of one, two and three bytes
		want := b.Size() + b.AppendSize(&r)
		b.Append(&r)
		require.Equal(t, want, b.Size(), "record %d", i)
		require.Equal(t, i+1, b.Len())
	}
	out, err := b.Build(nil)
	require.NoError(t, err)
	assert.Len(t, out, b.Size())
}

// A builder is used again without a trace of what was in it; what Build gave is not touched.
func TestBuilder_Reset(t *testing.T) {
	for _, c := range codecs {
		bd := NewBuilder(BuilderConfig{Codec: c})
		bd.SetProducer(7, 1, 100)
		first := sample(300)
		for i := range first {
			bd.Append(&first[i])
		}
		one, err := bd.Build(nil)
		require.NoError(t, err)
		again, err := bd.Build([]byte("x"))
		require.NoError(t, err)
		require.Equal(t, one, again[1:], "Build changes nothing")
		kept := bytes.Clone(one)

		bd.Reset()
		assert.Zero(t, bd.Len())
		assert.Equal(t, HeaderSize, bd.Size())
		second := sample(20)[10:]
		for i := range second {
			second[i].Offset = int64(i)
			bd.Append(&second[i])
		}
		two, err := bd.Build(nil)
		require.NoError(t, err)
		assert.Equal(t, kept, one)
		assert.EqualValues(t, 7, Batch(one).ProducerID())
		assert.EqualValues(t, 399, Batch(one).LastSequence())
		assert.EqualValues(t, -1, Batch(two).ProducerID())
		assert.Equal(t, build(t, BuilderConfig{Codec: c}, second), Batch(two))
		assert.Equal(t, second, read(t, two))
	}
}

func TestBuilder_Errors(t *testing.T) {
	dst := []byte("before")
	_, err := NewBuilder(BuilderConfig{}).Build(dst)
	assert.ErrorIs(t, err, ErrEmpty)

	for _, c := range []Codec{5, 7, -1, 127} {
		b := NewBuilder(BuilderConfig{Codec: c})
		b.Append(&Record{})
		out, err := b.Build(dst)
		assert.Equal(t, &UnsupportedCodecError{Codec: c}, err)
		assert.Equal(t, dst, out)
	}

	b := NewBuilder(BuilderConfig{})
	r := Record{Headers: make([]Header, MaxHeaders), Timestamp: start}
	b.Append(&r)
	out, err := b.Build(nil)
	require.NoError(t, err)
	require.Len(t, read(t, out)[0].Headers, MaxHeaders)
	r.Headers = append(r.Headers, Header{})
	b.Append(&r)
	b.Append(&r)
	out, err = b.Build(dst)
	assert.Equal(t, &InvalidError{Index: 1, Reason: "more than 1024 headers"}, err)
	assert.Equal(t, dst, out)
	b.Reset()
	b.Append(&Record{})
	_, err = b.Build(nil)
	assert.NoError(t, err, "Reset forgets the error")
}

func TestBuilder_Timestamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().Truncate(time.Millisecond)
		got := read(t, build(t, BuilderConfig{}, []Record{{}, {Timestamp: now.Add(-time.Hour)}, {}}))
		assert.True(t, now.Equal(got[0].Timestamp), "the zero time is now")
		assert.True(t, now.Add(-time.Hour).Equal(got[1].Timestamp))
		assert.True(t, now.Equal(got[2].Timestamp))
	})
	// Times beyond what the format's differences can hold are moved to the nearest that they can.
	times := []time.Time{time.UnixMilli(math.MaxInt64), time.UnixMilli(math.MinInt64), time.UnixMilli(-2), time.UnixMilli(0), time.Unix(1, 999_999_999)}
	rs := make([]Record, len(times))
	for i := range times {
		rs[i].Timestamp = times[i]
	}
	b := build(t, BuilderConfig{}, rs)
	got := read(t, b)
	for i, want := range []int64{1 << 62, -(1 << 62), -2, 0, 1999} {
		assert.Equal(t, want, got[i].Timestamp.UnixMilli())
	}
	assert.EqualValues(t, 1<<62, b.MaxTimestamp())
	_, err := Validate(b, ValidateOptions{}, new(Reader))
	assert.NoError(t, err)
}

func TestCodec_CheckLevel(t *testing.T) {
	for c, levels := range map[Codec]struct{ good, bad []int }{
		None:   {[]int{0}, []int{1, -1}},
		Gzip:   {[]int{-1, 0, 1, 9}, []int{-2, 10}},
		Snappy: {[]int{0}, []int{1}},
		LZ4:    {[]int{0, 1, 9, 17}, []int{-1, 18}},
		Zstd:   {[]int{-131072, -1, 0, 3, 22}, []int{-131073, 23}},
	} {
		for _, l := range levels.good {
			assert.NoError(t, c.CheckLevel(l), "%s %d", c, l)
		}
		for _, l := range levels.bad {
			assert.Error(t, c.CheckLevel(l), "%s %d", c, l)
			build(t, BuilderConfig{Codec: c, Level: l}, sample(5)) // takes the nearest
		}
	}
	assert.EqualError(t, Gzip.CheckLevel(10), "record: compression level 10 of gzip, must be 0 or -1 to 9")
	assert.Equal(t, &UnsupportedCodecError{Codec: 6}, Codec(6).CheckLevel(0))
	assert.Equal(t, "none gzip snappy lz4 zstd codec 5", fmt.Sprint(None, " ", Gzip, " ", Snappy, " ", LZ4, " ", Zstd, " ", Codec(5)))
}

// A higher level of a codec makes smaller batches, or at least no larger ones, of text.
func TestBuilder_Levels(t *testing.T) {
	var rs []Record
	for i := range 2000 {
		rs = append(rs, Record{Value: fmt.Appendf(nil, "%d %x the quick brown fox %d jumps", i, i*i*7919, i%13), Timestamp: start})
	}
	for c, levels := range map[Codec][2]int{Gzip: {1, 9}, LZ4: {0, 17}, Zstd: {1, 22}} {
		low := build(t, BuilderConfig{Codec: c, Level: levels[0]}, rs)
		high := build(t, BuilderConfig{Codec: c, Level: levels[1]}, rs)
		assert.Less(t, len(high), len(low), c.String())
	}
}
