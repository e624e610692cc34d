package broker

import (
	"context"
	"fmt"
	"testing"

	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// direct calls a handler as a client in this process does, and releases the answer's memory.
type direct struct {
	n    *testNode
	info transport.ConnInfo
	req  transport.Request
	done chan transport.Reply
	put  func(transport.Reply)
	ctx  context.Context
}

func newDirect(n *testNode) *direct {
	d := &direct{n: n, info: transport.ConnInfo{Direct: true}, done: make(chan transport.Reply, 1), ctx: context.Background()}
	d.put = func(r transport.Reply) { d.done <- r }
	return d
}

func (d *direct) call(req kmsg.Request) transport.Reply {
	d.req = transport.Request{Message: req, Conn: &d.info}
	d.n.Serve(d.ctx, &d.req, d.put)
	return <-d.done
}

func drop(r transport.Reply) {
	if r.Release != nil {
		r.Release()
	}
}

// fill produces so many batches.
func (d *direct) fill(t testing.TB, records []byte, batches int) {
	t.Helper()
	for range batches {
		r := d.call(produceRequest("t", 0, 1, records))
		require.Zero(t, r.Message.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
		drop(r)
	}
}

func sized(t testing.TB, records, size int) []byte {
	vs := make([]string, records)
	for i := range vs {
		vs[i] = string(make([]byte, size))
	}
	return batch(t, vs...)
}

const never = "9223372036854775807"

func BenchmarkProduceDirect(b *testing.B) {
	for _, c := range []struct {
		records, size int
		flush         string
	}{{1, 100, never}, {100, 100, never}, {600, 100, never}, {1, 100, "1"}} {
		b.Run(fmt.Sprintf("records=%d/size=%dB/flush=%s", c.records, c.size, map[string]string{never: "never", "1": "always"}[c.flush]), func(b *testing.B) {
			h := newHarness(b, 1, nil)
			h.create(1, "t", 1, 1, "flush.messages", c.flush)
			d := newDirect(h.nodes[1])
			records := sized(b, c.records, c.size)
			req := produceRequest("t", 0, 1, records)
			b.SetBytes(int64(len(records)))
			b.ReportAllocs()
			for b.Loop() {
				drop(d.call(req))
			}
		})
	}
}

func BenchmarkFetchDirect(b *testing.B) {
	for _, c := range []struct {
		name           string
		size, maxBytes int
	}{{"batch=100B", 100, 1}, {"batch=1KiB", 1 << 10, 1}, {"batch=64KiB", 64 << 10, 1}, {"batches=16x64KiB", 64 << 10, 1 << 20}} {
		b.Run(c.name, func(b *testing.B) {
			h := newHarness(b, 1, nil)
			h.create(1, "t", 1, 1, "flush.messages", never)
			d := newDirect(h.nodes[1])
			d.fill(b, sized(b, 1, c.size), 32)
			req := fetchRequest("t", 0, 3)
			req.MaxBytes, req.Topics[0].Partitions[0].PartitionMaxBytes = int32(c.maxBytes), int32(c.maxBytes)
			r := d.call(req)
			b.SetBytes(int64(len(r.Message.(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches)))
			drop(r)
			b.ReportAllocs()
			for b.Loop() {
				drop(d.call(req))
			}
		})
	}
}

// BenchmarkFetchIdleSession is an incremental fetch of a follower or consumer in whose session nothing is new.
func BenchmarkFetchIdleSession(b *testing.B) {
	for _, partitions := range []int32{1, 1000} {
		b.Run(fmt.Sprintf("partitions=%d", partitions), func(b *testing.B) {
			h := newHarness(b, 1, nil)
			h.create(1, "t", partitions, 1)
			d := newDirect(h.nodes[1])
			open := sessionFetch(0, 0)
			for p := range partitions {
				addFetch(open, "t", [16]byte{}, p, 0)
			}
			r := d.call(open)
			id := r.Message.(*kmsg.FetchResponse).SessionID
			drop(r)
			req := sessionFetch(id, 0)
			b.ReportAllocs()
			for b.Loop() {
				req.SessionEpoch++
				drop(d.call(req))
			}
		})
	}
}

// BenchmarkProduceReplicated produces with acks=all to three nodes over the memory network, many requests under way at once.
func BenchmarkProduceReplicated(b *testing.B) {
	for _, c := range []struct{ records, inflight int }{{1, 1}, {1, 64}, {100, 16}} {
		b.Run(fmt.Sprintf("records=%d/inflight=%d", c.records, c.inflight), func(b *testing.B) {
			h := newHarness(b, 3, nil)
			h.create(1, "t", 1, 3)
			h.isr("t", 0, 3)
			n := h.leader("t", 0)
			records := sized(b, c.records, 100)
			info := transport.ConnInfo{Direct: true}
			room := make(chan struct{}, c.inflight)
			reqs := make([]transport.Request, c.inflight)
			for i := range reqs {
				reqs[i] = transport.Request{Message: produceRequest("t", 0, -1, records), Conn: &info}
			}
			b.SetBytes(int64(len(records)))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				room <- struct{}{}
				n.Serve(context.Background(), &reqs[i%len(reqs)], func(r transport.Reply) {
					drop(r)
					<-room
				})
				i++
			}
			for range c.inflight {
				room <- struct{}{}
			}
		})
	}
}
