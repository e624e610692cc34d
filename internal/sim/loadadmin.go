package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/history"
	"github.com/insynclog/insync/transport"
)

// operate moves replicas and leaders while the faults go on. In the end every partition has three replicas again.
func (l *load) operate(host string, rng *rand.Rand) {
	w := l.w
	client := w.Client(host, limits(rng))
	defer client.Close()
	admin := cluster.NewAdmin(client)
	for !w.calm() {
		time.Sleep(time.Duration(rng.ExpFloat64() * float64(w.plan.length/10)))
		tp := cluster.TopicPartition{Topic: l.topic.Name, Partition: int32(rng.IntN(len(l.topic.Partitions)))}
		what, n := rng.IntN(4), 2+rng.IntN(2)
		to := l.someNodes(rng, n)
		if w.calm() {
			break
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		switch what {
		case 0:
			w.event("elect the preferred leader of %v: %v", tp, admin.ElectLeaders(ctx, cluster.PreferredElection, tp))
		case 1:
			w.event("go back with %v: %v", tp, admin.Reassign(ctx, map[cluster.TopicPartition][]int32{tp: nil}))
		default:
			w.event("move %v to %v: %v", tp, to, admin.Reassign(ctx, map[cluster.TopicPartition][]int32{tp: to}))
		}
		cancel()
	}
	<-w.Healed()
	if w.failed() {
		return
	}
	all := map[cluster.TopicPartition][]int32{}
	for i := range l.topic.Partitions {
		all[cluster.TopicPartition{Topic: l.topic.Name, Partition: int32(i)}] = l.someNodes(rng, 3)
	}
	w.await("every partition has three replicas", w.settle(), func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if all != nil {
			if err := admin.Reassign(ctx, all); err != nil {
				return false
			}
			all = nil
		}
		under, err := admin.Reassignments(ctx)
		return err == nil && len(under) == 0 && w.healthy()
	})
}

func (l *load) someNodes(rng *rand.Rand, n int) (ids []int32) {
	for _, i := range rng.Perm(len(l.w.nodes))[:n] {
		ids = append(ids, int32(i+1))
	}
	return ids
}

// churn makes a topic, writes and reads, and deletes it, again and again. What one incarnation was given has no place in another.
func (l *load) churn(host string, rng *rand.Rand) {
	w := l.w
	gone := map[[16]byte]bool{} // incarnations that were deleted
	for life := 0; ; life++ {
		client := w.Client(host, limits(rng))
		last := w.Over()
		t, ok := l.create(client, "u", gone)
		if !ok {
			client.Close()
			continue
		}
		s := l.newSession(fmt.Sprintf("%s.%d", host, life), client, rng)
		if s == nil {
			return
		}
		for n := rng.IntN(60); n > 0 && !last; n-- {
			s.send(&t, int32(rng.IntN(len(t.Partitions))), 0)
			time.Sleep(l.w.pace(time.Duration(rng.ExpFloat64() * float64(10*time.Millisecond))))
		}
		s.close()
		if last {
			l.readFinally(client, &t)
		}
		for i := range t.Partitions {
			l.rec.Note(history.Op{Process: host, Kind: history.Deleted, Place: place(&t, int32(i)), To: 1 << 40})
		}
		l.drop(client, "u")
		gone[t.ID] = true
		client.Close()
		if last {
			return
		}
		time.Sleep(l.w.pace(time.Duration(rng.ExpFloat64() * float64(20*time.Millisecond))))
	}
}

// create makes a topic; false: it was not possible. A node that is cut off may still tell of one that is gone.
func (l *load) create(client *transport.Client, name string, gone map[[16]byte]bool) (t cluster.TopicStatus, ok bool) {
	admin := cluster.NewAdmin(client)
	for attempt := 0; attempt < 10; attempt++ {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := admin.CreateTopic(ctx, cluster.TopicSpec{Name: name, Partitions: 2, ReplicationFactor: 3})
		if err == nil || errors.Is(err, kerr.TopicAlreadyExists) {
			t, err = admin.Topic(ctx, name)
		}
		cancel()
		if err == nil && len(t.Partitions) == 2 && !gone[t.ID] {
			return t, true
		}
		time.Sleep(100 * time.Millisecond)
	}
	return t, false
}

// drop deletes a topic, and is sure of it when it returns.
func (l *load) drop(client *transport.Client, name string) {
	for attempt := 0; ; attempt++ {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := cluster.NewAdmin(client).DeleteTopic(ctx, name)
		cancel()
		if err == nil || attempt > 0 && errors.Is(err, kerr.UnknownTopicOrPartition) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
