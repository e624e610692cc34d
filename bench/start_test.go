package bench

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
)

// BenchmarkStart is the time from nothing, an empty directory, to the first acknowledged record: start the nodes, create a topic, make a producer, produce durably. In memory it shows what is not the disk's.
func BenchmarkStart(b *testing.B) {
	for _, count := range []int{1, 3} {
		for _, disk := range []string{"files", "memory"} {
			b.Run(fmt.Sprintf("nodes=%d/disk=%s/insync", count, disk), func(b *testing.B) {
				took := make([]time.Duration, 0, b.N)
				for range b.N {
					b.StopTimer()
					dir := inMemory
					if disk == "files" {
						dir = b.TempDir()
					}
					b.StartTimer()
					began := time.Now()
					stop, err := firstRecord(count, dir)
					took = append(took, time.Since(began))
					b.StopTimer()
					stop()
					if err != nil {
						b.Fatal(err)
					}
				}
				reportTimes(b, took)
			})
		}
	}
}

func firstRecord(count int, dir string) (stop func(), err error) {
	up, err := startNodes(count, dir, durable)
	stop = func() { closeNodes(up) }
	if err != nil {
		return stop, err
	}
	if err := createTopic(up[0]); err != nil {
		return stop, err
	}
	p, err := producer.New(producer.Config{Client: up[0].Client()})
	if err != nil {
		return stop, err
	}
	stop = func() {
		p.Close()
		closeNodes(up)
	}
	_, err = p.Produce(context.Background(), &record.Record{Topic: "t", Value: []byte("v")})
	return stop, err
}

// TestIdle measures what idle nodes cost, and holds the number of goroutines and the heap to their bounds. The goal is 15 goroutines per node. After an election that several stood for, connections between nodes
// that do not lead stay open until they have been idle for minutes; each costs two goroutines at either end.
func TestIdle(t *testing.T) {
	const maxHeap = 20e6
	for count, maxGoroutines := range map[int]float64{1: 5, 3: 15 + 8} {
		t.Run(fmt.Sprintf("nodes=%d", count), func(t *testing.T) {
			before, heap := runtime.NumGoroutine(), heapInUse()
			nodes(t, count, durable)
			const settle, watch = time.Second, 3 * time.Second
			time.Sleep(settle) // connections of the start and its workers end
			goroutines := float64(runtime.NumGoroutine()-before) / float64(count)
			cpu, switches := cpuTime(), voluntarySwitches()
			time.Sleep(watch)
			cpu, switches = cpuTime()-cpu, voluntarySwitches()-switches
			used := (heapInUse() - heap) / float64(count)
			t.Logf("each of %d node(s): %.1f goroutines, %.1f MB of heap, %.2f ms of CPU and %.0f context switches per second", count, goroutines, used/1e6,
				cpu.Seconds()*1e3/watch.Seconds()/float64(count), float64(switches)/watch.Seconds()/float64(count))
			if goroutines > maxGoroutines {
				buf := make([]byte, 1<<20)
				t.Errorf("%.1f goroutines per idle node, more than %.0f:\n%s", goroutines, maxGoroutines, buf[:runtime.Stack(buf, true)])
			}
			if used > maxHeap {
				t.Errorf("%.1f MB of heap per idle node, more than %.0f MB", used/1e6, maxHeap/1e6)
			}
		})
	}
}

func heapInUse() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// voluntarySwitches counts how often a thread of this process went to sleep, where the system tells; else 0.
func voluntarySwitches() (n int) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return 0
	}
	for _, thread := range threads {
		status, err := os.ReadFile("/proc/self/task/" + thread.Name() + "/status")
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(status)) {
			if v, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
				k, _ := strconv.Atoi(strings.TrimSpace(v))
				n += k
			}
		}
	}
	return n
}
