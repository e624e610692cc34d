package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rawConn speaks to a server by hand.
type rawConn struct {
	t testing.TB
	net.Conn
	r *frameReader
}

func dialRaw(t testing.TB, network Network, addr string) *rawConn {
	nc, err := network.Dial(t.Context(), addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return &rawConn{t, nc, newFrameReader(nc, new(framePool), 64<<20, 0)}
}

func (c *rawConn) send(req kmsg.Request, correlation int32) {
	c.write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("raw")).AppendRequest(nil, req, correlation))
}

func (c *rawConn) write(b []byte) {
	c.t.Helper()
	_, err := c.Write(b)
	require.NoError(c.t, err)
}

// response reads a frame and returns it past the correlation id.
func (c *rawConn) response(correlation int32) []byte {
	c.t.Helper()
	f, err := c.r.next()
	require.NoError(c.t, err)
	got, rest, err := parseResponseHeader(f.b)
	require.NoError(c.t, err)
	require.Equal(c.t, correlation, got)
	return rest
}

func (c *rawConn) closed() {
	c.t.Helper()
	_, err := c.r.next()
	require.Error(c.t, err)
	require.NotErrorIs(c.t, err, os.ErrDeadlineExceeded)
}

func listOffsets(version int16) *kmsg.ListOffsetsRequest {
	q := kmsg.NewPtrListOffsetsRequest()
	q.Version = version
	return q
}

func TestServerFraming(t *testing.T) {
	frame := func(b ...byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) }
	header := func(key, version int16, rest ...byte) []byte {
		b := binary.BigEndian.AppendUint16(nil, uint16(key))
		b = binary.BigEndian.AppendUint16(b, uint16(version))
		b = binary.BigEndian.AppendUint32(b, 5)
		return frame(append(b, rest...)...)
	}
	for name, b := range map[string][]byte{
		"negative size":            {0xff, 0xff, 0xff, 0xff},
		"size above the limit":     {0x01, 0x00, 0x00, 0x01},
		"empty frame":              frame(),
		"header cut short":         frame(0, 18, 0, 0, 0, 0, 0),
		"no client id":             header(18, 0),
		"client id beyond the end": header(18, 0, 0, 5, 'a'),
		"client id length -2":      header(18, 0, 0xff, 0xfe),
		"unknown key":              header(999, 0, 0xff, 0xff),
		"unknown private key":      header(32000, 0, 0xff, 0xff),
		"negative key":             header(-1, 0, 0xff, 0xff),
		"version too high":         header(2, 12, 0xff, 0xff),
		"version too low":          header(2, 0, 0xff, 0xff),
		"negative version":         header(2, -1, 0xff, 0xff),
		"no header tags":           header(2, 11, 0xff, 0xff),
		"more tags than bytes":     header(2, 11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f),
		"body cut short":           header(2, 1, 0xff, 0xff, 0, 0),
		"body is garbage":          header(2, 1, 0xff, 0xff, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0),
	} {
		t.Run(name, func(t *testing.T) {
			eachNetwork(t, func(t *testing.T, network Network, at string) {
				node := newFakeNode(1)
				addr, _ := startServer(t, network, at, ServerConfig{Handler: node})
				c := dialRaw(t, network, addr)
				c.send(listOffsets(1), 4)
				c.response(4)
				c.write(b)
				c.closed()
				require.EqualValues(t, 1, node.served.Load())
				// Others live.
				d := dialRaw(t, network, addr)
				d.send(listOffsets(11), 6)
				d.response(6)
			})
		})
	}
}

// TestServerBytesLeftOver: what follows a request in its frame is ignored, and is no request of its own.
func TestServerBytesLeftOver(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network Network, at string) {
		node := newFakeNode(1)
		addr, _ := startServer(t, network, at, ServerConfig{Handler: node})
		c := dialRaw(t, network, addr)
		for n, req := range []*kmsg.ListOffsetsRequest{listOffsets(1), listOffsets(11)} {
			b := kmsg.NewRequestFormatter().AppendRequest(nil, req, int32(10*n+4))
			b = kmsg.NewRequestFormatter().AppendRequest(b, listOffsets(1), 99) // looks like one
			binary.BigEndian.PutUint32(b, uint32(len(b)-4))
			c.write(b)
			c.response(int32(10*n + 4))
			c.send(listOffsets(1), int32(10*n+5))
			c.response(int32(10*n + 5))
		}
		require.EqualValues(t, 4, node.served.Load())
	})
}

