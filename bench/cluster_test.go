package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
)

func reportLatency(b *testing.B, all []time.Duration) {
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(all[len(all)*99/100].Nanoseconds()), "p99-ns")
}

// nodes starts a cluster on real files with TCP on loopback.
func nodes(tb testing.TB, n int, topic cluster.TopicDefaults) []*cluster.Node {
	tb.Helper()
	dir := tb.TempDir()
	var listeners []net.Listener
	var voters []cluster.Voter
	for id := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		listeners = append(listeners, l)
		voters = append(voters, cluster.Voter{ID: int32(id + 1), Addr: l.Addr().String()})
	}
	up := make([]*cluster.Node, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range up {
		wg.Go(func() {
			up[i], errs[i] = cluster.Start(context.Background(), cluster.Config{
				NodeID: voters[i].ID, Dir: filepath.Join(dir, fmt.Sprint(voters[i].ID)), Listener: listeners[i], Voters: voters, Topic: topic,
			})
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		var wg sync.WaitGroup
		for _, n := range up {
			wg.Go(func() { n.Close() })
		}
		wg.Wait()
	})
	return up
}

func createTopic(tb testing.TB, n *cluster.Node, partitions int32) {
	tb.Helper()
	if err := cluster.NewAdmin(n.Client()).CreateTopic(context.Background(), cluster.TopicSpec{Name: "t", Partitions: partitions}); err != nil {
		tb.Fatal(err)
	}
}

// sync modes
var (
	durable   = cluster.TopicDefaults{}
	pageCache = cluster.TopicDefaults{FlushMessages: -1}
)

// produceAll writes b.N records of size bytes as fast as acknowledgements come.
func produceAll(b *testing.B, n *cluster.Node, size int, acks producer.Acks) {
	p, err := producer.New(producer.Config{Client: n.Client(), Acks: acks, DisableIdempotence: acks != producer.AcksAll})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	value := make([]byte, size)
	var mu sync.Mutex
	var failed error
	done := func(_ producer.Metadata, err error) {
		if err != nil {
			mu.Lock()
			failed = err
			mu.Unlock()
		}
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	cpu := cpuTime()
	b.ResetTimer()
	rec := record.Record{Topic: "t", Value: value}
	for range b.N {
		if err := p.Enqueue(context.Background(), &rec, done); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if failed != nil {
		b.Fatal(failed)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric((cpuTime()-cpu).Seconds()/float64(b.N)*1e6, "cpu-s/Mrecord")
}

// produceOne writes one record after the other, waiting for each.
func produceOne(b *testing.B, n *cluster.Node, size int, acks producer.Acks) {
	p, err := producer.New(producer.Config{Client: n.Client(), Acks: acks, DisableIdempotence: acks != producer.AcksAll})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	rec := record.Record{Topic: "t", Value: make([]byte, size)}
	b.ReportAllocs()
	each(b, 1, func() {
		if _, err := p.Produce(context.Background(), &rec); err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkProduceInProcess is one node, by function call.
func BenchmarkProduceInProcess(b *testing.B) {
	for _, mode := range []struct {
		name  string
		topic cluster.TopicDefaults
		acks  producer.Acks
	}{{"durable/acks=all", durable, producer.AcksAll}, {"pagecache/acks=1", pageCache, producer.AcksLeader}} {
		b.Run(mode.name+"/stream", func(b *testing.B) {
			n := nodes(b, 1, mode.topic)[0]
			createTopic(b, n, 1)
			produceAll(b, n, 100, mode.acks)
		})
		b.Run(mode.name+"/one", func(b *testing.B) {
			n := nodes(b, 1, mode.topic)[0]
			createTopic(b, n, 1)
			produceOne(b, n, 100, mode.acks)
		})
	}
}

// BenchmarkReplicate is three nodes in one process, acks=all, durable on all three or in three page caches. Limit: three goroutines, channels, the same writes and syncs.
func BenchmarkReplicate(b *testing.B) {
	for _, mode := range []struct {
		name  string
		topic cluster.TopicDefaults
	}{{"durable", durable}, {"pagecache", pageCache}} {
		b.Run(mode.name+"/stream/insync", func(b *testing.B) {
			ns := nodes(b, 3, mode.topic)
			createTopic(b, ns[0], 1)
			produceAll(b, ns[0], 100, producer.AcksAll)
		})
		b.Run(mode.name+"/stream/limit", func(b *testing.B) {
			l := newReplicatedLimit(b, mode.name == "durable")
			defer l.close()
			batch := batchBytes(b, 64<<10, 100)
			b.SetBytes(100)
			cpu := cpuTime()
			b.ResetTimer()
			l.run(b.N/int(batch.RecordCount())+1, 40, batch)
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric((cpuTime()-cpu).Seconds()/float64(b.N)*1e6, "cpu-s/Mrecord")
		})
		b.Run(mode.name+"/one/insync", func(b *testing.B) {
			ns := nodes(b, 3, mode.topic)
			createTopic(b, ns[0], 1)
			produceOne(b, ns[0], 100, producer.AcksAll)
		})
		b.Run(mode.name+"/one/limit", func(b *testing.B) {
			l := newReplicatedLimit(b, mode.name == "durable")
			defer l.close()
			batch := batchOf(b, 1, 100)
			each(b, 1, func() { l.run(1, 1, batch) })
		})
	}
}

// BenchmarkConsume reads everything of one node by function call.
func BenchmarkConsume(b *testing.B) {
	for _, size := range []int{100, 1024} {
		b.Run(fmt.Sprintf("record=%dB", size), func(b *testing.B) {
			n := nodes(b, 1, pageCache)[0]
			createTopic(b, n, 1)
			p, err := producer.New(producer.Config{Client: n.Client(), Acks: producer.AcksLeader, DisableIdempotence: true})
			if err != nil {
				b.Fatal(err)
			}
			rec := record.Record{Topic: "t", Value: make([]byte, size)}
			for range b.N {
				if err := p.Enqueue(context.Background(), &rec, nil); err != nil {
					b.Fatal(err)
				}
			}
			if err := p.Flush(context.Background()); err != nil {
				b.Fatal(err)
			}
			p.Close()
			c, err := consumer.New(consumer.Config{Client: n.Client(), Topics: []string{"t"}})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			cpu := cpuTime()
			b.ResetTimer()
			read := 0
			for _, err := range c.Records(context.Background()) {
				if err != nil {
					b.Fatal(err)
				}
				if read++; read == b.N {
					break
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric((cpuTime()-cpu).Seconds()/float64(b.N)*1e6, "cpu-s/Mrecord")
		})
	}
}

// BenchmarkStart is the time from nothing to the first acknowledged record, with real files.
func BenchmarkStart(b *testing.B) {
	for _, count := range []int{1, 3} {
		b.Run(fmt.Sprintf("nodes=%d", count), func(b *testing.B) {
			for b.Loop() {
				dir := b.TempDir()
				ns := nodesIn(b, dir, count)
				createTopic(b, ns[0], 1)
				p, err := producer.New(producer.Config{Client: ns[0].Client()})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := p.Produce(context.Background(), &record.Record{Topic: "t", Value: []byte("v")}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				p.Close()
				for _, n := range ns {
					n.Kill()
				}
				b.StartTimer()
			}
		})
	}
}

func nodesIn(b *testing.B, dir string, count int) []*cluster.Node {
	if count > 1 {
		return nodes(b, count, durable)
	}
	n, err := cluster.Start(context.Background(), cluster.Config{Dir: filepath.Join(dir, "1")})
	if err != nil {
		b.Fatal(err)
	}
	return []*cluster.Node{n}
}

// TestIdle prints what an idle node costs, and holds the number of goroutines to the goal.
func TestIdle(t *testing.T) {
	for _, count := range []int{1, 3} {
		before := runtime.NumGoroutine()
		var m0, m1 runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m0)
		ns := nodes(t, count, durable)
		createTopic(t, ns[0], 1)
		time.Sleep(2 * time.Second)
		runtime.GC()
		runtime.ReadMemStats(&m1)
		per := (runtime.NumGoroutine() - before) / count
		t.Logf("%d node(s): %d goroutines and %.1f MB of heap each", count, per, float64(m1.HeapAlloc-m0.HeapAlloc)/1e6/float64(count))
		if per > 15 {
			t.Errorf("%d goroutines per idle node, the goal is 15", per)
		}
	}
}
