// Package consumer reads records from partitions of a Kafka cluster: of an embedded node by function call, of any other broker over the network.
//
//	c, err := consumer.New(consumer.Config{Client: node.Client(), Topics: []string{"orders"}})
//	if err != nil { … }
//	defer c.Close()
//	for r, err := range c.Records(ctx) {
//		if err != nil { … } // the last element
//		handle(r) // valid until the next iteration; r.Clone() keeps it
//	}
//
// # How it works
//
//	             ┌── resolver ── where does each partition start? who leads it? was the log truncated?
//	Consumer ────┤
//	             └── one fetcher per node ──► queue of fetched batches ──► Records, Batches
//	                     ▲                    at most BufferBytes                │
//	                     └────────── space, seek, pause, resume ─────────────────┘
//
// A fetcher asks its node for all partitions that it reads there, in one request, and asks again while the application works on what came: prefetching is bounded by Config.BufferBytes in all and
// by twice Config.PartitionMaxBytes per partition. The goroutines start with the first iteration, and a fetcher ends when it has no partitions left.
//
// # Invariants
//
//   - Per partition, offsets come in rising order, each at most once, and nothing is left out but what the log no longer has, control records, and, with ReadCommitted, aborted transactions.
//   - Every batch's CRC is checked before its records are handed out.
//   - A position that the log does not have (any more) is an error, *OffsetOutOfRangeError or *LogTruncatedError (KIP-320), never a silent jump, unless Config.OutOfRange asks for one.
//
// # Concurrency
//
// One iteration at a time; all other methods may be called from anywhere. The package starts no group: partitions are assigned by Config. It follows kafka: KIP-227 (as a sessionless reader),
// KIP-320 (truncation), KIP-392 (nearest replica), KIP-951 (leader hints).
package consumer
