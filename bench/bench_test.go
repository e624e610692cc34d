package bench

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestMain runs the broker of a loopback benchmark instead of the tests when this binary was started as one.
func TestMain(m *testing.M) {
	if kind := os.Getenv(childEnv); kind != "" {
		if err := runChild(kind, os.Getenv(childDirEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// each runs f b.N times by n goroutines side by side, and reports the median and 99th percentile of one call.
func each(b *testing.B, n int, f func() error) {
	b.Helper()
	var mu sync.Mutex
	all := make([]time.Duration, 0, b.N)
	var failed error
	var wg sync.WaitGroup
	cpu := cpuTime()
	b.ResetTimer()
	for w := range n {
		count := b.N / n
		if w < b.N%n {
			count++
		}
		wg.Go(func() {
			took := make([]time.Duration, 0, count)
			var err error
			for range count {
				began := time.Now()
				if err = f(); err != nil {
					break
				}
				took = append(took, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if err != nil {
				failed = err
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	if failed != nil {
		b.Fatal(failed)
	}
	reportTimes(b, all)
	b.ReportMetric((cpuTime()-cpu).Seconds()/float64(b.N)*1e6, "cpu-µs/op")
}

// reportTimes reports the median and the 99th percentile.
func reportTimes(b *testing.B, all []time.Duration) {
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Nanoseconds())/1e3, "p99-µs")
}

// stream measures f, which moves b.N records, by records and by the CPU time that this process spends on a million of them.
func stream(b *testing.B, size int, f func() error) {
	b.Helper()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	cpu := cpuTime()
	b.ResetTimer()
	err := f()
	b.StopTimer()
	if err != nil {
		b.Fatal(err)
	}
	reportRecords(b, b.N, cpuTime()-cpu)
}

// reportRecords reports records per second and CPU seconds per million records.
func reportRecords(b *testing.B, records int, cpu time.Duration) {
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(cpu.Seconds()/float64(records)*1e6, "cpu-s/Mrecord")
}
