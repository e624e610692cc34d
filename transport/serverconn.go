package transport

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/insynclog/insync/internal/guard"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// serverConn is one connection of a server. Its reader parses requests and runs the handler; its writer sends replies in the order of the requests. The writer's goroutine exists while there is
// something to send: an idle connection costs one goroutine.
//
//	reader: frame → decode → queue a slot → Handler.Serve ──┐
//	                           slots: [ready][ready][waiting][ready]   reply(…) fills its slot, from any goroutine, and starts the writer
//	writer: takes the run of ready slots at the front → one write → Release
type serverConn struct {
	s      *Server
	nc     net.Conn
	info   ConnInfo
	host   string // the address without the port
	ctx    context.Context
	cancel context.CancelFunc

	// The reader's.
	login   loginState
	account account   // of the server's memory
	known   bool      // it sent a request
	used    [2]uint64 // API keys below 128 that it used, if anybody wants to know

	fresh *list.Element // guarded by s.mu

	// The writer's, from one to the next.
	fb    frameBuffer
	batch []*slot
	armed time.Time // when the write deadline was last set

	mu struct {
		sync.Mutex
		slots   []*slot // in the order of the requests; replied or not
		bytes   int     // memory of requests that were not replied yet
		fetches int     // that have a reply which has not been sent yet
		err     error   // why the connection ends; set once
		writing bool    // the writer's goroutine exists
	}
	room sync.Cond // for the reader: slots were taken, the writer is done, or the end has come
}

// slot is one request and the place of its reply.
type slot struct {
	c           *serverConn
	req         Request
	correlation int32
	version     int16

	// guarded by c.mu
	frame    *frame // the request's memory, to be used again when both serving and waiting for the reply are over
	size     int    // what the connection's account was charged for it
	serving  bool
	replied  bool
	dropped  bool // the connection ended before the reply
	fetch    bool // it counts as one whose reply has not been sent
	recycled bool
	reply    Reply

	bare  bool // the answer is token, in a frame without a header
	token []byte
}

func newServerConn(s *Server, nc net.Conn) *serverConn {
	c := &serverConn{s: s, nc: nc}
	_, plain := nc.(*net.TCPConn)
	c.info.Local, c.info.Remote, c.info.SendFile, c.info.Identity.Principal = addrString(nc.LocalAddr()), addrString(nc.RemoteAddr()), plain, Anonymous
	c.host = c.info.Remote
	if host, _, err := net.SplitHostPort(c.host); err == nil {
		c.host = host
	}
	c.account = account{m: &s.memory, kill: c.fail}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.room.L = &c.mu
	return c
}

func addrString(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

// run reads requests until the connection ends. It returns when the writer has ended, too.
func (c *serverConn) run() {
	err := c.meet()
	if err == nil {
		err = c.read()
	}
	if !errors.Is(err, io.EOF) {
		c.fail(err)
	}
	c.mu.Lock()
	for c.mu.err == nil && (len(c.mu.slots) > 0 || c.mu.writing) {
		c.room.Wait() // After an orderly end of the peer's half, what it asked for is still answered: kcat and shell pipelines close early.
	}
	c.mu.Unlock()
	c.fail(net.ErrClosed) // no writer starts after this
	c.mu.Lock()
	for c.mu.writing {
		c.room.Wait()
	}
	c.mu.Unlock()
	c.drop()
	c.log()
}

// fail ends the connection: it is closed, and reader, writer and handler notice. The first reason counts.
func (c *serverConn) fail(err error) {
	c.mu.Lock()
	if c.mu.err == nil {
		c.mu.err = err
	}
	c.room.Signal()
	c.mu.Unlock()
	c.cancel()
	_ = c.nc.Close() // nothing is promised about what was not sent
}

// log says why a connection ended, if that is news.
func (c *serverConn) log() {
	c.mu.Lock()
	err := c.mu.err
	c.mu.Unlock()
	_, panicked := errors.AsType[*PanicError](err)
	switch {
	case panicked:
		p, _ := errors.AsType[*PanicError](err)
		c.s.cfg.Logger.Error("connection closed", "remote", c.info.Remote, "error", err, "stack", string(p.Stack))
	case errors.Is(err, net.ErrClosed), errors.Is(err, ErrClosed), errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded):
		c.s.cfg.Logger.Debug("connection closed", "remote", c.info.Remote, "reason", err)
	default:
		c.s.complaints.log(c.s.cfg.Logger, slog.LevelInfo, "connection closed", "remote", c.info.Remote, "error", err)
	}
}

