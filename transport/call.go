package transport

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// call is one request on its way to a node. Its owner, a lane or the direct path, has it in one of its lists until it is done.
//
//	queued ──▶ writing ──▶ waiting ──▶ done
//	   └──────────┴───────────┴──▶ done      by its context, its deadline, the end of the connection
//
// While writing, the request's bytes are in use, so a call whose context ends then is done only after the write.
type call struct {
	req     kmsg.Request
	key     int16
	done    func(Response, error) // called once, without locks
	started time.Time
	stop    func() bool // takes the call off its context; may be nil

	// guarded by the owner's lock
	next, prev  *call
	list        *callList
	deadline    time.Time
	doubt       time.Time // when others are asked whether the node still leads; zero = never
	doubted     bool      // they were
	state       callState
	cancelled   error // the context ended before or while writing
	correlation int32
	version     int16
	sent        bool  // the node may have got the request
	endAt       int64 // its end in the write that it is part of
	silent      bool  // no response will come: Produce with acks=0

	// of the direct path, same lock
	direct      *direct
	request     Request
	replied     bool
	returned    bool // Serve is over
	cancelServe context.CancelFunc
}

type callState uint8

const (
	callNew callState = iota
	callQueued
	callWriting
	callWaiting
	callDone
)

// owner sends calls.
type owner interface {
	// start takes a new call. It must be done exactly once.
	start(*call)
	// cancel makes a call done with err, unless it is done.
	cancel(*call, error)
}

// finish reports the outcome. The caller has set callDone under the owner's lock and let go of the lock.
func (cl *call) finish(r Response, err error) {
	if cl.stop != nil {
		cl.stop()
	}
	cl.done(r, err)
}

// outcome is a call with the error that it is done with.
type outcome struct {
	cl  *call
	err error
}

func finishAll(os []outcome) {
	for _, o := range os {
		o.cl.finish(Response{}, o.err)
	}
}

// patience is how long a node may take to answer: the client's request timeout, or longer where the request itself allows the node to wait longer, with time for the answer to travel.
func patience(req kmsg.Request, timeout time.Duration) time.Duration {
	var ms int32
	switch r := req.(type) {
	case *kmsg.FetchRequest:
		ms = r.MaxWaitMillis
	case *kmsg.JoinGroupRequest:
		ms = max(r.RebalanceTimeoutMillis, r.SessionTimeoutMillis)
	case kmsg.TimeoutRequest:
		ms = r.Timeout()
	}
	return max(timeout, time.Duration(max(ms, 0))*time.Millisecond+time.Second)
}

// callList is a list of calls in order. A call is in one list at most.
type callList struct{ head, tail *call }

func (l *callList) push(cl *call) {
	cl.list, cl.prev, cl.next = l, l.tail, nil
	if l.tail == nil {
		l.head = cl
	} else {
		l.tail.next = cl
	}
	l.tail = cl
}

func (l *callList) remove(cl *call) {
	if cl.list != l {
		return
	}
	if cl.prev == nil {
		l.head = cl.next
	} else {
		cl.prev.next = cl.next
	}
	if cl.next == nil {
		l.tail = cl.prev
	} else {
		cl.next.prev = cl.prev
	}
	cl.list, cl.prev, cl.next = nil, nil, nil
}

func (l *callList) empty() bool { return l.head == nil }

// earliest returns when a call of the list has to be looked at next, or t if that is earlier or the list is empty. The zero time is never.
func (l *callList) earliest(t time.Time) time.Time {
	for cl := l.head; cl != nil; cl = cl.next {
		if due := cl.due(); t.IsZero() || due.Before(t) {
			t = due
		}
	}
	return t
}

// due is when a call has to be looked at: at its deadline, or when it comes into doubt.
func (cl *call) due() time.Time {
	if cl.state != callDone && !cl.doubt.IsZero() && cl.doubt.Before(cl.deadline) {
		return cl.doubt
	}
	return cl.deadline
}

// alarm is a timer for the earliest of many deadlines. Setting it earlier than needed is harmless, so it is moved only when a deadline comes that is earlier than all before:
// a stream of requests with like timeouts leaves it alone. It is guarded by its owner's lock.
type alarm struct {
	f  func()
	t  *time.Timer
	at time.Time // zero when not set
}

func (a *alarm) by(t, now time.Time) {
	if t.IsZero() || !a.at.IsZero() && !t.Before(a.at) {
		return
	}
	a.at = t
	if a.t == nil {
		a.t = time.AfterFunc(t.Sub(now), a.f)
		return
	}
	a.t.Reset(t.Sub(now))
}

func (a *alarm) rang() { a.at = time.Time{} }

func (a *alarm) stop() {
	if a.t != nil {
		a.t.Stop()
	}
	a.at = time.Time{}
}
