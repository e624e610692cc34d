package record

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rawBatch is a batch of count records with the given bytes as its records section, whatever they are.
func rawBatch(t testing.TB, c Codec, count int, section []byte) Batch {
	t.Helper()
	b := build(t, BuilderConfig{}, sample(1))[:HeaderSize].Clone()
	b, err := compress(b, c, 0, section)
	require.NoError(t, err)
	binary.BigEndian.PutUint32(b[lengthAt:], uint32(len(b)-lengthEnd))
	b[attributesAt+1] = byte(c)
	binary.BigEndian.PutUint32(b[lastOffsetDeltaAt:], uint32(count-1))
	binary.BigEndian.PutUint32(b[recordCountAt:], uint32(count))
	b.putCRC()
	return b
}

// rawRecord is a record of these fields; a slice is its bytes, with nothing in front.
func rawRecord(fields ...any) []byte {
	var body []byte
	for _, f := range fields {
		switch f := f.(type) {
		case int:
			body = binary.AppendVarint(body, int64(f))
		case int64:
			body = binary.AppendVarint(body, f)
		case []byte:
			body = append(body, f...)
		case string:
			body = append(body, f...)
		}
	}
	return append(binary.AppendVarint(nil, int64(len(body))), body...)
}

// wellFormed is a record without anything special, at an offset delta.
func wellFormed(offsetDelta int) []byte { return rawRecord(0, 0, offsetDelta, 1, "k", 1, "v", 0) }

var malformed = []struct {
	name   string
	record []byte
	reason string
}{
	{"length beyond the batch", []byte{0x7e, 0, 0, 0, 0, 0, 0, 0}, "length exceeds the batch, or no length"},
	{"negative length", []byte{0x01, 0, 0, 0, 0, 0, 0, 0}, "length exceeds the batch, or no length"},
	{"length of nothing", []byte{0x00, 0, 0, 0, 0, 0, 0, 0}, "length exceeds the batch, or no length"},
	{"endless length", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "length exceeds the batch, or no length"},
	{"largest length", []byte{0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0}, "length exceeds the batch, or no length"},
	{"endless timestamp", rawRecord(0, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 0, -1, -1, 0), "malformed timestamp or offset delta"},
	{"offset delta of 40 bits", rawRecord(0, 0, int64(1<<40), -1, -1, 0), "malformed timestamp or offset delta"},
	{"key beyond the record", rawRecord(0, 0, 0, 9, "k", 1, "v", 0), "key exceeds the record"},
	{"largest key length", rawRecord(0, 0, 0, math.MaxInt32, "k", 1, "v", 0), "key exceeds the record"},
	{"key length -2", rawRecord(0, 0, 0, -2, 1, "v", 0), "key exceeds the record"},
	{"value beyond the record", rawRecord(0, 0, 0, 1, "k", 3, "v", 0), "value exceeds the record"},
	{"value length -2", rawRecord(0, 0, 0, 1, "k", -2, 0), "value exceeds the record"},
	{"no header count", rawRecord(0, 0, 0, 2, "kk", 2, "vv"), "header count exceeds the record"},
	{"negative header count", rawRecord(0, 0, 0, 1, "k", 1, "v", -1), "header count exceeds the record"},
	{"header count beyond the record", rawRecord(0, 0, 0, 1, "k", 1, "v", 2, 1, "h", -1), "header count exceeds the record"},
	{"largest header count", rawRecord(0, 0, 0, 1, "k", 1, "v", math.MaxInt32, 1, "h", -1), "header count exceeds the record"},
	{"too many headers", rawRecord(0, 0, 0, -1, -1, MaxHeaders+1, make([]byte, 2*(MaxHeaders+1))), "more than 1024 headers"},
	{"null header key", rawRecord(0, 0, 0, 1, "k", 1, "v", 1, -1, -1), "malformed header"},
	{"header key beyond the record", rawRecord(0, 0, 0, 1, "k", 1, "v", 1, 4, "h", -1), "malformed header"},
	{"header value beyond the record", rawRecord(0, 0, 0, 1, "k", 1, "v", 1, 1, "h", 1), "malformed header"},
	{"bytes after the last field", rawRecord(0, 0, 0, 1, "k", 1, "v", 0, 0), "bytes after the last field"},
	{"bytes after the last header", rawRecord(0, 0, 0, 1, "k", 1, "v", 1, 1, "h", -1, 0), "bytes after the last header"},
	{"timestamp that overflows", rawRecord(0, int64(math.MaxInt64), 0, 1, "k", 1, "v", 0), "timestamp delta overflows"},
}

