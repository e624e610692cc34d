package transport

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// BenchmarkProduce sends batches of 16 KiB, one after the other and with several in flight.
func BenchmarkProduce(b *testing.B) {
	records := make([]byte, 16<<10)
	for _, network := range []struct {
		name string
		n    Network
		addr string
	}{{"tcp", TCP(nil), "127.0.0.1:0"}, {"mem", NewMem().Host("a"), "a:0"}, {"direct", nil, ""}} {
		node := newFakeNode(1)
		node.hook(keyProduce, func(_ context.Context, r *Request, reply func(Reply)) {
			reply(Reply{Message: produced(r.Message.(*kmsg.ProduceRequest))})
		})
		cfg := ClientConfig{Local: &Local{NodeID: 1, Handler: node}}
		if network.n != nil {
			addr, _ := startServer(b, network.n, network.addr, ServerConfig{Handler: node})
			cfg = ClientConfig{Bootstrap: []string{addr}, Network: network.n}
		}
		c := newClient(b, cfg)
		to := c.candidates()[0]
		ctx := context.Background()
		b.Run("path="+network.name+"/inflight=1", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(records)))
			req := produceRequest(-1, records)
			for b.Loop() {
				_, err := c.Request(ctx, to, req)
				require.NoError(b, err)
			}
		})
		b.Run("path="+network.name+"/inflight=5", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(records)))
			slots := make(chan *kmsg.ProduceRequest, 5)
			for range cap(slots) {
				slots <- produceRequest(-1, records)
			}
			for b.Loop() {
				req := <-slots
				c.Send(ctx, to, req, func(r Response, err error) { slots <- req })
			}
			for range cap(slots) {
				<-slots
			}
		})
	}
}

// BenchmarkDirect is the overhead of a direct request: nothing is done by the handler.
func BenchmarkDirect(b *testing.B) {
	node := newFakeNode(1)
	produce, fetch := kmsg.NewPtrProduceResponse(), kmsg.NewPtrFetchResponse()
	produce.Version, fetch.Version = 13, 18
	node.hook(keyProduce, func(_ context.Context, r *Request, reply func(Reply)) { reply(Reply{Message: produce}) })
	node.hook(keyFetch, func(_ context.Context, r *Request, reply func(Reply)) { reply(Reply{Message: fetch}) })
	c := newClient(b, ClientConfig{Local: &Local{NodeID: 1, Handler: node}})
	ctx := context.Background()
	cancelable, cancel := context.WithCancel(ctx)
	defer cancel()
	bench := func(name string, f func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
	p, f := produceRequest(-1, nil), kmsg.NewPtrFetchRequest()
	bench("request/produce", func() { _, _ = c.Request(ctx, 1, p) })
	bench("request/produce/cancelable", func() { _, _ = c.Request(cancelable, 1, p) })
	bench("send/produce", func() { c.Send(ctx, 1, p, func(Response, error) {}) })
	bench("request/fetch", func() { _, _ = c.Request(ctx, 1, f) })
}

// BenchmarkFetch reads 1 MiB per response over loopback: from the file by sendfile, and from memory.
func BenchmarkFetch(b *testing.B) {
	const size = 1 << 20
	data := make([]byte, size)
	name := filepath.Join(b.TempDir(), "records")
	require.NoError(b, os.WriteFile(name, data, 0o600))
	file, err := os.Open(name)
	require.NoError(b, err)
	defer file.Close()
	pool := sync.Pool{New: func() any { b := make([]byte, size); return &b }}
	respond := func(r *Request) *kmsg.FetchResponse {
		resp := r.Message.ResponseKind().(*kmsg.FetchResponse)
		t := kmsg.NewFetchResponseTopic()
		t.Partitions = append(t.Partitions, kmsg.NewFetchResponseTopicPartition())
		resp.Topics = append(resp.Topics, t)
		return resp
	}
	for name, hook := range map[string]func(context.Context, *Request, func(Reply)){
		"sendfile": func(_ context.Context, r *Request, reply func(Reply)) {
			reply(Reply{Message: respond(r), Files: [][]FileRange{{{File: file, Len: size}}}})
		},
		"pread": func(_ context.Context, r *Request, reply func(Reply)) {
			buf := pool.Get().(*[]byte)
			_, _ = file.ReadAt(*buf, 0)
			resp := respond(r)
			resp.Topics[0].Partitions[0].RecordBatches = *buf
			reply(Reply{Message: resp, Release: func() { pool.Put(buf) }})
		},
	} {
		b.Run(name, func(b *testing.B) {
			node := newFakeNode(1)
			node.hook(keyFetch, hook)
			addr, _ := startServer(b, TCP(nil), "127.0.0.1:0", ServerConfig{Handler: node})
			c := newClient(b, ClientConfig{Bootstrap: []string{addr}})
			to := c.candidates()[0]
			b.ReportAllocs()
			b.SetBytes(size)
			done := make(chan error, 1)
			for b.Loop() {
				c.Send(b.Context(), to, kmsg.NewPtrFetchRequest(), func(r Response, err error) {
					if err == nil && len(r.Message.(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches) != size {
						b.Error("short")
					}
					if r.Release != nil {
						r.Release()
					}
					done <- err
				})
				require.NoError(b, <-done)
			}
		})
	}
}

// BenchmarkLoopbackLimit is the least that a round trip can cost: a goroutine at each end, a write of 16 KiB there, one of 60 bytes back.
func BenchmarkLoopbackLimit(b *testing.B) {
	l, err := TCP(nil).Listen(b.Context(), "127.0.0.1:0")
	require.NoError(b, err)
	defer l.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		buf := make([]byte, 16<<10)
		for {
			if _, err := io.ReadFull(nc, buf); err != nil {
				return
			}
			if _, err := nc.Write(buf[:60]); err != nil {
				return
			}
		}
	})
	nc, err := TCP(nil).Dial(b.Context(), l.Addr().String())
	require.NoError(b, err)
	buf := make([]byte, 16<<10)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		_, err := nc.Write(buf)
		require.NoError(b, err)
		_, err = io.ReadFull(nc, buf[:60])
		require.NoError(b, err)
	}
	nc.Close()
	wg.Wait()
}
