package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
)

// load is the built-in workload: producers and consumers of one topic.
type load struct {
	w     *World
	topic cluster.TopicStatus

	mu    sync.Mutex
	acked map[string]int64
}

// Load is the story of producers and consumers of one topic, who write down what they did.
func Load(w *World) {
	rng := w.Rand()
	l := &load{w: w, acked: map[string]int64{}}
	l.topic = w.CreateTopic(cluster.TopicSpec{Name: "t", Partitions: int32(1 + rng.IntN(3)), ReplicationFactor: 3})
	var workers sync.WaitGroup
	for i := range 1 + rng.IntN(3) {
		rng := rand.New(rand.NewPCG(rng.Uint64(), 1))
		workers.Go(func() { l.produce(fmt.Sprintf("p%d", i), rng) })
	}
	for i := range 1 + rng.IntN(2) {
		rng := rand.New(rand.NewPCG(rng.Uint64(), 2))
		workers.Go(func() { l.consume(fmt.Sprintf("c%d", i), rng) })
	}
	time.Sleep(10 * time.Millisecond) // all hosts are named
	w.Begin()
	workers.Wait()
	l.check()
}

func limits(rng *rand.Rand) transport.ClientConfig {
	return transport.ClientConfig{RequestTimeout: time.Second << rng.IntN(5), DialTimeout: time.Second << rng.IntN(4)}
}

var numbered = producer.PartitionerFunc(func(r *record.Record, _ int) int { return int(r.Partition) })

func (l *load) produce(host string, rng *rand.Rand) {
	w := l.w
	time.Sleep(w.unique(host))
	client := w.Client(host, limits(rng))
	defer client.Close()
	for life := 0; !w.Over(); life++ {
		c := producer.Config{Client: client, Partitioner: numbered, Linger: time.Duration(rng.IntN(4)) * 3 * time.Millisecond, BatchBytes: 300 << rng.IntN(5)}
		c.RequestTimeout = 500 * time.Millisecond << rng.IntN(6)
		c.DeliveryTimeout = c.RequestTimeout + c.Linger + time.Second<<rng.IntN(6)
		p, err := producer.New(c)
		if err != nil {
			w.problem("producer: %v", err)
			return
		}
		for n := 0; n < 20+rng.IntN(300) && !w.Over(); n++ {
			v := fmt.Sprintf("%s.%d.%d", host, life, n)
			part := int32(rng.IntN(len(l.topic.Partitions)))
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			_ = p.Enqueue(ctx, &record.Record{Topic: "t", Partition: part, Value: []byte(v)}, func(md producer.Metadata, err error) {
				if err == nil {
					l.mu.Lock()
					l.acked[v] = md.Offset
					l.mu.Unlock()
					w.Acknowledged(l.topic, part, md.Offset)
				}
			})
			cancel()
			time.Sleep(time.Duration(rng.ExpFloat64() * float64(20*time.Millisecond)))
		}
		if w.Over() {
			ctx, cancel := context.WithTimeout(context.Background(), w.settle())
			if err := p.Flush(ctx); err != nil {
				w.problem("after the faults: flush: %v", err)
			}
			cancel()
		}
		w.within("close of a producer", 5*time.Second, func() { p.Close() })
	}
}

func (l *load) consume(host string, rng *rand.Rand) {
	w := l.w
	time.Sleep(w.unique(host))
	client := w.Client(host, limits(rng))
	defer client.Close()
	for !w.Over() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(float64(5*time.Second)*(1+rng.ExpFloat64())))
		l.read(ctx, client, func(*record.Record) bool { return w.Over() })
		cancel()
		time.Sleep(time.Duration(rng.ExpFloat64() * float64(100*time.Millisecond)))
	}
}

func (l *load) read(ctx context.Context, client *transport.Client, enough func(*record.Record) bool) {
	cons, err := consumer.New(consumer.Config{Client: client, Topics: []string{"t"}})
	if err != nil {
		l.w.problem("consumer: %v", err)
		return
	}
	defer cons.Close()
	for rec, err := range cons.Records(ctx) {
		if errors.Is(err, consumer.ErrClosed) || err != nil {
			return
		}
		if enough(rec) {
			return
		}
	}
}

func (l *load) check() {
	seen := map[string]bool{}
	client := l.w.Client("final", transport.ClientConfig{})
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), l.w.settle())
	defer cancel()
	left := len(l.acked)
	if left == 0 {
		return
	}
	l.read(ctx, client, func(r *record.Record) bool {
		v := string(r.Value)
		if seen[v] {
			l.w.problem("%s is there twice", v)
		}
		seen[v] = true
		if off, ok := l.acked[v]; ok {
			if off != r.Offset {
				l.w.problem("%s is at %d, not %d", v, r.Offset, off)
			}
			left--
		}
		return left == 0
	})
	for v := range l.acked {
		if !seen[v] {
			l.w.problem("%s was acknowledged and is lost", v)
		}
	}
	l.w.event("%d values were acknowledged", len(l.acked))
}
