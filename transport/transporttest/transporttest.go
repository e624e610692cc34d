// Package transporttest checks that a transport.Network behaves as nodes and clients need it to: the in-memory network and TCP pass the same suite, and so should a user's own.
//
//	func TestNetwork(t *testing.T) {
//		transporttest.Run(t, func(t *testing.T) transporttest.Setup {
//			return transporttest.Setup{Dialer: mine, Listener: mine, Addr: "127.0.0.1:0"}
//		})
//	}
//
// Each test takes a few milliseconds and leaves no goroutine. The suite uses real time for deadlines of some milliseconds, and none of its checks can fail because a machine is slow.
package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insynclog/insync/transport"
)

// Setup is what is tested: a host that listens and one that dials. They may be the same.
type Setup struct {
	Listener, Dialer transport.Network
	Addr             string // to listen on, with port 0
}

// Run runs the suite. setup is called for each test.
func Run(t *testing.T, setup func(t *testing.T) Setup) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, setup(t)) })
	}
}

var cases = []struct {
	name string
	run  func(*testing.T, Setup)
}{
	{"Integrity", testIntegrity},
	{"BothWays", testBothWays},
	{"ManyConns", testManyConns},
	{"ConcurrentWriters", testConcurrentWriters},
	{"Close", testClose},
	{"CloseUnblocks", testCloseUnblocks},
	{"HalfClose", testHalfClose},
	{"WriteToClosed", testWriteToClosed},
	{"ReadDeadline", testReadDeadline},
	{"WriteDeadline", testWriteDeadline},
	{"DeadlineMoved", testDeadlineMoved},
	{"ListenerClose", testListenerClose},
	{"Refused", testRefused},
	{"Addresses", testAddresses},
	{"AddressInUse", testAddressInUse},
	{"DialContext", testDialContext},
	{"BadAddress", testBadAddress},
}

func listen(t *testing.T, s Setup) net.Listener {
	t.Helper()
	l, err := s.Listener.Listen(t.Context(), s.Addr)
	if err != nil {
		t.Fatalf("listen on %s: %v", s.Addr, err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// connect makes a connection.
func connect(t *testing.T, s Setup) (near, far net.Conn) {
	t.Helper()
	return join(t, s, listen(t, s))
}

func join(t *testing.T, s Setup, l net.Listener) (near, far net.Conn) {
	t.Helper()
	accepted := make(chan net.Conn, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := l.Accept()
		if err != nil {
			t.Errorf("accept: %v", err)
		}
		accepted <- c
	})
	near, err := s.Dialer.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Errorf("dial %s: %v", l.Addr(), err)
		l.Close()
	}
	wg.Wait()
	far = <-accepted
	if near == nil || far == nil {
		t.FailNow()
	}
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return near, far
}

// pattern returns n bytes that differ from place to place.
func pattern(n int, seed uint32) []byte {
	b := make([]byte, n)
	for i := range b {
		seed = seed*1664525 + 1013904223
		b[i] = byte(seed >> 24)
	}
	return b
}

// timeout tells whether err is a deadline's.
func timeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout() && errors.Is(err, os.ErrDeadlineExceeded)
}

func testIntegrity(t *testing.T, s Setup) {
	near, far := connect(t, s)
	want := pattern(3<<20, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for b, n := want, 1; len(b) > 0; n = n*3%70001 + 1 { // odd sizes
			n := min(n, len(b))
			if m, err := near.Write(b[:n]); m != n || err != nil {
				t.Errorf("write of %d: %d, %v", n, m, err)
				break
			}
			b = b[n:]
		}
		near.Close()
	})
	got, err := io.ReadAll(far)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes of %d, equal: %v, error: %v", len(got), len(want), bytes.Equal(got, want), err)
	}
}

// testBothWays sends both ways at once more than any buffer holds.
func testBothWays(t *testing.T, s Setup) {
	near, far := connect(t, s)
	var wg sync.WaitGroup
	for i, c := range []net.Conn{near, far} {
		wg.Go(func() {
			if _, err := c.Write(pattern(4<<20, uint32(i))); err != nil {
				t.Errorf("write: %v", err)
			}
		})
		wg.Go(func() {
			got := make([]byte, 4<<20)
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, pattern(4<<20, uint32(1-i))) {
				t.Errorf("read: %v, or other bytes", err)
			}
		})
	}
	wg.Wait()
}

