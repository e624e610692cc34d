package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/sasl"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Credentials log the connections of a Client in by SASL: Plain, ScramSHA256, ScramSHA512, OAuthBearer, or the application's own.
type Credentials = sasl.Client

// CredentialsExchange is one login.
type CredentialsExchange = sasl.ClientExchange

// Token is a bearer token and what to send beside it.
type Token = sasl.Token

// Plain sends user name and password as they are, so the connection must be encrypted. Errors: a name or password that cannot be.
func Plain(user, password string) (Credentials, error) { return sasl.NewPlainClient(user, password) }

// ScramSHA256 proves to know the password without sending it, and has the node prove that it knows it, too. Errors: a name or password that cannot be.
func ScramSHA256(user, password string) (Credentials, error) {
	return sasl.NewScramClient(sasl.ScramSHA256, user, password)
}

// ScramSHA512 is ScramSHA256 with a longer hash.
func ScramSHA512(user, password string) (Credentials, error) {
	return sasl.NewScramClient(sasl.ScramSHA512, user, password)
}

// OAuthBearer sends a token, so the connection must be encrypted. source returns one that is good now; it is asked once for each connection, by many goroutines.
func OAuthBearer(source func(ctx context.Context) (Token, error)) Credentials {
	return sasl.NewOAuthBearerClient(source)
}

// LoginError says that a node did not let the client in.
type LoginError struct {
	Mechanism string
	Offered   []string // by the node, if it does not have the mechanism
	Err       error
}

func (e *LoginError) Error() string {
	if len(e.Offered) > 0 {
		return fmt.Sprintf("log in by %s: %v (the node offers %v)", e.Mechanism, e.Err, e.Offered)
	}
	return fmt.Sprintf("log in by %s: %v", e.Mechanism, e.Err)
}

// Unwrap returns the cause.
func (e *LoginError) Unwrap() error { return e.Err }

// logIn logs a connection in and returns how long that holds; 0 = for ever.
func (l *lane) logIn(ctx context.Context, conn *laneConn) (lifetime time.Duration, err error) {
	cred := l.c.cfg.Credentials
	if cred == nil {
		return 0, nil
	}
	if err := conn.nc.SetDeadline(time.Now().Add(l.c.cfg.RequestTimeout)); err != nil {
		return 0, err
	}
	in := loggingIn{conn: conn, clientID: l.c.cfg.ClientID, correlation: -100}
	if lifetime, err = in.run(ctx, cred); err != nil {
		if _, ok := errors.AsType[*LoginError](err); !ok {
			err = &LoginError{Mechanism: cred.Name(), Err: err}
		}
		return 0, err
	}
	return lifetime, conn.nc.SetDeadline(time.Time{})
}

// loggingIn is a login under way on a connection that nothing else uses.
type loggingIn struct {
	conn        *laneConn
	clientID    string
	correlation int32
}

func (in *loggingIn) run(ctx context.Context, cred Credentials) (time.Duration, error) {
	if err := in.handshake(cred.Name()); err != nil {
		return 0, err
	}
	x := cred.Start()
	var challenge []byte
	var lifetime time.Duration
	for {
		token, done, err := x.Step(ctx, challenge)
		if err != nil {
			return 0, err
		}
		if done {
			return lifetime, nil
		}
		req := kmsg.NewPtrSASLAuthenticateRequest()
		req.SASLAuthBytes = token
		resp, err := in.ask(req, keySaslAuthenticate)
		if err != nil {
			return 0, err
		}
		r := resp.(*kmsg.SASLAuthenticateResponse)
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			if r.ErrorMessage != nil {
				err = fmt.Errorf("%w (%.200q)", err, *r.ErrorMessage)
			}
			return 0, err
		}
		challenge, lifetime = r.SASLAuthBytes, time.Duration(r.SessionLifetimeMillis)*time.Millisecond
		if challenge == nil {
			challenge = []byte{}
		}
	}
}

func (in *loggingIn) handshake(mechanism string) error {
	req := kmsg.NewPtrSASLHandshakeRequest()
	req.Mechanism = mechanism
	resp, err := in.ask(req, keySaslHandshake)
	if err != nil {
		return err
	}
	r := resp.(*kmsg.SASLHandshakeResponse)
	if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
		return &LoginError{Mechanism: mechanism, Offered: slices.Clone(r.SupportedMechanisms), Err: err}
	}
	return nil
}

// ask sends one request and takes its response.
func (in *loggingIn) ask(req kmsg.Request, key int16) (resp kmsg.Response, err error) {
	known, ok := in.conn.versions[key]
	version := min(known.Max, req.MaxVersion())
	if !ok || version < known.Min || key == keySaslHandshake && version < 1 {
		return nil, &UnsupportedVersionError{Key: key, Node: AnyNode}
	}
	req.SetVersion(version)
	in.correlation++
	var fb frameBuffer
	appendRequest(&fb, req, in.correlation, in.clientID)
	if _, err := fb.flush(in.conn.nc, in.conn.r.pool); err != nil {
		return nil, err
	}
	f, err := in.conn.r.next()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	got, rest, err := parseResponseHeader(f.b)
	if err != nil {
		return nil, err
	}
	if got != in.correlation {
		return nil, errUnexpected
	}
	return decodeResponse(&call{req: req, key: key, version: version}, rest)
}