// A malformed record is found by both who read records, in the middle of a batch as at its end, compressed or not.
func TestMalformedRecord(t *testing.T) {
	var r Reader
	for _, c := range malformed {
		for _, codec := range codecs {
			b := rawBatch(t, codec, 1, c.record)
			want := &InvalidError{Index: 0, Reason: c.reason}
			_, err := Validate(b, ValidateOptions{}, &r)
			require.Equal(t, want, err, "%s, %s", c.name, codec)

			require.NoError(t, r.Reset(b, 0), "%s, %s", c.name, codec)
			require.False(t, r.Next(), "%s, %s", c.name, codec)
			require.Equal(t, want, r.Err(), "%s, %s", c.name, codec)
			require.False(t, r.Next(), "and again")
			require.Zero(t, *r.Record())
		}
		// Between two good ones, the error names the second; the length alone may then fit.
		b := rawBatch(t, None, 3, append(append(wellFormed(0), c.record...), wellFormed(2)...))
		_, err := Validate(b, ValidateOptions{}, &r)
		require.IsType(t, &InvalidError{}, err, c.name)
		require.Equal(t, 1, err.(*InvalidError).Index, c.name)
	}
}

func TestValidate_Batch(t *testing.T) {
	put := func(at int, v uint64) func(b Batch) {
		return func(b Batch) {
			switch at {
			case producerEpochAt, attributesAt:
				binary.BigEndian.PutUint16(b[at:], uint16(v))
			case baseOffsetAt, baseTimestampAt, maxTimestampAt, producerIDAt:
				binary.BigEndian.PutUint64(b[at:], v)
			default:
				binary.BigEndian.PutUint32(b[at:], uint32(v))
			}
		}
	}
	producer := func(id int64, epoch int16, seq int32) func(b Batch) {
		return func(b Batch) { b.PutProducer(id, epoch, seq) }
	}
	invalid := func(reason string) error { return &InvalidError{Index: -1, Reason: reason} }
	minus := func(v int64) uint64 { return uint64(-v) }
	good := build(t, BuilderConfig{}, sample(10))
	for _, c := range []struct {
		name   string
		damage func(b Batch)
		want   error // nil: it passes
	}{
		{"as built", func(Batch) {}, nil},
		{"leader epoch, any", put(leaderEpochAt, 12), nil},
		{"base offset", put(baseOffsetAt, 1), invalid("base offset 1, a client must send 0")},
		{"negative base offset", put(baseOffsetAt, minus(1)), invalid("base offset -1, a client must send 0")},
		{"count 0", put(recordCountAt, 0), invalid("0 records with last offset delta 9")},
		{"count -1", put(recordCountAt, minus(1)), invalid("-1 records with last offset delta 9")},
		{"count too low", put(recordCountAt, 9), invalid("9 records with last offset delta 9")},
		{"count too high", put(recordCountAt, math.MaxInt32), invalid("2147483647 records with last offset delta 9")},
		{"delta too high", put(lastOffsetDeltaAt, math.MaxInt32), invalid("10 records with last offset delta 2147483647")},
		{"negative delta", put(lastOffsetDeltaAt, minus(1)), invalid("10 records with last offset delta -1")},
		{"control", put(attributesAt, controlBit), invalid("a control batch from a client")},
		{"delete horizon", put(attributesAt, deleteHorizonBit), invalid("a delete horizon, which only log cleaning sets")},
		{"unknown attribute", put(attributesAt, 1<<7), invalid("unknown attributes 0x0080")},
		{"highest attribute", put(attributesAt, 1<<15), invalid("unknown attributes 0x8000")},
		{"codec 5", put(attributesAt, 5), &UnsupportedCodecError{Codec: 5}},
		{"codec 7", put(attributesAt, 7), &UnsupportedCodecError{Codec: 7}},
		{
			"log append time", func(b Batch) { b.PutLogAppendTime(99) },
			&TimestampError{Index: -1, Timestamp: 99, Reason: "only a leader may set log append time"},
		},
		{"idempotent", producer(1, 0, 0), nil},
		{"largest producer", producer(math.MaxInt64, math.MaxInt16, math.MaxInt32), nil},
		{"sequence without a producer", producer(-1, -1, 0), nil}, // franz-go sends that
		{"producer id -2", producer(-2, 0, 0), invalid("producer id -2")},
		{"no sequence", producer(1, 0, -1), invalid("producer id 1 with base sequence -1")},
		{"no epoch", producer(1, -1, 0), invalid("producer id 1 with epoch -1")},
		{"transaction of nobody", put(attributesAt, transactionalBit), invalid("transactional without a producer id")},
		{"transaction", func(b Batch) { b[attributesAt+1] |= transactionalBit; b.PutProducer(1, 0, 0) }, nil},
		{"a header time that is not the records'", func(b Batch) { b.PutMaxTimestamp(1) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := good.Clone()
			c.damage(b)
			b.putCRC()
			got, err := Validate(b, ValidateOptions{}, new(Reader))
			if c.want == nil {
				require.NoError(t, err)
				assert.Equal(t, good.MaxTimestamp(), got)
				return
			}
			assert.Equal(t, c.want, err)
		})
	}
}

