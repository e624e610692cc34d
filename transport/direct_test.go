package transport

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func directClient(t testing.TB, n *fakeNode) *Client {
	return newClient(t, ClientConfig{Local: &Local{NodeID: n.id, Handler: n}, Network: NewMem().Host("client")}) // nobody else is there
}

func TestDirect(t *testing.T) {
	node := newFakeNode(4)
	c := directClient(t, node)
	records := []byte("records")
	node.hook(keyProduce, func(_ context.Context, r *Request, reply func(Reply)) {
		require.True(t, r.Conn.Direct)
		require.False(t, r.Conn.SendFile)
		require.Equal(t, "direct", r.Conn.Remote)
		require.Equal(t, "insync", r.ClientID)
		q := r.Message.(*kmsg.ProduceRequest)
		require.Equal(t, int16(13), q.Version)
		require.Same(t, &records[0], &q.Topics[0].Partitions[0].Records[0], "copied")
		reply(Reply{Message: kmsg.NewPtrProduceResponse(), Release: func() { node.released.Add(1) }})
	})
	resp, err := c.Request(t.Context(), 4, produceRequest(-1, records))
	require.NoError(t, err)
	require.Equal(t, int16(13), resp.(*kmsg.ProduceResponse).Version)
	require.EqualValues(t, 1, node.released.Load())
	_, err = c.Request(t.Context(), AnyNode, listOffsets(0))
	require.NoError(t, err)
	_, err = c.Request(t.Context(), 4, kmsg.NewPtrCreateTopicsRequest())
	require.ErrorAs(t, err, new(*UnsupportedVersionError))
	_, err = c.Request(t.Context(), 5, listOffsets(0))
	require.ErrorAs(t, err, new(*UnknownNodeError))

	// The version is the highest that both know.
	node.versions[2] = VersionRange{1, 3}
	node.hook(2, func(_ context.Context, r *Request, reply func(Reply)) {
		require.Equal(t, int16(3), r.Message.GetVersion())
		reply(Reply{Message: &kmsg.ListOffsetsResponse{Version: 11}})
	})
	resp, err = c.Request(t.Context(), 4, listOffsets(0))
	require.NoError(t, err)
	require.Equal(t, int16(3), resp.GetVersion())
}

// TestDirectFetchMemory checks who owns the memory of a direct response.
func TestDirectFetchMemory(t *testing.T) {
	node := newFakeNode(1)
	c := directClient(t, node)
	buf := []byte("records")
	node.hook(keyFetch, func(_ context.Context, r *Request, reply func(Reply)) {
		resp := r.Message.ResponseKind().(*kmsg.FetchResponse)
		resp.Topics = append(resp.Topics, kmsg.NewFetchResponseTopic())
		resp.Topics[0].Partitions = append(resp.Topics[0].Partitions, kmsg.NewFetchResponseTopicPartition())
		resp.Topics[0].Partitions[0].RecordBatches = buf
		reply(Reply{Message: resp, Release: func() {
			node.released.Add(1)
			clear(resp.Topics[0].Partitions) // the node makes its next answer in the same memory
			clear(resp.Topics)
			*resp = kmsg.FetchResponse{}
		}})
	})
	records := func(m kmsg.Response) []byte { return m.(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches }
	resp, err := c.Request(t.Context(), 1, kmsg.NewPtrFetchRequest())
	require.NoError(t, err)
	require.Equal(t, "records", string(records(resp)))
	require.NotSame(t, &buf[0], &records(resp)[0])
	require.EqualValues(t, 1, node.released.Load())

	got := make(chan Response, 1)
	c.Send(t.Context(), 1, kmsg.NewPtrFetchRequest(), func(r Response, err error) { got <- r })
	r := <-got
	require.Same(t, &buf[0], &records(r.Message)[0])
	require.EqualValues(t, 1, node.released.Load())
	r.Release()
	require.EqualValues(t, 2, node.released.Load())
}

// TestDirectProduceOrder sends from many goroutines to a slow handler: one request at a time, each sender's in its order, none of them blocked by the replies.
func TestDirectProduceOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(1)
		c := directClient(t, node)
		var mu sync.Mutex
		busy := false
		last := make(map[int32]int32)
		var replies sync.WaitGroup
		defer replies.Wait()
		node.hook(keyProduce, func(_ context.Context, r *Request, reply func(Reply)) {
			q := r.Message.(*kmsg.ProduceRequest)
			sender, n := q.TimeoutMillis/1000, q.TimeoutMillis%1000
			mu.Lock()
			if busy || last[sender] != n {
				t.Errorf("busy %v, request %d of %d after %d", busy, n, sender, last[sender])
			}
			last[sender], busy = n+1, true
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			busy = false
			mu.Unlock()
			replies.Go(func() {
				time.Sleep(time.Second)
				reply(Reply{Message: produced(q)})
			})
		})
		var wg sync.WaitGroup
		for sender := range int32(7) {
			for n := range int32(20) {
				wg.Add(1)
				q := produceRequest(-1, nil)
				q.TimeoutMillis = sender*1000 + n
				send := func() {
					c.Send(t.Context(), 1, q, func(_ Response, err error) {
						if err != nil {
							t.Error(err)
						}
						wg.Done()
					})
				}
				if n == 0 {
					send()
					continue
				}
				send()
			}
		}
		var senders sync.WaitGroup
		for sender := range int32(5) {
			senders.Go(func() {
				for n := range int32(20) {
					wg.Add(1)
					q := produceRequest(-1, nil)
					q.TimeoutMillis = (10+sender)*1000 + n
					c.Send(t.Context(), 1, q, func(Response, error) { wg.Done() })
				}
			})
		}
		senders.Wait()
		wg.Wait()
		require.EqualValues(t, 12*20, node.served.Load())
	})
}