// TestAPIUsed: the log says once for each connection who uses which API in which version, ApiVersions included.
func TestAPIUsed(t *testing.T) {
	var text bytes.Buffer
	node := newFakeNode(1)
	s, err := NewServer(ServerConfig{Handler: node, Logger: slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	require.NoError(t, err)
	network := NewMem().Host("a")
	l, err := network.Listen(t.Context(), "a:0")
	require.NoError(t, err)
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	for range 2 {
		c := dialRaw(t, network, l.Addr().String())
		versions := kmsg.NewPtrApiVersionsRequest()
		versions.Version, versions.ClientSoftwareName, versions.ClientSoftwareVersion = 3, "soft", "1.2"
		for range 3 {
			c.send(versions, 1)
			_, err := c.r.next()
			require.NoError(t, err)
			c.send(listOffsets(7), 2)
			_, err = c.r.next()
			require.NoError(t, err)
		}
	}
	require.NoError(t, s.Close())
	require.NoError(t, <-served)
	require.Equal(t, 2, strings.Count(text.String(), "client=raw software=soft version=1.2 key=18 name=ApiVersions api=3\n"), text.String())
	require.Equal(t, 2, strings.Count(text.String(), "key=2 name=ListOffsets api=7\n"), text.String())
	require.Equal(t, 4, strings.Count(text.String(), "api used"))
}

// TestMute: a muted connection has the answers to what it has asked, and its next request is served once the time is over, be it longer than connections may be idle, and whether its bytes were awaited already or
// came meanwhile. No memory is taken for it until then, others are not held up, and neither is the server's end.
func TestMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := NewMem().Host("a")
		node := newFakeNode(1)
		parked := make(chan func(), 1)
		node.hook(2, func(_ context.Context, r *Request, reply func(Reply)) {
			parked <- func() {
				r.Conn.Mute(time.Hour)
				r.Conn.Mute(time.Minute) // never shortens
				reply(Reply{Message: node.answer(r)})
			}
		})
		s, err := NewServer(ServerConfig{Handler: node})
		require.NoError(t, err)
		l, err := network.Listen(t.Context(), "a:0")
		require.NoError(t, err)
		served := make(chan error)
		go func() { served <- s.Serve(l) }()
		c, d := dialRaw(t, network, l.Addr().String()), dialRaw(t, network, l.Addr().String())
		c.send(listOffsets(1), 1)
		answer := <-parked
		synctest.Wait() // the connection is read: its next request is awaited
		began := time.Now()
		answer()
		c.response(1)
		require.Zero(t, time.Since(began))
		produce := produceRequest(-1, make([]byte, 1<<20))
		produce.Version = 9
		big := kmsg.NewRequestFormatter().AppendRequest(nil, produce, 2)
		c.write(big[:1000])
		synctest.Wait()
		require.Zero(t, s.memory.used.Load(), "a request that is not taken has memory")
		rest := make(chan error)
		go func() { _, err := c.Write(big[1000:]); rest <- err }()
		d.send(listOffsets(1), 1)
		(<-parked)()
		d.response(1)
		require.Less(t, time.Since(began), time.Second, "others wait")
		c.response(2)
		require.Equal(t, time.Hour, time.Since(began))
		require.NoError(t, <-rest)

		d.closed() // it has been idle for too long
		e := dialRaw(t, network, l.Addr().String())
		e.send(listOffsets(1), 1)
		(<-parked)()
		e.response(1)
		e.send(listOffsets(1), 2)
		synctest.Wait()
		began = time.Now()
		require.NoError(t, s.Close())
		require.NoError(t, <-served)
		require.Less(t, time.Since(began), 10*time.Second)
	})
}