// meet finds out who the other side is, as far as the connection tells.
func (c *serverConn) meet() error {
	state, err := c.shakeHands()
	if err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	login := c.s.cfg.Login
	if login == nil {
		c.info.Identity.Peer = true
		return nil
	}
	if len(login.Mechanisms()) == 0 {
		c.info.Identity, err = login.Identify(state)
		return err
	}
	if state != nil && len(state.VerifiedChains) > 0 {
		if id, err := login.Identify(state); err == nil && id.Peer {
			c.info.Identity = id // nodes need no password beside their certificates
			return nil
		}
	}
	c.login.stage = loginNeeded
	return nil
}

// handshakeTurn is how long a handshake counts towards Limits.Handshakes: it bounds computing, not waiting for a client that says nothing.
const handshakeTurn = 50 * time.Millisecond

// shakeHands has a TLS connection do its handshake now, rather than with the first read: few at a time, and not for long. It returns nil without TLS.
func (c *serverConn) shakeHands() (*tls.ConnectionState, error) {
	t, ok := c.nc.(interface {
		HandshakeContext(ctx context.Context) error
		ConnectionState() tls.ConnectionState
	})
	if !ok {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.s.cfg.Limits.LoginTimeout)
	defer cancel()
	select {
	case c.s.shaking <- struct{}{}:
		leave := sync.OnceFunc(func() { <-c.s.shaking })
		defer leave()
		defer time.AfterFunc(handshakeTurn, leave).Stop() // whoever lets the server wait makes way
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	state := t.ConnectionState()
	return &state, nil
}

// read serves requests until there are no more; the error is never nil.
func (c *serverConn) read() error {
	r := newFrameReader(c.nc, &c.s.frames, 0, c.s.cfg.Limits.IdleTimeout)
	r.half, r.account, r.ctx = c.s.cfg.Limits.FrameTimeout, &c.account, c.ctx
	r.hold = c.awaitVoice
	r.alone = func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.mu.bytes == 0
	}
	if c.login.stage != loginDone {
		r.until = time.Now().Add(c.s.cfg.Limits.LoginTimeout)
	}
	clientID := ""
	for {
		if err := c.awaitRoom(); err != nil {
			return err
		}
		if c.login.stage == loginDone && !r.until.IsZero() {
			r.until, r.armed = time.Time{}, time.Time{}
		}
		r.max = c.maxFrame()
		f, err := r.next()
		if err != nil {
			return err
		}
		if c.login.stage == loginRaw {
			err := c.rawToken(f.b)
			r.put(f)
			if err != nil {
				return err
			}
		} else {
			sl, err := c.accept(f, clientID)
			if err != nil {
				r.put(f)
				return err
			}
			if sl == nil {
				r.put(f)
				continue // answered already
			}
			clientID = sl.req.ClientID
			if err := c.awaitFetch(sl); err != nil {
				sl.fill(Reply{}) // nobody else will, and its memory is the server's
				return err
			}
			if err := c.serve(sl); err != nil {
				return err
			}
		}
	}
}

// awaitVoice waits while the connection is muted.
func (c *serverConn) awaitVoice() error {
	for {
		until := c.info.muted.Load()
		if until == 0 {
			return nil
		}
		wait := time.Until(time.Unix(0, until))
		if wait <= 0 {
			return nil
		}
		if !sleep(c.ctx, wait) {
			return ErrClosed
		}
	}
}

