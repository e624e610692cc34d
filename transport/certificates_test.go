package transport_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/transport"
)

// writePair writes a self-signed certificate and its key.
func writePair(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"node"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	return cert, key
}

// served is the name in the certificate that a server shows.
func served(t *testing.T, server *tls.Config) string {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- tls.Server(a, server).HandshakeContext(t.Context()) }()
	c := tls.Client(b, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, c.HandshakeContext(t.Context()))
	require.NoError(t, <-done)
	require.NoError(t, a.Close())
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestCertificatesAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert, key := writePair(t, dir, "first")
		var failures []error
		c, err := transport.LoadCertificates(transport.CertificateFiles{Certificate: cert, Key: key}, func(err error) { failures = append(failures, err) })
		require.NoError(t, err)
		server := c.ServerConfig(tls.NoClientCert)
		require.Equal(t, "first", served(t, server))
		writePair(t, dir, "the second")
		require.Equal(t, "first", served(t, server), "not looked at again yet")
		time.Sleep(10 * time.Second)
		require.Equal(t, "the second", served(t, server))

		// Half a replacement: the old ones stay.
		require.NoError(t, os.WriteFile(key, []byte("nothing"), 0o600))
		time.Sleep(10 * time.Second)
		require.Equal(t, "the second", served(t, server))
		require.Len(t, failures, 1)
		require.ErrorContains(t, failures[0], "key.pem")
		require.Error(t, c.Reload())
		writePair(t, dir, "a third one")
		require.NoError(t, c.Reload())
		require.Equal(t, "a third one", served(t, server))
	})
}

func TestTLSNetwork(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "alice")
	c, err := transport.LoadCertificates(transport.CertificateFiles{Certificate: cert, Key: key, Roots: cert}, nil)
	require.NoError(t, err)
	l, err := transport.TLS(c, tls.RequireAndVerifyClientCert).Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	names := make(chan string, 1)
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			tc := nc.(*tls.Conn)
			if tc.HandshakeContext(t.Context()) == nil {
				names <- tc.ConnectionState().PeerCertificates[0].Subject.CommonName
			}
			_ = nc.Close()
		}
	}()
	nc, err := transport.TLS(c, tls.NoClientCert).Dial(t.Context(), l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, nc.Close())
	require.Equal(t, "alice", <-names)

	// Without a certificate of its own, or with one that nobody knows.
	other := t.TempDir()
	strangeCert, strangeKey := writePair(t, other, "mallory")
	for _, files := range []transport.CertificateFiles{{Roots: cert}, {Certificate: strangeCert, Key: strangeKey, Roots: cert}} {
		stranger, err := transport.LoadCertificates(files, nil)
		require.NoError(t, err)
		nc, err := transport.TLS(stranger, tls.NoClientCert).Dial(t.Context(), l.Addr().String())
		require.NoError(t, err) // with TLS 1.3 the client is done before the server looks
		_, err = nc.Read(make([]byte, 1))
		require.Error(t, err)
		require.NoError(t, nc.Close())
	}
	_, err = transport.TLS(c, tls.NoClientCert).Dial(t.Context(), "127.0.0.1:1")
	require.Error(t, err)
	rootsOnly, err := transport.LoadCertificates(transport.CertificateFiles{Roots: cert}, nil)
	require.NoError(t, err)
	_, err = transport.TLS(rootsOnly, tls.NoClientCert).Listen(t.Context(), "127.0.0.1:0")
	require.Error(t, err)
	for _, bad := range []transport.CertificateFiles{{Certificate: cert, Key: strangeKey}, {Roots: key}, {Roots: filepath.Join(dir, "missing.pem")}, {Certificate: cert}} {
		_, err := transport.LoadCertificates(bad, nil)
		require.Error(t, err)
	}
}
