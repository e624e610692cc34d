package broker

import (
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/transport"
)

// idleWork is what three nodes do in an hour in which nobody wants anything of them.
type idleWork struct {
	disk       int64 // operations
	messages   int64 // between the nodes
	goroutines int64 // that began: loops, timers that fired, background work
	mallocs    int64
}

// idleFor is an hour, and less of it where each of its many instants costs more.
func idleFor() time.Duration {
	if raced {
		return 10 * time.Minute
	}
	return time.Hour
}

// idleHour measures the hour of a cluster with so many partitions. It begins when the work of the first minutes (retention, the first scrub) is over.
func idleHour(t *testing.T, partitions int32) (w idleWork) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", partitions, 3)
		for p := range partitions {
			h.leader("t", p).mustProduce("t", p, "v")
		}
		time.Sleep(10 * time.Minute)
		var disk, messages atomic.Int64
		for _, n := range h.nodes {
			n.disk.SetFault(func(vfs.Op) error { disk.Add(1); return nil })
			defer n.disk.SetFault(nil)
		}
		h.net.SetDelay(func(transport.Delivery) time.Duration { messages.Add(1); return 0 })
		defer h.net.SetDelay(nil)
		goroutines, mallocs := created()
		time.Sleep(idleFor())
		g, m := created()
		w = idleWork{disk.Load(), messages.Load(), g - goroutines, m - mallocs}
	})
	return w
}

// created counts the goroutines and the objects on the heap that there have been.
func created() (goroutines, mallocs int64) {
	s := []metrics.Sample{{Name: "/sched/goroutines-created:goroutines"}}
	metrics.Read(s)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(s[0].Value.Uint64()), int64(m.Mallocs)
}

// TestIdleWorkIsNotOfPartitions: heartbeats, waiting fetches and looks at the clock are of nodes. A timer, a goroutine, a message or an operation of the disk for each partition would be many an hour for each.
func TestIdleWorkIsNotOfPartitions(t *testing.T) {
	few, many := idleHour(t, 3), idleHour(t, 203)
	t.Logf("3 partitions: %+v; 203 partitions: %+v", few, many)
	const more = 200
	assert.InDelta(t, few.disk, many.disk, more/10, "operations of the disk")
	// How many messages there are depends on which heartbeats the controller has confirmed together, by a twentieth.
	assert.InDelta(t, few.messages, many.messages, max(more/10, float64(few.messages)/10), "messages")
	assert.InDelta(t, few.goroutines, many.goroutines, max(more/10, float64(few.goroutines)/10), "goroutines")
	looks := 3 * float64(idleFor()/(5*time.Minute)) * more // of retention, every five minutes at each replica
	usual := float64(few.mallocs) * float64(many.messages) / float64(few.messages)
	assert.Less(t, float64(many.mallocs)-usual, 5*looks, "objects: about one a look, and what the rest of the node happens to make more")
}
