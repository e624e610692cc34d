package record

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSplit(t *testing.T) {
	one, two := build(t, BuilderConfig{}, sample(3)), build(t, BuilderConfig{Codec: Gzip}, sample(30))
	both := append(one.Clone(), two...)

	got, rest, err := Split(both)
	require.NoError(t, err)
	assert.Equal(t, one, got)
	assert.Equal(t, []byte(two), rest)
	assert.Equal(t, len(got), cap(got), "an append to the batch must not write into what follows")

	for n := range both { // every prefix: whole batches, then ErrPartial
		batch, rest, err := Split(both[:n])
		if n < len(one) {
			require.ErrorIs(t, err, ErrPartial, "%d bytes", n)
			require.Empty(t, batch)
			require.Len(t, rest, n)
			continue
		}
		require.NoError(t, err)
		require.Len(t, rest, n-len(one))
	}
}

func TestSplit_Corrupt(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(Batch)
		keep   int // bytes
		reason string
	}{
		{"length 0", func(b Batch) { binary.BigEndian.PutUint32(b[lengthAt:], 0) }, 12, "length field 0"},
		{"length below a header", func(b Batch) { binary.BigEndian.PutUint32(b[lengthAt:], HeaderSize-12-1) }, 12, "length field 48"},
		{"negative length", func(b Batch) { binary.BigEndian.PutUint32(b[lengthAt:], 1<<31) }, 12, "length field -2147483648"},
		{"length that overflows", func(b Batch) { binary.BigEndian.PutUint32(b[lengthAt:], math.MaxInt32-11) }, 12, "length field 2147483636"},
		{"magic 1", func(b Batch) { b[magicAt] = 1 }, 17, "magic 1, want 2"},
		{"magic 3", func(b Batch) { b[magicAt] = 3 }, 70, "magic 3, want 2"},
		{"magic 255", func(b Batch) { b[magicAt] = 0xff }, 1 << 20, "magic -1, want 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := build(t, BuilderConfig{}, sample(3))
			b.PutBaseOffset(42)
			c.damage(b)
			b = b[:min(len(b), c.keep)]
			_, rest, err := Split(b)
			assert.Equal(t, &CorruptError{BaseOffset: 42, Reason: c.reason}, err)
			assert.Len(t, rest, len(b))
			assert.EqualError(t, err, "record: corrupt batch at offset 42: "+c.reason)
		})
	}
}

func TestBatches(t *testing.T) {
	var all []byte
	var want []Batch
	for i, c := range codecs {
		b := build(t, BuilderConfig{Codec: c}, sample(i+1))
		want = append(want, b)
		all = append(all, b...)
	}
	collect := func(b []byte) (got []Batch, err error) {
		for batch, e := range Batches(b) {
			if e != nil {
				assert.Nil(t, batch)
				require.NoError(t, err, "an element after the error")
				err = e
				continue
			}
			got = append(got, batch)
		}
		return got, err
	}
	got, err := collect(all)
	require.NoError(t, err)
	assert.Equal(t, want, got)

	got, err = collect(all[:len(all)-1])
	require.NoError(t, err)
	assert.Equal(t, want[:4], got)

	at := len(want[0]) + len(want[1])
	all[at+magicAt] = 7
	got, err = collect(all)
	assert.IsType(t, &CorruptError{}, err)
	assert.Equal(t, want[:2], got)

	got, err = collect(nil)
	assert.NoError(t, err)
	assert.Empty(t, got)
	for range Batches(all) {
		break // leaving early is fine
	}
}

func TestPeekSize(t *testing.T) {
	b := build(t, BuilderConfig{}, sample(3))
	n, err := PeekSize(b[:12])
	require.NoError(t, err)
	assert.Equal(t, len(b), n)
	_, err = PeekSize(b[:11])
	assert.ErrorIs(t, err, ErrPartial)
}

