package interop

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	total      = 100_000
	topic      = "records"
	partitions = 3
)

// codecs in the order in which they take turns.
var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

// The whole story over real sockets and real files: each codec, keys, headers, null values, through the crash of a leader.
func TestFranzOverTCP(t *testing.T) {
	ns := startTCP(t, 3)
	var seeds []string
	for _, n := range ns {
		seeds = append(seeds, n.Addrs()...)
	}
	admin := cluster.NewAdmin(ns[2].Client())
	if err := admin.CreateTopic(t.Context(), cluster.TopicSpec{Name: topic, Partitions: partitions, ReplicationFactor: 3}); err != nil {
		t.Fatal(err)
	}
	crash := func() {
		ts, err := admin.Topic(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ts.Partitions {
			if p.Leader != 3 { // the test's own view comes from node 3
				t.Logf("killing node %d, leader of partition %d", p.Leader, p.Partition)
				ns[p.Leader-1].Kill()
				return
			}
		}
		t.Fatal("node 3 leads everything")
	}
	produceAndConsume(t, crash, kgo.SeedBrokers(seeds...))
}

func produceAndConsume(t *testing.T, crash func(), opts ...kgo.Opt) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var failed error
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			mu.Lock()
			failed = cmp.Or(failed, err)
			mu.Unlock()
		}
	}
	sent := 0
	for _, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		client, err := kgo.NewClient(append(opts, kgo.ProducerBatchCompression(codecs[name]), kgo.DefaultProduceTopic(topic))...)
		if err != nil {
			t.Fatal(err)
		}
		for range total / len(codecs) {
			if sent == total/2 {
				crash()
			}
			client.Produce(ctx, expected(sent), done)
			sent++
		}
		if err := client.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		client.Close()
	}
	if failed != nil {
		t.Fatal(failed)
	}

	client, err := kgo.NewClient(append(opts, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	seen := make([]bool, total)
	last := map[int32]int{}
	for read := 0; read < total; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d records: %v", read, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			i := compare(t, r)
			if seen[i] {
				t.Errorf("record %d came twice", i)
			}
			seen[i] = true
			if prev, ok := last[r.Partition]; ok && i < prev {
				t.Errorf("partition %d: record %d after %d", r.Partition, i, prev)
			}
			last[r.Partition] = i
		})
	}
}

// expected is the i-th record: some have headers, some no key, some a null value. Its time is before the year 2000, in which bubbles begin: brokers refuse the future.
func expected(i int) *kgo.Record {
	r := &kgo.Record{Value: bytes.Repeat([]byte{byte(i)}, i%200), Timestamp: time.UnixMilli(900_000_000_000 + int64(i))}
	if i%3 != 0 {
		r.Key = []byte(fmt.Sprintf("key-%d", i))
	}
	if i%7 == 0 {
		r.Value = nil
	}
	r.Headers = []kgo.RecordHeader{{Key: "i", Value: []byte(fmt.Sprint(i))}}
	if i%5 == 0 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "null"}, kgo.RecordHeader{Key: "", Value: []byte("no key")})
	}
	return r
}

// compare checks a record against what was sent and returns its number.
func compare(t *testing.T, r *kgo.Record) int {
	t.Helper()
	if len(r.Headers) == 0 {
		t.Fatalf("partition %d offset %d: no headers", r.Partition, r.Offset)
	}
	var i int
	if _, err := fmt.Sscan(string(r.Headers[0].Value), &i); err != nil || i < 0 || i >= total {
		t.Fatalf("partition %d offset %d: header %q", r.Partition, r.Offset, r.Headers[0].Value)
	}
	want := expected(i)
	same := bytes.Equal(r.Key, want.Key) && (r.Key == nil) == (want.Key == nil) && bytes.Equal(r.Value, want.Value) && (r.Value == nil) == (want.Value == nil) &&
		r.Timestamp.Equal(want.Timestamp) && len(r.Headers) == len(want.Headers)
	for j := range min(len(r.Headers), len(want.Headers)) {
		same = same && r.Headers[j].Key == want.Headers[j].Key && bytes.Equal(r.Headers[j].Value, want.Headers[j].Value) && (r.Headers[j].Value == nil) == (want.Headers[j].Value == nil)
	}
	if !same {
		t.Fatalf("record %d came back as key %q value %q at %v headers %v", i, r.Key, r.Value, r.Timestamp, r.Headers)
	}
	return i
}

// startTCP starts nodes on real files and loopback TCP that notice failures soon.
func startTCP(t *testing.T, n int) []*cluster.Node {
	t.Helper()
	var listeners []net.Listener
	var voters []cluster.Voter
	for id := int32(1); id <= int32(n); id++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		voters = append(voters, cluster.Voter{ID: id, Addr: l.Addr().String()})
	}
	ns, errs := make([]*cluster.Node, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range ns {
		wg.Go(func() {
			ns[i], errs[i] = cluster.Start(context.Background(), cluster.Config{
				NodeID: voters[i].ID, Dir: t.TempDir(), Listener: listeners[i], Voters: voters, Logger: slog.New(uses),
				HeartbeatInterval: 100 * time.Millisecond, SessionTimeout: time.Second, ElectionTimeout: 500 * time.Millisecond,
			})
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var wg sync.WaitGroup
		for _, n := range ns {
			wg.Go(func() { n.Close() })
		}
		wg.Wait()
	})
	return ns
}
