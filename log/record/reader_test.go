package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// One reader over batches of all codecs in turn: nothing of one shows in the next.
func TestReader_Reuse(t *testing.T) {
	var r Reader
	for round := range 3 {
		for _, c := range codecs {
			rs := sample(50 + 300*round)
			b := build(t, BuilderConfig{Codec: c}, rs)
			b.PutBaseOffset(1000)
			b.PutLeaderEpoch(9)
			require.NoError(t, r.Reset(b, 0))
			for i := range rs {
				require.True(t, r.Next())
				rs[i].Offset += 1000
				rs[i].LeaderEpoch = 9
				require.Equal(t, rs[i], r.Record().Clone())
			}
			require.False(t, r.Next())
			require.NoError(t, r.Err())
			require.False(t, r.Next())
		}
		require.Error(t, r.Reset(nil, 0))
		require.False(t, r.Next())
		require.Error(t, r.Err())
	}
}

// Topic and partition are the caller's, and stay from record to record.
func TestReader_Topic(t *testing.T) {
	var r Reader
	require.NoError(t, r.Reset(build(t, BuilderConfig{}, sample(3)), 0))
	r.Record().Topic, r.Record().Partition = "orders", 5
	for range 3 {
		require.True(t, r.Next())
		assert.Equal(t, "orders", r.Record().Topic)
		assert.EqualValues(t, 5, r.Record().Partition)
	}
	require.NoError(t, r.Reset(build(t, BuilderConfig{}, sample(1)), 0))
	assert.Empty(t, r.Record().Topic)
}

func TestReader_Zero(t *testing.T) {
	var r Reader
	assert.False(t, r.Next())
	assert.NoError(t, r.Err())
	assert.Zero(t, *r.Record())
}

// Uncompressed records are the batch's bytes, not copies, and capped.
func TestReader_Aliases(t *testing.T) {
	b := build(t, BuilderConfig{}, []Record{{Key: []byte("key"), Value: []byte("value"), Timestamp: start}})
	var r Reader
	require.NoError(t, r.Reset(b, 0))
	require.True(t, r.Next())
	rec := r.Record()
	kept := rec.Clone()
	assert.Equal(t, len(rec.Key), cap(rec.Key))
	assert.Equal(t, len(rec.Value), cap(rec.Value))
	clear(b[HeaderSize:])
	assert.Equal(t, make([]byte, 5), rec.Value)
	assert.Equal(t, "value", string(kept.Value))
}

func TestReader_Header(t *testing.T) {
	var r Reader
	good := build(t, BuilderConfig{}, sample(10))
	for name, c := range map[string]struct {
		damage func(b Batch)
		want   string
	}{
		"negative base offset": {func(b Batch) { b.PutBaseOffset(-1) }, "record: corrupt batch at offset -1: last offset delta 9"},
		"offset overflow":      {func(b Batch) { b.PutBaseOffset(math.MaxInt64 - 9) }, "record: corrupt batch at offset 9223372036854775798: last offset delta 9"},
		"negative delta":       {func(b Batch) { b[lastOffsetDeltaAt] = 0x80 }, "record: corrupt batch at offset 0: last offset delta -2147483639"},
		"negative count":       {func(b Batch) { b[recordCountAt] = 0x80 }, "record: corrupt batch at offset 0: -2147483638 records with last offset delta 9"},
		"count above delta":    {func(b Batch) { b[lastOffsetDeltaAt+3] = 8 }, "record: corrupt batch at offset 0: 10 records with last offset delta 8"},
		"count above bytes": {
			func(b Batch) { b[recordCountAt+2], b[lastOffsetDeltaAt+2] = 0x10, 0x10 },
			"record: invalid batch: 4106 records in 418 bytes",
		},
		"codec": {func(b Batch) { b[attributesAt+1] = 6 }, "record: unsupported compression codec 6"},
		"magic": {func(b Batch) { b[magicAt] = 1 }, "record: corrupt batch at offset 0: magic 1, want 2"},
	} {
		b := good.Clone()
		c.damage(b)
		err := r.Reset(b, 0)
		assert.EqualError(t, err, c.want, name)
		assert.Equal(t, err, r.Err(), name)
		assert.False(t, r.Next(), name)
		for rec, err := range b.All() {
			assert.Nil(t, rec)
			assert.EqualError(t, err, c.want, name)
		}
	}
}