// A count that header and offsets agree on is still held against the bytes.
func TestValidate_Count(t *testing.T) {
	var r Reader
	for _, c := range codecs {
		b := rawBatch(t, c, math.MaxInt32, wellFormed(0))
		_, err := Validate(b, ValidateOptions{}, &r)
		assert.EqualError(t, err, "record: invalid batch: 2147483647 records in 9 bytes", c.String())
		assert.EqualError(t, r.Reset(b, 0), "record: invalid batch: 2147483647 records in 9 bytes", c.String())

		b = rawBatch(t, c, 2, append(wellFormed(0), wellFormed(0)...))
		_, err = Validate(b, ValidateOptions{}, &r)
		assert.Equal(t, &InvalidError{Index: 1, Reason: "offset deltas are not 0, 1, 2, …"}, err)

		b = rawBatch(t, c, 1, append(wellFormed(0), wellFormed(1)...))
		_, err = Validate(b, ValidateOptions{}, &r)
		assert.Equal(t, &InvalidError{Index: -1, Reason: "9 bytes after the last record"}, err)
		require.NoError(t, r.Reset(b, 0))
		assert.False(t, r.Next(), "the only record has a tail")
		assert.Equal(t, &InvalidError{Index: -1, Reason: "bytes after the last record"}, r.Err())
	}
	b := rawBatch(t, None, 1, rawRecord(1, 0, 0, -1, -1, 0))
	b[recordsAt+1] = 1
	b.putCRC()
	_, err := Validate(b, ValidateOptions{}, &r)
	assert.Equal(t, &InvalidError{Index: 0, Reason: "unknown attributes"}, err)
}

func TestValidate_Frame(t *testing.T) {
	b := build(t, BuilderConfig{}, sample(2))
	var r Reader
	for n := range b {
		_, err := Validate(b[:n], ValidateOptions{}, &r)
		require.IsType(t, &CorruptError{}, err)
		require.IsType(t, &CorruptError{}, r.Reset(b[:n], 0))
		require.False(t, r.Next())
	}
	_, err := Validate(append(b.Clone(), 0), ValidateOptions{}, &r)
	assert.IsType(t, &CorruptError{}, err)
	b[crcAt]++
	_, err = Validate(b, ValidateOptions{}, &r)
	assert.IsType(t, &CorruptError{}, err)
}

