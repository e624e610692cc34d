package bench

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
)

var compactBytes = flag.Int64("compact.bytes", 64<<20, "size of the log that is compacted in TestCompactionBesideAppends")

// wait is one acknowledged append.
type wait struct {
	began time.Time
	took  time.Duration
}

// percentiles are of waits that began in a span of time.
func percentiles(waits []wait, from, to time.Time) string {
	var took []time.Duration
	for _, w := range waits {
		if !w.began.Before(from) && w.began.Before(to) {
			took = append(took, w.took)
		}
	}
	if len(took) == 0 {
		return "nothing was appended"
	}
	slices.Sort(took)
	at := func(p float64) time.Duration {
		return took[min(int(p*float64(len(took))), len(took)-1)].Round(time.Microsecond)
	}
	return fmt.Sprintf("%6d appends in %5.1f s: p50 %v, p99 %v, p99.9 %v, worst %v", len(took), to.Sub(from).Seconds(), at(0.5), at(0.99), at(0.999), took[len(took)-1].Round(time.Microsecond))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestCompactionBesideAppends shows what those who wait for their durable appends feel of a compaction on the same node and disk: more than half of the records of a log go, from all of its segments.
func TestCompactionBesideAppends(t *testing.T) {
	nodes, err := startNodes(1, t.TempDir(), durable)
	must(t, err)
	node := nodes[0]
	defer node.Close()
	ctx := t.Context()
	admin := cluster.NewAdmin(node.Client())
	text := func(s string) *string { return &s }
	must(t, admin.CreateTopic(ctx, cluster.TopicSpec{Name: "keyed", Partitions: 1, Configs: map[string]string{"segment.bytes": "67108864", "flush.messages": "9223372036854775807"}}))
	must(t, admin.CreateTopic(ctx, cluster.TopicSpec{Name: "front", Partitions: 1}))
	fill, err := producer.New(producer.Config{Client: node.Client()})
	must(t, err)
	value := bytes.Repeat([]byte("v"), 1<<10)
	keys := *compactBytes / int64(len(value)) / 2
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2 * keys {
		must(t, fill.Enqueue(ctx, &record.Record{Topic: "keyed", Key: fmt.Appendf(nil, "key-%09d", rng.Int64N(keys)), Value: value}, func(_ producer.Metadata, err error) { must(t, err) }))
	}
	must(t, fill.Flush(ctx))
	must(t, fill.Close())

	front, err := producer.New(producer.Config{Client: node.Client()})
	must(t, err)
	var waits []wait
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	wg.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			if _, err := front.Produce(t.Context(), &record.Record{Topic: "front", Value: value}); err != nil {
				t.Errorf("append: %v", err)
				return
			}
			waits = append(waits, wait{began, time.Since(began)})
		}
	})
	calm := time.Now()
	time.Sleep(5 * time.Second)
	until := time.Now()
	must(t, admin.AlterTopicConfigs(t.Context(), "keyed", map[string]*string{"cleanup.policy": text("compact"), "min.cleanable.dirty.ratio": text("0.01"), "segment.ms": text("1000")}))
	var done cluster.CompactionStatus
	for done.Passes == 0 {
		time.Sleep(10 * time.Millisecond)
		for _, c := range node.Status().Compactions {
			done = c
		}
	}
	time.Sleep(time.Second)
	stop()
	wg.Wait()
	must(t, front.Close())
	must(t, done.Err)
	t.Logf("compacted in %v: %.0f MB read, %.0f MB written, %.0f MB released", done.LastTook.Round(time.Millisecond), float64(done.ReadBytes)/1e6, float64(done.WrittenBytes)/1e6, float64(done.ReleasedBytes)/1e6)
	t.Logf("before: %s", percentiles(waits, calm, until))
	t.Logf("beside: %s", percentiles(waits, done.LastRun.Add(-done.LastTook), done.LastRun))
	t.Logf("after:  %s", percentiles(waits, done.LastRun, time.Now()))
}