// maxFrame is the largest frame that may come next.
func (c *serverConn) maxFrame() int {
	switch limits := &c.s.cfg.Limits; {
	case c.login.stage != loginDone:
		return limits.LoginFrame
	case c.info.Identity.Peer && c.s.cfg.Login != nil:
		return limits.PeerFrame
	default:
		return limits.Frame
	}
}

// accept turns a frame into a slot at the end of the queue, whose memory the frame then is. It returns nil for what it answered itself: a login, and an ApiVersions request of a version that is not known.
func (c *serverConn) accept(f *frame, lastClientID string) (*slot, error) {
	h, rest, err := parseRequestHeader(f.b)
	if err != nil {
		return nil, &ProtocolError{Key: -1, Version: -1, Err: err}
	}
	fail := func(err error) error { return &ProtocolError{Key: h.key, Version: h.version, Err: err} }
	if err := c.login.admit(h.key, time.Now()); err != nil {
		return nil, fail(err)
	}
	c.noteRequest()
	sl := &slot{c: c, correlation: h.correlation, version: h.version}
	known, ok := c.s.versions[h.key]
	if ok && h.key == keyApiVersions && (h.version < known.Min || h.version > known.Max) {
		sl.replied, sl.version = true, 0
		sl.reply.Message = unsupportedApiVersions(known)
		c.push(sl)
		return nil, nil
	}
	if !ok || h.version < known.Min || h.version > known.Max {
		return nil, fail(kerr.UnsupportedVersion)
	}
	sl.req.Conn = &c.info
	var body []byte
	var cost int
	if sl.req.Message, sl.req.ClientID, body, cost, err = c.s.open(h, rest, lastClientID); err != nil {
		return nil, fail(err)
	}
	if err := c.charge(f, cost); err != nil {
		return nil, err
	}
	if err := decode(sl.req.Message, body); err != nil {
		return nil, fail(err)
	}
	c.noteUse(sl)
	if resp, ours, err := c.loginRequest(sl.req.Message); ours {
		if resp == nil {
			return nil, fail(err)
		}
		sl.replied, sl.reply.Message = true, resp
		c.push(sl)
		if err != nil {
			err = c.refused(err)
		}
		return nil, err
	}
	sl.frame, sl.size, sl.serving = f, f.charge, true
	f.charge = 0
	c.push(sl)
	return sl, nil
}

// noteRequest notes that the connection is not one of those that never say anything.
func (c *serverConn) noteRequest() {
	if c.known {
		return
	}
	c.known = true
	c.s.mu.Lock()
	c.s.knownLocked(c)
	c.s.mu.Unlock()
}

// noteUse logs, once for each connection, which APIs a client uses, and in which versions: how one learns what depends on what.
func (c *serverConn) noteUse(sl *slot) {
	key := sl.req.Message.Key()
	if key < 0 || key >= 128 || c.used[key/64]&(1<<(key%64)) != 0 || !c.s.cfg.Logger.Enabled(c.ctx, slog.LevelDebug) {
		return
	}
	c.used[key/64] |= 1 << (key % 64)
	software, version := c.info.ClientSoftwareName, c.info.ClientSoftwareVersion
	if req, ok := sl.req.Message.(*kmsg.ApiVersionsRequest); ok && req.Version >= 3 {
		software, version = req.ClientSoftwareName, req.ClientSoftwareVersion
	}
	c.s.cfg.Logger.Debug("api used", "remote", c.info.Remote, "client", sl.req.ClientID, "software", software, "version", version,
		"key", key, "name", kmsg.NameForKey(key), "api", sl.version)
}

// unsupportedApiVersions is the one answer that is given to what was not understood: a body of version 0 that names the versions of ApiVersions itself.
func unsupportedApiVersions(known VersionRange) kmsg.Response {
	r := kmsg.NewPtrApiVersionsResponse()
	r.ErrorCode = kerr.UnsupportedVersion.Code
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MinVersion, k.MaxVersion = keyApiVersions, known.Min, known.Max
	r.ApiKeys = append(r.ApiKeys, k)
	return r
}

