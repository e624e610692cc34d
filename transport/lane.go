package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/insynclog/insync/internal/dice"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// laneKind names the connections that a client has to one node: requests that wait do not hold up those that do not.
type laneKind int

const (
	laneOther laneKind = iota
	laneProduce
	laneFetch
	lanePrivate
	laneControl                                        // what brokers ask of the controller: their heartbeats must not stand behind a request that waits
	laneMoreFetches                                    // and those behind it: for fetches while others wait for their answers
	laneJoin        = laneMoreFetches + moreFetchLanes // and those behind it: one for each JoinGroup and SyncGroup under way
	laneKinds       = laneJoin + joinLanes
)

const (
	moreFetchLanes = 15
	joinLanes      = 16
)

func laneOf(key int16) laneKind {
	switch {
	case key == keyProduce:
		return laneProduce
	case key == keyFetch:
		return laneFetch
	case key == keyJoinGroup || key == keySyncGroup:
		return laneJoin
	case key == keyAlterPartition || key == keyBrokerRegistration || key == keyBrokerHeartbeat || key == keyAllocateProducerIDs:
		return laneControl
	case key >= keyPrivate:
		return lanePrivate
	default:
		return laneOther
	}
}

const (
	reconnectMin = 50 * time.Millisecond
	reconnectMax = time.Second
	// maxBatchCalls and maxBatchBytes bound what is gathered for one write.
	maxBatchCalls = 64
	maxBatchBytes = 1 << 20
)

// lane is one connection to a node, made when there is something to send and made anew after it broke.
//
//	start ─▶ queue ──(write: encode)──▶ inflight ──(run: connect, read, decode)──▶ done
//
// Its goroutine run lives from the first request until the connection ends with nothing more to send: after long idleness, by an error, at Close. The goroutine write exists while there is something to
// send on a connection; run awaits it. All calls of a connection that breaks fail, in order, so that what was sent later never overtakes what was lost.
type lane struct {
	c    *Client
	node int32
	kind laneKind

	mu       sync.Mutex
	wake     sync.Cond // run waits for: the end of the writer, of a back-off, of the client
	queue    callList  // not handed to the connection yet
	inflight callList  // handed over, in the order of their responses
	running  bool      // run exists
	writing  bool      // write exists
	closed   bool
	reserved bool      // for the call that is about to start
	conn     *laneConn // what write writes to; nil while there is none
	nc       net.Conn  // the connection, once negotiated
	err      error     // why nc ended or must end
	retireAt time.Time // when nc has to make way for one with a new login; zero = never
	retiring bool      // nothing more is sent on nc: it ends when what was sent is answered
	next     int32     // correlation id
	lastUse  time.Time
	alarm    alarm
	failures int       // attempts to connect that failed since the last that did not
	retryAt  time.Time // not to connect before
}

func newLane(c *Client, node int32, kind laneKind) *lane {
	l := &lane{c: c, node: node, kind: kind}
	l.wake.L = &l.mu
	l.alarm.f = l.tick
	return l
}

var (
	errIdle       = errors.New("idle for long")
	errUnexpected = errors.New("response to no request")
	errRetired    = errors.New("its login is about to expire")
)

// start queues a call.
func (l *lane) start(cl *call) {
	l.mu.Lock()
	l.reserved = false
	err := cl.cancelled
	switch {
	case err != nil:
	case l.closed:
		err = ErrClosed
	}
	if err != nil {
		cl.state = callDone
		l.mu.Unlock()
		cl.finish(Response{}, err)
		return
	}
	cl.state = callQueued
	cl.deadline, cl.doubt = cl.started.Add(patience(cl.req, l.c.cfg.RequestTimeout)), l.c.doubtAt(cl.req, cl.started)
	l.lastUse = cl.started
	l.queue.push(cl)
	l.alarm.by(cl.due(), cl.started)
	if !l.running {
		l.running = true
		l.c.wg.Add(1) // not closed, so Close does not wait yet
		go l.run()
	}
	l.startWriterLocked()
	l.mu.Unlock()
}

// startWriterLocked starts the writer if there is something to send, a connection, and nobody at it.
func (l *lane) startWriterLocked() {
	if !l.writing && l.conn != nil && l.err == nil && !l.retiring && !l.closed && !l.queue.empty() {
		l.writing = true
		go l.write(l.conn)
	}
}

