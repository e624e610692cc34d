package commit_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/commit"
	"github.com/insynclog/insync/internal/vfs"
)

// log is the smallest target: one file written from front to back and around, and writers who wait.
type log struct {
	file vfs.File

	mu      sync.Mutex
	grown   sync.Cond
	written int64
	synced  int64
	syncs   int
}

const logSize = 64 << 20

// openLog returns a log whose blocks are written, so that a sync has no metadata to write.
func openLog(b *testing.B, dir string) *log {
	b.Helper()
	f, err := vfs.OS().Open(filepath.Join(dir, "log"), vfs.Create)
	require.NoError(b, err)
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < logSize; off += int64(len(zeros)) {
		_, err := f.WriteAt(zeros, off)
		require.NoError(b, err)
	}
	require.NoError(b, f.Sync())
	b.Cleanup(func() { require.NoError(b, f.Close()) })
	l := &log{file: f}
	l.grown.L = &l.mu
	return l
}

// append writes p and returns the position that has to be synced.
func (l *log) append(p []byte) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.file.WriteAt(p, l.written%(logSize-int64(len(p))))
	l.written += int64(len(p))
	return l.written, err
}

// Sync implements commit.Target.
func (l *log) Sync() {
	l.mu.Lock()
	upTo := l.written
	l.mu.Unlock()
	if err := l.file.Sync(); err != nil {
		panic(err)
	}
	l.mu.Lock()
	l.synced = upTo
	l.syncs++
	l.mu.Unlock()
	l.grown.Broadcast()
}

func (l *log) wait(pos int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.synced < pos {
		l.grown.Wait()
	}
}

// BenchmarkAcknowledge writes and waits until the write is durable. raw is the limit: write and fdatasync in one goroutine; group is the engine
// with 1 and with 64 writers that each wait for their own writes.
func BenchmarkAcknowledge(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		p := make([]byte, size)
		b.Run(fmt.Sprintf("size=%d/raw", size), func(b *testing.B) {
			l := openLog(b, b.TempDir())
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := l.append(p); err != nil {
					b.Fatal(err)
				}
				l.Sync()
			}
		})
		for _, writers := range []int{1, 64} {
			b.Run(fmt.Sprintf("size=%d/group/writers=%d", size, writers), func(b *testing.B) { group(b, p, writers) })
		}
	}
}

func group(b *testing.B, p []byte, writers int) {
	l := openLog(b, b.TempDir())
	e := commit.New(commit.Config{})
	defer e.Close()
	h := e.Register(l)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < b.N; i += writers {
				pos, err := l.append(p)
				if err != nil {
					b.Error(err)
					return
				}
				h.Request()
				l.wait(pos)
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/float64(max(l.syncs, 1)), "writes/sync")
}

// BenchmarkRatio does the same with one writer, raw and through the engine by turns, so that both see the same disk and the same neighbours, and
// reports the median of what a turn costs more through the engine. The goal is at most 1.1.
func BenchmarkRatio(b *testing.B) {
	l := openLog(b, b.TempDir())
	e := commit.New(commit.Config{})
	defer e.Close()
	h := e.Register(l)
	p := make([]byte, 1<<10)
	turn := func(durable func(pos int64)) time.Duration {
		start := time.Now()
		for range 10 {
			pos, err := l.append(p)
			if err != nil {
				b.Fatal(err)
			}
			durable(pos)
		}
		return time.Since(start)
	}
	var ratios, raws []float64
	for b.Loop() {
		raw := turn(func(int64) { l.Sync() })
		group := turn(func(pos int64) { h.Request(); l.wait(pos) })
		ratios = append(ratios, float64(group)/float64(raw))
		raws = append(raws, float64(raw.Microseconds())/10)
	}
	slices.Sort(ratios)
	slices.Sort(raws)
	b.ReportMetric(ratios[len(ratios)/2], "group/raw")
	b.ReportMetric(raws[len(raws)/2], "µs/raw")
}

// BenchmarkRequest is what an append pays for asking.
func BenchmarkRequest(b *testing.B) {
	e := commit.New(commit.Config{})
	defer e.Close()
	block := make(chan struct{})
	h := e.Register(blocked(block))
	h.Request()
	b.Run("requested already", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.Request()
		}
	})
	close(block)
	idle := e.Register(blocked(block))
	b.Run("idle", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			idle.Request()
		}
	})
}

type blocked chan struct{}

func (c blocked) Sync() { <-c }