// TestServerMemoryFollowsBytes checks that a connection gets no memory for the frame that it only claims to send.
func TestServerMemoryFollowsBytes(t *testing.T) {
	const claim = 16 << 20
	var s sink
	s.Buffer.Write(binary.BigEndian.AppendUint32(nil, claim))
	s.Buffer.Write(make([]byte, 100))
	const runs = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		in := sink{}
		in.Buffer.Write(s.Bytes())
		_, err := newFrameReader(&in, new(framePool), claim, 0).next()
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	runtime.ReadMemStats(&after)
	require.Less(t, (after.TotalAlloc-before.TotalAlloc)/runs, uint64(200<<10))
}

func TestFrameReaderGrows(t *testing.T) {
	var pool framePool
	var s sink
	var want [][]byte
	for _, n := range []int{0, 1, 4095, 4096, 65535, 65536, 65537, 1 << 20, 5<<20 + 1, 300_000} {
		b := bytes.Repeat([]byte{byte(n)}, n)
		want = append(want, b)
		s.Buffer.Write(binary.BigEndian.AppendUint32(nil, uint32(n)))
		s.Buffer.Write(b)
	}
	r := newFrameReader(&s, &pool, 6<<20, 0)
	for _, w := range want {
		f, err := r.next()
		require.NoError(t, err)
		require.True(t, bytes.Equal(w, f.b))
		pool.put(f)
	}
	_, err := r.next()
	require.ErrorIs(t, err, io.EOF)
}

func TestApiVersionsUnknownVersion(t *testing.T) {
	node := newFakeNode(1)
	addr, _ := startServer(t, TCP(nil), "127.0.0.1:0", ServerConfig{Handler: node})
	c := dialRaw(t, TCP(nil), addr)
	// The body is not what any version looks like, and there is no client id.
	c.write([]byte{0, 0, 0, 9, 0, 18, 0x7f, 0xff, 0, 0, 0, 3, 0xee})
	require.Equal(t, []byte{0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4}, c.response(3))
	// The connection goes on. A flexible response of this API has the old header.
	q := kmsg.NewPtrApiVersionsRequest()
	q.Version = 4
	c.send(q, 8)
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = 4
	require.NoError(t, resp.ReadFrom(c.response(8)))
	require.Len(t, resp.ApiKeys, len(node.versions))
}

func TestResponseHeaders(t *testing.T) {
	addr, _ := startServer(t, TCP(nil), "127.0.0.1:0", ServerConfig{Handler: newFakeNode(1)})
	c := dialRaw(t, TCP(nil), addr)
	c.send(listOffsets(5), 1)
	require.Equal(t, []byte{0, 0, 0, 0, 0, 0, 0, 0}, c.response(1)) // throttle, no topics
	c.send(listOffsets(6), 2)
	require.Equal(t, []byte{0 /* header tags */, 0, 0, 0, 0, 1, 0}, c.response(2))
}

// TestRepliesKeepOrder replies in the reverse order, from other goroutines.
func TestRepliesKeepOrder(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network Network, at string) {
		const n = 20
		node := newFakeNode(1)
		var waiting []func()
		node.hook(keyProduce, func(_ context.Context, r *Request, reply func(Reply)) {
			q := r.Message.(*kmsg.ProduceRequest)
			resp := produced(q)
			waiting = append(waiting, func() {
				reply(Reply{Message: resp, Release: func() { node.released.Add(1) }})
				reply(Reply{Message: resp, Release: func() { t.Error("a second reply was taken") }, Close: true})
			})
			if len(waiting) == n {
				for i := range waiting {
					go waiting[n-1-i]()
				}
			}
		})
		addr, stop := startServer(t, network, at, ServerConfig{Handler: node})
		c := newClient(t, ClientConfig{Bootstrap: []string{addr}, Network: network})
		got := make(chan int64, n)
		for i := range n {
			c.Send(t.Context(), c.candidates()[0], produceRequest(-1, make([]byte, i*3000)), func(r Response, err error) {
				if err != nil {
					t.Error(err)
				}
				got <- r.Message.(*kmsg.ProduceResponse).Topics[0].Partitions[0].BaseOffset
			})
		}
		for i := range n {
			require.EqualValues(t, i*3000, <-got)
		}
		stop() // which has released by then
		require.EqualValues(t, n, node.released.Load())
	})
}