func TestReader_Offsets(t *testing.T) {
	for _, c := range []struct {
		deltas []int
		last   int
		read   int // records before the error
	}{
		{[]int{0, 1, 2}, 2, 3},
		{[]int{1, 5, 7}, 9, 3},
		{[]int{0, 2, 1}, 2, 2},
		{[]int{0, 0}, 1, 1},
		{[]int{-1, 0}, 1, 0},
		{[]int{0, 3}, 2, 1},
	} {
		var section []byte
		for _, d := range c.deltas {
			section = append(section, wellFormed(d)...)
		}
		b := rawBatch(t, None, len(c.deltas), section)
		binary.BigEndian.PutUint32(b[lastOffsetDeltaAt:], uint32(c.last))
		var r Reader
		require.NoError(t, r.Reset(b, 0))
		n := 0
		for ; r.Next(); n++ {
			assert.EqualValues(t, c.deltas[n], r.Record().Offset)
		}
		assert.Equal(t, c.read, n, "%v", c.deltas)
		if n < len(c.deltas) {
			assert.Equal(t, &InvalidError{Index: n, Reason: "offset out of order or beyond the batch"}, r.Err())
		} else {
			assert.NoError(t, r.Err())
		}
	}
}

// Null and empty are two things, in keys, values and headers, through every codec and Clone.
func TestReader_NullAndEmpty(t *testing.T) {
	rs := []Record{
		{Offset: 0, LeaderEpoch: -1, Timestamp: start},
		{Offset: 1, LeaderEpoch: -1, Timestamp: start, Key: []byte{}, Value: []byte{}, Headers: []Header{{}, {Value: []byte{}}, {Key: "k"}}},
	}
	for _, c := range codecs {
		got := read(t, build(t, BuilderConfig{Codec: c}, rs))
		assert.Equal(t, rs, got) // tells nil from empty
		assert.Nil(t, got[0].Key)
		assert.NotNil(t, got[1].Key)
		assert.Nil(t, got[1].Headers[0].Value)
		assert.NotNil(t, got[1].Headers[1].Value)
	}
}

func TestBatch_All(t *testing.T) {
	b := build(t, BuilderConfig{Codec: LZ4}, sample(10))
	n := 0
	for range b.All() {
		if n++; n == 3 {
			break
		}
	}
	assert.Equal(t, 3, n)

	b = rawBatch(t, None, 2, append(wellFormed(0), wellFormed(0)...))
	n = 0
	var last error
	for r, err := range b.All() {
		require.NoError(t, last, "an element after the error")
		require.Equal(t, err != nil, r == nil)
		last = err
		n++
	}
	assert.Equal(t, 2, n)
	assert.IsType(t, &InvalidError{}, last)
}

func TestRecord_Clone(t *testing.T) {
	r := sample(4)[3]
	r.Topic, r.Partition = "t", 5
	c := r.Clone()
	assert.Equal(t, r, c)
	r.Value[0]++
	r.Headers[1].Value[0]++
	assert.NotEqual(t, r.Value, c.Value)
	assert.NotEqual(t, r.Headers[1].Value, c.Headers[1].Value)
}

// Keys come from clients, so the table that holds them is bounded.
func TestKeyTable(t *testing.T) {
	var keys keyTable
	for i := range 10 * maxInternedKeys {
		k := fmt.Appendf(nil, "key-%d", i)
		require.Equal(t, string(k), keys.intern(k))
		require.LessOrEqual(t, len(keys), maxInternedKeys)
	}
	long := bytes.Repeat([]byte("x"), maxInternedKeySize+1)
	assert.Equal(t, string(long), keys.intern(long))
	assert.NotContains(t, keys, string(long))
}

// A buffer that one huge batch needed is given back by a small one; one in steady use stays.
func TestReader_BufferShrinks(t *testing.T) {
	large := build(t, BuilderConfig{Codec: LZ4}, []Record{{Value: make([]byte, 2*keptBuffer), Timestamp: start}})
	small := build(t, BuilderConfig{Codec: LZ4}, sample(10))
	var r Reader
	require.NoError(t, r.Reset(large, 0))
	kept := cap(r.buf)
	require.NoError(t, r.Reset(large, 0))
	assert.Equal(t, kept, cap(r.buf))
	require.NoError(t, r.Reset(small, 0)) // the buffer is in use until this batch is read …
	require.NoError(t, r.Reset(small, 0)) // … and goes with the next
	assert.Less(t, cap(r.buf), keptBuffer)
}

func TestReader_MaxDecompressed(t *testing.T) {
	b := build(t, BuilderConfig{Codec: Zstd}, []Record{{Value: make([]byte, 10_000), Timestamp: start}})
	var r Reader
	assert.NoError(t, r.Reset(b, 0))
	assert.NoError(t, r.Reset(b, 11_000))
	var tle *TooLargeError
	require.ErrorAs(t, r.Reset(b, 9999), &tle)
	assert.Equal(t, 9999, tle.Limit)
	assert.True(t, tle.Decompressed)
	assert.EqualError(t, tle, "record: batch decompresses to 10011 bytes or more, limit 9999")
	assert.False(t, r.Next())
	_, err := Validate(b, ValidateOptions{MaxDecompressed: 9999}, &r)
	assert.IsType(t, tle, err)
}
