package clustertest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
)

// What a service that counts orders would write: every order that it was told is stored is read, once and in order.
func TestExplore(t *testing.T) {
	clustertest.Explore(t, clustertest.Exploration{Seeds: 5}, func(s *clustertest.Sim) {
		s.CreateTopic("orders", 1, 3)
		p, err := producer.New(producer.Config{Client: s.Client("shop")})
		require.NoError(s, err)
		s.Begin()
		var stored []string
		for order := 'a'; !s.Over(); order++ {
			if _, err := p.Produce(context.Background(), &record.Record{Topic: "orders", Value: []byte(string(order))}); err == nil {
				stored = append(stored, string(order))
			}
			time.Sleep(50 * time.Millisecond)
		}
		require.NoError(s, p.Close())
		c, err := consumer.New(consumer.Config{Client: s.Client("kitchen"), Topics: []string{"orders"}})
		require.NoError(s, err)
		defer c.Close()
		var read []string
		for r, err := range c.Records(context.Background()) {
			require.NoError(s, err)
			if read = append(read, string(r.Value)); read[len(read)-1] == stored[len(stored)-1] {
				break
			}
		}
		assert.Subset(s, read, stored)
		assert.IsIncreasing(s, read)
	})
}
