package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
)

// One node in memory: for a unit test, or for a service that needs a log but not its past.
func ExampleStart() {
	ctx := context.Background()
	node, err := cluster.Start(ctx, cluster.Config{})
	if err != nil {
		panic(err)
	}
	defer node.Close()
	if err := cluster.NewAdmin(node.Client()).CreateTopic(ctx, cluster.TopicSpec{Name: "events", Partitions: 2}); err != nil {
		panic(err)
	}
	status := node.Status()
	topic, _ := status.Topic("events")
	fmt.Println(len(topic.Partitions), "partitions, led by node", topic.Partitions[0].Leader)
	// Output: 2 partitions, led by node 1
}

// Three nodes in one process, over a network in memory. In three processes each has its own Listen address and the same Voters.
func ExampleStart_threeNodes() {
	ctx := context.Background()
	network := transport.NewMem()
	voters := []cluster.Voter{{ID: 1, Addr: "a:9092"}, {ID: 2, Addr: "b:9092"}, {ID: 3, Addr: "c:9092"}}
	nodes := make([]*cluster.Node, 3)
	var wg sync.WaitGroup
	for i, host := range []string{"a", "b", "c"} {
		wg.Go(func() { // side by side: none is ready before a majority runs
			var err error
			nodes[i], err = cluster.Start(ctx, cluster.Config{NodeID: voters[i].ID, Listen: voters[i].Addr, Network: network.Host(host), Voters: voters})
			if err != nil {
				panic(err)
			}
		})
	}
	wg.Wait()
	defer func() {
		for _, n := range nodes {
			n.Close()
		}
	}()

	if err := cluster.NewAdmin(nodes[0].Client()).CreateTopic(ctx, cluster.TopicSpec{Name: "orders", Partitions: 1}); err != nil {
		panic(err)
	}
	p, err := producer.New(producer.Config{Client: nodes[1].Client()}) // any node's client reaches the leader
	if err != nil {
		panic(err)
	}
	defer p.Close()
	if _, err := p.Produce(ctx, &record.Record{Topic: "orders", Value: []byte("one")}); err != nil {
		panic(err)
	}
	topic, err := cluster.NewAdmin(nodes[2].Client()).Topic(ctx, "orders")
	if err != nil {
		panic(err)
	}
	fmt.Println("replicas:", len(topic.Partitions[0].Replicas), "in sync:", len(topic.Partitions[0].ISR))
	// Output: replicas: 3 in sync: 3
}

// A deploy: leaderships go to the other nodes before this one ends, within the time there is.
func ExampleNode_Shutdown() {
	node, err := cluster.Start(context.Background(), cluster.Config{})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(node.Shutdown(ctx))
	// Output: <nil>
}

// Errors are Kafka's, with the node's explanation.
func ExampleAdmin_CreateTopic() {
	ctx := context.Background()
	node, err := cluster.Start(ctx, cluster.Config{})
	if err != nil {
		panic(err)
	}
	defer node.Close()
	err = cluster.NewAdmin(node.Client()).CreateTopic(ctx, cluster.TopicSpec{Name: "a/b"})
	fmt.Println(errors.Is(err, kerr.InvalidTopicException))
	// Output: true
}
