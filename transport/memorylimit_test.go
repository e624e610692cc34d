package transport

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Sixty-four clients send requests of a MiB as fast as they can to a server that may have eight of them, and whose handler does not answer for a while. The process has no more for it than that, old
// connections are served meanwhile, waiting costs no processor, and then everybody gets an answer.
func TestFault_F43_MemoryUsedUp(t *testing.T) {
	const (
		limit   = 8 << 20
		clients = 64
		each    = 3
		slack   = 12 << 20 // buffers of sockets' readers, decoded requests, and what the collector has not seen yet
	)
	network := TCP(nil)
	node := newFakeNode(1)
	hold := make(chan struct{})
	var waiting sync.WaitGroup
	var begun atomic.Int32
	node.hook(int16(kmsg.Produce), func(_ context.Context, r *Request, reply func(Reply)) {
		begun.Add(1)
		waiting.Go(func() {
			<-hold
			reply(Reply{Message: node.answer(r)})
		})
	})
	addr, stop := startServer(t, network, "127.0.0.1:0", ServerConfig{Handler: node, Limits: Limits{Memory: limit}})
	old := dialRaw(t, network, addr)
	old.ask()

	q := produceRequest(1, make([]byte, 1<<20-4096)) // a little less: memory is counted in powers of two
	q.Version = 3
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("raw")).AppendRequest(nil, q, 7) // all of them send the same bytes
	conns := make([]*rawConn, clients)
	for i := range conns {
		conns[i] = dialRaw(t, network, addr)
	}
	before := liveBytes()
	var sending, answered sync.WaitGroup
	for _, c := range conns {
		sending.Go(func() {
			for range each {
				if _, err := c.Write(frame); err != nil {
					return // it was too slow to send what it began: somebody has to go
				}
			}
		})
	}
	require.Eventually(t, func() bool { return begun.Load() >= 4 }, 10*time.Second, time.Millisecond)
	largest := int64(0)
	cpu := processorTime()
	began := time.Now()
	for range 20 {
		asked := time.Now()
		old.ask()
		assert.Less(t, time.Since(asked), time.Second, "who was there is served")
		largest = max(largest, liveBytes()-before)
		time.Sleep(50 * time.Millisecond)
	}
	busy := float64(processorTime()-cpu) / float64(time.Since(began))
	t.Logf("%d requests in the handler, %.1f MiB for all, %.0f%% of a processor", begun.Load(), float64(largest)/(1<<20), busy*100)
	assert.LessOrEqual(t, begun.Load(), int32(limit>>20))
	assert.Less(t, largest, int64(limit+slack))
	assert.Less(t, busy, 0.5, "waiting is no work, but for the collections of this test")

	close(hold)
	var served atomic.Int32
	for _, c := range conns {
		answered.Go(func() {
			for range each {
				if _, err := c.r.next(); err != nil {
					return
				}
				served.Add(1)
			}
		})
	}
	answered.Wait()
	sending.Wait()
	t.Logf("%d of %d requests served", served.Load(), clients*each)
	assert.GreaterOrEqual(t, served.Load(), int32(clients*each*9/10), "frames that wait for each other cost no more than the one that makes room")
	old.ask()
	stop()
	waiting.Wait()
}

func liveBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