// TestPipelineBound checks that reading stops while too many replies are outstanding.
func TestPipelineBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 3
		node := newFakeNode(1)
		var replies []func()
		node.hook(2, func(_ context.Context, r *Request, reply func(Reply)) {
			replies = append(replies, func() { reply(Reply{Message: r.Message.ResponseKind()}) })
		})
		network := NewMem().Host("a")
		addr, _ := startServer(t, network, "a:0", ServerConfig{Handler: node, Limits: Limits{Pipelined: bound}})
		c := dialRaw(t, network, addr)
		for i := range int32(10) {
			c.send(listOffsets(1), i)
		}
		for i := range int32(10 - bound) {
			synctest.Wait()
			require.EqualValues(t, bound+i, node.served.Load())
			replies[i]()
			c.response(i)
		}
		synctest.Wait()
		require.EqualValues(t, 10, node.served.Load())
		for i := int32(10 - bound); i < 10; i++ {
			replies[i]()
			c.response(i)
		}
	})
}

// TestSilentReply checks acks=0: nothing is sent, and a failure closes the connection once what came before was sent.
func TestSilentReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(1)
		node.hook(keyProduce, func(_ context.Context, r *Request, reply func(Reply)) {
			bad := len(r.Message.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records) > 1
			reply(Reply{Close: bad, Release: func() { node.released.Add(1) }})
		})
		network := NewMem().Host("a")
		addr, _ := startServer(t, network, "a:0", ServerConfig{Handler: node})
		c := dialRaw(t, network, addr)
		good, bad := produceRequest(0, []byte("1")), produceRequest(0, []byte("22"))
		good.Version, bad.Version = 8, 8
		c.send(good, 1)
		c.send(listOffsets(1), 2)
		c.send(good, 3)
		f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("raw"))
		c.write(f.AppendRequest(f.AppendRequest(nil, bad, 4), listOffsets(1), 5)) // in one: the node may hang up as soon as it has read the bad one
		c.response(2)
		c.closed()
		synctest.Wait()
		require.GreaterOrEqual(t, node.served.Load(), int64(4)) // the last may have been read before the end
		require.Equal(t, node.served.Load(), node.released.Load())
	})
}

func TestHandlerPanics(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network Network, at string) {
		node := newFakeNode(1)
		var late func(Reply)
		node.hook(22, func(_ context.Context, r *Request, reply func(Reply)) {
			late = reply
			panic("bug")
		})
		addr, stop := startServer(t, network, at, ServerConfig{Handler: node})
		c, other := dialRaw(t, network, addr), dialRaw(t, network, addr)
		other.send(listOffsets(1), 1)
		other.response(1)
		c.send(kmsg.NewPtrInitProducerIDRequest(), 1)
		c.closed()
		other.send(listOffsets(1), 2)
		other.response(2)
		stop()
		// What replies too late is released at once.
		late(Reply{Message: kmsg.NewPtrInitProducerIDResponse(), Release: func() { node.released.Add(100) }})
		require.EqualValues(t, 102, node.released.Load())
	})
}