// open reads the rest of a request's header, and has the guard walk its body: nothing is decoded before that. cost is what decoding will take. Private requests guard themselves.
func (s *Server) open(h requestHeader, b []byte, lastClientID string) (req kmsg.Request, clientID string, body []byte, cost int, err error) {
	req = s.cfg.NewRequest(h.key)
	if req == nil {
		return nil, "", nil, 0, kerr.UnsupportedVersion
	}
	req.SetVersion(h.version)
	if clientID, body, err = parseHeaderTail(b, req.IsFlexible(), lastClientID); err != nil {
		return nil, "", nil, 0, err
	}
	if h.key >= keyPrivate {
		return req, clientID, body, len(body), nil
	}
	cost, err = guard.Request(h.key, h.version, body, guard.Budget(len(body)))
	return req, clientID, body, cost, err
}

// decode is the one place where bytes from a connection become a request.
func decode(req kmsg.Request, body []byte) (err error) {
	defer recovered(&err)
	return req.ReadFrom(body)
}

// charge takes the memory that decoding a frame will need, beside the frame's own.
func (c *serverConn) charge(f *frame, cost int) error {
	if !c.s.memory.has(cost) {
		c.account.awaited(f.charge) // so that frames that wait for each other are seen to
		defer c.account.arrived()
	}
	c.mu.Lock()
	alone := c.mu.bytes == 0
	c.mu.Unlock()
	if err := c.account.take(c.ctx, cost, alone); err != nil {
		return err
	}
	f.charge += cost
	return nil
}

// recovered turns a panic into an error. It must be deferred directly.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = &PanicError{Value: v, Stack: debug.Stack()}
	}
}

// serve runs the handler.
func (c *serverConn) serve(sl *slot) (err error) {
	defer func() {
		c.mu.Lock()
		sl.serving = false
		f := sl.takeFrameLocked()
		c.mu.Unlock()
		c.s.frames.put(f)
	}()
	defer recovered(&err)
	c.s.cfg.Handler.Serve(c.ctx, &sl.req, sl.fill)
	return nil
}

// fill is the reply function of a request.
func (sl *slot) fill(r Reply) {
	c := sl.c
	c.mu.Lock()
	if sl.replied {
		c.mu.Unlock()
		return
	}
	sl.replied, sl.reply = true, r
	if _, sl.fetch = r.Message.(*kmsg.FetchResponse); sl.fetch {
		c.mu.fetches++
	}
	c.mu.bytes -= sl.size
	c.s.memory.give(sl.size)
	dropped := sl.dropped
	f := sl.takeFrameLocked()
	c.startWriterLocked()
	c.mu.Unlock()
	c.s.frames.put(f)
	if dropped && r.Release != nil {
		r.Release()
	}
}

// takeFrameLocked returns the request's memory when nobody can use it any more. Only produce requests, the large ones, are worth it, and only their handlers surely keep no bytes.
func (sl *slot) takeFrameLocked() *frame {
	if sl.serving || !sl.replied || sl.recycled {
		return nil
	}
	sl.recycled = true
	f := sl.frame
	sl.frame = nil
	if p, ok := sl.req.Message.(*kmsg.ProduceRequest); !ok || p == nil {
		return nil
	}
	return f
}

func (c *serverConn) push(sl *slot) {
	c.mu.Lock()
	c.mu.slots = append(c.mu.slots, sl)
	if !sl.replied {
		c.mu.bytes += sl.size
	}
	c.startWriterLocked()
	c.mu.Unlock()
}

// startWriterLocked starts the writer if there is something to send and nobody does.
func (c *serverConn) startWriterLocked() {
	if !c.mu.writing && c.mu.err == nil && len(c.mu.slots) > 0 && c.mu.slots[0].replied {
		c.mu.writing = true
		go c.write()
	}
}

