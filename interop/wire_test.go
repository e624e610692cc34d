package interop

import (
	"encoding/binary"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// call is a request about a group, as it went over the wire, and what came back: what happened, whatever the client makes of it.
type call struct {
	seat     *seat // who asks, nil for whoever looks from outside
	req      kmsg.Request
	resp     kmsg.Response // nil as long as there is none
	sent     time.Time     // before the first byte of the request went out
	answered time.Time     // when the last byte of the answer had come in, zero as long as there is none
}

// wire is a connection that is listened to. What the server did with a request it did between sent and answered.
type wire struct {
	net.Conn
	ledger *ledger
	seat   *seat

	mu      sync.Mutex
	out, in frames
	open    map[int32]*call // by correlation id
}

func (w *wire) Write(b []byte) (int, error) {
	now := time.Now()
	w.mu.Lock()
	for _, f := range w.out.feed(b) { // before it goes out, for the answer may come in before Write returns
		w.request(f, now)
	}
	w.mu.Unlock()
	return w.Conn.Write(b)
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.in.feed(b[:n]) {
		w.response(f)
	}
	return n, err
}

func (w *wire) request(f []byte, sent time.Time) {
	if len(f) < 10 {
		return
	}
	key := kmsg.Key(binary.BigEndian.Uint16(f))
	switch key {
	case kmsg.OffsetCommit, kmsg.OffsetFetch, kmsg.JoinGroup, kmsg.Heartbeat, kmsg.LeaveGroup, kmsg.SyncGroup, kmsg.ConsumerGroupHeartbeat:
	default:
		return
	}
	req := key.Request()
	req.SetVersion(int16(binary.BigEndian.Uint16(f[2:])))
	body := f[10+max(int(int16(binary.BigEndian.Uint16(f[8:]))), 0):]
	if req.IsFlexible() {
		body = skipTags(body)
	}
	if err := req.ReadFrom(body); err != nil {
		w.ledger.fail("a request of %v: %v", w.seat, err)
		return
	}
	c := &call{seat: w.seat, req: req, sent: sent}
	w.open[int32(binary.BigEndian.Uint32(f[4:]))] = c
	w.ledger.asked(c)
}

func (w *wire) response(f []byte) {
	if len(f) < 4 {
		return
	}
	id := int32(binary.BigEndian.Uint32(f))
	c := w.open[id]
	if c == nil {
		return
	}
	delete(w.open, id)
	body := f[4:]
	if c.req.IsFlexible() {
		body = skipTags(body)
	}
	resp := c.req.ResponseKind()
	if err := resp.ReadFrom(body); err != nil {
		w.ledger.fail("an answer to %v: %v", w.seat, err)
		return
	}
	w.ledger.told(c, resp)
}

// skipTags leaves out the tagged fields of a header.
func skipTags(b []byte) []byte {
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		b = b[max(n, 0):]
		return v
	}
	for n := next(); n > 0 && len(b) > 0; n-- {
		next()
		b = b[min(next(), uint64(len(b))):]
	}
	return b
}

// frames puts together what comes in pieces.
type frames struct{ rest []byte }

// feed returns the frames that are complete now, without their lengths; they are the caller's until the next feed.
func (f *frames) feed(b []byte) (whole [][]byte) {
	f.rest = append(f.rest, b...)
	for len(f.rest) >= 4 {
		n := 4 + int(binary.BigEndian.Uint32(f.rest))
		if len(f.rest) < n {
			break
		}
		whole = append(whole, f.rest[4:n])
		f.rest = f.rest[n:]
	}
	return whole
}