// TestReleaseOnce lets connections end at every point of many requests and counts.
func TestReleaseOnce(t *testing.T) {
	for cut := range 40 {
		synctest.Test(t, func(t *testing.T) {
			m := NewMem()
			m.SetLink("*", "*", Link{Latency: time.Millisecond})
			var wg sync.WaitGroup
			defer wg.Wait()
			node := newFakeNode(1)
			var served, released atomic.Int64
			node.hook(2, func(ctx context.Context, r *Request, reply func(Reply)) {
				served.Add(1)
				answer := Reply{Message: r.Message.ResponseKind(), Release: func() { released.Add(1) }}
				switch r.Message.(*kmsg.ListOffsetsRequest).ReplicaID % 3 {
				case 0:
					reply(answer)
				case 1:
					wg.Go(func() {
						time.Sleep(5 * time.Millisecond)
						reply(answer)
					})
				default:
					sleep(ctx, 2*time.Millisecond)
					reply(answer)
				}
			})
			addr, stop := startServer(t, m.Host("a"), "a:0", ServerConfig{Handler: node})
			c := dialRaw(t, m.Host("b"), addr)
			for i := range int32(12) {
				q := listOffsets(1)
				q.ReplicaID = i
				c.send(q, i)
			}
			time.Sleep(time.Duration(cut) * 500 * time.Microsecond)
			switch cut % 3 {
			case 0:
				m.Reset("a", "b")
			case 1:
				c.Close()
			case 2:
				stop()
			}
			time.Sleep(time.Second)
			require.Equal(t, served.Load(), released.Load())
			require.Positive(t, served.Load()+int64(boolInt(cut < 4)))
		})
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestHalfClosedPeer checks that a peer that ends its half is still answered.
func TestHalfClosedPeer(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network Network, at string) {
		node := newFakeNode(1)
		addr, _ := startServer(t, network, at, ServerConfig{Handler: node})
		c := dialRaw(t, network, addr)
		for i := range int32(5) {
			c.send(listOffsets(1), i)
		}
		require.NoError(t, c.Conn.(interface{ CloseWrite() error }).CloseWrite())
		for i := range int32(5) {
			c.response(i)
		}
		_, err := c.r.next()
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestServerTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(1)
		network := NewMem().Host("a")
		addr, _ := startServer(t, network, "a:0", ServerConfig{Handler: node, Limits: Limits{IdleTimeout: time.Minute}})
		start := time.Now()
		idle, half, busy, deaf := dialRaw(t, network, addr), dialRaw(t, network, addr), dialRaw(t, network, addr), dialRaw(t, network, addr)
		half.write([]byte{0, 0, 1, 0, 0, 2})
		var wg sync.WaitGroup
		wg.Go(func() {
			half.closed()
			require.Equal(t, 30*time.Second, time.Since(start))
		})
		wg.Go(func() {
			idle.closed()
			require.InDelta(t, time.Minute+time.Minute/8, time.Since(start), float64(time.Second))
		})
		wg.Go(func() {
			for i := range int32(20) {
				time.Sleep(50 * time.Second)
				busy.send(listOffsets(1), i)
				busy.response(i)
			}
		})
		wg.Go(func() { // asks and never reads the answers: the connection ends when its window has been full for long
			q := listOffsets(1)
			for {
				if _, err := deaf.Write(kmsg.NewRequestFormatter().AppendRequest(nil, q, 1)); err != nil {
					return
				}
			}
		})
		wg.Wait()
	})
}

func TestServerCloseEndsHandlers(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network Network, at string) {
		node := newFakeNode(1)
		started := make(chan struct{}, 10)
		node.hook(keyFetch, func(ctx context.Context, r *Request, reply func(Reply)) {
			started <- struct{}{}
			<-ctx.Done()
			reply(Reply{Message: r.Message.ResponseKind(), Release: func() { node.released.Add(1) }})
		})
		addr, stop := startServer(t, network, at, ServerConfig{Handler: node})
		for range 10 {
			q := kmsg.NewPtrFetchRequest()
			q.Version = 4
			dialRaw(t, network, addr).send(q, 1)
		}
		for range 10 {
			<-started
		}
		stop()
		require.EqualValues(t, 10, node.released.Load())
	})
}

func TestMaxConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := NewMem().Host("a")
		addr, _ := startServer(t, network, "a:0", ServerConfig{Handler: newFakeNode(1), Limits: Limits{Connections: 2}})
		a, b := dialRaw(t, network, addr), dialRaw(t, network, addr)
		a.send(listOffsets(1), 1)
		a.response(1)
		b.send(listOffsets(1), 1)
		b.response(1)
		dialRaw(t, network, addr).closed()
		a.Close()
		synctest.Wait()
		c := dialRaw(t, network, addr)
		c.send(listOffsets(1), 1)
		c.response(1)
	})
}

// failingListener fails some times before it works.
type failingListener struct {
	net.Listener
	errs []error
}

func (l *failingListener) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

func TestAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := NewMem().Host("a")
		inner, err := network.Listen(t.Context(), "a:0")
		require.NoError(t, err)
		l := &failingListener{Listener: inner}
		for range 5 {
			l.errs = append(l.errs, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)})
		}
		s, err := NewServer(ServerConfig{Handler: newFakeNode(1)})
		require.NoError(t, err)
		var wg sync.WaitGroup
		wg.Go(func() { require.NoError(t, s.Serve(l)) })
		start := time.Now()
		c := dialRaw(t, network, inner.Addr().String())
		c.send(listOffsets(1), 1)
		c.response(1)
		require.Equal(t, (5+10+20+40+80)*time.Millisecond, time.Since(start))
		require.NoError(t, s.Close())
		wg.Wait()
		late, err := network.Listen(t.Context(), "a:0")
		require.NoError(t, err)
		require.NoError(t, s.Serve(late))
		_, err = late.Accept()
		require.ErrorIs(t, err, net.ErrClosed)

		boom := errors.New("boom")
		s, err = NewServer(ServerConfig{Handler: newFakeNode(1)})
		require.NoError(t, err)
		inner, err = network.Listen(t.Context(), "a:0")
		require.NoError(t, err)
		require.ErrorIs(t, s.Serve(&failingListener{Listener: inner, errs: []error{boom}}), boom)
		require.NoError(t, s.Close())
	})
}

func TestServerConfig(t *testing.T) {
	_, err := NewServer(ServerConfig{Limits: Limits{Frame: -1, IdleTimeout: -1, Pipelined: -1, Connections: -1}})
	for _, field := range []string{"Handler", "Limits.Frame", "Limits.IdleTimeout", "Limits.Pipelined", "Limits.Connections"} {
		require.ErrorContains(t, err, field)
	}
}

// TestSendFile reads file ranges over TCP, through TLS-like connections and from memory: always the same bytes, whatever the sizes.
func TestSendFile(t *testing.T) {
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	name := filepath.Join(t.TempDir(), "00000000000000000000.log")
	require.NoError(t, os.WriteFile(name, data, 0o600))
	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	eachNetwork(t, func(t *testing.T, network Network, at string) {
		file := file
		node := newFakeNode(1)
		ranges := [][]FileRange{
			{{file, 0, 100}},
			{{file, 5, 0}, {file, 1 << 20, 2 << 20}, {file, 17, 1}},
			nil,
			{{file, 3<<20 - 1, 1}, {file, 0, 70_000}},
		}
		node.hook(keyFetch, func(_ context.Context, r *Request, reply func(Reply)) {
			resp := r.Message.ResponseKind().(*kmsg.FetchResponse)
			for i := range 2 {
				topic := kmsg.NewFetchResponseTopic()
				topic.TopicID[0] = byte(i)
				topic.Partitions = append(topic.Partitions, kmsg.NewFetchResponseTopicPartition(), kmsg.NewFetchResponseTopicPartition())
				resp.Topics = append(resp.Topics, topic)
			}
			resp.Topics[1].Partitions[0].RecordBatches = []byte("inline")
			reply(Reply{Message: resp, Files: ranges, Release: func() { node.released.Add(1) }})
		})
		addr, stop := startServer(t, network, at, ServerConfig{Handler: node})
		c := newClient(t, ClientConfig{Bootstrap: []string{addr}, Network: network})
		for range 5 {
			resp, err := c.Request(context.Background(), AnyNode, kmsg.NewPtrFetchRequest())
			require.NoError(t, err)
			topics := resp.(*kmsg.FetchResponse).Topics
			for i, rs := range ranges {
				want := []byte("inline")
				if i != 2 {
					want = nil
				}
				for _, r := range rs {
					want = append(want, data[r.Pos:][:r.Len]...)
				}
				require.True(t, bytes.Equal(want, topics[i/2].Partitions[i%2].RecordBatches), "partition %d", i)
			}
		}
		stop()
		require.EqualValues(t, 5, node.released.Load())
	})
}

