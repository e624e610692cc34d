package consumer_test

import (
	"context"
	"fmt"

	"github.com/insynclog/insync/consumer"
)

// Read two partitions of any Kafka cluster from a point in time on. It is not run: it needs a broker at the address.
func ExampleNew() {
	c, err := consumer.New(consumer.Config{
		Bootstrap:  []string{"127.0.0.1:9092"},
		Partitions: map[string][]int32{"orders": {0, 1}},
		Start:      consumer.AtOffset(42),
	})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	for r, err := range c.Records(context.Background()) {
		if err != nil {
			panic(err) // *consumer.OffsetOutOfRangeError, *consumer.LogTruncatedError, …
		}
		fmt.Printf("%s-%d@%d %s\n", r.Topic, r.Partition, r.Offset, r.Value)
	}
}
