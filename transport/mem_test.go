package transport

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// memPair connects host a to host b.
func memPair(t testing.TB, m *Mem) (a, b net.Conn) {
	t.Helper()
	l, err := m.Host("b").Listen(t.Context(), ":0")
	require.NoError(t, err)
	defer l.Close()
	a, err = m.Host("a").Dial(t.Context(), l.Addr().String())
	require.NoError(t, err)
	b, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	return a, b
}

// readN reads n bytes and returns them with the time it took.
func readN(t testing.TB, c net.Conn, n int) (string, time.Duration) {
	t.Helper()
	start := time.Now()
	b := make([]byte, n)
	_, err := io.ReadFull(c, b)
	require.NoError(t, err)
	return string(b), time.Since(start)
}

func write(t testing.TB, c net.Conn, s string) {
	t.Helper()
	n, err := c.Write([]byte(s))
	require.NoError(t, err)
	require.Equal(t, len(s), n)
}

// nothing checks that c delivers nothing for a while.
func nothing(t testing.TB, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Hour)))
	_, err := c.Read(make([]byte, 1))
	var ne net.Error
	require.ErrorAs(t, err, &ne)
	require.True(t, ne.Timeout())
	require.NoError(t, c.SetReadDeadline(time.Time{}))
}

func TestMemLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMem()
		m.SetLink("a", "b", Link{Latency: 10 * time.Millisecond})
		m.SetLink("b", "a", Link{Latency: 3 * time.Millisecond})
		start := time.Now()
		a, b := memPair(t, m)
		require.Equal(t, 13*time.Millisecond, time.Since(start))
		write(t, a, "one")
		time.Sleep(4 * time.Millisecond)
		write(t, a, "two")
		got, took := readN(t, b, 3)
		require.Equal(t, "one", got)
		require.Equal(t, 6*time.Millisecond, took)
		got, took = readN(t, b, 3)
		require.Equal(t, "two", got)
		require.Equal(t, 4*time.Millisecond, took)
		write(t, b, "back")
		_, took = readN(t, a, 4)
		require.Equal(t, 3*time.Millisecond, took)

		// Order is kept when the latency falls, and the end of the stream is delivered like bytes.
		write(t, a, "slow")
		m.SetLink("a", "b", Link{Latency: time.Millisecond})
		write(t, a, "fast")
		require.NoError(t, a.Close())
		got, took = readN(t, b, 8)
		require.Equal(t, "slowfast", got)
		require.Equal(t, 10*time.Millisecond, took)
		_, err := b.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
	})
}

func TestMemStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMem()
		a, b := memPair(t, m)
		write(t, a, "here")
		m.SetLink("a", "b", Link{Stall: true})
		write(t, a, "kept")
		got, _ := readN(t, b, 4) // it had arrived
		require.Equal(t, "here", got)
		nothing(t, b)
		write(t, b, "back") // the other direction is not concerned
		readN(t, a, 4)
		time.AfterFunc(time.Minute, m.Heal)
		dialled := time.Now()
		l, err := m.Host("b").Listen(t.Context(), "b:77")
		require.NoError(t, err)
		defer l.Close()
		c, err := m.Host("a").Dial(t.Context(), "b:77")
		require.NoError(t, err)
		defer c.Close()
		require.Equal(t, time.Minute, time.Since(dialled))
		got, took := readN(t, b, 4)
		require.Equal(t, "kept", got)
		require.Zero(t, took)
	})
}

func TestMemCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMem()
		m.SetLink("*", "*", Link{Latency: time.Second})
		a, b := memPair(t, m)
		write(t, a, "under way")
		write(t, b, "back")
		time.Sleep(500 * time.Millisecond)
		m.SetLink("a", "b", Link{Cut: true})
		write(t, a, "lost")
		nothing(t, b)
		got, _ := readN(t, a, 4)
		require.Equal(t, "back", got)
		write(t, b, "again")
		got, _ = readN(t, a, 5)
		require.Equal(t, "again", got)

		// What is lost fills the window, as it does while TCP waits for acknowledgements.
		require.NoError(t, a.SetWriteDeadline(time.Now().Add(time.Minute)))
		n, err := a.Write(make([]byte, 1<<20))
		require.ErrorContains(t, err, "timeout")
		require.Less(t, n, memWindow)

		// Dialling hangs in either direction.
		l, err := m.Host("b").Listen(t.Context(), "b:77")
		require.NoError(t, err)
		defer l.Close()
		for _, dir := range [][2]string{{"a", "b"}, {"b", "a"}} {
			m.Heal()
			m.SetLink(dir[0], dir[1], Link{Cut: true})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			start := time.Now()
			_, err = m.Host("a").Dial(ctx, "b:77")
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, time.Minute, time.Since(start))
		}
		// With the bytes gone, the connection could not go on.
		_, err = b.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = a.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
	})
}

