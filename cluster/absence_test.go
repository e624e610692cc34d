package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/transport"
)

// A process that ends is noticed, over TCP, because its system says so: no session ends within this test. Both the process of the active controller and another one.
func TestEndOfAProcessIsNoticed(t *testing.T) {
	for name, ofController := range map[string]bool{"controller": true, "another": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := startThree(t, transport.TCP(nil), func(c *Config) { c.SessionTimeout = time.Hour })
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