func TestBatch_Put(t *testing.T) {
	rs := sample(10)
	b := build(t, BuilderConfig{Transactional: true}, rs)
	assert.True(t, b.Transactional())
	before := b.Clone()
	b.PutBaseOffset(math.MaxInt64 - 10)
	b.PutLeaderEpoch(7)
	require.NoError(t, b.CheckCRC())
	assert.Equal(t, before.CRC(), b.CRC())
	assert.EqualValues(t, math.MaxInt64-10, b.BaseOffset())
	assert.EqualValues(t, math.MaxInt64-1, b.LastOffset())
	assert.EqualValues(t, math.MaxInt64, b.NextOffset())
	assert.EqualValues(t, 7, b.LeaderEpoch())
	assert.Equal(t, before[crcAt:], b[crcAt:])

	b.PutProducer(1<<40, 3, math.MaxInt32-4)
	require.NoError(t, b.CheckCRC())
	assert.EqualValues(t, 1<<40, b.ProducerID())
	assert.EqualValues(t, 3, b.ProducerEpoch())
	assert.EqualValues(t, math.MaxInt32-4, b.BaseSequence())
	assert.EqualValues(t, 4, b.LastSequence(), "MaxInt32 is followed by 0")

	b.PutMaxTimestamp(17)
	require.NoError(t, b.CheckCRC())
	assert.EqualValues(t, 17, b.MaxTimestamp())
	assert.False(t, b.LogAppendTime())

	b.PutLogAppendTime(1234)
	require.NoError(t, b.CheckCRC())
	assert.True(t, b.LogAppendTime())
	assert.True(t, b.Transactional(), "the other attributes stay")
	assert.Equal(t, before.BaseTimestamp(), b.BaseTimestamp())
	for r, err := range b.All() {
		require.NoError(t, err)
		assert.EqualValues(t, 1234, r.Timestamp.UnixMilli())
		assert.EqualValues(t, 7, r.LeaderEpoch)
	}
}

func TestBatch_LastSequence(t *testing.T) {
	b := build(t, BuilderConfig{}, sample(1))
	assert.EqualValues(t, -1, b.LastSequence())
	b.PutProducer(1, 0, math.MaxInt32)
	assert.EqualValues(t, math.MaxInt32, b.LastSequence())
	b = build(t, BuilderConfig{}, sample(2))
	b.PutProducer(1, 0, math.MaxInt32)
	assert.EqualValues(t, 0, b.LastSequence())
}

// One bit wrong anywhere after the CRC, or in it, is seen.
func TestBatch_CheckCRC(t *testing.T) {
	b := build(t, BuilderConfig{}, sample(3))
	for i := crcAt; i < len(b); i++ {
		for bit := range 8 {
			b[i] ^= 1 << bit
			err := b.CheckCRC()
			require.IsType(t, &CorruptError{}, err, "byte %d bit %d", i, bit)
			b[i] ^= 1 << bit
		}
	}
	require.NoError(t, b.CheckCRC())
}

func TestControlType_Unreadable(t *testing.T) {
	marker := goldenBytes(t, "testdata/handmade/commit-marker")
	for name, damage := range map[string]func(b Batch){
		"not a control batch": func(b Batch) { b[attributesAt+1] &^= controlBit },
		"compressed":          func(b Batch) { b[attributesAt+1] |= byte(Gzip) },
		"no record":           func(b Batch) { b[recordCountAt+3] = 0 },
		"negative version":    func(b Batch) { b[recordsAt+5] = 0x80 },
		"null key":            func(b Batch) { b[recordsAt+4] = 1 },
		"short key":           func(b Batch) { b[recordsAt+4] = 6 },
		"length":              func(b Batch) { b[recordsAt] = 0xff },
	} {
		b := marker.Clone()
		damage(b)
		_, ok := b.ControlType()
		assert.False(t, ok, name)
	}
	marker[recordsAt+6] = 9 // a later version keeps the type in its place
	marker[recordsAt+8] = 4
	got, ok := marker.ControlType()
	assert.True(t, ok)
	assert.Equal(t, "control type 4", got.String())
	_, ok = build(t, BuilderConfig{}, sample(1)).ControlType()
	assert.False(t, ok)
}
