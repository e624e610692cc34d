package transport_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/transport"
	"github.com/insynclog/insync/transport/transporttest"
)

func TestTCPConforms(t *testing.T) {
	transporttest.Run(t, func(*testing.T) transporttest.Setup {
		n := transport.TCP(nil)
		return transporttest.Setup{Listener: n, Dialer: n, Addr: "127.0.0.1:0"}
	})
}

func TestMemConforms(t *testing.T) {
	for name, link := range map[string]transport.Link{"perfect": {}, "slow": {Latency: 100 * time.Microsecond}} {
		t.Run(name, func(t *testing.T) {
			transporttest.Run(t, func(*testing.T) transporttest.Setup {
				m := transport.NewMem()
				m.SetLink("*", "*", link)
				return transporttest.Setup{Listener: m.Host("a"), Dialer: m.Host("b"), Addr: ":0"}
			})
		})
	}
}

func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	trusting := transport.TCP(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	t.Run("trusted", func(t *testing.T) {
		l, err := trusting.Listen(t.Context(), "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := l.Accept()
			if err == nil {
				_, _ = c.Write([]byte("hello"))
				_ = c.Close()
			}
		}()
		c, err := trusting.Dial(t.Context(), l.Addr().String())
		require.NoError(t, err)
		b := make([]byte, 5)
		_, err = c.Read(b)
		require.NoError(t, err)
		require.Equal(t, "hello", string(b))
		require.NoError(t, c.Close())
		<-done
	})
	t.Run("untrusted", func(t *testing.T) {
		l, err := trusting.Listen(t.Context(), "127.0.0.1:0")
		require.NoError(t, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := l.Accept()
			if err == nil {
				_, _ = c.Write([]byte("hello"))
				_ = c.Close()
			}
		}()
		_, err = transport.TCP(&tls.Config{}).Dial(t.Context(), l.Addr().String())
		require.Error(t, err)
		require.NoError(t, l.Close())
		<-done
	})
}
