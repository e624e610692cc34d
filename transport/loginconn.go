package transport

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The part of a server's connection that carries out a login: loginState decides.

// loginRequest answers the requests of a login; ours is false for others, and for those that mean nothing here, which the handler refuses. After an error the connection ends, once the answer was sent.
func (c *serverConn) loginRequest(m kmsg.Request) (resp kmsg.Response, ours bool, err error) {
	login := c.s.cfg.Login
	if login == nil || len(login.Mechanisms()) == 0 {
		return nil, false, nil
	}
	switch m := m.(type) {
	case *kmsg.SASLHandshakeRequest:
		resp, err := c.login.handshake(login, m, time.Now())
		if resp == nil {
			return nil, true, err
		}
		return resp, true, err
	case *kmsg.SASLAuthenticateRequest:
		if c.login.stage != loginTokens {
			return nil, false, nil
		}
		resp, err := c.token(m)
		return resp, true, err
	}
	return nil, false, nil
}

// token takes a token of the client.
func (c *serverConn) token(req *kmsg.SASLAuthenticateRequest) (*kmsg.SASLAuthenticateResponse, error) {
	resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
	answer, err := c.step(req.SASLAuthBytes)
	resp.SASLAuthBytes = answer
	if err != nil {
		text := err.Error()
		resp.ErrorCode, resp.ErrorMessage = kerr.SaslAuthenticationFailed.Code, &text
		return resp, err
	}
	if c.login.stage == loginDone && req.Version >= 1 {
		resp.SessionLifetimeMillis = c.login.lifetime(time.Now())
	}
	return resp, nil
}

// step goes on with the login.
func (c *serverConn) step(token []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.s.cfg.Limits.LoginTimeout)
	defer cancel()
	answer, id, err := c.login.exchange.Step(ctx, token)
	if err == nil && id != nil {
		err = c.login.over(id, c.info.Identity, time.Now())
	}
	if err != nil {
		sleep(c.ctx, failedLoginDelay)
		return answer, err
	}
	if id != nil && !c.login.again {
		c.info.Identity = *id
	}
	return answer, nil
}

// rawToken is token for clients that sent a SaslHandshake of version 0: tokens are frames of their own, and a failure is a closed connection.
func (c *serverConn) rawToken(token []byte) error {
	if err := c.login.admitRaw(); err != nil {
		return &ProtocolError{Key: keySaslAuthenticate, Version: -1, Err: err}
	}
	answer, err := c.step(token)
	if err != nil {
		return c.refused(err)
	}
	c.push(&slot{c: c, replied: true, bare: true, token: answer})
	return nil
}

// refused ends a connection in good order after a login that failed: what was answered is sent.
func (c *serverConn) refused(err error) error {
	c.s.complaints.log(c.s.cfg.Logger, slog.LevelInfo, "login failed", "remote", c.info.Remote, "mechanism", c.login.mechanism, "error", err)
	return io.EOF
}
