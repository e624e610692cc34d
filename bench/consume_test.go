package bench

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/producer"
)

// BenchmarkConsume reads everything of one node by function call. Limit: pread of 1 MiB at a time, the CRC of every batch, and the fields of every record.
func BenchmarkConsume(b *testing.B) {
	for _, size := range []int{100, 1024} {
		b.Run(fmt.Sprintf("size=%dB/insync", size), func(b *testing.B) {
			n := nodes(b, 1, pageCache)[0]
			if err := enqueue(newProducer(b, n, producer.AcksLeader), b.N, size); err != nil {
				b.Fatal(err)
			}
			c, err := consumer.New(consumer.Config{Client: n.Client(), Topics: []string{"t"}})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { c.Close() })
			stream(b, size, func() error {
				read := 0
				for _, err := range c.Records(context.Background()) {
					if err != nil {
						return err
					}
					if read++; read == b.N {
						break
					}
				}
				return nil
			})
		})
		b.Run(fmt.Sprintf("size=%dB/limit", size), func(b *testing.B) {
			f := newRawFile(b)
			f.size = math.MaxInt64 // one file holds it all
			batch := batchBytes(b, 64<<10, size)
			for range batches(b.N, batch) {
				if err := f.write(batch); err != nil {
					b.Fatal(err)
				}
			}
			stream(b, size, func() error { return f.scan(true) })
		})
	}
}
