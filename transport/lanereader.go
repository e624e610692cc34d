package transport

import (
	"sync"
	"time"

	"github.com/insynclog/insync/internal/guard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// read takes responses until the connection ends; the error is never nil.
func (l *lane) read(conn *laneConn) error {
	for {
		f, err := conn.r.next()
		if err != nil {
			return err
		}
		correlation, rest, err := parseResponseHeader(f.b)
		if err != nil {
			return err
		}
		cl, wanted, err := l.answered(correlation)
		if err != nil {
			return err
		}
		if !wanted {
			l.pop(cl)
			l.c.frames.put(f)
			continue
		}
		resp, err := decodeResponse(cl, rest)
		if err != nil {
			return &ProtocolError{Key: cl.key, Version: cl.version, Err: err}
		}
		r := Response{Message: resp}
		if cl.key == keyFetch && f.class >= 0 { // its records are in f
			r.Release = sync.OnceFunc(func() { l.c.frames.put(f) })
		}
		if l.pop(cl) {
			cl.finish(r, nil)
		} else if r.Release != nil {
			r.Release()
		}
	}
}

// answered returns the call that a response belongs to and whether anybody still waits for it.
func (l *lane) answered(correlation int32) (cl *call, wanted bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	cl = l.inflight.head
	if cl == nil || cl.correlation != correlation {
		return nil, false, errUnexpected
	}
	return cl, cl.state != callDone && cl.cancelled == nil, nil
}

// pop ends the call at the head of inflight and tells whether it is to be reported as answered.
func (l *lane) pop(cl *call) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inflight.remove(cl)
	l.lastUse = time.Now()
	l.retireLocked()
	if cl.state == callDone || cl.cancelled != nil {
		return false
	}
	cl.state = callDone
	return true
}

// decodeResponse is the one place where bytes from a node become a response. Records alias b.
func decodeResponse(cl *call, b []byte) (resp kmsg.Response, err error) {
	defer recovered(&err)
	resp = cl.req.ResponseKind()
	resp.SetVersion(cl.version)
	if resp.IsFlexible() && cl.key != keyApiVersions {
		if b, err = skipTags(b); err != nil {
			return nil, err
		}
	}
	if cl.key < keyPrivate {
		if err := guard.Response(cl.key, cl.version, b, guard.Budget(len(b))); err != nil {
			return nil, err
		}
	}
	return resp, resp.ReadFrom(b)
}
