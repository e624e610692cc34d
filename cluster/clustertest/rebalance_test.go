package clustertest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/consumer"
	"github.com/stretchr/testify/require"
)

// A hundred consumers share a thousand partitions; when one of them leaves, and when one comes, all are settled again in less than two heartbeats.
func TestRebalanceOfAHundredMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 1})
		c.CreateTopic("t", 1000, 1)
		w := newCrew(t, c, consumer.Config{Group: "g", Topics: []string{"t"}, MaxWait: 5 * time.Second})
		w.quiet = true
		const heartbeat = 5 * time.Second
		settled := func(what string, change func()) {
			began := time.Now()
			change()
			c.Await("every member has its share", func() bool {
				n, stable := 0, true
				for _, x := range w.list() {
					has := len(x.Status())
					n += has
					stable = stable && has >= 9 && x.GroupStatus().State == consumer.Stable
				}
				return stable && n == 1000
			})
			took := time.Since(began)
			t.Logf("%s: settled after %v", what, took)
			require.Less(t, took, 2*heartbeat)
		}
		settled("100 join", func() {
			for range 100 {
				w.add()
			}
		})
		time.Sleep(7 * time.Second)
		settled("one leaves", func() { w.close(w.list()[17]) })
		time.Sleep(7 * time.Second)
		settled("one joins", func() { w.add() })
	})
}
