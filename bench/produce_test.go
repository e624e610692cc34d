package bench

import (
	"context"
	"testing"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
)

// BenchmarkProduceInProcess produces to one node by function call: a stream of records, and one client that waits for each. Limit: the same bytes in batches of 64 KiB, or one by one, with their CRC taken, written
// and, if durable, synced by a loop.
func BenchmarkProduceInProcess(b *testing.B) {
	const size = 100
	for _, mode := range modes {
		acks := producer.AcksAll
		if mode.name == "pagecache" {
			acks = producer.AcksLeader
		}
		name := "size=100B/acks=" + acks.String() + "/" + mode.name
		b.Run(name+"/stream/insync", func(b *testing.B) {
			p := newProducer(b, nodes(b, 1, mode.topic)[0], acks)
			stream(b, size, func() error { return enqueue(p, b.N, size) })
		})
		b.Run(name+"/stream/limit", func(b *testing.B) {
			l := newReplicatedLimit(b, 1, mode.name == "durable")
			defer l.close()
			batch := batchBytes(b, 64<<10, size)
			stream(b, size, func() error { return l.run(batches(b.N, batch), limitWindow, batch) })
		})
		b.Run(name+"/one/insync", func(b *testing.B) {
			p := newProducer(b, nodes(b, 1, mode.topic)[0], acks)
			b.ReportAllocs()
			produceOne(b, p, size)
		})
		b.Run(name+"/one/limit", func(b *testing.B) {
			f := newRawFile(b)
			batch := batchOf(b, 1, size)
			each(b, 1, func() error {
				if err := f.write(batch); err != nil || mode.name != "durable" {
					return err
				}
				return f.sync()
			})
		})
	}
}

// produceOne produces one record after the other, waiting for each.
func produceOne(b *testing.B, p *producer.Producer, size int) {
	b.Helper()
	rec := record.Record{Topic: "t", Value: payload(size)}
	each(b, 1, func() error {
		_, err := p.Produce(context.Background(), &rec)
		return err
	})
}

// BenchmarkReplicate produces by function call to the leader of three nodes in this process, acks=all, durable on all three or in three page caches. Limit: three goroutines that get the batches over channels and do
// the same writes and syncs.
func BenchmarkReplicate(b *testing.B) {
	const size = 100
	for _, mode := range modes {
		name := "nodes=3/size=100B/acks=all/" + mode.name
		b.Run(name+"/stream/insync", func(b *testing.B) {
			p := newProducer(b, nodes(b, 3, mode.topic)[0], producer.AcksAll)
			stream(b, size, func() error { return enqueue(p, b.N, size) })
		})
		b.Run(name+"/stream/limit", func(b *testing.B) {
			l := newReplicatedLimit(b, 3, mode.name == "durable")
			defer l.close()
			batch := batchBytes(b, 64<<10, size)
			stream(b, size, func() error { return l.run(batches(b.N, batch), limitWindow, batch) })
		})
		b.Run(name+"/one/insync", func(b *testing.B) {
			p := newProducer(b, nodes(b, 3, mode.topic)[0], producer.AcksAll)
			b.ReportAllocs()
			produceOne(b, p, size)
		})
		b.Run(name+"/one/limit", func(b *testing.B) {
			l := newReplicatedLimit(b, 3, mode.name == "durable")
			defer l.close()
			batch := batchOf(b, 1, size)
			each(b, 1, func() error { return l.run(1, 1, batch) })
		})
	}
}
