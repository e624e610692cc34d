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

// A process that ends is noticed, over TCP, because its system says so: no session ends within this test. Both the process of the active controller and another one.
func TestEndOfAProcessIsNoticed(t *testing.T) {
	for name, ofController := range map[string]bool{"controller": true, "another": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var voters []Voter
			var listeners []net.Listener
			for id := int32(1); id <= 3; id++ {
				l, err := transport.TCP(nil).Listen(t.Context(), "127.0.0.1:0")
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
					var err error
					nodes[i], err = Start(ctx, Config{NodeID: voters[i].ID, Listener: listeners[i], Voters: voters, SessionTimeout: time.Hour})
					assert.NoError(t, err)
				})
			}
			wg.Wait()
			defer func() {
				for _, n := range nodes {
					n.Kill()
				}
			}()
			require.NoError(t, NewAdmin(nodes[0].Client()).CreateTopic(t.Context(), TopicSpec{Name: "t", Partitions: 3, ReplicationFactor: 3}))
			controller := nodes[0].Status().Controller
			dead, left := nodes[controller-1], nodes[controller%3]
			if !ofController {
				dead, left = nodes[controller%3], nodes[controller-1]
			}
			id := dead.Status().NodeID
			dead.Kill()
			require.Eventually(t, func() bool {
				topic, err := NewAdmin(left.Client()).Topic(t.Context(), "t")
				if err != nil || len(topic.Partitions) != 3 {
					return false
				}
				for _, p := range topic.Partitions {
					if p.Leader == id || p.Leader < 0 {
						return false
					}
				}
				return true
			}, time.Minute, 20*time.Millisecond)
		})
	}
}
