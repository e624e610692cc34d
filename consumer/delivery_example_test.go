package consumer_test

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/consumer/sqloffsets"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
)

// payments starts a node with a topic of five payments.
func payments(ctx context.Context) (*cluster.Node, error) {
	node, err := cluster.Start(ctx, cluster.Config{}) // in memory
	if err != nil {
		return nil, err
	}
	if err := cluster.NewAdmin(node.Client()).CreateTopic(ctx, cluster.TopicSpec{Name: "payments"}); err != nil {
		return node, err
	}
	p, err := producer.New(producer.Config{Client: node.Client()})
	if err != nil {
		return node, err
	}
	defer p.Close()
	for i := range 5 {
		if _, err := p.Produce(ctx, &record.Record{Topic: "payments", Value: fmt.Appendf(nil, "payment %d", i)}); err != nil {
			return node, err
		}
	}
	return node, nil
}

// At least once: what was marked as processed is committed, and nothing else ever is. A worker dies with a payment in its hands; the next one begins with just that.
func ExampleConsumer_MarkProcessed() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, err := payments(ctx)
	if err != nil {
		panic(err)
	}
	defer node.Close()

	config := consumer.Config{Client: node.Client(), Group: "billing", Topics: []string{"payments"}}
	worker := func(crashAt string) {
		c, err := consumer.New(config)
		if err != nil {
			panic(err)
		}
		defer c.Close() // commits what is marked, and leaves the group
		for r, err := range c.Records(ctx) {
			if err != nil {
				panic(err)
			}
			fmt.Printf("%s", r.Value)
			if string(r.Value) == crashAt {
				fmt.Println(": crash!") // before it could be marked
				break
			}
			fmt.Println()
			if err := c.MarkProcessed(r); err != nil {
				panic(err) // *consumer.LostError: the group has given the partition to somebody else
			}
			if r.Offset == 4 {
				break
			}
		}
	}
	worker("payment 2")
	worker("")
	// Output:
	// payment 0
	// payment 1
	// payment 2: crash!
	// payment 2
	// payment 3
	// payment 4
}

// At most once: a batch counts as done before its records are handed out. What a crash interrupts does not come again.
func ExampleCommitMode_atMostOnce() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, err := payments(ctx)
	if err != nil {
		panic(err)
	}
	defer node.Close()

	config := consumer.Config{
		Client: node.Client(), Group: "pager", Topics: []string{"payments"}, Commit: consumer.AtMostOnce,
		InstanceID: "pager-1", // a restarted instance takes its own place in the group without waiting for its predecessor's session to end
	}
	c, err := consumer.New(config)
	if err != nil {
		panic(err)
	}
	for r, err := range c.Records(ctx) {
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s: crash!\n", r.Value)
		break
	}
	c.Kill()
	g, err := cluster.NewAdmin(node.Client()).Group(ctx, "pager")
	if err != nil {
		panic(err)
	}
	fmt.Println("committed:", g.Partitions[0].Committed > 0)
	// Output:
	// payment 0: crash!
	// committed: true
}

// Exactly once with the application's own database: results and offsets change in one transaction. It is not run: it needs a database; examples/workers/exactlyonce has a whole program.
func ExampleConsumer_Process() {
	ctx := context.Background()
	db, err := sql.Open("sqlite3", "file:billing.db") // any driver of database/sql
	if err != nil {
		panic(err)
	}
	store := &sqloffsets.Store{DB: db}
	if err := store.Create(ctx); err != nil {
		panic(err)
	}
	c, err := consumer.New(consumer.Config{
		Bootstrap: []string{"127.0.0.1:9092"}, Group: "billing", Topics: []string{"payments"},
		Commit: consumer.External, LoadOffsets: store.Load,
	})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	err = c.Process(ctx, func(ctx context.Context, b consumer.Batch) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := store.Advance(ctx, tx, b); err != nil {
			return err // a zombie's transaction ends here: the partition is another's by now
		}
		for i := range b.Records {
			if _, err := tx.ExecContext(ctx, `INSERT INTO bookings (text) VALUES (?)`, string(b.Records[i].Value)); err != nil {
				return err
			}
		}
		return tx.Commit()
	})
	if err != nil {
		panic(err)
	}
}