// TestMemCutUnnoticed checks that a connection that sent nothing during a cut goes on, and that a peer's end does not pass a cut.
func TestMemCutUnnoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMem()
		a, b := memPair(t, m)
		m.SetLink("*", "b", Link{Cut: true})
		m.Heal()
		write(t, a, "on")
		readN(t, b, 2)
		m.SetLink("a", "b", Link{Cut: true})
		require.NoError(t, a.Close())
		nothing(t, b)
		m.Heal()
		_, err := b.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)

		a, b = memPair(t, m)
		m.SetLink("b", "a", Link{Cut: true})
		require.NoError(t, b.Close())
		write(t, a, "into the void") // nobody can say so
		nothing(t, a)
	})
}

func TestMemReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMem()
		a, _ := memPair(t, m)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := a.Read(make([]byte, 1))
			require.ErrorIs(t, err, syscall.ECONNRESET)
		})
		wg.Go(func() {
			_, err := a.Write(make([]byte, 1<<20))
			require.ErrorIs(t, err, syscall.ECONNRESET)
		})
		c, d := memPair(t, m)
		wg.Go(func() {
			time.Sleep(time.Second)
			m.Reset("b", "c")
			m.Reset("c", "*")
			m.Reset("a", "a")
			write(t, c, "x")
			readN(t, d, 1)
			m.Reset("b", "a")
		})
		wg.Wait()
		_, err := d.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.NoError(t, d.Close())
		e, f := memPair(t, m) // new ones are not concerned
		write(t, e, "x")
		readN(t, f, 1)
		m.Reset("*", "*")
		_, err = e.Read(nil)
		require.ErrorIs(t, err, syscall.ECONNRESET)
	})
}

