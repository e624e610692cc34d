package transport

import (
	"context"
	"crypto/tls"
	"net"
)

// Network is what nodes and clients meet on: the shape of package net. TCP, TLS, the in-memory network and a user's own overlay fit behind it. Package transporttest holds what an
// implementation must pass.
type Network interface {
	// Listen opens a listener on addr ("host:port"; port 0 picks one). ctx bounds the call only.
	Listen(ctx context.Context, addr string) (net.Listener, error)
	// Dial connects to addr. ctx bounds the dialling only.
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// TCP returns the operating system's TCP network. With a nil config connections are plain and fetch responses go out with sendfile; else both ends speak TLS
// with that config, which needs certificates to listen and trust in the other side's to dial. The config must not change afterwards.
func TCP(tlsConfig *tls.Config) Network { return tcp{tlsConfig} }

type tcp struct{ tls *tls.Config }

func (t tcp) Listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil || t.tls == nil {
		return l, err
	}
	return tls.NewListener(l, t.tls), nil
}

func (t tcp) Dial(ctx context.Context, addr string) (net.Conn, error) {
	if t.tls == nil {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
	d := tls.Dialer{Config: t.tls} // ServerName, if empty, is taken from addr
	return d.DialContext(ctx, "tcp", addr)
}

// Trusted tells whether nobody connects without a certificate that was verified.
func (t tcp) Trusted() bool {
	return t.tls != nil && t.tls.GetConfigForClient == nil && t.tls.ClientAuth == tls.RequireAndVerifyClientCert
}
