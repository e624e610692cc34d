package sim

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/insynclog/insync/transport"
)

// This file makes the network late, lossy and repetitive, as far as a connection can show that: what is lost is sent again and holds up what follows; and who has given up on a request asks again over another
// connection, while the first request is still under way.

// lossyLink is a direction in which segments are lost.
type lossyLink struct {
	covers func(from, to string) bool
	seed   uint64
	loss   uint64        // of a thousand segments
	jitter time.Duration // what each takes more, at most
}

// lose begins a Lossy fault and returns what ends it.
func (w *World) lose(a Action, rng *rand.Rand) (end func()) {
	n := w.nodes[a.Node-1].host()
	peer := ""
	if a.Peer > 0 {
		peer = w.nodes[a.Peer-1].host()
	}
	link := &lossyLink{seed: rng.Uint64(), loss: rng.Uint64N(301), jitter: time.Duration(rng.ExpFloat64() * float64(20*time.Millisecond))}
	link.covers = func(from, to string) bool {
		return (from == n || to == n) && (peer == "" || from == peer || to == peer)
	}
	change := func(f func([]*lossyLink) []*lossyLink) {
		var list []*lossyLink
		if old := w.lossy.Load(); old != nil {
			list = slices.Clone(*old)
		}
		list = f(list)
		w.lossy.Store(&list)
	}
	change(func(l []*lossyLink) []*lossyLink { return append(l, link) })
	return func() {
		change(func(l []*lossyLink) []*lossyLink {
			return slices.DeleteFunc(l, func(x *lossyLink) bool { return x == link })
		})
	}
}

// firstRetransmission is after what time TCP sends a segment again; each further time takes twice as long.
const firstRetransmission = 200 * time.Millisecond

// lateness is by how much a delivery is late. What follows it on its connection waits for it.
func (w *World) lateness(d transport.Delivery) (late time.Duration) {
	list := w.lossy.Load()
	if list == nil {
		return 0
	}
	for _, l := range *list {
		if !l.covers(d.From, d.To) {
			continue
		}
		h := newHash(l.seed).string(d.From).string(d.To).string(d.Conn).uint(uint64(d.N))
		late += h.between(0, l.jitter+1)
		for wait := firstRetransmission; wait < 4*time.Second; wait *= 2 {
			if h = h.uint(1); h.sum()%1000 >= l.loss {
				break
			}
			late += wait
		}
	}
	return late
}

// host is the network as a host sees it, with requests that arrive twice.
func (w *World) host(name string) transport.Network {
	return doublingNetwork{w.network.Host(name), w, name}
}

type doublingNetwork struct {
	transport.Network
	w    *World
	host string
}

// Trusted tells that nobody connects by accident.
func (doublingNetwork) Trusted() bool { return true }

func (n doublingNetwork) Dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := n.Network.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &doublingConn{Conn: c, n: n, addr: addr}, nil
}

// doublingConn is the dialling end of a connection. It follows the frames that are written: the length, 4 bytes; then the key of the request, 2 bytes, its version, 2 bytes, and its number, 4 bytes.
type doublingConn struct {
	net.Conn
	n    doublingNetwork
	addr string

	head  []byte // of the frame that is being written
	frame []byte // all of it so far, if it may be sent again
	left  int    // bytes of it that are to come, after the head
}

const frameHead = 4 + 2 + 2 + 4

func (c *doublingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	for b := b[:n]; len(b) > 0; {
		if len(c.head) < frameHead {
			k := min(frameHead-len(c.head), len(b))
			c.head, b = append(c.head, b[:k]...), b[k:]
			if len(c.head) < frameHead {
				break
			}
			c.left = int(binary.BigEndian.Uint32(c.head)) - (frameHead - 4)
			c.frame = c.frame[:0]
			if c.n.w.doubles.Load() > 0 && mayDouble(int16(binary.BigEndian.Uint16(c.head[4:]))) {
				c.frame = append(c.frame, c.head...)
			}
		}
		k := min(c.left, len(b))
		if len(c.frame) > 0 {
			c.frame = append(c.frame, b[:k]...)
		}
		if c.left, b = c.left-k, b[k:]; c.left == 0 {
			c.head = c.head[:0]
			if len(c.frame) > 0 {
				c.n.again(c.addr, slices.Clone(c.frame))
			}
		}
	}
	return n, err
}

// mayDouble tells which requests are sent twice: not those of which a repetition means something else than the request, as a topic deleted by its name or a membership that is asked for again.
func mayDouble(key int16) bool {
	switch key {
	case 8, 10, 11, 12, 13, 14, 20, 42, 43, 45, 47, 68, 80, 81:
		return false
	}
	return true
}

// again sends some requests a second time, up to seconds later. An answer that comes is that request's.
func (n doublingNetwork) again(addr string, frame []byte) {
	w := n.w
	h := newHash(w.seed).string(n.host).string(addr).string(string(frame)).uint(uint64(time.Since(w.begun)))
	if h.sum()%4 != 0 {
		return
	}
	w.strays.Add(1)
	time.AfterFunc(h.uint(1).between(0, 30*time.Millisecond)<<(h.uint(2).sum()%8), func() {
		defer w.strays.Done()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		c, err := n.Network.Dial(ctx, addr)
		if err != nil {
			return
		}
		defer c.Close()
		if c.SetDeadline(time.Now().Add(3*time.Second)) != nil {
			return
		}
		if _, err := c.Write(frame); err != nil {
			return
		}
		var answer [8]byte
		if _, err := io.ReadFull(c, answer[:]); err == nil && string(answer[4:]) != string(frame[8:12]) {
			w.problem("%s: request %x is answered as %x", n.host, frame[8:12], answer[4:])
		}
	})
}
