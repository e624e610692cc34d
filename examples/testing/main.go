// Testing is a small service, and a test that runs it in clusters under faults: see main_test.go. The program itself shows the service on one node in memory.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/insynclog/insync/cluster"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out *os.File) error {
	node, err := cluster.Start(ctx, cluster.Config{})
	if err != nil {
		return err
	}
	defer node.Close()
	if err := cluster.NewAdmin(node.Client()).CreateTopic(ctx, cluster.TopicSpec{Name: "wishes", Partitions: 1}); err != nil {
		return err
	}
	const rows, seats = "ABCD", 12
	customers := []string{"ada", "bob", "cyd"}
	plan := map[string]string{}
	sold := map[string]int{}
	var mu sync.Mutex
	var queue sync.WaitGroup
	errs := make([]error, len(customers))
	for i, customer := range customers {
		shop, err := Open(node.Client())
		if err != nil {
			return err
		}
		defer shop.Close()
		queue.Go(func() {
			for n := range len(rows) * seats { // everybody wants every seat, and begins elsewhere
				n = (n*7 + i*16) % (len(rows) * seats)
				seat := fmt.Sprintf("%c%d", rows[n/seats], n%seats+1)
				owner, err := shop.Sell(ctx, seat, customer)
				if err != nil {
					errs[i] = err
					return
				}
				mu.Lock()
				plan[seat] = owner
				if owner == customer {
					sold[customer]++
				}
				mu.Unlock()
			}
		})
	}
	queue.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "     %s\n", strings.Repeat("~ stage ~ ", 5))
	for _, row := range rows {
		fmt.Fprintf(out, "%c   ", row)
		for n := range seats {
			fmt.Fprintf(out, " %s", plan[fmt.Sprintf("%c%d", row, n+1)])
		}
		fmt.Fprintln(out)
	}
	for _, customer := range customers {
		fmt.Fprintf(out, "%s has %d seats\n", customer, sold[customer])
	}
	fmt.Fprintf(out, "%d of %d seats sold, none twice\n", len(plan), len(rows)*seats)
	return nil
}
