package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// eachNetwork runs a test over TCP, over Mem, and over Mem in a bubble.
func eachNetwork(t *testing.T, f func(t *testing.T, network Network, addr string)) {
	t.Run("tcp", func(t *testing.T) { f(t, TCP(nil), "127.0.0.1:0") })
	t.Run("mem", func(t *testing.T) { f(t, NewMem().Host("a"), "a:0") })
	t.Run("bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, NewMem().Host("a"), "a:0") })
	})
}

func TestRoundTrip(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network Network, at string) {
		node := newFakeNode(1)
		addr, _ := startServer(t, network, at, ServerConfig{Handler: node})
		c := newClient(t, ClientConfig{Bootstrap: []string{addr}, Network: network})
		ctx := context.Background()
		for _, size := range []int{0, 100, 5000, 70_000, 3_000_000} {
			resp, err := c.Request(ctx, AnyNode, produceRequest(-1, make([]byte, size)))
			require.NoError(t, err)
			require.EqualValues(t, size, resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].BaseOffset)
		}
		resp, err := c.Request(ctx, AnyNode, produceRequest(0, []byte("x")))
		require.NoError(t, err)
		require.Nil(t, resp)
		_, err = c.Request(ctx, 5, produceRequest(-1, nil))
		require.ErrorAs(t, err, new(*UnknownNodeError))
		_, err = c.Request(ctx, AnyNode, kmsg.NewPtrCreateTopicsRequest())
		require.ErrorAs(t, err, new(*UnsupportedVersionError))
		node.setBrokers(addr)
		node.setTopic("t", 1)
		topic, err := c.Topic(ctx, "t", false)
		require.NoError(t, err)
		require.Equal(t, int32(1), topic.Partitions[0].Leader)
		_, err = c.Request(ctx, 1, produceRequest(-1, nil))
		require.NoError(t, err)
	})
}

// TestVersionFallback negotiates with nodes that do not know our version of ApiVersions: newer ones say what they know, older ones send an empty list.
func TestVersionFallback(t *testing.T) {
	for name, known := range map[string]VersionRange{"list": {0, 2}, "exact": {0, 3}, "newer": {0, 4}} {
		t.Run(name, func(t *testing.T) {
			node := newFakeNode(1)
			node.versions[18] = known
			addr, _ := startServer(t, TCP(nil), "127.0.0.1:0", ServerConfig{Handler: node})
			c := newClient(t, ClientConfig{Bootstrap: []string{addr}})
			_, err := c.Request(t.Context(), AnyNode, listOffsets(0))
			require.NoError(t, err)
		})
	}
	t.Run("empty list", func(t *testing.T) {
		network := NewMem().Host("a")
		addr := scripted(t, network, func(c *rawConn) {
			for _, want := range []int16{3, 0} {
				h, _, err := parseRequestHeader(c.request())
				require.NoError(t, err)
				require.Equal(t, want, h.version)
				if want == 3 {
					c.respond(h.correlation, []byte{0, 35, 0, 0, 0, 0})
				} else {
					c.respond(h.correlation, []byte{0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 0, 1})
				}
			}
			h, _, err := parseRequestHeader(c.request())
			require.NoError(t, err)
			require.Equal(t, int16(1), h.version)
			c.respond(h.correlation, []byte{0, 0, 0, 0})
		})
		c := newClient(t, ClientConfig{Bootstrap: []string{addr}, Network: network})
		_, err := c.Request(t.Context(), AnyNode, listOffsets(0))
		require.NoError(t, err)
	})
}

// scripted runs a function for each connection that is made.
func scripted(t testing.TB, network Network, f func(*rawConn)) string {
	l, err := network.Listen(t.Context(), "a:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				f(&rawConn{t, nc, newFrameReader(nc, new(framePool), 64<<20, 0)})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

func (c *rawConn) request() []byte {
	f, err := c.r.next()
	if err != nil {
		return nil
	}
	return f.b
}

func (c *rawConn) respond(correlation int32, body []byte) {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(body)))
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	_, _ = c.Write(append(b, body...))
}

