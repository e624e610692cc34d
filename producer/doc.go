// Package producer sends records to a Kafka cluster: to any over the network, and to a node in this process by function call.
//
//	p, err := producer.New(producer.Config{Client: node.Client()})
//	md, err := p.Produce(ctx, &record.Record{Topic: "orders", Key: key, Value: value}) // waits for the acknowledgement
//	err = p.Enqueue(ctx, r, func(md producer.Metadata, err error) { … })                // waits for buffer space at most
//
// Records of a partition gather in a batch, batches of the partitions that one node leads travel together, and stay in order:
//
//	Produce ─┐            ┌ open ─▶ queue ─▶ window ┐           one request: a batch of each partition
//	Enqueue ─┴▶ partition ┤                         ├─▶ node ─▶ Produce ─▶ leader
//	                      └ open ─▶ queue ─▶ window ┘  (sender)    │
//	        callbacks ◀─── deliveries ◀───── window ◀── results ◀──┘
//
// # Promises
//
//   - With idempotence, the default, a record is in the log at most once, and records of one partition that were given to Enqueue
//     one after the other are in the log in that order, whatever was retried (KIP-98).
//   - Every record has one of three outcomes, and its error says which: see Outcome.
//   - Nothing outlives Config.DeliveryTimeout, and no more than Config.BufferBytes is buffered.
//
// # Concurrency
//
// All methods may be called from many goroutines. The producer starts no goroutine before there is work: a sender for each node that leads a
// partition, and one that waits for metadata. They end when there is nothing to do. A call of Produce that finds its node at rest
// sends the request itself. No lock is held while anything is waited for, so all of it works in a bubble of testing/synctest.
//
// # Not here
//
// Transactions. Compression by topic. Adaptive partitioning by the leaders' queues (KIP-794): without a key, all partitions with a
// leader are equal.
//
// Source of truth: Kafka's protocol (Produce, InitProducerId), KIP-98 and KIP-360 (idempotence and epochs), KIP-480 (sticky partitions),
// KIP-467 (rejected records), KIP-951 (leader hints).
package producer