// TestDirectWaits checks that a request whose handler waits can be given up: by its context, its timeout, Close; the handler's context ends with it and a late reply is released.
func TestDirectWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(1)
		c := directClient(t, node)
		ended := make(chan time.Duration, 10)
		start := time.Now()
		node.hook(keyFetch, func(ctx context.Context, r *Request, reply func(Reply)) {
			<-ctx.Done()
			ended <- time.Since(start)
			reply(Reply{Message: r.Message.ResponseKind(), Release: func() { node.released.Add(1) }})
		})
		var early context.Context
		node.hook(2, func(ctx context.Context, r *Request, reply func(Reply)) { early = ctx }) // never replies

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Request(ctx, 1, kmsg.NewPtrFetchRequest())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, <-ended)

		q := kmsg.NewPtrFetchRequest()
		q.MaxWaitMillis = 35_000
		_, err = c.Request(t.Context(), 1, q)
		var ce *ConnError
		require.ErrorAs(t, err, &ce)
		require.True(t, ce.Sent)
		require.ErrorIs(t, err, ErrTimeout)
		require.Equal(t, 37*time.Second, <-ended)

		_, err = c.Request(t.Context(), 1, listOffsets(0))
		require.ErrorIs(t, err, ErrTimeout)
		require.Error(t, early.Err())

		errs := make(chan error, 2)
		c.Send(t.Context(), 1, q, func(_ Response, err error) { errs <- err })
		c.Send(t.Context(), 1, listOffsets(0), func(_ Response, err error) { errs <- err })
		synctest.Wait()
		require.NoError(t, early.Err()) // it returned, but has not replied
		require.NoError(t, c.Close())
		require.ErrorIs(t, <-errs, ErrClosed)
		require.ErrorIs(t, <-errs, ErrClosed)
		require.EqualValues(t, 3, node.released.Load())
	})
}

func TestDirectPanic(t *testing.T) {
	node := newFakeNode(1)
	c := directClient(t, node)
	for _, key := range []int16{keyProduce, 2} {
		node.hook(key, func(context.Context, *Request, func(Reply)) { panic("bug") })
	}
	for _, req := range []kmsg.Request{produceRequest(-1, nil), listOffsets(0), produceRequest(-1, nil)} {
		_, err := c.Request(t.Context(), 1, req)
		var pe *PanicError
		require.ErrorAs(t, err, &pe)
		require.Equal(t, "bug", pe.Value)
		require.Contains(t, string(pe.Stack), "direct_test.go")
	}
}

// TestAllocations holds what a request costs, whatever its size.
func TestAllocations(t *testing.T) {
	node := newFakeNode(1)
	produce := kmsg.NewPtrProduceResponse()
	produce.Version = 13
	node.hook(keyProduce, func(_ context.Context, r *Request, reply func(Reply)) { reply(Reply{Message: produce}) })
	c := directClient(t, node)
	ctx := context.Background()
	q := produceRequest(-1, make([]byte, 1<<20))
	done := func(Response, error) {}
	require.LessOrEqual(t, testing.AllocsPerRun(1000, func() { c.Send(ctx, 1, q, done) }), 2.0)
	require.LessOrEqual(t, testing.AllocsPerRun(1000, func() { _, _ = c.Request(ctx, 1, q) }), 4.0)
	require.Zero(t, testing.AllocsPerRun(1000, func() { c.CachedTopic("none") }))

	var fb frameBuffer
	fetch := kmsg.NewPtrFetchResponse()
	fetch.Version = 18
	fetch.Topics = append(fetch.Topics, kmsg.NewFetchResponseTopic())
	for range 10 {
		p := kmsg.NewFetchResponseTopicPartition()
		p.RecordBatches = make([]byte, 100_000)
		fetch.Topics[0].Partitions = append(fetch.Topics[0].Partitions, p)
	}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		fb.reset()
		appendRequest(&fb, q, 1, "client")
		appendResponse(&fb, fetch, 1, nil)
	}))
}
