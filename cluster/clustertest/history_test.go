package clustertest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// This is how a user's test looks.
func TestHistoryOfAFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3})
		c.CreateTopic("orders", 1, 3)
		h := clustertest.NewHistory(c)
		p, err := producer.New(producer.Config{Client: c.Client()})
		require.NoError(t, err)
		for i := range 100 {
			if i == 50 {
				c.Crash(c.Leader("orders", 0))
			}
			r, settled := h.Record("p", "orders", 0)
			settled(p.Produce(context.Background(), r))
		}
		p.Close()
		h.Check()
		assert.Contains(t, h.String(), " p send ok orders-0@99=p/99\n")
	})
}

// A history tells the checker all it is told.
func TestHistoryNotices(t *testing.T) {
	lazy := func(c *cluster.Config) { c.Topic.FlushMessages = -1 }
	for _, x := range []struct {
		name string
		want string
		do   func(c *clustertest.Cluster, h *clustertest.History, read []record.Record)
	}{
		{"nothing", "", func(_ *clustertest.Cluster, h *clustertest.History, read []record.Record) {
			for i := range read {
				h.Consumed("c", &read[i])
			}
			h.Moved("c")
			h.Consumed("c", &read[1])
		}},
		{"power loss of the page cache", "C2", func(c *clustertest.Cluster, _ *clustertest.History, _ []record.Record) {
			c.Crash(1)
			c.Restart(1)
		}},
		{"skip", "C7", func(_ *clustertest.Cluster, h *clustertest.History, read []record.Record) {
			h.Consumed("c", &read[0])
			h.Consumed("c", &read[2])
		}},
		{"back", "C8", func(_ *clustertest.Cluster, h *clustertest.History, read []record.Record) {
			h.Consumed("c", &read[1])
			h.Consumed("c", &read[0])
		}},
		{"changed", "C3", func(_ *clustertest.Cluster, h *clustertest.History, read []record.Record) {
			read[0].Value = read[1].Value
			h.Consumed("c", &read[0])
		}},
		{"foreign", "C5", func(c *clustertest.Cluster, _ *clustertest.History, _ []record.Record) { c.Produce("t", []byte("x")) }},
		{"refused, and there", "C6", func(c *clustertest.Cluster, h *clustertest.History, _ []record.Record) {
			r, settled := h.Record("q", "t", 0)
			settled(producer.Metadata{}, &producer.Error{Outcome: producer.NotCommitted, Err: errors.New("refused")})
			c.Produce("t", r.Value)
		}},
		{"unknown, and there", "", func(c *clustertest.Cluster, h *clustertest.History, _ []record.Record) {
			r, settled := h.Record("q", "t", 0)
			settled(producer.Metadata{}, errors.New("no answer"))
			c.Produce("t", r.Value)
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := clustertest.New(t, clustertest.Config{Node: lazy})
				c.CreateTopic("t", 1, 1)
				h := clustertest.NewHistory(c)
				p, err := producer.New(producer.Config{Client: c.Client()})
				require.NoError(t, err)
				for range 3 {
					r, settled := h.Record("p", "t", 0)
					settled(p.Produce(context.Background(), r))
				}
				p.Close()
				var read []record.Record
				cons, err := consumer.New(consumer.Config{Client: c.Client(), Topics: []string{"t"}})
				require.NoError(t, err)
				for r, err := range cons.Records(context.Background()) {
					require.NoError(t, err)
					if read = append(read, r.Clone()); len(read) == 3 {
						break
					}
				}
				cons.Close()
				x.do(c, h, read)
				rules := h.Broken()
				if x.want == "" {
					assert.Empty(t, rules)
					h.Check()
					return
				}
				assert.Contains(t, rules, x.want)
			})
		})
	}
}
