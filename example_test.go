package insync_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/stretchr/testify/require"
)

func run(ctx context.Context, dir, listen string) error {
	node, err := cluster.Start(ctx, cluster.Config{Dir: dir, Listen: listen}) // Listen is for other Kafka clients
	if err != nil {
		return err
	}
	defer node.Close() // at once; node.Shutdown(ctx) hands leadership over first

	admin := cluster.NewAdmin(node.Client())
	if err := admin.CreateTopic(ctx, cluster.TopicSpec{Name: "orders", Partitions: 3}); err != nil {
		return err
	}

	p, err := producer.New(producer.Config{Client: node.Client()}) // by function call: no socket, no encoding
	if err != nil {
		return err
	}
	defer p.Close()
	md, err := p.Produce(ctx, &record.Record{Topic: "orders", Key: []byte("42"), Value: []byte("paid")})
	if err != nil {
		return err
	}
	fmt.Println("on stable storage at offset", md.Offset)

	c, err := consumer.New(consumer.Config{Client: node.Client(), Group: "billing", Topics: []string{"orders"}})
	if err != nil {
		return err
	}
	defer c.Close()
	for r, err := range c.Records(ctx) {
		if err != nil {
			return err
		}
		fmt.Printf("%s is %s\n", r.Key, r.Value)
		c.MarkProcessed(r) // only what is marked is committed, for the group to go on behind it
		break              // it would wait for more
	}
	return nil
}

func Example() {
	dir, err := os.MkdirTemp("", "insync-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := run(context.Background(), dir, "127.0.0.1:0"); err != nil {
		panic(err)
	}
	// Output:
	// on stable storage at offset 0
	// 42 is paid
}

// The README shows the program above, line by line, and the test that clustertest's own package comment shows.
func TestREADMEProgramIsTheExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	source, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	blocks := strings.Split(string(readme), "```go\n")
	require.Len(t, blocks, 3, "one program, one test")
	program, _, _ := strings.Cut(blocks[1], "```")
	require.Contains(t, string(source), program)

	doc, err := os.ReadFile("cluster/clustertest/doc.go")
	require.NoError(t, err)
	test, _, _ := strings.Cut(blocks[2], "```")
	for line := range strings.Lines(test) {
		require.Contains(t, string(doc), "//\t"+line)
	}
}