// TestSendFileTooShort checks that a file shorter than promised ends the connection instead of sending something else.
func TestSendFileTooShort(t *testing.T) {
	name := filepath.Join(t.TempDir(), "short")
	require.NoError(t, os.WriteFile(name, make([]byte, 1000), 0o600))
	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	eachNetwork(t, func(t *testing.T, network Network, at string) {
		file := file
		node := newFakeNode(1)
		node.hook(keyFetch, func(_ context.Context, r *Request, reply func(Reply)) {
			resp := r.Message.ResponseKind().(*kmsg.FetchResponse)
			resp.Topics = append(resp.Topics, kmsg.NewFetchResponseTopic())
			resp.Topics[0].Partitions = append(resp.Topics[0].Partitions, kmsg.NewFetchResponseTopicPartition())
			reply(Reply{Message: resp, Files: [][]FileRange{{{file, 500, 501}}}, Release: func() { node.released.Add(1) }})
		})
		addr, stop := startServer(t, network, at, ServerConfig{Handler: node})
		c := newClient(t, ClientConfig{Bootstrap: []string{addr}, Network: network})
		_, err := c.Request(context.Background(), AnyNode, kmsg.NewPtrFetchRequest())
		var ce *ConnError
		require.ErrorAs(t, err, &ce)
		require.True(t, ce.Sent)
		stop()
		require.EqualValues(t, 1, node.released.Load())
	})
}

// TestPrivateKeys sends a request that kmsg does not know.
func TestPrivateKeys(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network Network, at string) {
		node := newFakeNode(1)
		node.versions[32001] = VersionRange{0, 0}
		node.hook(32001, func(_ context.Context, r *Request, reply func(Reply)) {
			reply(Reply{Message: privateResponse{&privateMessage{body: bytes.ToUpper(r.Message.(*privateMessage).body)}}})
		})
		addr, _ := startServer(t, network, at, ServerConfig{Handler: node, NewRequest: func(key int16) kmsg.Request {
			if key == 32001 {
				return new(privateMessage)
			}
			return kmsg.RequestForKey(key)
		}})
		c := newClient(t, ClientConfig{Bootstrap: []string{addr}, Network: network})
		resp, err := c.Request(context.Background(), AnyNode, &privateMessage{body: []byte("raft")})
		require.NoError(t, err)
		require.Equal(t, "RAFT", string(resp.(privateResponse).body))
	})
}

type privateMessage struct{ body []byte }

func (*privateMessage) Key() int16                    { return 32001 }
func (*privateMessage) MaxVersion() int16             { return 0 }
func (*privateMessage) SetVersion(int16)              {}
func (*privateMessage) GetVersion() int16             { return 0 }
func (*privateMessage) IsFlexible() bool              { return true }
func (m *privateMessage) AppendTo(b []byte) []byte    { return append(b, m.body...) }
func (m *privateMessage) ReadFrom(b []byte) error     { m.body = b; return nil }
func (m *privateMessage) ResponseKind() kmsg.Response { return privateResponse{new(privateMessage)} }
func (m *privateMessage) RequestKind() kmsg.Request   { return new(privateMessage) }

type privateResponse struct{ *privateMessage }

func (privateResponse) ResponseKind() kmsg.Response { panic("not a request") }

func TestServerLogs(t *testing.T) {
	var out bytes.Buffer
	node := newFakeNode(1)
	node.hook(2, func(context.Context, *Request, func(Reply)) { panic("bug in a handler") })
	s, err := NewServer(ServerConfig{Handler: node, Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	require.NoError(t, err)
	network := NewMem().Host("a")
	l, err := network.Listen(t.Context(), "a:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() { require.NoError(t, s.Serve(l)) })
	c := dialRaw(t, network, l.Addr().String())
	for i := range int32(2) {
		c.send(kmsg.NewPtrInitProducerIDRequest(), i)
		c.response(i)
	}
	c.send(listOffsets(1), 1)
	c.closed()
	require.NoError(t, s.Close())
	wg.Wait()
	require.Contains(t, out.String(), "bug in a handler")
	require.Contains(t, out.String(), "server_test.go")
	require.Equal(t, 1, strings.Count(out.String(), "name=InitProducerID api=0"), "each API once")
}