// negotiated answers the handshake with ListOffsets 1 alone and returns the next request's correlation id.
func (c *rawConn) negotiated() int32 {
	h, _, _ := parseRequestHeader(c.request())
	c.respond(h.correlation, []byte{0, 0, 2, 0, 2, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0})
	h, _, _ = parseRequestHeader(c.request())
	return h.correlation
}

// TestBadNodes lets a node answer with nonsense. Whatever it is, the request fails and the client lives.
func TestBadNodes(t *testing.T) {
	for name, f := range map[string]struct {
		sent bool
		f    func(c *rawConn)
	}{
		"closes at once":       {false, func(c *rawConn) {}},
		"closes in handshake":  {false, func(c *rawConn) { c.request() }},
		"handshake is garbage": {false, func(c *rawConn) { c.request(); c.respond(-2, []byte{1}) }},
		"handshake is refused": {false, func(c *rawConn) { c.request(); c.respond(-2, []byte{0, 42, 0, 0, 0, 0, 0}) }},
		"handshake of another": {false, func(c *rawConn) { c.request(); c.respond(9, []byte{0, 0, 1, 0, 0, 0, 0}) }},
		"never knows a version": {false, func(c *rawConn) {
			c.request()
			c.respond(-2, []byte{0, 35, 0, 0, 0, 0})
			c.request()
			c.respond(-1, []byte{0, 35, 0, 0, 0, 0})
		}},
		"closes on request":     {true, func(c *rawConn) { c.negotiated() }},
		"other correlation":     {true, func(c *rawConn) { c.respond(c.negotiated()+1, []byte{0, 0, 0, 0}) }},
		"response cut short":    {true, func(c *rawConn) { c.respond(c.negotiated(), []byte{0, 0, 0}) }},
		"counts beyond the end": {true, func(c *rawConn) { c.respond(c.negotiated(), []byte{0x7f, 0xff, 0xff, 0xff}) }},
		"too short a frame":     {true, func(c *rawConn) { c.negotiated(); c.write([]byte{0, 0, 0, 2, 0, 0}); c.request() }},
		"too large a frame":     {true, func(c *rawConn) { c.negotiated(); c.write([]byte{0x7f, 0, 0, 0}); c.request() }},
		"cut mid-frame":         {true, func(c *rawConn) { c.negotiated(); c.write([]byte{0, 0, 0, 20, 0, 0}) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := NewMem().Host("a")
				c := newClient(t, ClientConfig{Bootstrap: []string{scripted(t, network, f.f)}, Network: network})
				for range 3 {
					_, err := c.Request(t.Context(), AnyNode, listOffsets(0))
					var ce *ConnError
					require.ErrorAs(t, err, &ce)
					require.Equal(t, f.sent, ce.Sent, "%v", err)
				}
			})
		})
	}
}

// TestBackOff counts the attempts to reach a node that is not there, in virtual time.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := NewMem().Host("a")
		c := newClient(t, ClientConfig{Network: network})
		c.SetNode(Node{ID: 7, Addr: "b:9092"})
		start := time.Now()
		for range 20 {
			_, err := c.Request(t.Context(), 7, listOffsets(0))
			var ce *ConnError
			require.ErrorAs(t, err, &ce)
			require.False(t, ce.Sent)
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			require.Equal(t, int32(7), ce.Node)
			require.Equal(t, "b:9092", ce.Addr)
		}
		// 50, 100, 200, 400, 800 ms, then 1 s, each give or take a quarter.
		elapsed := time.Since(start)
		require.Greater(t, elapsed, 11*time.Second)
		require.Less(t, elapsed, 20*time.Second)

		// A new address is tried at once; a context ends the wait for the next attempt.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := c.Request(ctx, 7, listOffsets(0))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		node := newFakeNode(7)
		addr, _ := startServer(t, network, "b:0", ServerConfig{Handler: node})
		c.SetNode(Node{ID: 7, Addr: addr})
		start = time.Now()
		_, err = c.Request(t.Context(), 7, listOffsets(0))
		require.NoError(t, err)
		require.Zero(t, time.Since(start))
		require.Equal(t, []Node{{ID: 7, Addr: addr}}, c.Nodes())
	})
}

