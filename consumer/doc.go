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
// # Groups
//
// With Config.Group the partitions are shared out among the members of a consumer group: by the coordinator (KIP-848) where it can, else by the members themselves with Java's cooperative-sticky.
//
//	                ┌── member loop ── heartbeats; joins; is the session alive? never waits for the application
//	coordinator ◀───┼── reconciler ─── gives up, takes over; OnAssigned, OnRevoked, OnLost, LoadOffsets
//	                └── committer ──── marks, each CommitInterval
//
// What a crash repeats or loses is Config.Commit's to say:
//
//	AtLeastOnce  r := …; handle(r); c.MarkProcessed(r)        what was not committed yet comes again
//	AtMostOnce   committed before r is handed out             what was not finished is lost
//	External     c.Process(ctx, handler with a transaction)   neither: offset and results change together (package sqloffsets)
//
// A partition is given up in this order: nothing more of it is handed out, the application finishes the record or batch in its hands (the next step of the loop shows it), OnRevoked, marks are committed, the
// coordinator is told. So members that come and go in good order repeat nothing. A member that falls out hears OnLost, keeps iterating, and joins again; it stops handing out, and says so, before the coordinator can
// have given its partitions to others, for it counts the session from when it sent the last heartbeat that was answered, and a tenth less. Nothing that it waits for then, such as the answer to a commit, holds that up; only a
// callback that does not heed its context can.
//
// Liveness does not depend on processing: there is no max.poll.interval.ms. A record may take as long as it likes, unless Config.MaxProcessing says otherwise.
//
// # Invariants
//
//   - Per partition, offsets come in rising order, each at most once, and nothing is left out but what the log no longer has, control records, and, with ReadCommitted, aborted transactions.
//   - Every batch's CRC is checked before its records are handed out.
//   - No offset is committed of a record that the application has not marked (AtLeastOnce). Marks of a partition that is another's are refused.
//   - A position that the log does not have (any more) is an error, *OffsetOutOfRangeError or *LogTruncatedError (KIP-320), never a silent jump, unless Config.OutOfRange asks for one.
//
// # Concurrency
//
// One iteration at a time; all other methods may be called from anywhere, but Close and Kill not from Config's functions. It follows Kafka: KIP-227 (as a sessionless reader), KIP-320 (truncation), KIP-345
// (static members), KIP-392 (nearest replica), KIP-394 (member ids), KIP-429 (cooperative rebalancing), KIP-848 (the coordinator shares out), KIP-951 (leader hints).
package consumer
