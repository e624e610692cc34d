package record

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"
	"time"
)

// benchRecords returns records of size bytes of value that fill a batch of 64 KiB. Half of each value is random text, so that
// codecs have some work and some gain.
func benchRecords(size int) []Record {
	rng := rand.New(rand.NewPCG(1, 2))
	rs := make([]Record, 64<<10/size)
	for i := range rs {
		value := make([]byte, size)
		for j := range value {
			value[j] = byte('a' + j%16)
			if j%32 < 16 {
				value[j] = byte(' ' + rng.IntN(64))
			}
		}
		rs[i] = Record{Key: fmt.Appendf(nil, "key-%05d", rng.IntN(1e5)), Value: value, Timestamp: start.Add(time.Duration(i) * 300 * time.Microsecond)}
	}
	return rs
}

// benchAll runs f for each size and codec and reports the time per record.
func benchAll(b *testing.B, f func(b *testing.B, c Codec, rs []Record)) {
	for _, size := range []int{100, 1 << 10} {
		rs := benchRecords(size)
		for _, c := range codecs {
			b.Run(fmt.Sprintf("size=%d/codec=%s", size, c), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(build(b, BuilderConfig{}, rs).Size()))
				f(b, c, rs)
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rs)), "ns/record")
			})
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	benchAll(b, func(b *testing.B, c Codec, rs []Record) {
		bd := NewBuilder(BuilderConfig{Codec: c})
		var out []byte
		for b.Loop() {
			bd.Reset()
			for i := range rs {
				bd.Append(&rs[i])
			}
			var err error
			if out, err = bd.Build(out[:0]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkIterate(b *testing.B) {
	benchAll(b, func(b *testing.B, c Codec, rs []Record) {
		batch := build(b, BuilderConfig{Codec: c}, rs)
		var r Reader
		for b.Loop() {
			n := 0
			if err := r.Reset(batch, 0); err != nil {
				b.Fatal(err)
			}
			for r.Next() {
				n += len(r.Record().Value)
			}
			if r.Err() != nil || n == 0 {
				b.Fatal(r.Err())
			}
		}
	})
}

func BenchmarkIterateHeaders(b *testing.B) {
	rs := benchRecords(100)
	for i := range rs {
		rs[i].Headers = []Header{{Key: "trace-id", Value: []byte("0123456789abcdef")}, {Key: "content-type", Value: []byte("text/plain")}}
	}
	batch := build(b, BuilderConfig{}, rs)
	var r Reader
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Reset(batch, 0); err != nil {
			b.Fatal(err)
		}
		for r.Next() {
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rs)), "ns/record")
}

func BenchmarkValidate(b *testing.B) {
	benchAll(b, func(b *testing.B, c Codec, rs []Record) {
		batch := build(b, BuilderConfig{Codec: c}, rs)
		o := ValidateOptions{MaxBytes: 1 << 20, RequireKeys: true, CheckTimestamps: true, NowMillis: start.UnixMilli(), BeforeMaxMillis: 1000, AfterMaxMillis: 1000}
		var r Reader
		for b.Loop() {
			if _, err := Validate(batch, o, &r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCRC is the part of Validate that no decoder can save.
func BenchmarkCRC(b *testing.B) {
	for _, size := range []int{100, 1 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			rs := benchRecords(size)
			batch := build(b, BuilderConfig{}, rs)
			b.SetBytes(int64(batch.Size()))
			for b.Loop() {
				crc32.Checksum(batch[attributesAt:], castagnoli)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rs)), "ns/record")
		})
	}
}
