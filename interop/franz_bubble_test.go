//go:build synctests

package interop

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The same in virtual time, over the network in memory, with power loss. It needs franz-go's build tag synctests: kgo waits for a producer id with a mutex held, and a goroutine that waits for a mutex stops
// the clock of a bubble; with the tag its mutexes are made of channels.
func TestFranzInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 1})
		c.CreateTopic(topic, partitions, 3)
		network := c.Network().Host("franz")
		crash := func() { c.Crash(c.Leader(topic, 0)) }
		began := time.Now()
		produceAndConsume(t, crash, kgo.SeedBrokers(c.Addrs()...), kgo.Dialer(func(ctx context.Context, _, addr string) (net.Conn, error) {
			return network.Dial(ctx, addr)
		}))
		t.Logf("%v of virtual time", time.Since(began))
	})
}
