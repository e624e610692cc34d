package log

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// sizedBatch builds a batch of about size bytes of 100-byte records.
func sizedBatch(tb testing.TB, size int) record.Batch {
	tb.Helper()
	b := record.NewBuilder(record.BuilderConfig{})
	r := record.Record{Value: bytes.Repeat([]byte("x"), 100), Timestamp: testTime}
	for b.Len() == 0 || b.Size()+b.AppendSize(&r) <= size {
		b.Append(&r)
	}
	out, err := b.Build(nil)
	require.NoError(tb, err)
	return out
}

func openBench(tb testing.TB, c Config) *Log {
	tb.Helper()
	c.FS = vfs.OS()
	l, err := Open(tb.TempDir()+"/bench-0", c)
	require.NoError(tb, err)
	tb.Cleanup(func() { l.Close() })
	return l
}

// benchLimit keeps the files of a benchmark small enough for the page cache: what is written begins anew behind it.
const benchLimit = 512 << 20

// BenchmarkAppend compares an append with the limit: the CRC and the write of the same bytes.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{170, 4 << 10, 64 << 10, 1 << 20} {
		batch := sizedBatch(b, size)
		opts := AppendOptions{Now: testTime}
		b.Run(fmt.Sprintf("batch=%d/log", len(batch)), func(b *testing.B) {
			l := openBench(b, Config{})
			b.SetBytes(int64(len(batch)))
			b.ReportAllocs()
			for b.Loop() {
				if l.SizeBytes() > benchLimit {
					b.StopTimer()
					require.NoError(b, l.TruncateFullyAndStartAt(0))
					b.StartTimer()
				}
				if _, err := l.Append(batch, opts); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("batch=%d/replicated", len(batch)), func(b *testing.B) {
			l := openBench(b, Config{})
			b.SetBytes(int64(len(batch)))
			b.ReportAllocs()
			stored := batch.Clone()
			for b.Loop() {
				if l.SizeBytes() > benchLimit {
					b.StopTimer()
					require.NoError(b, l.TruncateFullyAndStartAt(0))
					b.StartTimer()
				}
				stored.PutBaseOffset(l.Offsets().LogEndOffset)
				if _, err := l.AppendReplicated(stored, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("batch=%d/limit", len(batch)), func(b *testing.B) {
			f, err := os.Create(b.TempDir() + "/raw")
			require.NoError(b, err)
			defer f.Close()
			b.SetBytes(int64(len(batch)))
			pos := int64(0)
			table := crc32.MakeTable(crc32.Castagnoli)
			var sum uint32
			for b.Loop() {
				if pos > benchLimit {
					b.StopTimer()
					require.NoError(b, f.Truncate(0))
					pos = 0
					b.StartTimer()
				}
				sum += crc32.Checksum(batch[21:], table)
				n, err := f.WriteAt(batch, pos)
				if err != nil {
					b.Fatal(err)
				}
				pos += int64(n)
			}
			_ = sum
		})
	}
}

// BenchmarkDurable is one waiter: append and sync, with and without blocks written ahead, beside a raw write and sync.
func BenchmarkDurable(b *testing.B) {
	for _, size := range []int{512, 64 << 10} {
		batch := sizedBatch(b, size)
		for _, ahead := range []int32{0, -1} {
			b.Run(fmt.Sprintf("batch=%d/ahead=%d", len(batch), ahead), func(b *testing.B) {
				l := openBench(b, Config{WriteAhead: ahead})
				b.SetBytes(int64(len(batch)))
				for b.Loop() {
					if _, err := l.Append(batch, AppendOptions{Now: testTime}); err != nil {
						b.Fatal(err)
					}
					if _, err := l.Sync(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("batch=%d/limit", len(batch)), func(b *testing.B) {
			f, err := vfs.OS().Open(b.TempDir()+"/raw", vfs.Create)
			require.NoError(b, err)
			defer f.Close()
			b.SetBytes(int64(len(batch)))
			pos := int64(0)
			for b.Loop() {
				n, err := f.WriteAt(batch, pos)
				if err == nil {
					err = f.Sync()
				}
				if err != nil {
					b.Fatal(err)
				}
				pos += int64(n)
			}
		})
	}
}

// BenchmarkGroupCommit is 64 goroutines that append one at a time and share syncs.
func BenchmarkGroupCommit(b *testing.B) {
	for _, size := range []int{512, 64 << 10} {
		batch := sizedBatch(b, size)
		b.Run(fmt.Sprintf("batch=%d", len(batch)), func(b *testing.B) {
			l := openBench(b, Config{})
			var owner sync.Mutex
			b.SetBytes(int64(len(batch)))
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					owner.Lock()
					_, err := l.Append(batch, AppendOptions{Now: testTime})
					owner.Unlock()
					if err == nil {
						_, err = l.Sync()
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkRead(b *testing.B) {
	l := openBench(b, Config{})
	batch := sizedBatch(b, 16<<10)
	for l.SizeBytes() < 128<<20 {
		mustAppend(b, l, batch)
	}
	end := l.Offsets().LogEndOffset
	buf := make([]byte, 0, 2<<20)
	b.Run("sequential=1MiB", func(b *testing.B) {
		b.ReportAllocs()
		offset := int64(0)
		for b.Loop() {
			sl, err := l.Read(offset, end, 1<<20, true)
			if err != nil {
				b.Fatal(err)
			}
			buf, _ = sl.Append(buf[:0])
			sl.Release()
			b.SetBytes(int64(len(buf)))
			for rest := buf; len(rest) > 0; {
				bt, next, _ := record.Split(rest)
				offset, rest = bt.NextOffset(), next
			}
			if offset >= end {
				offset = 0
			}
		}
	})
	b.Run("find=random", func(b *testing.B) {
		b.ReportAllocs()
		offset := int64(1)
		for b.Loop() {
			offset = (offset*6364136223846793005 + 1442695040888963407) & math.MaxInt64
			sl, err := l.Read(offset%end, end, 64<<10, true)
			if err != nil {
				b.Fatal(err)
			}
			sl.Release()
		}
	})
	b.Run("find=tail", func(b *testing.B) {
		b.ReportAllocs()
		last := end - int64(batch.LastOffsetDelta()) - 1
		for b.Loop() {
			sl, err := l.Read(last, end, 1<<20, true)
			if err != nil || sl.Len() == 0 {
				b.Fatal(err)
			}
			sl.Release()
		}
	})
	b.Run("records", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			for range l.Records(context.Background(), 0) {
				n++
			}
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
	})
}

// BenchmarkOpen opens and closes a directory of many small logs after a clean stop.
func BenchmarkOpen(b *testing.B) {
	const logs = 1000
	dir := b.TempDir()
	open := func() (*Directory, []*Log) {
		d, err := OpenDirectory(dir, DirectoryConfig{NodeID: 1})
		require.NoError(b, err)
		list := make([]*Log, logs)
		for i := range list {
			list[i], err = d.OpenLog("t", int32(i), TopicID{1}, Config{})
			require.NoError(b, err)
		}
		return d, list
	}
	d, list := open()
	for _, l := range list {
		mustAppend(b, l, sizedBatch(b, 3000))
	}
	require.NoError(b, d.Close(1))
	var opened, closed time.Duration
	n := 0
	for b.Loop() {
		t := time.Now()
		d, _ := open()
		opened += time.Since(t)
		t = time.Now()
		require.NoError(b, d.Close(1))
		closed += time.Since(t)
		n += logs
	}
	b.ReportMetric(float64(opened.Microseconds())/float64(n), "µs/open")
	b.ReportMetric(float64(closed.Microseconds())/float64(n), "µs/close")
}
