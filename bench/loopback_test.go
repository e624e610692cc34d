package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkLoopback is franz-go's client, with its defaults, against one node in another process over TCP on loopback, page cache. Limit: a broker that only frames requests and answers them. The CPU time reported is
// the broker's alone.
func BenchmarkLoopback(b *testing.B) {
	for _, size := range []int{100, 1024} {
		for _, what := range []string{"produce", "consume"} {
			for _, of := range []string{"insync", "limit"} {
				b.Run(fmt.Sprintf("%s/size=%dB/%s", what, size, of), func(b *testing.B) {
					kind := "insync"
					if of == "limit" {
						kind = fmt.Sprintf("null/%d", size)
					}
					c, err := startChild(kind, b.TempDir())
					if err != nil {
						b.Fatal(err)
					}
					b.Cleanup(func() {
						if err := c.stop(); err != nil {
							b.Error(err)
						}
					})
					if what == "produce" {
						loopbackProduce(b, c, size)
					} else {
						loopbackConsume(b, c, size, of == "insync")
					}
				})
			}
		}
	}
}

func loopbackProduce(b *testing.B, c *child, size int) {
	client := kafkaClient(b, c)
	kgoProduce(b, client, 1, size)
	measure(b, c, size, func() { kgoProduce(b, client, b.N, size) })
}

func loopbackConsume(b *testing.B, c *child, size int, fill bool) {
	if fill {
		kgoProduce(b, kafkaClient(b, c), b.N, size)
	}
	client := kafkaClient(b, c, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset().AtStart()}}))
	measure(b, c, size, func() {
		for read := 0; read < b.N; {
			f := client.PollFetches(context.Background())
			if err := f.Err(); err != nil {
				b.Fatal(err)
			}
			read += f.NumRecords()
		}
	})
}

// measure runs f and reports its speed and the broker's CPU time.
func measure(b *testing.B, c *child, size int, f func()) {
	b.SetBytes(int64(size))
	before, err := c.ask()
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	f()
	b.StopTimer()
	after, err := c.ask()
	if err != nil {
		b.Fatal(err)
	}
	reportRecords(b, b.N, after-before)
}

func kafkaClient(b *testing.B, c *child, opts ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(c.addr), kgo.DefaultProduceTopic("t"), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	return client
}

func kgoProduce(b *testing.B, client *kgo.Client, n, size int) {
	var failed atomic.Pointer[error]
	value := payload(size)
	for range n {
		client.Produce(context.Background(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	if err := client.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	if err := failed.Load(); err != nil {
		b.Fatal(*err)
	}
}
