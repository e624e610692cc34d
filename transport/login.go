package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Anonymous is the principal of connections that did not prove who they are.
const Anonymous = "User:ANONYMOUS"

// Identity is who is at the other end of a connection.
type Identity struct {
	Principal string    // in Kafka's form, "User:alice"
	Peer      bool      // a node of the same cluster: it may send what nodes ask of each other, and is allowed everything
	Expires   time.Time // when the connection has to log in again, or ends (KIP-368); zero = never
}

// Login finds out who the connections of a Server belong to. Its methods are called from many goroutines.
type Login interface {
	// Mechanisms are the SASL mechanisms offered, in the order of preference. If there are any, a connection must log in with one of them before it may ask for anything but ApiVersions.
	Mechanisms() []string
	// Begin starts a login with one of the Mechanisms.
	Begin(mechanism string) LoginExchange
	// Identify names the owner of a connection that did not use SASL: of its TLS certificate, which has been verified, or Anonymous. cs is nil without TLS.
	Identify(cs *tls.ConnectionState) (Identity, error)
}

// LoginExchange is one login. It belongs to one goroutine.
type LoginExchange interface {
	// Step takes the client's next token and returns the server's. The login is over when id is not nil, or with an error; its text is told to the client, so it must hold no secret. An answer that comes with
	// an error is sent before the connection ends. ctx ends with the connection and with Limits.LoginTimeout.
	Step(ctx context.Context, token []byte) (answer []byte, id *Identity, err error)
}

// Where a login stands.
type loginStage int8

const (
	loginDone   loginStage = iota // or not needed
	loginNeeded                   // ApiVersions or SaslHandshake may come
	loginTokens                   // SaslAuthenticate may come
	loginRaw                      // frames are bare tokens: after a SaslHandshake of version 0
)

const (
	// maxLoginRequests is how often each kind of request may come before a login is over.
	maxLoginRequests = 8
	// failedLoginDelay holds the news of a failed login back (connection.failed.authentication.delay.ms), which slows guessing down.
	failedLoginDelay = 100 * time.Millisecond
	// minLoginInterval is the least time between two logins on one connection.
	minLoginInterval = time.Second
)

var (
	errLoginFirst   = errors.New("not before the connection has logged in")
	errLoginTooMuch = errors.New("too many requests before the connection has logged in")
	errLoginExpired = errors.New("the login has expired")
	errLoginChanged = errors.New("a connection cannot become somebody else's")
	errLoginTooSoon = errors.New("logged in again at once")
	errNoSASL       = errors.New("a handshake has to come first")
)

// loginState is the part of a server's connection that decides what may come when (KIP-43, KIP-152, KIP-368). It does no I/O.
type loginState struct {
	stage     loginStage
	counts    [3]int8 // of ApiVersions, SaslHandshake and SaslAuthenticate before the login is over
	mechanism string
	exchange  LoginExchange
	again     bool      // it is not the connection's first login
	since     time.Time // when the last login was over
	expires   time.Time
}

// admit tells whether a request may come now.
func (l *loginState) admit(key int16, now time.Time) error {
	kind := -1
	switch key {
	case keyApiVersions:
		kind = 0
	case keySaslHandshake:
		kind = 1
	case keySaslAuthenticate:
		kind = 2
	}
	if l.stage == loginDone {
		if kind != 1 && !l.expires.IsZero() && !now.Before(l.expires) {
			return errLoginExpired
		}
		return nil
	}
	switch {
	case kind < 0, kind == 0 && l.stage != loginNeeded, kind == 1 && l.stage != loginNeeded:
		return errLoginFirst
	case kind == 2 && l.stage != loginTokens:
		return errNoSASL
	}
	if l.counts[kind]++; l.counts[kind] > maxLoginRequests {
		return errLoginTooMuch
	}
	return nil
}

// admitRaw is admit for a bare token.
func (l *loginState) admitRaw() error {
	if l.counts[2]++; l.counts[2] > maxLoginRequests {
		return errLoginTooMuch
	}
	return nil
}

// handshake decides a SaslHandshake. With an error the connection ends, after the answer if there is one.
func (l *loginState) handshake(login Login, req *kmsg.SASLHandshakeRequest, now time.Time) (resp *kmsg.SASLHandshakeResponse, err error) {
	resp = req.ResponseKind().(*kmsg.SASLHandshakeResponse)
	resp.SupportedMechanisms = login.Mechanisms()
	if l.stage == loginDone {
		if now.Sub(l.since) < minLoginInterval {
			return nil, errLoginTooSoon
		}
		if req.Mechanism != l.mechanism {
			resp.ErrorCode = kerr.IllegalSaslState.Code
			return resp, errLoginChanged
		}
		l.again, l.counts = true, [3]int8{}
	}
	for _, m := range resp.SupportedMechanisms {
		if m != req.Mechanism {
			continue
		}
		l.mechanism, l.exchange = m, login.Begin(m)
		l.stage = loginTokens
		if req.Version == 0 {
			l.stage = loginRaw
		}
		return resp, nil
	}
	resp.ErrorCode = kerr.UnsupportedSaslMechanism.Code
	return resp, fmt.Errorf("mechanism %.40q is not offered", req.Mechanism)
}

// over ends a login that succeeded.
func (l *loginState) over(id *Identity, before Identity, now time.Time) error {
	if l.again && (id.Principal != before.Principal || id.Peer != before.Peer) {
		return errLoginChanged
	}
	l.stage, l.exchange, l.since, l.expires = loginDone, nil, now, id.Expires
	return nil
}

// lifetime is what is left of a login, for SaslAuthenticate v1; 0 = for ever.
func (l *loginState) lifetime(now time.Time) int64 {
	if l.expires.IsZero() {
		return 0
	}
	return max(l.expires.Sub(now).Milliseconds(), 1)
}
