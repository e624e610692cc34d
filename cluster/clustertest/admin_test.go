package clustertest

import (
	"fmt"
	"testing"

	"github.com/insynclog/insync/cluster"
)

// Whoever creates a topic through a node finds it there at once, wherever the controller is.
func TestCreatedTopicIsKnownToTheNode(t *testing.T) {
	c := New(t, Config{Nodes: 3})
	for id := int32(1); id <= 3; id++ {
		for i := range 5 {
			client, name := c.Node(id).Client(), fmt.Sprintf("t-%d-%d", id, i)
			if err := cluster.NewAdmin(client).CreateTopic(t.Context(), cluster.TopicSpec{Name: name, Partitions: 1}); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Topic(t.Context(), name, false); err != nil {
				t.Errorf("node %d does not know topic %s: %v", id, name, err)
			}
		}
	}
}