func testManyConns(t *testing.T, s Setup) {
	l := listen(t, s)
	const n = 50
	var wg sync.WaitGroup
	wg.Go(func() {
		for range n {
			c, err := l.Accept()
			if err != nil {
				t.Errorf("accept: %v", err)
				return
			}
			wg.Go(func() {
				defer c.Close()
				if _, err := io.Copy(c, c); err != nil {
					t.Errorf("echo: %v", err)
				}
			})
		}
	})
	for i := range n {
		wg.Go(func() {
			c, err := s.Dialer.Dial(t.Context(), l.Addr().String())
			if err != nil {
				t.Errorf("dial: %v", err)
				l.Close()
				return
			}
			defer c.Close()
			for round := range 20 {
				want := pattern(1+i*round, uint32(i))
				if _, err := c.Write(want); err != nil {
					t.Errorf("write: %v", err)
					return
				}
				got := make([]byte, len(want))
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
					t.Errorf("echo: %v, or other bytes", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// testConcurrentWriters checks that a Write is not torn by another, however large.
func testConcurrentWriters(t *testing.T, s Setup) {
	near, far := connect(t, s)
	const writers, size = 8, 300_000
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			if _, err := near.Write(bytes.Repeat([]byte{byte(i)}, size)); err != nil {
				t.Errorf("write: %v", err)
			}
		})
	}
	seen := make(map[byte]bool)
	for range writers {
		b := make([]byte, size)
		if _, err := io.ReadFull(far, b); err != nil {
			t.Errorf("read: %v", err)
			break
		}
		if n := bytes.Count(b, b[:1]); n != size || seen[b[0]] {
			t.Errorf("%d of %d bytes are of one write, seen before: %v", n, size, seen[b[0]])
		}
		seen[b[0]] = true
	}
	wg.Wait()
}

// testClose checks that what was written before Close arrives, and then io.EOF; and that a closed connection says so.
func testClose(t *testing.T, s Setup) {
	near, far := connect(t, s)
	if _, err := near.Write([]byte("last words")); err != nil {
		t.Fatalf("write: %v", err)
	}
	if err := near.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if got, err := io.ReadAll(far); string(got) != "last words" || err != nil {
		t.Errorf("after close the peer read %q, %v", got, err)
	}
	if err := near.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("second close: %v", err)
	}
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	if err := near.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("deadline after close: %v", err)
	}
}

// testCloseUnblocks checks that Close wakes a reader and a writer of the same end.
func testCloseUnblocks(t *testing.T, s Setup) {
	near, _ := connect(t, s)
	var wg sync.WaitGroup
	started := make(chan struct{}, 2)
	wg.Go(func() {
		started <- struct{}{}
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read while closed: %v", err)
		}
	})
	wg.Go(func() {
		started <- struct{}{}
		b := make([]byte, 1<<20)
		for {
			if _, err := near.Write(b); err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("write while closed: %v", err)
				}
				return
			}
		}
	})
	<-started
	<-started
	near.Close()
	wg.Wait()
}

// testHalfClose checks CloseWrite, of connections that have it: the peer reads to the end and can still answer.
func testHalfClose(t *testing.T, s Setup) {
	near, far := connect(t, s)
	half, ok := near.(interface{ CloseWrite() error })
	if !ok {
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer far.Close()
		b, err := io.ReadAll(far)
		if err != nil {
			t.Errorf("read to the half close: %v", err)
		}
		if _, err := far.Write([]byte(strings.ToUpper(string(b)))); err != nil {
			t.Errorf("write after the half close: %v", err)
		}
	})
	if _, err := near.Write([]byte("question")); err != nil {
		t.Fatalf("write: %v", err)
	}
	if err := half.CloseWrite(); err != nil {
		t.Errorf("half close: %v", err)
	}
	if b, err := io.ReadAll(near); string(b) != "QUESTION" || err != nil {
		t.Errorf("the answer to a half close is %q, %v", b, err)
	}
}

// testWriteToClosed checks that a writer learns, sooner or later, that nobody reads.
func testWriteToClosed(t *testing.T, s Setup) {
	near, far := connect(t, s)
	far.Close()
	b := make([]byte, 1<<16)
	if err := near.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatalf("deadline: %v", err)
	}
	for {
		if _, err := near.Write(b); err != nil {
			if timeout(err) {
				t.Errorf("a write to a closed peer hangs")
			}
			return
		}
	}
}

func testReadDeadline(t *testing.T, s Setup) {
	near, far := connect(t, s)
	if err := near.SetReadDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
		t.Fatalf("deadline: %v", err)
	}
	if n, err := near.Read(make([]byte, 1)); n != 0 || !timeout(err) {
		t.Errorf("read past the deadline: %d, %v", n, err)
	}
	if n, err := near.Read(make([]byte, 1)); n != 0 || !timeout(err) {
		t.Errorf("second read past the deadline: %d, %v", n, err)
	}
	// The connection lives on.
	if err := near.SetReadDeadline(time.Time{}); err != nil {
		t.Fatalf("deadline: %v", err)
	}
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatalf("write: %v", err)
	}
	b := make([]byte, 1)
	if _, err := io.ReadFull(near, b); err != nil || b[0] != 'x' {
		t.Errorf("read after the deadline was taken back: %q, %v", b, err)
	}
}

