package clustertest

import (
	"fmt"
	"testing"
	"testing/synctest"

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

// The node that requests go to by habit is gone: an operator's client takes them to another one at once, without a new look at who is the controller.
func TestAdminGoesAroundTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Config{Nodes: 3})
		admin := cluster.NewAdmin(c.Client())
		if err := admin.CreateTopic(t.Context(), cluster.TopicSpec{Name: "before", Partitions: 1}); err != nil {
			t.Fatal(err)
		}
		old := c.Any().Status().Controller
		c.Kill(old)
		if _, err := admin.Topics(t.Context()); err != nil {
			t.Errorf("right after the end of node %d: %v", old, err)
		}
		c.Await("another controller", func() bool { now := c.Any().Status().Controller; return now >= 0 && now != old })
		if err := admin.CreateTopic(t.Context(), cluster.TopicSpec{Name: "after", Partitions: 1}); err != nil {
			t.Errorf("with another controller: %v", err)
		}
	})
}
