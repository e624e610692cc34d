package consumer_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/consumer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Against real nodes: a member comes, another joins, the coordinator's node stops, the second leaves. Every record is handed out once.
func TestGroupOfACluster(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { comeAndGo(t, nodes) })
		})
	}
}

func comeAndGo(t *testing.T, nodes int) {
	tc := clustertest.New(t, clustertest.Config{Nodes: nodes, Seed: 1})
	tc.CreateTopic("t", 4, int16(nodes))
	var mu sync.Mutex
	seen := map[string]int{}
	run := func() (c *consumer.Consumer, stop func()) {
		c, err := consumer.New(consumer.Config{Client: tc.Client(), Topics: []string{"t"}, Group: "g", OnLost: func(_ context.Context, ps []consumer.TopicPartition) {
			t.Errorf("%v lost", ps)
		}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			for r, err := range c.Records(ctx) {
				if !assert.NoError(t, err) {
					return
				}
				mu.Lock()
				seen[fmt.Sprint(r.Partition, "/", r.Offset)]++
				mu.Unlock()
				time.Sleep(10 * time.Millisecond) // work
				assert.NoError(t, c.MarkProcessed(r))
			}
		})
		return c, func() {
			cancel()
			wg.Wait()
			require.NoError(t, c.Close())
		}
	}
	written := 0
	write := func() {
		for range 20 {
			var values [][]byte
			for range 10 {
				written++
				values = append(values, []byte(fmt.Sprint(written)))
			}
			tc.Produce("t", values...)
			time.Sleep(time.Second)
		}
	}
	first, stopFirst := run()
	write()
	second, stopSecond := run()
	write()
	assert.Equal(t, consumer.ProtocolConsumer, first.GroupStatus().Protocol)
	assert.Len(t, first.Status(), 2)
	assert.Len(t, second.Status(), 2)
	if nodes > 1 {
		tc.Stop(first.GroupStatus().Coordinator)
		write()
	}
	stopSecond()
	write()
	assert.Len(t, first.Status(), 4)
	assert.Equal(t, consumer.Stable, first.GroupStatus().State)
	stopFirst()
	assert.Len(t, seen, written)
	for r, n := range seen {
		assert.Equal(t, 1, n, r)
	}
}