// Where several things are wrong, the error is that of the first check in Kafka's order.
func TestValidate_Order(t *testing.T) {
	b := build(t, BuilderConfig{}, sample(10))
	b[crcAt]++
	b.PutBaseOffset(1)
	check := func(want error) {
		t.Helper()
		_, err := Validate(b, ValidateOptions{MaxBytes: len(b) - 1}, new(Reader))
		assert.IsType(t, want, err)
	}
	check(&InvalidError{}) // base offset
	b.PutBaseOffset(0)
	_, err := Validate(b, ValidateOptions{MaxBytes: len(b) - 1}, new(Reader))
	assert.Equal(t, &TooLargeError{Size: len(b), Limit: len(b) - 1}, err)
	b = append(b, 0)
	check(&CorruptError{}) // not one whole batch: nothing else can be said
	b = b[:len(b)-1]
	_, err = Validate(b, ValidateOptions{MaxBytes: len(b)}, new(Reader))
	assert.IsType(t, &CorruptError{}, err)
}

func TestValidate_Keys(t *testing.T) {
	rs := sample(10) // 0, 3, 6, 9 are without a key
	for _, c := range codecs {
		b := build(t, BuilderConfig{Codec: c}, rs)
		_, err := Validate(b, ValidateOptions{RequireKeys: true}, new(Reader))
		assert.Equal(t, &InvalidError{Index: 0, Reason: "no key, in a compacted topic"}, err)
		b = build(t, BuilderConfig{Codec: c}, rs[1:])
		_, err = Validate(b, ValidateOptions{RequireKeys: true}, new(Reader))
		assert.Equal(t, &InvalidError{Index: 2, Reason: "no key, in a compacted topic"}, err)
		b = build(t, BuilderConfig{Codec: c}, []Record{{Key: []byte{}, Timestamp: start}})
		_, err = Validate(b, ValidateOptions{RequireKeys: true}, new(Reader))
		assert.NoError(t, err, "an empty key is one")
	}
}

func TestValidate_Timestamps(t *testing.T) {
	at := func(millis ...int64) Batch {
		var section []byte
		for i, ms := range millis {
			section = append(section, rawRecord(0, ms-millis[0], i, -1, -1, 0)...)
		}
		b := rawBatch(t, None, len(millis), section)
		binary.BigEndian.PutUint64(b[baseTimestampAt:], uint64(millis[0]))
		b.putCRC()
		return b
	}
	const now = 1_000_000
	for _, c := range []struct {
		name          string
		before, after int64
		millis        []int64
		bad           int // index, -1 for none
	}{
		{"now", 0, 0, []int64{now}, -1},
		{"at the first end", 100, 0, []int64{now - 100}, -1},
		{"before it", 100, 0, []int64{now - 101}, 0},
		{"at the last end", 0, 100, []int64{now, now + 100}, -1},
		{"after it", 0, 100, []int64{now, now + 101}, 1},
		{"the first of several", 0, 100, []int64{now, now + 101, now + 500, now - 1}, 1},
		{"none", 0, 0, []int64{-1, -1}, -1},
		{"some without", 0, 0, []int64{now, -1, now - 1}, 2},
		{"no limit before", math.MaxInt64, 0, []int64{now, -5, math.MinInt64 / 2}, -1},
		{"no limit after", 0, math.MaxInt64, []int64{now, math.MaxInt64}, -1},
		{"negative, out of range", 100, 100, []int64{-5}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := at(c.millis...)
			o := ValidateOptions{CheckTimestamps: true, NowMillis: now, BeforeMaxMillis: c.before, AfterMaxMillis: c.after}
			got, err := Validate(b, o, new(Reader))
			if c.bad >= 0 {
				var te *TimestampError
				require.ErrorAs(t, err, &te)
				assert.Equal(t, c.bad, te.Index)
				assert.Equal(t, c.millis[c.bad], te.Timestamp)
			} else {
				require.NoError(t, err)
				want := c.millis[0]
				for _, ms := range c.millis {
					want = max(want, ms)
				}
				assert.Equal(t, want, got)
			}
			o.CheckTimestamps = false
			_, err = Validate(b, o, new(Reader))
			assert.NoError(t, err)
		})
	}
}

