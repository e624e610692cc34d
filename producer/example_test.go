package producer_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
)

// A cluster on the network; for a node in this process, give Client: node.Client() instead of Bootstrap.
func ExampleNew() {
	p, err := producer.New(producer.Config{
		Bootstrap: []string{"127.0.0.1:9092", "127.0.0.1:9093"},
		Codec:     record.Zstd,
		Linger:    5 * time.Millisecond,
	})
	if err != nil {
		log.Fatal(err) // names all problems of the config
	}
	defer p.Close()
}

func ExampleProducer_Produce() {
	var p *producer.Producer // from New
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	md, err := p.Produce(ctx, &record.Record{Topic: "orders", Key: []byte("customer-7"), Value: []byte("3 apples")})
	switch {
	case err == nil:
		fmt.Printf("committed at %s-%d, offset %d\n", md.Topic, md.Partition, md.Offset)
	case errors.Is(err, producer.ErrUnknownOutcome):
		fmt.Println("may be in the log:", err) // look before you send it again
	default:
		fmt.Println("not in the log:", err) // sending it again is safe
	}
}

func ExampleProducer_Enqueue() {
	var p *producer.Producer // from New
	ctx := context.Background()
	var r record.Record // may be reused: Enqueue keeps nothing of it
	for i := range 1_000_000 {
		r = record.Record{Topic: "readings", Value: fmt.Append(r.Value[:0], i)}
		err := p.Enqueue(ctx, &r, func(md producer.Metadata, err error) {
			if err != nil {
				log.Print(err)
			}
		})
		if err != nil {
			log.Fatal(err) // not taken: the callback will not be called
		}
	}
	if err := p.Flush(ctx); err != nil { // all callbacks have been called
		log.Fatal(err)
	}
}

// Records of one customer go where the Java client would put them; everything else to partition 0.
func ExamplePartitionerFunc() {
	byCustomer := producer.PartitionerFunc(func(r *record.Record, partitions int) int {
		if r.Key == nil {
			return 0
		}
		return int(producer.KeyPartition(r.Key, partitions))
	})
	fmt.Println(byCustomer(&record.Record{}, 7), byCustomer(&record.Record{Key: []byte("21")}, 7))
	// Output: 0 3
}

func ExampleOutcomeOf() {
	p, err := producer.New(producer.Config{Bootstrap: []string{"127.0.0.1:9092"}})
	if err != nil {
		log.Fatal(err)
	}
	p.Close()
	_, err = p.Produce(context.Background(), &record.Record{Topic: "orders"})
	fmt.Println(producer.OutcomeOf(err), errors.Is(err, producer.ErrClosed))
	// Output: not committed true
}
