package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"math/big"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func (c *rawConn) ask() {
	c.t.Helper()
	c.send(listOffsets(1), 1)
	c.response(1)
}

func TestConnectionsPerHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := NewMem()
		addr, _ := startServer(t, network.Host("a"), "a:0", ServerConfig{Handler: newFakeNode(1), Limits: Limits{ConnectionsPerHost: 2}})
		b := network.Host("b")
		first := dialRaw(t, b, addr)
		first.ask()
		dialRaw(t, b, addr).ask()
		dialRaw(t, b, addr).closed()
		dialRaw(t, network.Host("c"), addr).ask() // others may
		first.Close()
		synctest.Wait()
		dialRaw(t, b, addr).ask()
	})
}

// TestNewcomers fills the server with connections that say nothing: they have to make room, those that work stay.
func TestNewcomers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := NewMem().Host("a")
		addr, _ := startServer(t, network, "a:0", ServerConfig{Handler: newFakeNode(1), Limits: Limits{Connections: 3}})
		working := dialRaw(t, network, addr)
		working.ask()
		mute := []*rawConn{dialRaw(t, network, addr), dialRaw(t, network, addr)}
		synctest.Wait()
		for _, m := range mute {
			next := dialRaw(t, network, addr)
			m.closed() // the oldest
			next.ask()
			synctest.Wait()
		}
		dialRaw(t, network, addr).closed()
		working.ask()
	})
}

// TestHalfFramesMakeRoom has somebody fill the memory for requests with a frame that does not end.
func TestHalfFramesMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := NewMem().Host("a")
		node := newFakeNode(1)
		addr, stop := startServer(t, network, "a:0", ServerConfig{Handler: node, Limits: Limits{Memory: 1 << 20}})
		hostile := dialRaw(t, network, addr)
		hostile.write(append(binary.BigEndian.AppendUint32(nil, 1<<20), make([]byte, 600<<10)...))
		synctest.Wait()
		good := dialRaw(t, network, addr)
		start := time.Now()
		good.ask() // small requests do not wait
		require.Zero(t, time.Since(start))
		q := produceRequest(1, make([]byte, 100<<10))
		q.Version = 3
		good.send(q, 2)
		good.response(2)
		require.Equal(t, relief, time.Since(start))
		hostile.closed()
		good.send(q, 3)
		good.response(3)
		require.Equal(t, relief, time.Since(start))
		stop()
	})
}

// TestHandshakeLimit has clients open TCP connections to a TLS server and say nothing.
func TestHandshakeLimit(t *testing.T) {
	server, client := testTLS(t)
	synctest.Test(t, func(t *testing.T) {
		network := NewMem().Host("a")
		inner, err := network.Listen(t.Context(), "a:0")
		require.NoError(t, err)
		s, err := NewServer(ServerConfig{Handler: newFakeNode(1), Limits: Limits{Handshakes: 2}})
		require.NoError(t, err)
		served := make(chan error, 1)
		go func() { served <- s.Serve(tls.NewListener(inner, server)) }()
		start := time.Now()
		mute := []*rawConn{dialRaw(t, network, inner.Addr().String()), dialRaw(t, network, inner.Addr().String())}
		synctest.Wait()
		good := dialRaw(t, network, inner.Addr().String())
		good.Conn = tls.Client(good.Conn, client)
		good.r = newFrameReader(good.Conn, new(framePool), 64<<20, 0)
		good.ask()
		require.Equal(t, handshakeTurn, time.Since(start), "it waited for its turn")
		for _, m := range mute {
			m.closed()
		}
		require.Equal(t, 10*time.Second, time.Since(start))
		require.NoError(t, s.Close())
		require.NoError(t, <-served)
	})
}

// testTLS returns configs for a server of the name "a" and for a client that trusts it and has a certificate of the name "client".
func testTLS(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	pool := x509.NewCertPool()
	issue := func(name string) tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
			IsCA: true, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		require.NoError(t, err)
		cert, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		pool.AddCert(cert)
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	return &tls.Config{Certificates: []tls.Certificate{issue("a")}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert},
		&tls.Config{Certificates: []tls.Certificate{issue("client")}, RootCAs: pool, ServerName: "a"}
}

// TestCertificatesNameConnections logs in by TLS alone.
func TestCertificatesNameConnections(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	network := NewMem().Host("a")
	inner, err := network.Listen(t.Context(), "a:0")
	require.NoError(t, err)
	node := newFakeNode(1)
	names := make(chan Identity, 1)
	node.hook(2, func(_ context.Context, r *Request, reply func(Reply)) {
		names <- r.Conn.Identity
		reply(Reply{Message: r.Message.ResponseKind()})
	})
	s, err := NewServer(ServerConfig{Handler: node, Login: countLogin{}})
	require.NoError(t, err)
	served := make(chan error, 2)
	go func() { served <- s.Serve(tls.NewListener(inner, serverTLS)) }()
	c := dialRaw(t, network, inner.Addr().String())
	c.Conn = tls.Client(c.Conn, clientTLS)
	c.r = newFrameReader(c.Conn, new(framePool), 64<<20, 0)
	c.ask()
	require.Equal(t, Identity{Principal: "User:client"}, <-names)

	plain, err := network.Listen(t.Context(), "a:0")
	require.NoError(t, err)
	go func() { served <- s.Serve(plain) }()
	dialRaw(t, network, plain.Addr().String()).closed() // Identify refuses it
	require.NoError(t, s.Close())
	require.NoError(t, <-served)
	require.NoError(t, <-served)
}