// TestRequestTimeout cuts the way back: requests fail with the first that waited for long enough, all of them on that connection, and it is replaced.
func TestRequestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMem()
		node := newFakeNode(1)
		var produced atomic.Int64
		node.hook(0, func(_ context.Context, r *Request, reply func(Reply)) {
			produced.Add(1)
			reply(Reply{Message: r.Message.ResponseKind()})
		})
		addr, _ := startServer(t, m.Host("node"), ":9092", ServerConfig{Handler: node})
		c := newClient(t, ClientConfig{Network: m.Host("client"), RequestTimeout: 10 * time.Second})
		c.SetNode(Node{ID: 1, Addr: addr})
		_, err := c.Request(t.Context(), 1, produceRequest(-1, nil))
		require.NoError(t, err)
		m.SetLink("node", "client", Link{Cut: true})
		start := time.Now()
		errs := make(chan error, 3)
		for _, ms := range []int32{30_000, 14_000, 60_000} {
			q := produceRequest(-1, nil)
			q.TimeoutMillis = ms
			c.Send(t.Context(), 1, q, func(_ Response, err error) { errs <- err })
		}
		for range 3 {
			err := <-errs
			var ce *ConnError
			require.ErrorAs(t, err, &ce)
			require.True(t, ce.Sent)
			require.ErrorIs(t, err, ErrTimeout)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.Equal(t, 15*time.Second, time.Since(start))
		}
		// Now dialling hangs, too, and that is known to have had no effect.
		start = time.Now()
		_, err = c.Request(t.Context(), 1, produceRequest(-1, nil))
		var ce *ConnError
		require.ErrorAs(t, err, &ce)
		require.False(t, ce.Sent)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 10*time.Second, time.Since(start))
		m.Heal()
		_, err = c.Request(t.Context(), 1, produceRequest(-1, nil))
		require.NoError(t, err)
		require.EqualValues(t, 5, produced.Load())
	})
}

// TestWriteStalls fills the window of a peer that takes nothing. What was not handed over whole is known to be unsent; requests that expect no answer fail, too.
func TestWriteStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMem()
		addr, _ := startServer(t, m.Host("node"), ":9092", ServerConfig{Handler: newFakeNode(1)})
		c := newClient(t, ClientConfig{Network: m.Host("client")})
		c.SetNode(Node{ID: 1, Addr: addr})
		_, err := c.Request(t.Context(), 1, produceRequest(0, nil))
		require.NoError(t, err)
		m.SetLink("client", "node", Link{Stall: true})
		start := time.Now()
		_, err = c.Request(t.Context(), 1, produceRequest(0, make([]byte, 100_000)))
		require.NoError(t, err) // it is in the window
		_, err = c.Request(t.Context(), 1, produceRequest(0, make([]byte, 1_000_000)))
		var ce *ConnError
		require.ErrorAs(t, err, &ce)
		require.False(t, ce.Sent)
		require.GreaterOrEqual(t, time.Since(start), 30*time.Second)
		require.Less(t, time.Since(start), 34*time.Second)
	})
}