// cancel makes a call done because its context ended.
func (l *lane) cancel(cl *call, err error) {
	l.mu.Lock()
	switch cl.state {
	case callNew, callWriting:
		cl.cancelled = err
	case callQueued:
		l.queue.remove(cl)
		fallthrough
	case callWaiting: // stays in inflight, for its response to be recognised
		cl.state = callDone
		l.mu.Unlock()
		cl.finish(Response{}, err)
		return
	}
	l.mu.Unlock()
}

// close ends the lane; run fails what is under way.
func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.breakLocked(ErrClosed)
	l.wake.Broadcast()
	l.mu.Unlock()
}

// hurry ends a back-off: the node has a new address.
func (l *lane) hurry() {
	l.mu.Lock()
	l.retryAt, l.failures = time.Time{}, 0
	l.wake.Broadcast()
	l.mu.Unlock()
}

// vacant tells whether nothing is under way.
func (l *lane) vacant() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.empty() && l.inflight.empty()
}

// reserve takes the lane for one call, if nothing is under way and nobody else has taken it.
func (l *lane) reserve() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reserved || !l.queue.empty() || !l.inflight.empty() {
		return false
	}
	l.reserved = true
	return true
}

// live tells whether there is a connection, and whether attempts to make one have failed.
func (l *lane) live() (connected, failing bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nc != nil && l.err == nil, l.failures > 0
}

func (l *lane) breakLocked(err error) {
	if l.nc != nil && l.err == nil {
		l.err = err
		_ = l.nc.Close() // the reason is known
		l.wake.Broadcast()
	}
}

// retireLocked ends a connection that is to end, once nothing is under way on it.
func (l *lane) retireLocked() {
	if l.retiring && !l.writing && l.inflight.empty() {
		l.breakLocked(errRetired)
	}
}

func (l *lane) broken(err error) {
	l.mu.Lock()
	l.breakLocked(err)
	l.mu.Unlock()
}

// tick looks for calls that waited too long and for a connection that was idle for long.
func (l *lane) tick() {
	var late []outcome
	l.mu.Lock()
	l.alarm.rang()
	now := time.Now()
	d := doubts{c: l.c, node: l.node, now: now}
	late = l.doubtLocked(&d, late)
	for cl := l.queue.head; cl != nil; {
		next := cl.next
		if !cl.deadline.After(now) {
			l.queue.remove(cl)
			cl.state = callDone
			late = append(late, outcome{cl, l.connErrorLocked(false, ErrTimeout)})
		}
		cl = next
	}
	for cl := l.inflight.head; cl != nil; cl = cl.next {
		if !cl.deadline.After(now) {
			l.breakLocked(ErrTimeout)
			break
		}
	}
	if l.nc != nil && !l.retireAt.IsZero() && !l.retireAt.After(now) {
		l.retiring = true
		l.retireLocked()
	}
	wait := l.inflight.earliest(l.queue.earliest(time.Time{}))
	if wait.IsZero() && l.nc != nil && l.err == nil {
		if wait = l.lastUse.Add(l.c.idle); !wait.After(now) {
			l.breakLocked(errIdle)
		}
	}
	if !l.retiring && !l.retireAt.IsZero() && (wait.IsZero() || l.retireAt.Before(wait)) {
		wait = l.retireAt
	}
	if l.running && !l.closed && wait.After(now) {
		l.alarm.by(wait, now)
	}
	l.mu.Unlock()
	finishAll(late)
	d.ask()
}

// doubtLocked takes the calls out whose leader has moved. A connection on which nobody waits for anything any more, or which does not take what is written, goes with them.
func (l *lane) doubtLocked(d *doubts, late []outcome) []outcome {
	found, living := false, false
	for _, list := range []*callList{&l.queue, &l.inflight} {
		for cl := list.head; cl != nil; {
			next := cl.next
			switch {
			case cl.state == callDone:
			case !d.look(cl):
				living = true
			case cl.state == callWriting:
				found, cl.cancelled = true, l.connErrorLocked(true, ErrMoved)
				l.breakLocked(ErrMoved)
			default: // of what is in flight the response must be recognised
				found = true
				if list == &l.queue {
					list.remove(cl)
				}
				late = append(late, outcome{cl, l.connErrorLocked(cl.state == callWaiting, ErrMoved)})
				cl.state = callDone
			}
			cl = next
		}
	}
	if found && !living {
		l.breakLocked(ErrMoved)
	}
	return late
}

