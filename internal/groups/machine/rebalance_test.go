package machine

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newCrowd is a stable group of many members over topics with so many partitions each.
func newCrowd(t testing.TB, members, topics int, partitions int32) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(1, 1)), c: New(testConfig()), now: time.UnixMilli(1_700_000_000_000),
		topics: topicMap{}, ids: map[uint64]*fakeConsumer{}, unchecked: true, forgetful: true,
	}
	var names []string
	for i := range topics {
		names = append(names, fmt.Sprintf("topic-%02d", i))
		w.topics[names[i]] = partitions
	}
	var fx Effects
	w.c.Loaded(w.now, w.topics, &fx)
	for i := range members {
		w.clients = append(w.clients, &fakeConsumer{id: fmt.Sprintf("member-%04d", i), topics: names, alive: true})
	}
	return w
}

// settle lets members send their heartbeats, spread over an interval, those that wait more often, until all are stable. It returns how long that took.
func (w *world) settle() time.Duration {
	var fx Effects
	began := w.now
	due := make([]time.Time, len(w.clients))
	for i, cl := range w.clients {
		if cl.epoch > 0 {
			due[i] = w.now.Add(time.Duration(i+1) * 5 * time.Second / time.Duration(len(w.clients)))
		} else {
			due[i] = w.now
		}
	}
	for {
		if d, ok := w.c.DescribeConsumer("g"); ok && d.State == "Stable" && len(d.Members) == len(w.clients) {
			return w.now.Sub(began)
		}
		first := 0
		for i := range due {
			if due[i].Before(due[first]) {
				first = i
			}
		}
		w.now = due[first]
		w.c.Tick(w.now, &fx)
		var asked []int
		for i, cl := range w.clients {
			if !due[i].After(w.now) {
				w.beat(cl, &fx)
				asked = append(asked, i)
			}
		}
		w.round(&fx)
		for _, i := range asked {
			cl := w.clients[i]
			due[i] = w.now.Add(cl.interval)
			if cl.revoked {
				cl.revoked = false
				due[i] = w.now // it has given up what it had to, and says so
			}
		}
	}
}

// A rebalance of 100 members over 1,000 partitions is over in less than two heartbeats.
func TestRebalanceSettlesWithinTwoHeartbeats(t *testing.T) {
	w := newCrowd(t, 100, 10, 100)
	require.Zero(t, w.settle(), "who joins together is assigned together")
	var fx Effects
	for range 5 {
		w.step(w.clients[0], &ConsumerHeartbeat{Group: "g", MemberID: w.clients[0].id, MemberEpoch: LeaveEpoch, RebalanceTimeout: -1}, &fx)
		w.drop(w.clients[0])
	}
	w.round(&fx)
	took := w.settle()
	t.Log("five of 100 members left: settled after", took)
	require.Less(t, took, 10*time.Second)
	for i := range 5 {
		w.clients = append(w.clients, &fakeConsumer{id: fmt.Sprintf("newcomer-%d", i), topics: w.clients[0].topics, alive: true})
	}
	took = w.settle()
	t.Log("five members joined 95: settled after", took)
	require.Less(t, took, 10*time.Second)
}

func BenchmarkRebalance(b *testing.B) {
	b.Run("members=100/partitions=1000/all-join", func(b *testing.B) {
		for b.Loop() {
			newCrowd(b, 100, 10, 100).settle()
		}
	})
	b.Run("members=100/partitions=1000/one-joins-one-leaves", func(b *testing.B) {
		w := newCrowd(b, 100, 10, 100)
		w.settle()
		var fx Effects
		n := 0
		for b.Loop() {
			w.step(w.clients[0], &ConsumerHeartbeat{Group: "g", MemberID: w.clients[0].id, MemberEpoch: LeaveEpoch, RebalanceTimeout: -1}, &fx)
			w.drop(w.clients[0])
			n++
			w.clients = append(w.clients, &fakeConsumer{id: fmt.Sprintf("newcomer-%d", n), topics: w.clients[0].topics, alive: true})
			w.settle()
			w.log = w.log[:0]
		}
	})
	b.Run("members=100/partitions=1000/heartbeat", func(b *testing.B) {
		w := newCrowd(b, 100, 10, 100)
		w.settle()
		var fx Effects
		cl := w.clients[0]
		b.ReportAllocs()
		for b.Loop() {
			w.c.Step(w.now, 1, &ConsumerHeartbeat{Group: "g", MemberID: cl.id, MemberEpoch: cl.epoch, RebalanceTimeout: -1}, &fx)
			w.c.Flush(w.now, &fx)
			fx.Reset()
		}
	})
}