func TestMemHosts(t *testing.T) {
	m := NewMem()
	listen := func(host, addr string) (string, error) {
		l, err := m.Host(host).Listen(t.Context(), addr)
		if err != nil {
			return "", err
		}
		t.Cleanup(func() { l.Close() })
		return l.Addr().String(), nil
	}
	for _, c := range []struct{ host, addr, want string }{
		{"a", ":0", "a:1"}, {"a", "a:0", "a:2"}, {"a", ":3", "a:3"}, {"a", ":0", "a:4"}, {"b", "127.0.0.1:0", "127.0.0.1:1"}, {"b", ":0", "b:1"}, {"c", "[::1]:9", "[::1]:9"},
	} {
		got, err := listen(c.host, c.addr)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	_, err := listen("b", "a:3")
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	_, err = m.Host("a").Dial(t.Context(), "a:99")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	_, err = m.Host("a").Dial(t.Context(), "nobody:1")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)

	// A link is between the host that dials and the one that listens, under whatever address.
	c, err := m.Host("a").Dial(t.Context(), "127.0.0.1:1")
	require.NoError(t, err)
	defer c.Close()
	m.Reset("a", "b")
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

func TestMemRules(t *testing.T) {
	m := NewMem()
	ms := func(from, to string) time.Duration { return m.linkLocked(from, to).Latency }
	m.SetLink("a", "b", Link{Latency: 1})
	m.SetLink("a", "*", Link{Latency: 2})
	require.Equal(t, time.Duration(2), ms("a", "b"))
	m.SetLink("a", "b", Link{Latency: 3})
	m.SetLink("*", "c", Link{Latency: 4})
	require.Equal(t, time.Duration(3), ms("a", "b"))
	require.Equal(t, time.Duration(4), ms("a", "c"))
	require.Equal(t, time.Duration(2), ms("a", "d"))
	require.Equal(t, time.Duration(0), ms("b", "a"))
	m.SetLink("a", "b", Link{})
	require.Equal(t, time.Duration(0), ms("a", "b"))
	require.Len(t, m.rules, 3)
	m.SetLink("*", "*", Link{Latency: 5})
	require.Len(t, m.rules, 1)
	require.Equal(t, time.Duration(5), ms("a", "b"))
	m.Heal()
	require.Equal(t, time.Duration(0), ms("a", "b"))
}

// TestMemStream sends random runs over a link whose state changes at random, but is never cut: what arrives is what was sent.
func TestMemStream(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			m := NewMem()
			a, b := memPair(t, m)
			rng := rand.New(rand.NewPCG(seed, 3))
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, 4))
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(rng.IntN(3000)) * time.Microsecond):
						m.SetLink("a", "b", Link{Latency: time.Duration(rng.IntN(2000)) * time.Microsecond, Stall: rng.IntN(3) == 0})
					}
				}
			})
			const total = 2 << 20
			wg.Go(func() {
				for sent := 0; sent < total; {
					buf := make([]byte, min(1+rng.IntN(60_000), total-sent))
					for i := range buf {
						buf[i] = byte((sent + i) * 31 >> 3)
					}
					if _, err := a.Write(buf); err != nil {
						t.Error(err)
						return
					}
					sent += len(buf)
				}
				a.Close()
			})
			read := 0
			buf := make([]byte, 100_000)
			for {
				n, err := b.Read(buf[:1+read%len(buf)])
				for i, v := range buf[:n] {
					if v != byte((read+i)*31>>3) {
						t.Fatalf("byte %d differs", read+i)
					}
				}
				read += n
				if err == io.EOF {
					break
				}
				require.NoError(t, err)
			}
			require.Equal(t, total, read)
			close(stop)
			wg.Wait()
		})
	}
}

// TestMemIdleCost holds what an idle connection costs, and that a closed one costs nothing.
func TestMemIdleCost(t *testing.T) {
	m := NewMem()
	l, err := m.Host("b").Listen(t.Context(), ":0")
	require.NoError(t, err)
	defer l.Close()
	heap := func() int64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	const n = 2000
	before := heap()
	var conns []net.Conn
	for range n {
		a, err := m.Host("a").Dial(t.Context(), l.Addr().String())
		require.NoError(t, err)
		b, err := l.Accept()
		require.NoError(t, err)
		write(t, a, "hello")
		readN(t, b, 5)
		conns = append(conns, a, b)
	}
	require.Less(t, (heap()-before)/n, int64(4<<10))
	for _, c := range conns {
		require.NoError(t, c.Close())
		require.True(t, errors.Is(c.Close(), net.ErrClosed))
	}
	require.Empty(t, m.conns)
}

// A delay that a seed decides makes a run that can be repeated: every delivery has a name of its own.
func TestMemDelay(t *testing.T) {
	run := func() (seen []Delivery) {
		synctest.Test(t, func(t *testing.T) {
			m := NewMem()
			m.SetDelay(func(d Delivery) time.Duration {
				seen = append(seen, d)
				return time.Duration(len(seen)) * time.Millisecond
			})
			start := time.Now()
			a, b := memPair(t, m)
			require.Equal(t, time.Millisecond, time.Since(start))
			write(t, a, "there")
			got, took := readN(t, b, 5)
			require.Equal(t, "there", got)
			require.Equal(t, 2*time.Millisecond, took)
			write(t, b, "and")
			write(t, b, "back")
			got, took = readN(t, a, 7)
			require.Equal(t, "andback", got)
			require.Equal(t, 4*time.Millisecond, took)
			m.SetDelay(nil)
			write(t, a, "now")
			_, took = readN(t, b, 3)
			require.Zero(t, took)
		})
		return seen
	}
	seen := run()
	require.Equal(t, []Delivery{{"a", "b", "a>b#1", 0, 0}, {"a", "b", "a>b#1", 1, 5}, {"b", "a", "a>b#1", 1, 3}, {"b", "a", "a>b#1", 2, 7}}, seen)
	require.Equal(t, seen, run())
}