// TestCancel ends contexts of requests in every state. Nothing is done twice and later requests get their own answers.
func TestCancel(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network Network, at string) {
		node := newFakeNode(1)
		gate := make(chan struct{})
		node.hook(2, func(ctx context.Context, r *Request, reply func(Reply)) {
			if r.Message.(*kmsg.ListOffsetsRequest).ReplicaID == 1 {
				<-gate
			}
			resp := r.Message.ResponseKind().(*kmsg.ListOffsetsResponse)
			resp.ThrottleMillis = r.Message.(*kmsg.ListOffsetsRequest).ReplicaID
			reply(Reply{Message: resp})
		})
		addr, _ := startServer(t, network, at, ServerConfig{Handler: node})
		c := newClient(t, ClientConfig{Network: network})
		c.SetNode(Node{ID: 1, Addr: addr})
		ended, end := context.WithCancel(t.Context())
		end()
		_, err := c.Request(ended, 1, listOffsets(0))
		require.ErrorIs(t, err, context.Canceled)

		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		for range 2 {
			q := listOffsets(0)
			q.ReplicaID = 1
			c.Send(ctx, 1, q, func(_ Response, err error) { errs <- err })
		}
		got := make(chan int32, 1)
		q := listOffsets(0)
		q.ReplicaID = 42
		c.Send(t.Context(), 1, q, func(r Response, err error) {
			if err == nil {
				got <- r.Message.(*kmsg.ListOffsetsResponse).ThrottleMillis
			}
		})
		cancel()
		require.ErrorIs(t, <-errs, context.Canceled)
		require.ErrorIs(t, <-errs, context.Canceled)
		close(gate)
		require.Equal(t, int32(42), <-got)
	})
}

// TestIdleConnection checks that an unused connection is closed, its goroutines end, and the next request makes another without an error.
func TestIdleConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := NewMem().Host("a")
		node := newFakeNode(1)
		addr, _ := startServer(t, network, "a:0", ServerConfig{Handler: node})
		c := newClient(t, ClientConfig{Bootstrap: []string{addr}, Network: network})
		for _, wait := range []time.Duration{0, 8 * time.Minute, 8 * time.Minute, 10 * time.Minute, time.Hour} {
			time.Sleep(wait)
			_, err := c.Request(t.Context(), AnyNode, listOffsets(0))
			require.NoError(t, err)
		}
		require.EqualValues(t, 5+3, node.served.Load())
		time.Sleep(time.Hour)
		synctest.Wait()
		l, err := c.route(c.candidates()[0], 2)
		require.NoError(t, err)
		connected, _ := l.(*lane).live()
		require.False(t, connected)
		require.False(t, l.(*lane).running)
	})
}

// TestLanes checks that a fetch that waits holds up nobody else.
func TestLanes(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network Network, at string) {
		node := newFakeNode(1)
		gate := make(chan struct{})
		node.hook(keyFetch, func(_ context.Context, r *Request, reply func(Reply)) {
			<-gate
			reply(Reply{Message: r.Message.ResponseKind()})
		})
		addr, _ := startServer(t, network, at, ServerConfig{Handler: node})
		c := newClient(t, ClientConfig{Bootstrap: []string{addr}, Network: network})
		fetched := make(chan error, 1)
		c.Send(t.Context(), AnyNode, kmsg.NewPtrFetchRequest(), func(_ Response, err error) { fetched <- err })
		_, err := c.Request(t.Context(), AnyNode, produceRequest(-1, nil))
		require.NoError(t, err)
		_, err = c.Request(t.Context(), AnyNode, listOffsets(0))
		require.NoError(t, err)
		close(gate)
		require.NoError(t, <-fetched)
	})
}

// TestFailover checks that AnyNode finds the one node that lives, and goes nowhere else with what may have had an effect.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := NewMem().Host("a")
		node := newFakeNode(1)
		addr, stop := startServer(t, network, "a:0", ServerConfig{Handler: node})
		c := newClient(t, ClientConfig{Bootstrap: []string{"dead:1", "dead:2", addr, "dead:3"}, Network: network})
		for range 3 {
			_, err := c.Request(t.Context(), AnyNode, listOffsets(0))
			require.NoError(t, err)
			done := make(chan error, 1)
			c.Send(t.Context(), AnyNode, listOffsets(0), func(_ Response, err error) { done <- err })
			require.NoError(t, <-done)
		}
		node.hook(2, func(_ context.Context, r *Request, reply func(Reply)) { reply(Reply{Close: true}) })
		served := node.served.Load()
		_, err := c.Request(t.Context(), AnyNode, listOffsets(0))
		var ce *ConnError
		require.ErrorAs(t, err, &ce)
		require.True(t, ce.Sent)
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, served+1, node.served.Load())
		stop()
		_, err = c.Request(t.Context(), AnyNode, listOffsets(0))
		require.ErrorAs(t, err, &ce)
		require.False(t, ce.Sent)
		none := newClient(t, ClientConfig{Network: network})
		_, err = none.Request(t.Context(), AnyNode, listOffsets(0))
		require.ErrorAs(t, err, new(*UnknownNodeError))
	})
}

