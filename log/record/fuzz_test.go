package record

import (
	"errors"
	"testing"

	"github.com/insynclog/insync/internal/fuzztest"
	"github.com/stretchr/testify/require"
)

// The seeds are the golden batches, whole and cut, and what testdata/fuzz holds: inputs that once took a branch of their own.

func seeds(f *testing.F, add func(b Batch)) {
	f.Helper()
	for _, g := range goldens(f, "golden", "handmade") {
		if len(g.Batch) > 4096 { // the engine copies and mutates seeds: small ones find more
			continue
		}
		add(g.Batch)
		add(g.Batch[:len(g.Batch)*3/4])
	}
}

// FuzzSplit: batches and what is left over are the input, in order; nothing panics on what Split accepted.
func FuzzSplit(f *testing.F) {
	seeds(f, func(b Batch) { f.Add([]byte(b)) })
	one := build(f, BuilderConfig{}, sample(2))
	f.Add([]byte(append(append(one.Clone(), one...), one[:30]...)))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzztest.Bounded(t, len(data), func() {
			for b, err := range Batches(data) {
				if err == nil {
					_ = b.checkFrame()
				}
			}
		})
		var joined []byte
		rest := data
		for {
			b, next, err := Split(rest)
			if err != nil {
				require.Empty(t, b)
				require.Equal(t, len(rest), len(next))
				if !errors.Is(err, ErrPartial) {
					require.ErrorAs(t, err, new(*CorruptError))
					require.NotEmpty(t, err.Error())
				}
				break
			}
			size, err := PeekSize(rest)
			require.NoError(t, err)
			require.Equal(t, size, b.Size())
			require.GreaterOrEqual(t, size, HeaderSize)
			require.NoError(t, b.checkFrame())
			useAll(b)
			joined = append(joined, b...)
			rest = next
		}
		require.Equal(t, string(data), string(joined)+string(rest))
		n := 0
		for b, err := range Batches(data) {
			if err == nil {
				n += len(b)
			}
		}
		require.Equal(t, len(joined), n)
	})
}

// useAll calls every accessor.
func useAll(b Batch) {
	_, _, _, _ = b.BaseOffset(), b.LastOffset(), b.NextOffset(), b.LeaderEpoch()
	_, _, _, _, _ = b.Magic(), b.CRC(), b.Codec().String(), b.LogAppendTime(), b.Transactional()
	_, _, _, _ = b.HasDeleteHorizon(), b.BaseTimestamp(), b.MaxTimestamp(), b.RecordCount()
	_, _, _, _ = b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.LastSequence()
	_ = b.CheckCRC()
	if t, ok := b.ControlType(); ok {
		_ = t.String()
	}
}

const fuzzLimit = 256 << 10

// mend makes a batch of data: where the length, magic or codec is wrong nothing else would be reached.
func mend(data []byte) Batch {
	b := make(Batch, max(len(data), HeaderSize))
	copy(b, data)
	b[lengthAt], b[lengthAt+1], b[lengthAt+2], b[lengthAt+3] = 0, byte((len(b)-lengthEnd)>>16), byte((len(b)-lengthEnd)>>8), byte(len(b)-lengthEnd)
	b[magicAt] = magicV2
	b.putCRC()
	return b
}

// FuzzReader: no panic, no more memory than the bound, typed errors; and what was read can be built and read again, equal.
func FuzzReader(f *testing.F) {
	seeds(f, func(b Batch) { f.Add([]byte(b)) })
	f.Fuzz(func(t *testing.T, data []byte) {
		b := mend(data)
		var r Reader
		err := r.Reset(b, fuzzLimit)
		require.LessOrEqual(t, len(r.section), max(fuzzLimit, len(b)))
		require.LessOrEqual(t, cap(r.buf), 2*fuzzLimit+zstdDecoderMargin)
		if err != nil {
			requireTyped(t, err)
			require.False(t, r.Next())
			return
		}
		bd := NewBuilder(BuilderConfig{Codec: Codec(len(data) % 5)})
		var rs []Record
		last := int64(-1)
		for r.Next() {
			rec := r.Record()
			require.Greater(t, rec.Offset, last)
			require.LessOrEqual(t, rec.Offset, b.LastOffset())
			require.LessOrEqual(t, len(rec.Headers), MaxHeaders)
			last = rec.Offset
			bd.Append(rec)
			rs = append(rs, rec.Clone())
		}
		if r.Err() != nil {
			requireTyped(t, r.Err())
			require.Less(t, len(rs), int(b.RecordCount()))
		} else {
			require.Len(t, rs, int(b.RecordCount()))
		}
		if len(rs) == 0 {
			return
		}
		out, err := bd.Build(nil)
		require.NoError(t, err)
		again := read(t, out)
		require.Len(t, again, len(rs))
		for i := range rs {
			rs[i].Offset, rs[i].LeaderEpoch = int64(i), -1
			if ms := rs[i].Timestamp.UnixMilli(); rs[i].Timestamp.IsZero() || ms > maxTimestampMillis || ms < -maxTimestampMillis {
				again[i].Timestamp = rs[i].Timestamp // the builder chose another
			}
			require.Equal(t, rs[i], again[i])
		}
	})
}

func requireTyped(t *testing.T, err error) {
	t.Helper()
	require.NotEmpty(t, err.Error())
	switch err.(type) {
	case *CorruptError, *InvalidError, *TimestampError, *TooLargeError, *UnsupportedCodecError:
	default:
		require.Fail(t, "untyped error", "%T: %v", err, err)
	}
}

// FuzzValidate: no panic, typed errors; and what passes is read to the end, with the time that was returned.
func FuzzValidate(f *testing.F) {
	seeds(f, func(b Batch) { f.Add([]byte(b), false) })
	f.Fuzz(func(t *testing.T, data []byte, asIs bool) {
		b := Batch(data)
		if !asIs {
			b = mend(data)
			b.PutBaseOffset(0)
		}
		o := ValidateOptions{MaxBytes: 1 << 20, MaxDecompressed: fuzzLimit, AllowControl: len(data)%2 == 0}
		decompressed := 0
		if b.checkFrame() == nil && b.Codec() != None {
			decompressed = fuzzLimit + zstdDecoderMargin // which is what a decoder may take, whatever it is given
		}
		fuzztest.Bounded(t, len(b)+decompressed, func() { _, _ = Validate(b, o, new(Reader)) })
		var r Reader
		newest, err := Validate(b, o, &r)
		if err != nil {
			requireTyped(t, err)
			return
		}
		require.NoError(t, b.CheckCRC())
		require.NoError(t, r.Reset(b, fuzzLimit))
		maxSeen, n := int64(noTimestamp), int64(0)
		for ; r.Next(); n++ {
			require.Equal(t, n, r.Record().Offset)
			if ts := r.Record().Timestamp; !ts.IsZero() && !b.LogAppendTime() {
				maxSeen = max(maxSeen, ts.UnixMilli())
			}
		}
		require.NoError(t, r.Err())
		require.EqualValues(t, b.RecordCount(), n)
		if !b.LogAppendTime() {
			require.Equal(t, maxSeen, newest)
		}
		// The stricter rules only take away, and never change what they pass.
		o.RequireKeys, o.CheckTimestamps, o.BeforeMaxMillis, o.AfterMaxMillis = true, true, 1000, 1000
		o.NowMillis = newest
		if strict, err := Validate(b, o, &r); err != nil {
			requireTyped(t, err)
		} else {
			require.Equal(t, newest, strict)
		}
	})
}
