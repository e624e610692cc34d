package bench

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/producer"
)

// BenchmarkConsume reads everything of one node by function call, on its own and as the only member of a group. Limit: pread of 1 MiB at a time, the CRC of every batch, and the fields of every record.
func BenchmarkConsume(b *testing.B) {
	for _, size := range []int{100, 1024} {
		for _, mode := range []string{"insync", "insync at least once", "insync at most once"} {
			b.Run(fmt.Sprintf("size=%dB/%s", size, mode), func(b *testing.B) {
				n := nodes(b, 1, pageCache)[0]
				if err := enqueue(newProducer(b, n, producer.AcksLeader), b.N, size); err != nil {
					b.Fatal(err)
				}
				config := consumer.Config{Client: n.Client(), Topics: []string{"t"}}
				switch mode {
				case "insync at least once":
					config.Group = "g"
				case "insync at most once":
					config.Group, config.Commit = "g", consumer.AtMostOnce
				}
				c, err := consumer.New(config)
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { c.Close() })
				read := 0
				for _, err := range c.Records(context.Background()) { // joining the group is not what is measured
					if err != nil {
						b.Fatal(err)
					}
					read++
					break
				}
				stream(b, size, func() error {
					if read == b.N {
						return nil
					}
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
		}
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
