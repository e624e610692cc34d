package clustertest_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var unavailableRounds = flag.Int("unavailable.rounds", int(few(10, 3)), "how many leaders TestUnavailability takes away each way")

// gap is for how long a producer that always has something to send heard nothing.
type gap struct {
	mu    sync.Mutex
	last  time.Time
	worst time.Duration
}

func (g *gap) acknowledged(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.last.IsZero() {
		g.worst = max(g.worst, now.Sub(g.last))
	}
	g.last = now
}

// after tells whether something was acknowledged after a time.
func (g *gap) after(at time.Time) func() bool {
	return func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.last.After(at)
	}
}

// take returns the longest silence since the last call.
func (g *gap) take() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.worst
	g.worst = 0
	return w
}

// How long a producer hears nothing when the leader of its partition is killed, or cut off from everybody, the producer included. Time is virtual: what is measured are timeouts and round trips, not the machine.
func TestUnavailability(t *testing.T) {
	for _, tc := range []struct {
		name      string
		node      func(*cluster.Config)
		kill, cut time.Duration // the 99th percentile is below
	}{
		{"default", nil, 2 * time.Second, 12 * time.Second}, // a process that ends is noticed; otherwise a session has to end, and where the controller goes, too, there is an election before it
		{"quick", func(c *cluster.Config) {
			c.HeartbeatInterval, c.SessionTimeout, c.ElectionTimeout = 300*time.Millisecond, 1200*time.Millisecond, 300*time.Millisecond
		}, time.Second, 2 * time.Second},
		{"tight", func(c *cluster.Config) {
			c.HeartbeatInterval, c.SessionTimeout, c.ElectionTimeout = 20*time.Millisecond, 100*time.Millisecond, 50*time.Millisecond
		}, 300 * time.Millisecond, 300 * time.Millisecond},
	} {
		for way, p99 := range map[string]time.Duration{"kill": tc.kill, "cut": tc.cut} {
			t.Run(tc.name+"/"+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					all := unavailable(t, tc.node, way)
					slices.Sort(all)
					p := func(q float64) time.Duration {
						return all[min(int(q*float64(len(all))), len(all)-1)].Round(time.Millisecond)
					}
					t.Logf("%s, %s: p50 %v, p90 %v, p99 %v, worst %v of %d", tc.name, way, p(0.5), p(0.9), p(0.99), all[len(all)-1].Round(time.Millisecond), len(all))
					if len(all) >= 100 {
						assert.Less(t, p(0.99), p99)
						return
					}
					assert.Less(t, p(0.5), p99)
					assert.Less(t, all[len(all)-1], 2*p99, "the worst of a few says nothing of the 99th percentile")
				})
			})
		}
	}
}

// unavailable takes leaders away, one after the other.
func unavailable(t *testing.T, node func(*cluster.Config), way string) (silences []time.Duration) {
	c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 4, Node: node, Timeout: 10 * time.Minute})
	c.Network().SetDelay(func(transport.Delivery) time.Duration { return 500 * time.Microsecond })
	c.CreateTopic("t", 1, 3)
	client := c.Client()
	p, err := producer.New(producer.Config{Client: client})
	require.NoError(t, err)
	g := &gap{}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var sent []string
	wg.Go(func() {
		for ctx.Err() == nil {
			v := fmt.Sprint(len(sent))
			_, err := p.Produce(t.Context(), &record.Record{Topic: "t", Value: []byte(v)})
			assert.NoError(t, err)
			sent = append(sent, v)
			g.acknowledged(time.Now())
			time.Sleep(20 * time.Millisecond)
		}
	})
	for range *unavailableRounds {
		c.AwaitISR("t", 0, 3)
		time.Sleep(time.Duration(1000+len(silences)*37%500) * time.Millisecond) // not in step with what is periodic
		leader := c.Leader("t", 0)
		g.take()
		if way == "kill" {
			c.Kill(leader)
		} else {
			c.Isolate(leader)
		}
		for now := c.Leader("t", 0); now == leader; now = c.Leader("t", 0) { // of those that hear of each other
			time.Sleep(time.Millisecond)
		}
		c.Await("the producer is heard", g.after(time.Now()))
		silences = append(silences, g.take())
		if way == "kill" {
			c.Restart(leader)
		} else {
			c.Heal()
		}
	}
	cancel()
	wg.Wait()
	require.NoError(t, p.Close())
	require.Equal(t, sent, values(c, "t"), "each once, in order")
	return silences
}
