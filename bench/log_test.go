package bench

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
)

func openLog(b *testing.B) *log.Log {
	l, err := log.Open(b.TempDir(), log.Config{SegmentBytes: rawRoll})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return l
}

// BenchmarkAppend appends batches to the page cache. Limit: pwrite and CRC32C of the same bytes.
func BenchmarkAppend(b *testing.B) {
	options := log.AppendOptions{Now: time.Now()}
	for _, size := range []int{100, 1024} {
		for _, c := range []struct {
			name string
			data record.Batch
		}{{"batch=64KiB", batchBytes(b, 64<<10, size)}, {"batch=one", batchOf(b, 1, size)}} {
			b.Run(fmt.Sprintf("size=%dB/%s/insync", size, c.name), func(b *testing.B) {
				l := openLog(b)
				b.SetBytes(int64(len(c.data)))
				b.ReportAllocs()
				cpu := cpuTime()
				for b.Loop() {
					if _, err := l.Append(c.data, options); err != nil {
						b.Fatal(err)
					}
				}
				reportRecords(b, b.N*int(c.data.RecordCount()), cpuTime()-cpu)
			})
			b.Run(fmt.Sprintf("size=%dB/%s/limit", size, c.name), func(b *testing.B) {
				f := newRawFile(b)
				b.SetBytes(int64(len(c.data)))
				cpu := cpuTime()
				for b.Loop() {
					if err := f.write(c.data); err != nil {
						b.Fatal(err)
					}
				}
				reportRecords(b, b.N*int(c.data.RecordCount()), cpuTime()-cpu)
			})
		}
	}
}

// BenchmarkAppendDurable appends and waits until the batch is on stable storage. Limit, whatever the number of those who wait: write and fdatasync by one writer that appends to a growing file.
func BenchmarkAppendDurable(b *testing.B) {
	options := log.AppendOptions{Now: time.Now()}
	for _, c := range []struct {
		name  string
		batch record.Batch
	}{{"batch=100B", batchOf(b, 1, 100)}, {"batch=64KiB", batchBytes(b, 64<<10, 1024)}} {
		for _, waiters := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/waiters=%d/insync", c.name, waiters), func(b *testing.B) {
				l := openLog(b)
				b.SetBytes(int64(len(c.batch)))
				var mu sync.Mutex // appends are serialised by the log's owner
				each(b, waiters, func() error {
					mu.Lock()
					_, err := l.Append(c.batch, options)
					mu.Unlock()
					if err == nil {
						_, err = l.Sync()
					}
					return err
				})
			})
			b.Run(fmt.Sprintf("%s/waiters=%d/limit", c.name, waiters), func(b *testing.B) {
				f := newRawFile(b)
				b.SetBytes(int64(len(c.batch)))
				each(b, 1, func() error {
					if err := f.write(c.batch); err != nil {
						return err
					}
					return f.sync()
				})
			})
		}
	}
}

// BenchmarkRead reads a log of 64 MiB from start to end in slices of 1 MiB and checks every CRC. Limit: pread and CRC32C of the same bytes.
func BenchmarkRead(b *testing.B) {
	batch := batchBytes(b, 64<<10, 1024)
	const count = 1024
	b.Run("size=1024B/insync", func(b *testing.B) {
		l := openLog(b)
		for range count {
			if _, err := l.Append(batch, log.AppendOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(len(batch)) * count)
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			var err error
			if buf, err = readAll(l, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("size=1024B/limit", func(b *testing.B) {
		f := newRawFile(b)
		for range count {
			if err := f.write(batch); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(len(batch)) * count)
		for b.Loop() {
			if err := f.scan(false); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// readAll reads l once. buf is memory to use and to use again.
func readAll(l *log.Log, buf []byte) ([]byte, error) {
	end := l.Offsets().LogEndOffset
	for offset := int64(0); offset < end; {
		s, err := l.Read(offset, end, 1<<20, true)
		if err != nil {
			return buf, err
		}
		buf, err = s.Append(buf[:0])
		s.Release()
		if err != nil {
			return buf, err
		}
		for b, err := range record.Batches(buf) {
			if err != nil {
				return buf, err
			}
			if err := b.CheckCRC(); err != nil {
				return buf, err
			}
			offset = b.NextOffset()
		}
	}
	return buf, nil
}
