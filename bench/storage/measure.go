package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// sample is what one round of a task has given for one subject.
type sample struct {
	value  float64 // in the unit of the row
	cpu    float64 // processor seconds for a GB, or for a million reads
	allocs float64 // allocations for a record
}

// none is what there is of a subject that cannot do the task.
var none = sample{value: math.NaN()}

// meter measures a piece of work that it repeats.
type meter struct {
	budget time.Duration // of one sample
	limit  int64         // bytes that a sample writes at most
	size   int64         // of a log that is opened

	writers int // where there are many

	// processor has the clock go with the processor time of this process, where nothing waits for a disk.
	processor bool
}

// gauge reads clocks and counters before and after.
type gauge struct {
	began     time.Time
	cpu       time.Duration
	allocs    uint64
	processor bool
}

func (m meter) start() gauge {
	var mem runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&mem)
	return gauge{allocs: mem.Mallocs, processor: m.processor, cpu: cpuTime(), began: time.Now()}
}

// took is the time since the start, by the clock that counts.
func (g gauge) took() time.Duration {
	if g.processor {
		return cpuTime() - g.cpu
	}
	return time.Since(g.began)
}

// stop makes a sample of what was done: n units of work, whose value is theirs per second, and so many records.
func (g gauge) stop(n, records float64) sample {
	took := g.took()
	cpu := cpuTime() - g.cpu
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return sample{value: n / took.Seconds(), cpu: cpu.Seconds() / n, allocs: float64(m.Mallocs-g.allocs) / records}
}

// checkEvery is how many bytes are appended between two looks at the clock.
const checkEvery = 256 << 10

// rate appends from one goroutine and gives MB/s of records.
func (m meter) rate(append func(b *batch) error, l lot) (sample, error) {
	every := max(1, checkEvery/l[0].size)
	if err := m.warmUp(append, l); err != nil {
		return sample{}, err
	}
	g := m.start()
	var bytes int64
	for i := 0; ; i++ {
		b := l.at(i)
		if err := append(b); err != nil {
			return sample{}, err
		}
		bytes += int64(b.size)
		if i%every == every-1 && (g.took() > m.budget || bytes > m.limit) {
			return g.stop(float64(bytes)/1e6, float64(i+1)*float64(len(b.values))), nil
		}
	}
}

// warmUp appends for a tenth of the time, so that buffers have their size.
func (m meter) warmUp(append func(b *batch) error, l lot) error {
	for i, began := 0, time.Now(); i < len(l) || time.Since(began) < m.budget/10; i++ {
		if err := append(l.at(i)); err != nil {
			return err
		}
	}
	return nil
}

// minWaits is how often a lone writer waits at least.
const minWaits = 11

// wait appends from one goroutine and gives the median time of an append in µs.
func (m meter) wait(append func(b *batch) error, l lot) (sample, error) {
	m.processor = false
	if err := m.warmUp(append, l); err != nil {
		return sample{}, err
	}
	took := make([]time.Duration, 0, 1<<12)
	g := m.start()
	for i := 0; i < cap(took) && (i < minWaits || g.took() < m.budget); i++ {
		began := time.Now()
		if err := append(l.at(i)); err != nil {
			return sample{}, err
		}
		took = took[:i+1]
		took[i] = time.Since(began)
	}
	n := float64(len(took))
	s := g.stop(n*float64(l[0].size)/1e6, n*float64(len(l[0].values)))
	slices.Sort(took)
	s.value = float64(took[len(took)/2].Nanoseconds()) / 1e3
	return s, nil
}

// crowd appends from many goroutines, each of which waits for its append before the next, and gives MB/s of records.
func (m meter) crowd(append func(b *batch) error, l lot) (sample, error) {
	var (
		wg      sync.WaitGroup
		appends atomic.Int64
		failed  atomic.Pointer[error]
		writers = m.writers
		limit   = max(m.limit/int64(l[0].size), int64(writers))
	)
	if err := m.warmUp(append, l); err != nil {
		return sample{}, err
	}
	run := func(enough func() bool) {
		for range writers {
			wg.Go(func() {
				for once := false; !once || !enough(); once = true {
					if err := append(l.at(int(appends.Add(1)))); err != nil {
						failed.Store(&err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	g := m.start()
	run(func() bool { return appends.Load() >= limit || g.took() > m.budget || failed.Load() != nil })
	if err := failed.Load(); err != nil {
		return sample{}, *err
	}
	n := float64(appends.Load())
	return g.stop(n*float64(l[0].size)/1e6, n*float64(len(l[0].values))), nil
}

// scan reads from the start, as often as there is time for, and gives MB/s of records. A visit is of so many bytes and records.
func (m meter) scan(r reader, bytes, records int) (sample, error) {
	every := max(1, checkEvery/bytes)
	n, over := 0, false
	g := m.start()
	visit := func([]byte) bool {
		n++
		if n%every == 0 {
			over = g.took() > m.budget
		}
		return !over
	}
	for !over {
		if err := r.scan(visit); err != nil {
			return sample{}, err
		}
		over = over || g.took() > m.budget
	}
	return g.stop(float64(n)*float64(bytes)/1e6, float64(n)*float64(records)), nil
}

// find reads records at random and gives the mean time of a read in µs.
func (m meter) find(f finder, records int) (sample, error) {
	number := uint32(1)
	g := m.start()
	for n := 1; ; n++ {
		number = number*1664525 + 1013904223
		if _, err := f.find(int(uint64(number) * uint64(records) >> 32)); err != nil {
			return sample{}, err
		}
		if n%64 == 0 && g.took() > m.budget {
			s := g.stop(float64(n), float64(n))
			s.value = 1e6 / s.value
			return s, nil
		}
	}
}

// discard empties a log's large files, so that closing it does not write to the disk what nobody wants. Files that may be mapped are small.
func discard(dir string) {
	const large = 16 << 20
	_ = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil
		}
		if info, err := e.Info(); err == nil && info.Size() > large {
			_ = os.Truncate(path, 0)
		}
		return nil
	})
}