// connErrorLocked says what became of a call.
func (l *lane) connErrorLocked(sent bool, err error) error {
	if l.closed { // whatever breaks while the client closes
		return ErrClosed
	}
	return &ConnError{Node: max(l.node, AnyNode), Addr: l.c.addr(l.node), Sent: sent, Err: err}
}

// run connects and sends until there is nothing to do.
func (l *lane) run() {
	defer l.c.wg.Done()
	for {
		conn, err := l.connect()
		connected := err == nil
		if connected {
			err = l.converse(conn)
		}
		finishAll(l.settle(err, connected))
		l.mu.Lock()
		if l.queue.empty() || l.closed {
			// Nobody can have queued after close.
			l.running = false
			l.alarm.stop()
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

// settle takes the calls that a failed attempt or a broken connection leaves behind.
func (l *lane) settle(err error, connected bool) (failed []outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		err = l.err
	}
	l.nc, l.err, l.retireAt, l.retiring = nil, nil, time.Time{}, false
	if !connected {
		l.failures++
		wait := min(reconnectMin<<min(l.failures-1, 10), reconnectMax)
		wait = l.c.dice.Around(wait, 0.25, uint64(l.node), uint64(l.kind), dice.Moment())
		l.retryAt = time.Now().Add(wait)
	}
	lost := !connected || l.closed
	for cl := l.inflight.head; cl != nil; cl = l.inflight.head {
		l.inflight.remove(cl)
		if cl.state == callDone {
			continue
		}
		lost = true
		cl.state = callDone
		failed = append(failed, outcome{cl, l.connErrorLocked(cl.sent, err)})
	}
	if !lost {
		return failed // the connection ended while idle; what was queued since goes to the next
	}
	for cl := l.queue.head; cl != nil; cl = l.queue.head {
		l.queue.remove(cl)
		cl.state = callDone
		failed = append(failed, outcome{cl, l.connErrorLocked(false, err)})
	}
	return failed
}

// laneConn is a connection that was negotiated.
type laneConn struct {
	nc       net.Conn
	r        *frameReader
	versions map[int16]VersionRange

	// The writer's, from one to the next.
	fb    frameBuffer
	batch []*call
	armed time.Time // when the write deadline was last set
}

// connect waits for the back-off to end, dials and negotiates.
func (l *lane) connect() (*laneConn, error) {
	if err := l.backOff(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(l.c.life, l.c.cfg.DialTimeout)
	defer cancel()
	nc, err := l.c.cfg.Network.Dial(ctx, l.c.addr(l.node))
	if err != nil {
		return nil, l.closedOr(err)
	}
	conn := &laneConn{nc: nc, r: newFrameReader(nc, &l.c.frames, l.c.cfg.MaxFrameBytes, 0)}
	stop := context.AfterFunc(l.c.life, func() { _ = nc.Close() })
	defer stop()
	if conn.versions, err = l.negotiate(conn); err != nil {
		_ = nc.Close()
		return nil, l.closedOr(fmt.Errorf("negotiate versions: %w", err))
	}
	lifetime, err := l.logIn(ctx, conn)
	if err != nil {
		_ = nc.Close()
		return nil, l.closedOr(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = nc.Close()
		return nil, ErrClosed
	}
	now := time.Now()
	l.nc, l.failures, l.retryAt, l.lastUse = nc, 0, time.Time{}, now
	l.alarm.by(now.Add(l.c.idle), now)
	if lifetime > 0 {
		l.retireAt = now.Add(lifetime * 9 / 10)
		l.alarm.by(l.retireAt, now)
	}
	return conn, nil
}

func (l *lane) closedOr(err error) error {
	if l.c.life.Err() != nil {
		return ErrClosed
	}
	return err
}

// backOff waits until the next attempt to connect is due.
func (l *lane) backOff() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := time.Until(l.retryAt)
	if wait > 0 && !l.closed {
		t := time.AfterFunc(wait, func() {
			l.mu.Lock()
			l.wake.Broadcast()
			l.mu.Unlock()
		})
		defer t.Stop()
	}
	for !l.closed && time.Now().Before(l.retryAt) {
		l.wake.Wait()
	}
	if l.closed {
		return ErrClosed
	}
	return nil
}

// converse takes responses, while write sends what is queued, until the connection ends.
func (l *lane) converse(conn *laneConn) error {
	l.mu.Lock()
	l.conn = conn
	l.startWriterLocked()
	l.mu.Unlock()
	l.broken(l.read(conn)) // no writer starts after this
	l.mu.Lock()
	for l.writing {
		l.wake.Wait()
	}
	l.conn = nil
	l.mu.Unlock()
	_ = conn.nc.Close()
	return nil // settle knows the reason
}

// write sends what is queued until there is nothing. converse waits for its end.
func (l *lane) write(conn *laneConn) {
	for l.more() {
		var refused []outcome
		if conn.batch, refused = l.encode(&conn.fb, conn.batch[:0], conn.versions); len(refused) > 0 {
			finishAll(refused)
		}
		if len(conn.batch) == 0 {
			continue
		}
		n, err := l.flush(conn, &conn.fb)
		conn.fb.reset()
		if err != nil {
			l.broken(err)
		}
		finishAll(l.written(conn.batch, n))
		clear(conn.batch)
	}
}

// flush writes what was encoded. The deadline is for those whose answers nobody waits for: all others have their own. It is moved only when an eighth of it has passed.
func (l *lane) flush(conn *laneConn, fb *frameBuffer) (int64, error) {
	now, timeout := time.Now(), l.c.cfg.RequestTimeout
	if now.Sub(conn.armed) >= timeout/8 {
		conn.armed = now
		if err := conn.nc.SetWriteDeadline(now.Add(timeout + timeout/8)); err != nil {
			return 0, err
		}
	}
	return fb.flush(conn.nc, &l.c.frames)
}

// more tells whether there is something to send. If not, or at the end of the connection, the writer is no more.
func (l *lane) more() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && !l.retiring && !l.closed && !l.queue.empty() {
		return true
	}
	l.writing = false
	l.retireLocked()
	l.wake.Broadcast()
	return false
}

// encode moves calls from the queue into fb, as many as make a good write.
func (l *lane) encode(fb *frameBuffer, batch []*call, versions map[int16]VersionRange) (_ []*call, refused []outcome) {
	for len(batch) < maxBatchCalls && fb.total() < maxBatchBytes {
		cl := l.take(versions)
		if cl == nil {
			break
		}
		if cl.state == callDone {
			refused = append(refused, outcome{cl, &UnsupportedVersionError{Key: cl.key, Node: l.node}})
			continue
		}
		appendRequest(fb, cl.req, cl.correlation, l.c.cfg.ClientID)
		cl.endAt = fb.total()
		batch = append(batch, cl)
	}
	return batch, refused
}

// take moves one call on from the queue: to be written, or to be refused if the node does not know its API.
func (l *lane) take(versions map[int16]VersionRange) *call {
	l.mu.Lock()
	defer l.mu.Unlock()
	cl := l.queue.head
	if cl == nil || l.err != nil || l.retiring {
		return nil
	}
	l.queue.remove(cl)
	known, ok := versions[cl.key]
	version := min(known.Max, cl.req.MaxVersion())
	if !ok || version < known.Min {
		cl.state = callDone
		return cl
	}
	cl.req.SetVersion(version)
	if p, ok := cl.req.(*kmsg.ProduceRequest); ok && p.Acks == 0 {
		cl.silent = true
	} else {
		l.inflight.push(cl)
	}
	cl.state, cl.correlation, cl.version = callWriting, l.next, version
	l.next = (l.next + 1) & 0x7fffffff
	return cl
}

// written tells what a write of n bytes in all means for the calls in it: a frame that was not taken whole cannot have been understood.
func (l *lane) written(batch []*call, n int64) (done []outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, cl := range batch {
		cl.sent = cl.endAt <= n
		switch {
		case cl.state == callDone: // answered already
		case cl.cancelled != nil:
			cl.state = callDone
			done = append(done, outcome{cl, cl.cancelled})
		case !cl.silent:
			cl.state = callWaiting
		case cl.sent:
			cl.state = callDone
			done = append(done, outcome{cl, nil})
		default:
			cl.state = callDone
			done = append(done, outcome{cl, l.connErrorLocked(false, l.err)})
		}
	}
	return done
}