func testWriteDeadline(t *testing.T, s Setup) {
	near, far := connect(t, s)
	if err := near.SetWriteDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
		t.Fatalf("deadline: %v", err)
	}
	b := make([]byte, 1<<20)
	for {
		n, err := near.Write(b)
		if err == nil {
			continue
		}
		if !timeout(err) || n >= len(b) {
			t.Errorf("write past the deadline: %d, %v", n, err)
		}
		break
	}
	// Reading is not concerned.
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatalf("write: %v", err)
	}
	if _, err := io.ReadFull(near, b[:1]); err != nil {
		t.Errorf("read beside a write deadline: %v", err)
	}
}

// testDeadlineMoved checks that a deadline counts for a read that has begun.
func testDeadlineMoved(t *testing.T, s Setup) {
	near, _ := connect(t, s)
	if err := near.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatalf("deadline: %v", err)
	}
	var wg sync.WaitGroup
	started := make(chan struct{})
	wg.Go(func() {
		close(started)
		if _, err := near.Read(make([]byte, 1)); !timeout(err) {
			t.Errorf("read while the deadline moved: %v", err)
		}
	})
	<-started
	if err := near.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Errorf("deadline: %v", err)
	}
	wg.Wait()
}

// testListenerClose checks that Accept ends, that nobody gets in any more, and that connections live on.
func testListenerClose(t *testing.T, s Setup) {
	l := listen(t, s)
	near, far := join(t, s, l)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept while closed: %v", err)
		}
	})
	if err := l.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	wg.Wait()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
	if c, err := s.Dialer.Dial(t.Context(), l.Addr().String()); err == nil {
		c.Close()
		t.Errorf("a closed listener was reached")
	}
	if _, err := near.Write([]byte("x")); err != nil {
		t.Errorf("write after the listener closed: %v", err)
	}
	if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
		t.Errorf("read after the listener closed: %v", err)
	}
	// The address is free again.
	again, err := s.Listener.Listen(t.Context(), l.Addr().String())
	if err != nil {
		t.Errorf("listen again on %s: %v", l.Addr(), err)
		return
	}
	again.Close()
}

func testRefused(t *testing.T, s Setup) {
	l := listen(t, s)
	addr := l.Addr().String()
	l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := s.Dialer.Dial(ctx, addr)
	if err == nil {
		c.Close()
		t.Fatalf("dialled %s, where nobody listens", addr)
	}
	if ctx.Err() != nil {
		t.Errorf("dialling where nobody listens takes for ever")
	}
}

// testAddresses checks that addresses are "host:port" with the port that was picked, and that the two ends agree.
func testAddresses(t *testing.T, s Setup) {
	l := listen(t, s)
	near, far := join(t, s, l)
	for _, a := range []net.Addr{l.Addr(), near.LocalAddr(), near.RemoteAddr(), far.LocalAddr(), far.RemoteAddr()} {
		host, port, err := net.SplitHostPort(a.String())
		if err != nil || host == "" || port == "" || port == "0" {
			t.Errorf("address %q is not host:port: %v", a, err)
		}
	}
	if near.RemoteAddr().String() != l.Addr().String() {
		t.Errorf("dialled %s but reached %s", l.Addr(), near.RemoteAddr())
	}
	if near.LocalAddr().String() != far.RemoteAddr().String() || near.RemoteAddr().String() != far.LocalAddr().String() {
		t.Errorf("the ends do not agree: %s-%s and %s-%s", near.LocalAddr(), near.RemoteAddr(), far.LocalAddr(), far.RemoteAddr())
	}
	other := listen(t, s)
	if other.Addr().String() == l.Addr().String() {
		t.Errorf("port 0 picked %s twice", l.Addr())
	}
}

func testAddressInUse(t *testing.T, s Setup) {
	l := listen(t, s)
	if again, err := s.Listener.Listen(t.Context(), l.Addr().String()); err == nil {
		again.Close()
		t.Errorf("two listeners on %s", l.Addr())
	}
}

func testDialContext(t *testing.T, s Setup) {
	l := listen(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := s.Dialer.Dial(ctx, l.Addr().String()); err == nil {
		c.Close()
		t.Errorf("dialled with a context that has ended")
	}
	// The end of a context does not concern a connection that was made with it.
	ctx, cancel = context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := l.Accept()
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		defer c.Close()
		if _, err := io.Copy(c, c); err != nil {
			t.Errorf("echo: %v", err)
		}
	})
	c, err := s.Dialer.Dial(ctx, l.Addr().String())
	cancel()
	if err != nil {
		l.Close()
		t.Fatalf("dial: %v", err)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Errorf("write after the dialling context ended: %v", err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Errorf("read after the dialling context ended: %v", err)
	}
	c.Close()
	wg.Wait()
}

func testBadAddress(t *testing.T, s Setup) {
	for _, addr := range []string{"no-port", "host:port:port", "host:-1", "host:65536"} {
		t.Run(fmt.Sprintf("%q", addr), func(t *testing.T) {
			if c, err := s.Dialer.Dial(t.Context(), addr); err == nil {
				c.Close()
				t.Errorf("dialled")
			}
			if l, err := s.Listener.Listen(t.Context(), addr); err == nil {
				l.Close()
				t.Errorf("listens")
			}
		})
	}
}
