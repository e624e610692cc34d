package clustertest_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/stretchr/testify/assert"
)

// recoveries counts the logs that are gone through when they are opened.
type recoveries struct{ n atomic.Int64 }

func (r *recoveries) Enabled(context.Context, slog.Level) bool { return true }
func (r *recoveries) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *recoveries) WithGroup(string) slog.Handler            { return r }

func (r *recoveries) Handle(_ context.Context, record slog.Record) error {
	if strings.HasPrefix(record.Message, "log is recovered") {
		r.n.Add(1)
	}
	return nil
}

// All nodes are closed at the same time, or shut down, and started. Nothing is recovered, and every ISR is whole again at once.
func TestFault_F34_TotalRestart(t *testing.T) {
	for name, end := range map[string]func(context.Context, *cluster.Node) error{
		"close": func(_ context.Context, n *cluster.Node) error { return n.Close() }, "shutdown": func(ctx context.Context, n *cluster.Node) error { return n.Shutdown(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r recoveries
				c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 11, Node: func(c *cluster.Config) { c.Logger = slog.New(&r) }})
				c.CreateTopic("t", 3, 3)
				c.Produce("t", []byte("a"), []byte("b"), []byte("c"))
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				began := time.Now()
				var wg sync.WaitGroup
				for id := int32(1); id <= 3; id++ {
					n := c.Node(id)
					wg.Go(func() { assert.NoError(t, end(ctx, n), "node %d", id) })
				}
				wg.Wait()
				assert.Less(t, time.Since(began), 15*time.Second, "a session of 9 s, and what comes before and after it")
				for id := int32(1); id <= 3; id++ {
					c.Stop(id)
				}
				r.n.Store(0)
				startInOrder(t, c, []int32{1, 2, 3}, 0)
				began = time.Now()
				for p := range int32(3) {
					c.AwaitISR("t", p, 3)
				}
				assert.Less(t, time.Since(began), 9*time.Second, "a new registration leaves the ISR, and is back as soon as it has fetched, or with one of the next heartbeats: within a session")
				assert.ElementsMatch(t, []string{"a", "b", "c"}, values(c, "t"))
				assert.Zero(t, r.n.Load(), "logs recovered")

				c.Kill(2) // and then there are some
				c.Restart(2)
				c.AwaitISR("t", 0, 3)
				assert.NotZero(t, r.n.Load())
			})
		})
	}
}

// A node that shuts down when there is no majority finds nobody who could take what it has, and waits for that no longer than for a session, whatever its context allows.
func TestShutdownWithoutAMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 12})
		c.CreateTopic("t", 3, 3)
		c.Kill(1)
		c.Kill(2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		assert.NoError(t, c.Node(3).Shutdown(ctx))
		assert.Less(t, time.Since(began), 12*time.Second, "a session of 9 s")
		c.Stop(3)
	})
}