// TestBreaks resets connections at random while many requests are in flight. Each request ends once; answers belong to their requests; what failed as unsent was not served; a connection's failures come in order.
func TestBreaks(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			m := NewMem()
			m.SetLink("client", "node", Link{Latency: 300 * time.Microsecond})
			node := newFakeNode(1)
			var mu sync.Mutex
			seen := make(map[int32]bool)
			node.hook(keyProduce, func(_ context.Context, r *Request, reply func(Reply)) {
				q := r.Message.(*kmsg.ProduceRequest)
				for _, b := range q.Topics[0].Partitions[0].Records {
					if b != byte(q.TimeoutMillis) {
						t.Errorf("request %d has bytes of another", q.TimeoutMillis)
						break
					}
				}
				mu.Lock()
				if seen[q.TimeoutMillis] {
					t.Errorf("request %d was served twice", q.TimeoutMillis)
				}
				seen[q.TimeoutMillis] = true
				mu.Unlock()
				resp := produced(q)
				resp.ThrottleMillis = q.TimeoutMillis
				reply(Reply{Message: resp})
			})
			addr, _ := startServer(t, m.Host("node"), ":0", ServerConfig{Handler: node})
			c := newClient(t, ClientConfig{Network: m.Host("client")})
			c.SetNode(Node{ID: 1, Addr: addr})
			const n = 300
			var done [n]atomic.Int32
			var wg sync.WaitGroup
			answered := int32(-1)
			for i := range int32(n) {
				wg.Add(1)
				q := produceRequest(-1, make([]byte, rng.IntN(20_000)))
				for j := range q.Topics[0].Partitions[0].Records {
					q.Topics[0].Partitions[0].Records[j] = byte(i)
				}
				q.TimeoutMillis = i
				c.Send(t.Context(), 1, q, func(r Response, err error) {
					defer wg.Done()
					if done[i].Add(1) != 1 {
						t.Errorf("request %d ended twice", i)
					}
					if err == nil {
						if got := r.Message.(*kmsg.ProduceResponse).ThrottleMillis; got != i {
							t.Errorf("request %d got the answer of %d", i, got)
						}
					} else if unsent(err) {
						mu.Lock()
						if seen[i] {
							t.Errorf("request %d was served but is said to be unsent", i)
						}
						mu.Unlock()
					}
					if i < answered {
						t.Errorf("request %d ended after %d", i, answered)
					}
					answered = i
				})
				if rng.IntN(10) == 0 {
					time.Sleep(time.Duration(rng.IntN(1000)) * time.Microsecond)
				}
				if rng.IntN(40) == 0 {
					m.Reset("client", "node")
				}
			}
			wg.Wait()
		})
	}
}

