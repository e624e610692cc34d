package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
)

// When a write is acknowledged.
var (
	durable   = cluster.TopicDefaults{}                  // on stable storage, on every in-sync replica
	pageCache = cluster.TopicDefaults{FlushMessages: -1} // in the page cache
)

var modes = []struct {
	name  string
	topic cluster.TopicDefaults
}{{"durable", durable}, {"pagecache", pageCache}}

// inMemory stands for a directory of nodes that keep everything in memory.
const inMemory = ""

// dirOf is the directory of one node.
func dirOf(dir string, id int32) string {
	if dir == inMemory {
		return inMemory
	}
	return filepath.Join(dir, fmt.Sprint(id))
}

// startNodes starts a cluster on real files, or in memory, with TCP on loopback between the nodes if there are several.
func startNodes(n int, dir string, topic cluster.TopicDefaults) ([]*cluster.Node, error) {
	if n == 1 {
		node, err := cluster.Start(context.Background(), cluster.Config{Dir: dirOf(dir, 1), Topic: topic})
		return []*cluster.Node{node}, err
	}
	var listeners []net.Listener
	var voters []cluster.Voter
	for id := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, l)
		voters = append(voters, cluster.Voter{ID: int32(id + 1), Addr: l.Addr().String()})
	}
	up := make([]*cluster.Node, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range up {
		wg.Go(func() {
			up[i], errs[i] = cluster.Start(context.Background(), cluster.Config{
				NodeID: voters[i].ID, Dir: dirOf(dir, voters[i].ID), Listener: listeners[i], Voters: voters, Topic: topic,
			})
		})
	}
	wg.Wait()
	return up, errors.Join(errs...)
}

func closeNodes(up []*cluster.Node) {
	var wg sync.WaitGroup
	for _, n := range up {
		if n != nil {
			wg.Go(func() { n.Close() })
		}
	}
	wg.Wait()
}

// nodes is startNodes for the time of a test, with a topic "t" of one partition. The first of the nodes returned leads it.
func nodes(tb testing.TB, n int, topic cluster.TopicDefaults) []*cluster.Node {
	tb.Helper()
	up, err := startNodes(n, tb.TempDir(), topic)
	tb.Cleanup(func() { closeNodes(up) })
	if err != nil {
		tb.Fatal(err)
	}
	if err := createTopic(up[0]); err != nil {
		tb.Fatal(err)
	}
	meta, err := up[0].Client().Topic(context.Background(), "t", false)
	if err != nil {
		tb.Fatal(err)
	}
	for i, node := range up {
		if node.ID() == meta.Partitions[0].Leader {
			up[0], up[i] = up[i], up[0]
		}
	}
	return up
}

func createTopic(n *cluster.Node) error {
	return cluster.NewAdmin(n.Client()).CreateTopic(context.Background(), cluster.TopicSpec{Name: "t", Partitions: 1})
}

// newProducer returns a producer that has produced: connections, metadata and producer id are there.
func newProducer(tb testing.TB, n *cluster.Node, acks producer.Acks) *producer.Producer {
	tb.Helper()
	p, err := producer.New(producer.Config{Client: n.Client(), Acks: acks, DisableIdempotence: acks != producer.AcksAll})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	for range 10 {
		if _, err := p.Produce(context.Background(), &record.Record{Topic: "t", Value: []byte("first")}); err != nil {
			tb.Fatal(err)
		}
	}
	return p
}

// enqueue produces n records of size bytes as fast as acknowledgements come.
func enqueue(p *producer.Producer, n, size int) error {
	var mu sync.Mutex
	var failed error
	done := func(_ producer.Metadata, err error) {
		if err != nil {
			mu.Lock()
			failed = err
			mu.Unlock()
		}
	}
	rec := record.Record{Topic: "t", Value: payload(size)}
	for range n {
		if err := p.Enqueue(context.Background(), &rec, done); err != nil {
			return err
		}
	}
	if err := p.Flush(context.Background()); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	return failed
}
