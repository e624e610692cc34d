package cluster

import (
	"context"
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
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// authority issues certificates into files.
type authority struct {
	t     *testing.T
	dir   string
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	roots string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.roots = filepath.Join(a.dir, "roots.pem")
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(a.roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return a
}

// issue makes the certificates of one owner.
func (a *authority) issue(name string) *transport.Certificates {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, Organization: []string{"test"}}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	require.NoError(a.t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	cert, private := filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	require.NoError(a.t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(a.t, os.WriteFile(private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	c, err := transport.LoadCertificates(transport.CertificateFiles{Certificate: cert, Key: private, Roots: a.roots}, func(err error) { a.t.Error(err) })
	require.NoError(a.t, err)
	return c
}

// TestCertificates runs three nodes that know each other, and their clients, by certificates alone, over TCP.
func TestCertificates(t *testing.T) {
	a := newAuthority(t)
	nodeNetwork := transport.TLS(a.issue("node"), tls.RequireAndVerifyClientCert)
	nodes := startThree(t, nodeNetwork, func(c *Config) {
		c.Security = &Security{PeerCertificates: []string{"User:CN=node,O=test"}, Authorization: &Authorization{SuperUsers: []string{"User:CN=ops,O=test"}}}
	})
	defer func() {
		for _, n := range nodes {
			assert.NoError(t, n.Close())
		}
	}()
	as := func(name string) *transport.Client {
		c, err := transport.NewClient(transport.ClientConfig{Bootstrap: nodes[0].Addrs(), Network: transport.TLS(a.issue(name), tls.NoClientCert)})
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	produce := func(c *transport.Client) error {
		p, err := producer.New(producer.Config{Client: c, DeliveryTimeout: time.Minute})
		require.NoError(t, err)
		defer p.Close()
		_, err = p.Produce(t.Context(), &record.Record{Topic: "t", Value: []byte("v")})
		return err
	}
	ops := NewAdmin(as("ops"))
	require.NoError(t, ops.CreateTopic(t.Context(), TopicSpec{Name: "t", Partitions: 1, ReplicationFactor: 3}))
	alice := as("alice")
	require.Error(t, produce(alice))
	require.NoError(t, ops.CreateACLs(t.Context(), ACL{Resource: "topic", Name: "t", Principal: "User:CN=alice,O=test", Operation: "write"}))
	require.Eventually(t, func() bool { return produce(alice) == nil }, time.Minute, 10*time.Millisecond)
	require.ErrorIs(t, NewAdmin(alice).DeleteTopic(t.Context(), "t"), kerr.TopicAuthorizationFailed)

	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := as("ops").Request(ctx, 1, kmsg.NewPtrBrokerHeartbeatRequest())
	require.Error(t, err, "a super user is no node")
	stranger, err := transport.NewClient(transport.ClientConfig{Bootstrap: nodes[0].Addrs(), Network: transport.TLS(newAuthority(t).issue("node"), tls.NoClientCert)})
	require.NoError(t, err)
	defer stranger.Close()
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = NewAdmin(stranger).Topics(ctx)
	require.Error(t, err, "a node of somebody else")
}

func TestSecurityConfig(t *testing.T) {
	three := []Voter{{1, "a:1"}, {2, "b:1"}, {3, "c:1"}}
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"an unknown mechanism":               {Config{Security: &Security{SASL: []string{"GSSAPI"}}}, `unknown SASL mechanism "GSSAPI"`},
		"PLAIN without passwords":            {Config{Security: &Security{SASL: []string{SASLPlain}}}, "PLAIN needs"},
		"tokens that nobody checks":          {Config{Security: &Security{SASL: []string{SASLOAuthBearer}}}, "OAUTHBEARER needs"},
		"a short secret":                     {Config{Security: &Security{SASL: []string{SASLScramSHA256}, PeerSecret: "short"}}, "fewer than 16"},
		"a secret that nobody asks for":      {Config{Security: &Security{PeerSecret: "0123456789abcdef"}}, "needs SASL"},
		"nodes that do not know each other":  {Config{Voters: three, Listen: "127.0.0.1:0", Security: &Security{SASL: []string{SASLScramSHA256}}}, "by which they know each other"},
		"an empty password":                  {Config{Security: &Security{SASL: []string{SASLPlain}, Passwords: map[string]string{"a": ""}}}, "password is empty"},
		"a super user without a type":        {Config{Security: &Security{Authorization: &Authorization{SuperUsers: []string{"ops"}}}}, "ops"},
		"beyond loopback, plain, with login": {Config{Listen: "0.0.0.0:0", Security: &Security{SASL: []string{SASLScramSHA256}}}, "plain"},
		"beyond loopback, TLS, no login":     {Config{Listen: "0.0.0.0:0", Network: transport.TCP(&tls.Config{})}, "anybody may connect"},
	} {
		_, err := Start(t.Context(), c.config)
		require.ErrorContains(t, err, c.want, name)
	}
}
