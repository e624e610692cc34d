package record

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The ceilings of the hot paths: nothing per record, and nothing per batch once memory is warm. Codecs come from pools, which
// a collection empties and the race detector makes forgetful, so compressed batches of 500 records are allowed a codec's own.
func TestAllocs(t *testing.T) {
	rs := sample(500)
	for _, c := range codecs {
		ceiling := 0.0
		if c != None {
			ceiling = 25
		}
		batch := build(t, BuilderConfig{Codec: c}, rs)

		bd := NewBuilder(BuilderConfig{Codec: c})
		var out []byte
		building := func() {
			bd.Reset()
			for i := range rs {
				if bd.AppendSize(&rs[i]) == 0 {
					t.Fatal("no size")
				}
				bd.Append(&rs[i])
			}
			var err error
			out, err = bd.Build(out[:0])
			require.NoError(t, err)
		}
		building()
		assert.LessOrEqual(t, testing.AllocsPerRun(50, building), ceiling, "building, %s", c)

		var r Reader
		iterating := func() {
			n := 0
			if r.Reset(batch, 0) != nil {
				t.Fatal(r.Err())
			}
			for r.Next() {
				n += len(r.Record().Headers)
			}
			if r.Err() != nil || n == 0 {
				t.Fatal(r.Err())
			}
		}
		iterating()
		assert.LessOrEqual(t, testing.AllocsPerRun(50, iterating), ceiling, "iterating, %s", c)

		validating := func() {
			if _, err := Validate(batch, ValidateOptions{
				MaxBytes: 1 << 20, CheckTimestamps: true, NowMillis: start.UnixMilli(),
				BeforeMaxMillis: 1e6, AfterMaxMillis: 1e6,
			}, &r); err != nil {
				t.Fatal(err)
			}
		}
		validating()
		assert.LessOrEqual(t, testing.AllocsPerRun(50, validating), ceiling, "validating, %s", c)
	}

	batch := build(t, BuilderConfig{}, rs)
	all := append(batch.Clone(), batch...)
	assert.Zero(t, testing.AllocsPerRun(50, func() {
		for b, err := range Batches(all) {
			if err != nil || b.CheckCRC() != nil {
				t.Fatal(err)
			}
			b.PutBaseOffset(77)
			b.PutLeaderEpoch(3)
			b.PutLogAppendTime(12345)
		}
	}), "splitting and patching")
}