func TestValidateOptions_TimestampRange(t *testing.T) {
	for _, c := range []struct{ now, before, after, first, last int64 }{
		{1000, 10, 20, 990, 1020},
		{1000, math.MaxInt64, math.MaxInt64, 1000 - math.MaxInt64, math.MaxInt64},
		{-1000, math.MaxInt64, math.MaxInt64, math.MinInt64, math.MaxInt64 - 1000},
	} {
		o := ValidateOptions{CheckTimestamps: true, NowMillis: c.now, BeforeMaxMillis: c.before, AfterMaxMillis: c.after}
		first, last := o.timestampRange()
		assert.Equal(t, c.first, first)
		assert.Equal(t, c.last, last)
	}
}

// "If any record has a timestamp error the batch error is 32 else 87": a timestamp outweighs an earlier missing key, but a
// record that lacks its key is not looked at further, and a malformed record ends the check.
func TestValidate_KeyAndTimestamp(t *testing.T) {
	o := ValidateOptions{RequireKeys: true, CheckTimestamps: true, NowMillis: start.UnixMilli(), BeforeMaxMillis: 10, AfterMaxMillis: 10}
	late := start.Add(1e9)
	key := []byte("k")
	b := build(t, BuilderConfig{}, []Record{{Key: key, Timestamp: start}, {Timestamp: start}, {Key: key, Timestamp: late}})
	_, err := Validate(b, o, new(Reader))
	assert.Equal(t, &TimestampError{Index: 2, Timestamp: late.UnixMilli(), Reason: "outside of [1699999999990, 1700000000010]"}, err)

	b = build(t, BuilderConfig{}, []Record{{Key: key, Timestamp: start}, {Timestamp: late}})
	_, err = Validate(b, o, new(Reader))
	assert.Equal(t, &InvalidError{Index: 1, Reason: "no key, in a compacted topic"}, err)

	b = rawBatch(t, None, 3, append(append(wellFormed(0), rawRecord(0, 5000, 1, -1, -1, 0)...), wellFormed(9)...))
	_, err = Validate(b, o, new(Reader))
	assert.Equal(t, &InvalidError{Index: 2, Reason: "offset deltas are not 0, 1, 2, …"}, err)
}

// A coordinator may do what a client may not.
func TestValidate_AllowControl(t *testing.T) {
	for _, name := range []string{"commit", "abort"} {
		b := goldenBytes(t, "testdata/handmade/"+name+"-marker")
		b.PutBaseOffset(0)
		_, err := Validate(b, ValidateOptions{}, new(Reader))
		assert.EqualError(t, err, "record: invalid batch: a control batch from a client")
		_, err = Validate(b, ValidateOptions{AllowControl: true}, new(Reader))
		assert.NoError(t, err)
		b.PutLogAppendTime(5)
		_, err = Validate(b, ValidateOptions{AllowControl: true}, new(Reader))
		assert.NoError(t, err)
	}
}

func TestValidateOptions_MaxDecompressed(t *testing.T) {
	for _, c := range []struct {
		o    ValidateOptions
		want int
	}{
		{ValidateOptions{}, 8 << 20},
		{ValidateOptions{MaxBytes: 1000}, 8 << 20},
		{ValidateOptions{MaxBytes: 1 << 20}, 10 << 20},
		{ValidateOptions{MaxBytes: math.MaxInt}, math.MaxInt},
		{ValidateOptions{MaxBytes: 1 << 20, MaxDecompressed: 5}, 5},
	} {
		assert.Equal(t, c.want, c.o.maxDecompressed())
	}
}
