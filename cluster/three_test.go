package cluster

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/transport"
)

// startThree starts a cluster of three nodes on ports of this machine, by node id - 1. Whoever calls it ends them.
func startThree(t *testing.T, network transport.Network, change func(*Config)) []*Node {
	t.Helper()
	var voters []Voter
	var listeners []net.Listener
	for id := int32(1); id <= 3; id++ {
		l, err := network.Listen(t.Context(), "127.0.0.1:0")
		require.NoError(t, err)
		listeners = append(listeners, l)
		voters = append(voters, Voter{ID: id, Addr: l.Addr().String()})
	}
	nodes := make([]*Node, 3)
	var wg sync.WaitGroup
	for i := range nodes {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			c := Config{NodeID: voters[i].ID, Listener: listeners[i], Voters: voters, Network: network}
			change(&c)
			var err error
			nodes[i], err = Start(ctx, c)
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	return nodes
}
