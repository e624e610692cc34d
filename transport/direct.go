package transport

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// direct calls the handler of a node in this process. Requests of kind produce run in the order of Send, on the goroutine of a sender; all others have goroutines of their own, so that one that
// waits holds up nobody, as if each came on its own connection.
type direct struct {
	c        *Client
	id       int32
	h        Handler
	versions map[int16]VersionRange
	info     ConnInfo

	mu      sync.Mutex
	closed  bool
	calls   callList // not replied, not done
	alarm   alarm
	serving bool    // somebody runs produce requests
	queue   []*call // produce requests that wait for whoever does
}

// maxServed bounds how many requests of others one sender runs before a goroutine goes on.
const maxServed = 8

func newDirect(c *Client, l *Local) *direct {
	d := &direct{c: c, id: l.NodeID, h: l.Handler, versions: l.Handler.Versions()}
	d.info.Local, d.info.Remote, d.info.Direct, d.info.Identity = "direct", "direct", true, Identity{Principal: Anonymous, Peer: true}
	d.alarm.f = d.tick
	return d
}

func (d *direct) start(cl *call) {
	known, ok := d.versions[cl.key]
	version := min(known.Max, cl.req.MaxVersion())
	var err error
	if !ok || version < known.Min {
		err = &UnsupportedVersionError{Key: cl.key, Node: d.id}
	} else {
		cl.req.SetVersion(version)
	}
	cl.direct, cl.version = d, version
	cl.request = Request{Message: cl.req, ClientID: d.c.cfg.ClientID, Conn: &d.info}

	d.mu.Lock()
	switch {
	case cl.cancelled != nil:
		err = cl.cancelled
	case d.closed:
		err = ErrClosed
	}
	if err != nil {
		cl.state = callDone
		d.mu.Unlock()
		cl.finish(Response{}, err)
		return
	}
	cl.state = callWaiting
	cl.deadline, cl.doubt = cl.started.Add(patience(cl.req, d.c.cfg.RequestTimeout)), d.c.doubtAt(cl.req, cl.started)
	d.calls.push(cl)
	d.alarm.by(cl.due(), cl.started)
	produce := cl.key == keyProduce
	first := produce && !d.serving
	ctx := d.c.life
	switch {
	case first:
		d.serving = true
		d.c.wg.Add(1) // not closed, so Close does not wait yet
	case produce:
		d.queue = append(d.queue, cl)
	default:
		ctx, cl.cancelServe = context.WithCancel(d.c.life)
		d.c.wg.Add(1)
	}
	d.mu.Unlock()
	switch {
	case first:
		d.produce(cl, maxServed)
	case !produce:
		go func() {
			defer d.c.wg.Done()
			d.serve(ctx, cl)
		}()
	}
}

// produce runs a produce request and those that came meanwhile.
func (d *direct) produce(cl *call, limit int) {
	for ; cl != nil; limit-- {
		if limit == 0 {
			next := cl
			go d.produce(next, -1)
			return
		}
		d.serve(d.c.life, cl)
		d.mu.Lock()
		if len(d.queue) > 0 {
			cl = d.queue[0]
			d.queue[0] = nil
			d.queue = d.queue[1:]
		} else {
			cl, d.serving, d.queue = nil, false, nil
		}
		d.mu.Unlock()
	}
	d.c.wg.Done()
}

func (d *direct) serve(ctx context.Context, cl *call) {
	var err error
	func() {
		defer recovered(&err)
		d.h.Serve(ctx, &cl.request, cl.reply)
	}()
	d.mu.Lock()
	cl.returned = true
	cancel := cl.takeCancelLocked()
	d.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if err != nil {
		if p, ok := errors.AsType[*PanicError](err); ok {
			d.c.cfg.Logger.Error("handler panicked", "key", cl.key, "error", err, "stack", string(p.Stack))
		}
		d.cancel(cl, &ConnError{Node: d.id, Addr: "direct", Sent: true, Err: err})
	}
}

// reply is the reply function of a direct request.
func (cl *call) reply(r Reply) {
	d := cl.direct
	d.mu.Lock()
	if cl.replied {
		d.mu.Unlock()
		return
	}
	cl.replied = true
	wanted := cl.state != callDone
	if wanted {
		cl.state = callDone
		d.calls.remove(cl)
	}
	cancel := cl.takeCancelLocked()
	d.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if !wanted {
		if r.Release != nil {
			r.Release()
		}
		return
	}
	if r.Message == nil && r.Close { // over a connection, this is where it would end
		if r.Release != nil {
			r.Release()
		}
		cl.finish(Response{}, &ConnError{Node: d.id, Addr: "direct", Sent: true, Err: io.EOF})
		return
	}
	if r.Message != nil && r.Message.GetVersion() != cl.version {
		r.Message.SetVersion(cl.version)
	}
	cl.finish(Response{Message: r.Message, Release: r.Release}, nil)
}

// takeCancelLocked returns what ends the handler's context once the handler cannot need it.
func (cl *call) takeCancelLocked() context.CancelFunc {
	if !cl.returned || !cl.replied && cl.state != callDone {
		return nil
	}
	cancel := cl.cancelServe
	cl.cancelServe = nil
	return cancel
}

func (d *direct) cancel(cl *call, err error) {
	d.mu.Lock()
	if cl.state != callWaiting {
		if cl.state == callNew {
			cl.cancelled = err
		}
		d.mu.Unlock()
		return
	}
	cancel := d.abandonLocked(cl)
	d.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	cl.finish(Response{}, err)
}

// abandonLocked makes a call done without its reply; a handler that waits is told.
func (d *direct) abandonLocked(cl *call) context.CancelFunc {
	cl.state = callDone
	d.calls.remove(cl)
	cancel := cl.cancelServe
	cl.cancelServe = nil
	return cancel
}

// tick ends the calls that waited too long.
func (d *direct) tick() {
	var late []outcome
	var cancels []context.CancelFunc
	d.mu.Lock()
	d.alarm.rang()
	now := time.Now()
	dbt := doubts{c: d.c, node: d.id, now: now}
	for cl := d.calls.head; cl != nil; {
		next := cl.next
		var err error
		switch {
		case !cl.deadline.After(now):
			err = ErrTimeout
		case dbt.look(cl):
			err = ErrMoved
		}
		if err != nil {
			if cancel := d.abandonLocked(cl); cancel != nil {
				cancels = append(cancels, cancel)
			}
			late = append(late, outcome{cl, &ConnError{Node: d.id, Addr: "direct", Sent: true, Err: err}})
		}
		cl = next
	}
	if !d.closed {
		d.alarm.by(d.calls.earliest(time.Time{}), now)
	}
	d.mu.Unlock()
	for _, cancel := range cancels {
		cancel()
	}
	finishAll(late)
	dbt.ask()
}

// close fails what was not replied. Goroutines end with the client's context.
func (d *direct) close() {
	var failed []outcome
	d.mu.Lock()
	d.closed = true
	d.alarm.stop()
	for cl := d.calls.head; cl != nil; cl = d.calls.head {
		d.abandonLocked(cl) // its context ends with the client's
		failed = append(failed, outcome{cl, ErrClosed})
	}
	d.mu.Unlock()
	finishAll(failed)
}