// TestCloseUnderLoad closes a client while many goroutines use it in every way.
func TestCloseUnderLoad(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network Network, at string) {
		node := newFakeNode(1)
		local := newFakeNode(2)
		for _, n := range []*fakeNode{node, local} {
			n.hook(keyFetch, func(ctx context.Context, r *Request, reply func(Reply)) {
				<-ctx.Done()
				reply(Reply{Message: r.Message.ResponseKind()})
			})
		}
		addr, _ := startServer(t, network, at, ServerConfig{Handler: node})
		c := newClient(t, ClientConfig{Bootstrap: []string{addr}, Network: network, Local: &Local{NodeID: 2, Handler: local}})
		c.SetNode(Node{ID: 1, Addr: addr})
		c.SetNode(Node{ID: 3, Addr: "127.0.0.1:1"})
		var wg sync.WaitGroup
		var begun sync.WaitGroup
		for i := range 12 {
			begun.Add(1)
			wg.Go(func() {
				once := sync.OnceFunc(begun.Done)
				for n := 0; ; n++ {
					var err error
					switch i % 6 {
					case 0:
						_, err = c.Request(t.Context(), int32(1+i%2), produceRequest(-1, make([]byte, 1000)))
					case 1:
						done := make(chan error, 1)
						c.Send(t.Context(), int32(1+n%2), produceRequest(-1, nil), func(_ Response, err error) { done <- err })
						err = <-done
					case 2:
						once()
						_, err = c.Request(t.Context(), int32(1+n%2), kmsg.NewPtrFetchRequest())
					case 3:
						_, err = c.Topic(t.Context(), fmt.Sprint(n), false)
						if errors.Is(err, kerr.UnknownTopicOrPartition) {
							err = nil
						}
					case 4:
						once()
						_, err = c.Request(t.Context(), 3, listOffsets(0))
						if unsent(err) {
							err = nil
						}
					case 5:
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n%100)*time.Microsecond)
						_, err = c.Request(ctx, int32(1+n%2), listOffsets(0))
						cancel()
						if errors.Is(err, context.DeadlineExceeded) {
							err = nil
						}
					}
					once()
					if err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Errorf("%d: %v", i, err)
						}
						return
					}
				}
			})
		}
		begun.Wait()
		require.NoError(t, c.Close())
		wg.Wait()
		require.NoError(t, c.Close())
		_, err := c.Request(t.Context(), 1, listOffsets(0))
		require.ErrorIs(t, err, ErrClosed)
		_, err = c.Request(t.Context(), 2, listOffsets(0))
		require.ErrorIs(t, err, ErrClosed)
		_, err = c.Topic(t.Context(), "t", false)
		require.ErrorIs(t, err, ErrClosed)
		<-c.Refresh("t")
	})
}

// TestFetchMemory checks that released memory is used again and that memory that is not released stays.
func TestFetchMemory(t *testing.T) {
	node := newFakeNode(1)
	var next atomic.Int32
	node.hook(keyFetch, func(_ context.Context, r *Request, reply func(Reply)) {
		resp := r.Message.ResponseKind().(*kmsg.FetchResponse)
		resp.Topics = append(resp.Topics, kmsg.NewFetchResponseTopic())
		resp.Topics[0].Partitions = append(resp.Topics[0].Partitions, kmsg.NewFetchResponseTopicPartition())
		b := make([]byte, 100_000)
		for i := range b {
			b[i] = byte(next.Load())
		}
		next.Add(1)
		resp.Topics[0].Partitions[0].RecordBatches = b
		reply(Reply{Message: resp})
	})
	addr, _ := startServer(t, TCP(nil), "127.0.0.1:0", ServerConfig{Handler: node})
	c := newClient(t, ClientConfig{Bootstrap: []string{addr}})
	check := func(m kmsg.Response, want byte) {
		b := m.(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches
		require.Equal(t, 100_000, bytes.Count(b, []byte{want}))
	}
	kept, err := c.Request(t.Context(), AnyNode, kmsg.NewPtrFetchRequest())
	require.NoError(t, err)
	got := make(chan Response, 1)
	for i := range byte(10) {
		c.Send(t.Context(), AnyNode, kmsg.NewPtrFetchRequest(), func(r Response, err error) {
			if err != nil {
				t.Error(err)
			}
			got <- r
		})
		r := <-got
		check(r.Message, i+1)
		r.Release()
		r.Release() // once counts
	}
	check(kept, 0)
}

func TestClientConfig(t *testing.T) {
	_, err := NewClient(ClientConfig{Bootstrap: []string{"nowhere"}, Local: &Local{}, DialTimeout: -1, RequestTimeout: -1, MetadataMaxAge: -1, BackoffMin: -1, MaxFrameBytes: -1})
	for _, field := range []string{"nowhere", "Local", "DialTimeout", "RequestTimeout", "MetadataMaxAge", "BackoffMin", "MaxFrameBytes"} {
		require.ErrorContains(t, err, field)
	}
	var oe *net.OpError
	require.False(t, errors.As(err, &oe))
}
