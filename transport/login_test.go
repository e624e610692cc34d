package transport

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// countLogin lets in whoever sends "user" and then "user2"; a user called "peer" is a node; a login of "brief" holds for a minute.
type countLogin struct{ mechanisms []string }

func (l countLogin) Mechanisms() []string       { return l.mechanisms }
func (l countLogin) Begin(string) LoginExchange { return &countExchange{} }
func (l countLogin) Identify(cs *tls.ConnectionState) (Identity, error) {
	if cs == nil {
		return Identity{}, errors.New("no certificate")
	}
	return Identity{Principal: "User:" + cs.PeerCertificates[0].Subject.CommonName}, nil
}

type countExchange struct{ user string }

func (e *countExchange) Step(_ context.Context, token []byte) ([]byte, *Identity, error) {
	switch {
	case e.user == "":
		e.user = string(token)
		return []byte("go on"), nil, nil
	case string(token) != e.user+"2":
		return []byte("no"), nil, errors.New("wrong password")
	}
	id := &Identity{Principal: "User:" + e.user, Peer: e.user == "peer"}
	if e.user == "brief" {
		id.Expires = time.Now().Add(time.Minute)
	}
	return []byte("welcome"), id, nil
}

func loginServer(t *testing.T, limits Limits) (node *fakeNode, dial func() *rawConn) {
	node = newFakeNode(1)
	node.versions[keySaslHandshake] = VersionRange{0, 1}
	node.versions[keySaslAuthenticate] = VersionRange{0, 2}
	network := NewMem().Host("a")
	addr, _ := startServer(t, network, "a:0", ServerConfig{Handler: node, Limits: limits, Login: countLogin{[]string{"COUNT", "OTHER"}}})
	return node, func() *rawConn { return dialRaw(t, network, addr) }
}

func (c *rawConn) handshake(version int16, mechanism string) *kmsg.SASLHandshakeResponse {
	q := kmsg.NewPtrSASLHandshakeRequest()
	q.Version, q.Mechanism = version, mechanism
	c.send(q, 7)
	resp := q.ResponseKind().(*kmsg.SASLHandshakeResponse)
	require.NoError(c.t, resp.ReadFrom(c.response(7)))
	return resp
}

func tokenRequest(version int16, token string) *kmsg.SASLAuthenticateRequest {
	q := kmsg.NewPtrSASLAuthenticateRequest()
	q.Version, q.SASLAuthBytes = version, []byte(token)
	return q
}

func (c *rawConn) token(version int16, token string) *kmsg.SASLAuthenticateResponse {
	q := tokenRequest(version, token)
	c.send(q, 8)
	b := c.response(8)
	if q.IsFlexible() {
		b = b[1:]
	}
	resp := q.ResponseKind().(*kmsg.SASLAuthenticateResponse)
	require.NoError(c.t, resp.ReadFrom(b))
	return resp
}

func (c *rawConn) login(user string) *kmsg.SASLAuthenticateResponse {
	require.Zero(c.t, c.handshake(1, "COUNT").ErrorCode)
	require.Equal(c.t, "go on", string(c.token(1, user).SASLAuthBytes))
	resp := c.token(1, user+"2")
	require.Zero(c.t, resp.ErrorCode)
	require.Equal(c.t, "welcome", string(resp.SASLAuthBytes))
	return resp
}

func TestLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, dial := loginServer(t, Limits{})
		var seen []Identity
		node.hook(2, func(_ context.Context, r *Request, reply func(Reply)) {
			seen = append(seen, r.Conn.Identity)
			reply(Reply{Message: r.Message.ResponseKind()})
		})
		ask := func(c *rawConn) {
			c.send(listOffsets(1), 3)
			c.response(3)
		}

		c := dial()
		c.send(kmsg.NewPtrApiVersionsRequest(), 1)
		c.response(1)
		require.Zero(t, c.login("alice").SessionLifetimeMillis)
		ask(c)
		peer := dial()
		peer.login("peer")
		ask(peer)
		require.Equal(t, []Identity{{Principal: "User:alice"}, {Principal: "User:peer", Peer: true}}, seen)

		// Version 0: tokens are frames.
		raw := dial()
		require.Zero(t, raw.handshake(0, "COUNT").ErrorCode)
		for _, step := range []struct{ token, answer string }{{"bob", "go on"}, {"bob2", "welcome"}} {
			raw.write(append(binary.BigEndian.AppendUint32(nil, uint32(len(step.token))), step.token...))
			f, err := raw.r.next()
			require.NoError(t, err)
			require.Equal(t, step.answer, string(f.b))
		}
		ask(raw)
		require.Equal(t, "User:bob", seen[2].Principal)

		// What nobody offers.
		d := dial()
		resp := d.handshake(1, "PLAIN")
		require.Equal(t, kerr.UnsupportedSaslMechanism.Code, resp.ErrorCode)
		require.Equal(t, []string{"COUNT", "OTHER"}, resp.SupportedMechanisms)
		d.closed()

		// A failure is told late, and ends the connection.
		for version := range int16(3) {
			d = dial()
			d.handshake(1, "COUNT")
			d.token(version, "eve")
			at := time.Now()
			failed := d.token(version, "guess")
			require.Equal(t, failedLoginDelay, time.Since(at))
			require.Equal(t, kerr.SaslAuthenticationFailed.Code, failed.ErrorCode)
			require.Equal(t, "wrong password", *failed.ErrorMessage)
			require.Equal(t, "no", string(failed.SASLAuthBytes))
			d.closed()
		}
		raw = dial()
		raw.handshake(0, "COUNT")
		for range 2 {
			raw.write([]byte{0, 0, 0, 1, 'x'})
		}
		_, err := raw.r.next()
		require.NoError(t, err)
		raw.closed()
		require.Len(t, seen, 3)
	})
}

// TestLoginComesFirst sends everything that may not come yet.
func TestLoginComesFirst(t *testing.T) {
	handshake := func(mechanism string) *kmsg.SASLHandshakeRequest {
		q := kmsg.NewPtrSASLHandshakeRequest()
		q.Version, q.Mechanism = 1, mechanism
		return q
	}
	many := func(r kmsg.Request, n int) (all []kmsg.Request) {
		for range n {
			all = append(all, r)
		}
		return all
	}
	for name, all := range map[string][]kmsg.Request{
		"a request":                       {listOffsets(1)},
		"a request after ApiVersions":     {kmsg.NewPtrApiVersionsRequest(), listOffsets(1)},
		"a token":                         {tokenRequest(1, "alice")},
		"a request after the handshake":   {handshake("COUNT"), listOffsets(1)},
		"a request after half a login":    {handshake("COUNT"), tokenRequest(1, "alice"), listOffsets(1)},
		"ApiVersions after the handshake": {handshake("COUNT"), kmsg.NewPtrApiVersionsRequest()},
		"two handshakes":                  {handshake("COUNT"), handshake("COUNT")},
		"too many ApiVersions":            many(kmsg.NewPtrApiVersionsRequest(), maxLoginRequests+1),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node, dial := loginServer(t, Limits{})
				c := dial()
				answered := len(all) - 1
				for i, r := range all {
					c.send(r, int32(i))
					if i < answered {
						c.response(int32(i))
					}
				}
				c.closed()
				for _, r := range all {
					if _, ok := r.(*kmsg.ApiVersionsRequest); !ok {
						require.LessOrEqual(t, node.served.Load(), int64(answered), "only ApiVersions is served")
					}
				}
				d := dial() // others live
				d.login("alice")
			})
		})
	}
}

func TestLoginLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dial := loginServer(t, Limits{})
		start := time.Now()
		// A drip of allowed requests does not keep a connection that does not log in.
		c := dial()
		go func() {
			for range 5 {
				time.Sleep(3 * time.Second)
				if _, err := c.Write(kmsg.NewRequestFormatter().AppendRequest(nil, kmsg.NewPtrApiVersionsRequest(), 1)); err != nil {
					return
				}
			}
		}()
		for range 3 {
			c.response(1)
		}
		c.closed()
		require.Equal(t, 10*time.Second, time.Since(start))

		// Before the login, frames are small; afterwards they are not.
		big := kmsg.NewPtrApiVersionsRequest()
		big.Version, big.ClientSoftwareName = 3, strings.Repeat("x", 65<<10)
		d := dial()
		d.send(big, 1)
		d.closed()
		e := dial()
		e.login("alice")
		e.send(big, 1)
		e.response(1)
		time.Sleep(time.Minute) // the login's deadline is gone
		e.send(listOffsets(1), 2)
		e.response(2)
	})
}

func TestLoginAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, dial := loginServer(t, Limits{})
		c := dial()
		require.EqualValues(t, 60_000, c.login("brief").SessionLifetimeMillis)
		for range 3 {
			time.Sleep(50 * time.Second)
			c.send(listOffsets(1), 3)
			c.response(3)
			require.EqualValues(t, 60_000, c.login("brief").SessionLifetimeMillis)
		}
		time.Sleep(61 * time.Second)
		require.Zero(t, c.handshake(1, "COUNT").ErrorCode, "late, but nothing was asked in between")
		c.token(1, "brief")
		c.token(1, "brief2")
		time.Sleep(61 * time.Second)
		served := node.served.Load()
		c.send(listOffsets(1), 3)
		c.closed()
		require.Equal(t, served, node.served.Load())

		// Not as somebody else, with another mechanism, or at once.
		c = dial()
		c.login("alice")
		time.Sleep(2 * time.Second)
		c.handshake(1, "COUNT")
		c.token(1, "bob")
		require.Equal(t, kerr.SaslAuthenticationFailed.Code, c.token(1, "bob2").ErrorCode)
		c.closed()
		c = dial()
		c.login("alice")
		time.Sleep(2 * time.Second)
		require.Equal(t, kerr.IllegalSaslState.Code, c.handshake(1, "OTHER").ErrorCode)
		c.closed()
		c = dial()
		c.login("alice")
		q := kmsg.NewPtrSASLHandshakeRequest()
		q.Mechanism = "COUNT"
		c.send(q, 1)
		c.closed()
	})
}

// countCredentials is the client's side of countLogin.
type countCredentials struct{ mechanism, user, second string }

func (c countCredentials) Name() string { return c.mechanism }

func (c countCredentials) Start() CredentialsExchange {
	return &countAnswers{answers: []string{c.user, c.second}, want: []string{"", "go on", "welcome"}}
}

type countAnswers struct{ answers, want []string }

func (a *countAnswers) Step(_ context.Context, challenge []byte) ([]byte, bool, error) {
	if string(challenge) != a.want[0] {
		return nil, false, errors.New("not the node")
	}
	a.want = a.want[1:]
	if len(a.answers) == 0 {
		return nil, true, nil
	}
	token := a.answers[0]
	a.answers = a.answers[1:]
	return []byte(token), false, nil
}

func TestClientLogsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(1)
		node.versions[keySaslHandshake] = VersionRange{0, 1}
		node.versions[keySaslAuthenticate] = VersionRange{0, 2}
		seen := map[string]int{}
		node.hook(22, func(_ context.Context, r *Request, reply func(Reply)) {
			seen[r.Conn.Identity.Principal]++
			time.Sleep(time.Second)
			reply(Reply{Message: r.Message.ResponseKind()})
		})
		network := NewMem().Host("a")
		addr, _ := startServer(t, network, "a:0", ServerConfig{Handler: node, Login: countLogin{[]string{"COUNT"}}})
		ask := func(cred Credentials) func() error {
			c := newClient(t, ClientConfig{Bootstrap: []string{addr}, Network: network, Credentials: cred})
			c.SetNode(Node{ID: 1, Addr: addr})
			return func() error {
				_, err := c.Request(t.Context(), 1, kmsg.NewPtrInitProducerIDRequest())
				return err
			}
		}
		require.NoError(t, ask(countCredentials{"COUNT", "alice", "alice2"})())
		err := ask(countCredentials{"COUNT", "alice", "guess"})()
		require.ErrorIs(t, err, kerr.SaslAuthenticationFailed)
		require.ErrorContains(t, err, "wrong password")
		err = ask(countCredentials{"PLAIN", "alice", "alice2"})()
		require.ErrorIs(t, err, kerr.UnsupportedSaslMechanism)
		require.ErrorContains(t, err, "COUNT")
		require.Error(t, ask(nil)())
		require.Equal(t, map[string]int{"User:alice": 1}, seen)

		// A login that does not last: no request notices.
		brief := ask(countCredentials{"COUNT", "brief", "brief2"})
		for range 200 {
			require.NoError(t, brief())
		}
		time.Sleep(5 * time.Minute)
		require.NoError(t, brief())
		require.Equal(t, 201, seen["User:brief"])
	})
}
