package bench

import (
	"fmt"
	"hash/crc32"
	"sync"
	"testing"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
)

func openLog(b *testing.B) *log.Log {
	l, err := log.Open(b.TempDir(), log.Config{SegmentBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return l
}

var appendOptions = log.AppendOptions{Now: time.UnixMilli(1_700_000_000_000)}

// BenchmarkAppend appends batches to the page cache. Limit: pwrite and CRC32C of the same bytes.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 1024} {
		for _, batch := range []int{64 << 10, 1} {
			data := batchBytes(b, batch, size)
			if batch == 1 {
				data = batchOf(b, 1, size)
			}
			name := fmt.Sprintf("record=%dB/batch=%dB", size, len(data))
			b.Run(name+"/insync", func(b *testing.B) {
				l := openLog(b)
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := l.Append(data, appendOptions); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)*float64(data.RecordCount())/b.Elapsed().Seconds(), "records/s")
			})
			b.Run(name+"/limit", func(b *testing.B) {
				f := newRawFile(b)
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					crc32.Checksum(data[21:], castagnoli)
					f.write(b, data)
				}
				b.ReportMetric(float64(b.N)*float64(data.RecordCount())/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}

// BenchmarkAppendDurable appends and waits until the batch is on stable storage. Limit: write and fdatasync by one writer that appends to a growing file.
func BenchmarkAppendDurable(b *testing.B) {
	for _, batch := range []record.Batch{batchOf(b, 1, 100), batchBytes(b, 64<<10, 1024)} {
		for _, waiters := range []int{1, 64} {
			b.Run(fmt.Sprintf("batch=%dB/waiters=%d/insync", len(batch), waiters), func(b *testing.B) {
				l := openLog(b)
				b.SetBytes(int64(len(batch)))
				var mu sync.Mutex // appends are serialised by the log's owner
				each(b, waiters, func() {
					mu.Lock()
					_, err := l.Append(batch, appendOptions)
					mu.Unlock()
					if err == nil {
						_, err = l.Sync()
					}
					if err != nil {
						b.Error(err)
					}
				})
			})
		}
		b.Run(fmt.Sprintf("batch=%dB/waiters=1/limit", len(batch)), func(b *testing.B) {
			f := newRawFile(b)
			b.SetBytes(int64(len(batch)))
			each(b, 1, func() {
				f.write(b, batch)
				f.sync(b)
			})
		})
	}
}

// BenchmarkRead reads a log from start to end in slices of 1 MiB. Limit: pread of the same bytes.
func BenchmarkRead(b *testing.B) {
	batch := batchBytes(b, 64<<10, 1024)
	const batches = 1024
	b.Run("insync", func(b *testing.B) {
		l := openLog(b)
		for range batches {
			if _, err := l.Append(batch, appendOptions); err != nil {
				b.Fatal(err)
			}
		}
		end := l.Offsets().LogEndOffset
		b.SetBytes(int64(len(batch)) * batches)
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			for offset := int64(0); offset < end; {
				s, err := l.Read(offset, end, 1<<20, true)
				if err != nil {
					b.Fatal(err)
				}
				if buf, err = s.Append(buf[:0]); err != nil {
					b.Fatal(err)
				}
				s.Release()
				for bt, err := range record.Batches(buf) {
					if err != nil {
						b.Fatal(err)
					}
					if err := bt.CheckCRC(); err != nil {
						b.Fatal(err)
					}
					offset = bt.NextOffset()
				}
			}
		}
	})
	b.Run("limit", func(b *testing.B) {
		f := newRawFile(b)
		for range batches {
			f.write(b, batch)
		}
		buf := make([]byte, 1<<20)
		b.SetBytes(int64(len(batch)) * batches)
		for b.Loop() {
			for pos := int64(0); pos < f.end; pos += int64(len(buf)) {
				n, _ := f.f.ReadAt(buf, pos)
				crc32.Checksum(buf[:n], castagnoli)
			}
		}
	})
}

// each runs f b.N times by n goroutines side by side, and reports the median and 99th percentile of one call.
func each(b *testing.B, n int, f func()) {
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range n {
		count := b.N / n
		if w < b.N%n {
			count++
		}
		wg.Go(func() {
			took := make([]time.Duration, 0, count)
			for range count {
				began := time.Now()
				f()
				took = append(took, time.Since(began))
			}
			mu.Lock()
			all = append(all, took...)
			mu.Unlock()
		})
	}
	wg.Wait()
	b.StopTimer()
	reportLatency(b, all)
}
