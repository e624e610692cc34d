package cluster_test

import (
	"context"
	"fmt"
	"log"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// A cluster of one grows to three while it runs.
func ExampleAdmin_AddVoter() {
	ctx := context.Background()
	first, err := cluster.Start(ctx, cluster.Config{NodeID: 1, Listen: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	defer first.Close()
	admin := cluster.NewAdmin(first.Client())
	for id := int32(2); id <= 3; id++ {
		node, err := cluster.Start(ctx, cluster.Config{NodeID: id, Listen: "127.0.0.1:0", Join: first.Addrs()})
		if err != nil {
			log.Fatal(err)
		}
		defer node.Close()
		fmt.Println("observers", node.Status().Observers)
		if err := admin.AddVoter(ctx, id); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("voters", first.Status().Voters)
	// Output:
	// observers [2]
	// observers [3]
	// voters [1 2 3]
}

// On real disks and sockets: two nodes join, the first goes for good, and the others start again with nothing but their directories.
func TestNodesComeAndGo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	config := func(id int32, listen string, join []string) cluster.Config {
		return cluster.Config{
			NodeID: id, Dir: filepath.Join(dir, fmt.Sprint(id)), Listen: listen, Join: join, HeartbeatInterval: 100 * time.Millisecond, SessionTimeout: 2 * time.Second, ElectionTimeout: 500 * time.Millisecond,
		}
	}
	first, err := cluster.Start(ctx, config(1, "127.0.0.1:0", nil))
	require.NoError(t, err)
	defer first.Close()
	nodes := map[int32]*cluster.Node{}
	addrs := map[int32]string{}
	admin := cluster.NewAdmin(first.Client())
	for id := int32(2); id <= 3; id++ {
		nodes[id], err = cluster.Start(ctx, config(id, "127.0.0.1:0", first.Addrs()))
		require.NoError(t, err)
		addrs[id] = nodes[id].Addrs()[0]
		require.NoError(t, admin.AddVoter(ctx, id))
	}
	require.ErrorIs(t, admin.AddVoter(ctx, 3), kerr.DuplicateVoter)
	require.NoError(t, cluster.NewAdmin(nodes[2].Client()).RemoveNode(ctx, 1))
	require.NoError(t, cluster.NewAdmin(nodes[2].Client()).RemoveNode(ctx, 1), "it is gone already")
	select {
	case <-first.Done():
	case <-ctx.Done():
		t.Fatal("the first node does not notice that it was removed")
	}
	require.ErrorIs(t, first.Err(), cluster.ErrRemoved)

	for _, n := range nodes {
		require.NoError(t, n.Close())
	}
	var wg sync.WaitGroup
	again := make([]*cluster.Node, 4)
	for id := range nodes {
		wg.Go(func() {
			var err error
			again[id], err = cluster.Start(ctx, config(id, addrs[id], nil))
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	for _, n := range again {
		if n != nil {
			assert.Equal(t, []int32{2, 3}, n.Status().Voters)
			assert.NoError(t, n.Close())
		}
	}
}
