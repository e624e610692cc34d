package producer

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
)

// idleNode is a node that answers at once and does nothing else: what is measured is the producer.
type idleNode struct {
	fakeNode
	batches atomic.Int64
}

func (n *idleNode) Serve(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	m, ok := r.Message.(*kmsg.ProduceRequest)
	if !ok {
		n.fakeNode.Serve(ctx, r, reply)
		return
	}
	res := &kmsg.ProduceResponse{Version: m.Version, Topics: make([]kmsg.ProduceResponseTopic, len(m.Topics))}
	for i := range m.Topics {
		rt := &res.Topics[i]
		rt.Topic, rt.TopicID = m.Topics[i].Topic, m.Topics[i].TopicID
		rt.Partitions = make([]kmsg.ProduceResponseTopicPartition, len(m.Topics[i].Partitions))
		for j := range rt.Partitions {
			rt.Partitions[j] = kmsg.ProduceResponseTopicPartition{Partition: m.Topics[i].Partitions[j].Partition, LogAppendTime: -1}
			n.batches.Add(1)
		}
	}
	reply(transport.Reply{Message: res})
}

func idleProducer(tb testing.TB, partitions int, c Config) (*Producer, *idleNode) {
	f := newFake(tb, 1).topic("a", partitions)
	n := &idleNode{fakeNode: fakeNode{f, 1}}
	p := f.producer(transport.ClientConfig{Local: &transport.Local{NodeID: 1, Handler: n}}, c)
	_, err := p.Produce(context.Background(), rec("a", 0, ""))
	require.NoError(tb, err)
	return p, n
}

func BenchmarkEnqueue(b *testing.B) {
	for _, linger := range []string{"0", "1ms"} {
		for _, batch := range []int{16 << 10, 64 << 10, 256 << 10} {
			b.Run(fmt.Sprintf("size=100B/linger=%s/batch=%dKiB", linger, batch>>10), func(b *testing.B) {
				c := Config{BatchBytes: batch}
				if linger != "0" {
					c.Linger = 1e6
				}
				p, n := idleProducer(b, 6, c)
				r := &record.Record{Topic: "a", Value: bytes.Repeat([]byte("v"), 100)}
				var failed atomic.Int64
				done := func(_ Metadata, err error) {
					if err != nil {
						failed.Add(1)
					}
				}
				b.ReportAllocs()
				b.SetBytes(100)
				for b.Loop() {
					if err := p.Enqueue(context.Background(), r, done); err != nil {
						b.Fatal(err)
					}
				}
				require.NoError(b, p.Flush(context.Background()))
				require.Zero(b, failed.Load())
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
				b.ReportMetric(float64(b.N)/float64(n.batches.Load()), "records/batch")
			})
		}
	}
}

func BenchmarkProduce(b *testing.B) {
	b.Run("callers=1", func(b *testing.B) {
		p, _ := idleProducer(b, 6, Config{})
		r := &record.Record{Topic: "a", Value: bytes.Repeat([]byte("v"), 100)}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.Produce(context.Background(), r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("callers=64", func(b *testing.B) {
		p, n := idleProducer(b, 6, Config{})
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			r := &record.Record{Topic: "a", Value: bytes.Repeat([]byte("v"), 100)}
			for pb.Next() {
				if _, err := p.Produce(context.Background(), r); err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(b.N)/float64(n.batches.Load()), "records/batch")
	})
}

// syncNode answers as a node with a disk does: requests that come while a sync is under way share the next one.
type syncNode struct {
	idleNode
	arrived chan func()
	syncs   atomic.Int64
	wg      sync.WaitGroup
}

func (n *syncNode) Serve(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	if _, ok := r.Message.(*kmsg.ProduceRequest); !ok {
		n.idleNode.Serve(ctx, r, reply)
		return
	}
	n.idleNode.Serve(ctx, r, func(res transport.Reply) { n.arrived <- func() { reply(res) } })
}

func (n *syncNode) run(d time.Duration) {
	for first := range n.arrived {
		group := []func(){first}
		for len(n.arrived) > 0 {
			group = append(group, <-n.arrived)
		}
		time.Sleep(d)
		n.syncs.Add(1)
		for _, f := range group {
			f()
		}
	}
}

// BenchmarkProduce_GroupCommit: the closer records/sync is to the number of callers, the better the producer fills what a sync carries.
func BenchmarkProduce_GroupCommit(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d/sync=1ms", callers), func(b *testing.B) {
			f := newFake(b, 1).topic("a", 6)
			n := &syncNode{idleNode: idleNode{fakeNode: fakeNode{f, 1}}, arrived: make(chan func(), 1000)}
			n.wg.Go(func() { n.run(time.Millisecond) })
			p := f.producer(transport.ClientConfig{Local: &transport.Local{NodeID: 1, Handler: n}}, Config{})
			b.ReportAllocs()
			b.SetParallelism(max(callers/2, 1))
			b.ResetTimer()
			if callers == 1 {
				r := &record.Record{Topic: "a", Value: bytes.Repeat([]byte("v"), 100)}
				for b.Loop() {
					if _, err := p.Produce(context.Background(), r); err != nil {
						b.Fatal(err)
					}
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					r := &record.Record{Topic: "a", Value: bytes.Repeat([]byte("v"), 100)}
					for pb.Next() {
						if _, err := p.Produce(context.Background(), r); err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.ReportMetric(float64(b.N)/float64(n.syncs.Load()), "records/sync")
			b.StopTimer()
			require.NoError(b, p.Close())
			close(n.arrived)
			n.wg.Wait()
		})
	}
}