// awaitRoom waits until another request may be read.
func (c *serverConn) awaitRoom() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.mu.err == nil && (len(c.mu.slots) >= c.s.cfg.Limits.Pipelined || (c.mu.bytes > c.s.cfg.Limits.ConnectionMemory && len(c.mu.slots) > 0)) {
		c.room.Wait()
	}
	return c.mu.err
}

// awaitFetch has a fetch wait until the records of those before it have been sent. Each may bring tens of megabytes, and who asks for many and reads nothing would have them all lie here (Kafka serves one request of a
// connection at a time). Those that wait for records hold nobody up.
func (c *serverConn) awaitFetch(sl *slot) error {
	if _, ok := sl.req.Message.(*kmsg.FetchRequest); !ok {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.mu.err == nil && c.mu.fetches > 0 {
		c.room.Wait()
	}
	return c.mu.err
}

// write sends replies until there are none at the front of the queue. run waits for its end.
func (c *serverConn) write() {
	for c.take() {
		if err := c.send(&c.fb, c.batch); err != nil {
			c.fail(err)
		}
		c.fb.reset()
		clear(c.batch)
	}
}

// send writes a run of replies and releases them.
func (c *serverConn) send(fb *frameBuffer, batch []*slot) (err error) {
	defer func() {
		for _, sl := range batch {
			if sl.fetch {
				c.mu.Lock()
				c.mu.fetches--
				c.room.Signal()
				c.mu.Unlock()
			}
			release := sl.reply.Release
			sl.reply = Reply{}
			if release != nil {
				release()
			}
		}
	}()
	defer recovered(&err)
	closing := c.encode(fb, batch)
	if fb.total() > 0 {
		if err := c.armWrite(); err != nil {
			return err
		}
		if _, err := fb.flush(c.nc, &c.s.frames); err != nil {
			return err
		}
	}
	if closing {
		return net.ErrClosed
	}
	return nil
}

// take removes the run of replies at the front of the queue into batch. It returns false, and the writer is no more, if there is none.
func (c *serverConn) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for n < len(c.mu.slots) && c.mu.slots[n].replied {
		n++
	}
	c.room.Signal() // to the reader's awaitRoom or to run, never to both
	if n == 0 || c.mu.err != nil {
		c.mu.writing = false
		return false
	}
	c.batch = append(c.batch[:0], c.mu.slots[:n]...)
	rest := copy(c.mu.slots, c.mu.slots[n:])
	clear(c.mu.slots[rest:])
	c.mu.slots = c.mu.slots[:rest]
	return true
}

// encode adds the batch's replies up to one that asks for the connection to be closed.
func (c *serverConn) encode(fb *frameBuffer, batch []*slot) (closing bool) {
	for _, sl := range batch {
		if sl.bare {
			at, size := fb.begin()
			fb.b = append(fb.b, sl.token...)
			fb.end(at, size)
		}
		if m := sl.reply.Message; m != nil {
			if m.GetVersion() != sl.version {
				m.SetVersion(sl.version)
			}
			appendResponse(fb, m, sl.correlation, sl.reply.Files)
		}
		if sl.reply.Close {
			return true
		}
	}
	return false
}

// armWrite bounds how long a peer may take nothing. As with reading, the deadline is moved only when an eighth of it has passed.
func (c *serverConn) armWrite() error {
	now, idle := time.Now(), c.s.cfg.Limits.IdleTimeout
	if now.Sub(c.armed) < idle/8 {
		return nil
	}
	c.armed = now
	return c.nc.SetWriteDeadline(now.Add(idle + idle/8))
}

// drop releases the replies that were not sent; those to come release themselves.
func (c *serverConn) drop() {
	c.mu.Lock()
	slots := c.mu.slots
	c.mu.slots = nil
	var release []func()
	for _, sl := range slots {
		sl.dropped = true
		if sl.replied && sl.reply.Release != nil {
			release = append(release, sl.reply.Release)
		}
	}
	c.mu.Unlock()
	for _, r := range release {
		r()
	}
}
