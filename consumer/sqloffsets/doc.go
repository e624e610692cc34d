// Package sqloffsets keeps a consumer group's offsets in a table of the application's own SQL database, so that they change in one transaction with the results: every record counts exactly once,
// whatever crashes, and whoever believes to own a partition.
//
//	store := &sqloffsets.Store{DB: db}
//	c, err := consumer.New(consumer.Config{Group: "billing", Topics: …, Commit: consumer.External, LoadOffsets: store.Load})
//	err = c.Process(ctx, func(ctx context.Context, b consumer.Batch) error {
//		tx, err := db.BeginTx(ctx, nil)
//		if err != nil { … }
//		defer tx.Rollback()
//		if err := store.Advance(ctx, tx, b); err != nil { return err }
//		… // what the records mean, by the same tx
//		return tx.Commit()
//	})
//
// # The table
//
//	consumer_group │ topic │ topic_partition │ next_offset │ member │ generation
//	───────────────┴───────┴─────────────────┼─────────────┼────────┴───────────
//	primary key                              │ -1: none    │ the owner that claimed the partition last
//
// # Why it is safe
//
// Advance is one UPDATE with a comparison: the row must name the batch's member and generation, and must have the offset at which the batch begins. A database runs the updates of one row one after the
// other, and a transaction is done whole or not at all. So of all transactions that would move a partition on from an offset, one is committed, and its results with it. That alone makes each record count
// once, even if two members fought for ever.
//
// The owner in the row makes the wrong one of them notice at once, instead of now and then. A new owner claims the row (Load) before it reads anything; whatever a former owner began and did not commit
// before that fails afterwards. What it did commit before is what Load returns.
//
// Generations rise from owner to owner: a group gives a partition to a member under a target that no member had it under before, and the member's epoch (KIP-848), or the group's generation (classic), is
// that target's. Epochs of other members are no guide: while a partition is on its way, the member that gives it up and the one that waits for it both reach the new epoch. So a Fence has the generation at
// which its partition was assigned, not that of the moment; by it, a late claim of a former owner is refused. There is one way for two owners to have the same generation: a static member that is restarted
// takes over its predecessor's assignment without a new one. Therefore a claim replaces an owner of the same generation, and rows are compared by member as well as by generation. If it was the
// predecessor's claim that came late, the rightful owner's next Advance fails, and the consumer claims again; the predecessor cannot: the coordinator has fenced it.
//
// A coordinator forgets a group that has neither members nor offsets, and one that keeps its offsets here has none there. Its successor counts from 1 again, below what the rows say, so a claim is refused
// at first. The consumer then asks the coordinator: if a heartbeat that was sent after the refusal confirms the assignment, no later owner can have left that row, and the claim is made regardless of it
// (consumer.Claim.Confirmed).
//
// # What it asks of the database
//
// READ COMMITTED or stricter, and an UPDATE that locks its rows and looks at their latest committed state: PostgreSQL, MySQL, SQLite, SQL Server and others do. With stricter isolation a conflict may show as a
// serialisation error of the driver; Process then returns it, and hands the batch out again when called again. The package is safe for concurrent use and starts no goroutine. It knows nothing of
// drivers.
package sqloffsets
