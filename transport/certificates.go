package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// CertificateFiles names PEM files.
type CertificateFiles struct {
	Certificate, Key string // the own certificate, with intermediates, and its private key; a client may have none
	Roots            string // certificates of those to trust; "" = the system's when dialling, nobody when listening
}

// Certificates are TLS certificates in files that may be replaced while they are in use: a handshake looks at most every ten seconds whether they were. There is no goroutine and nothing to close. Safe for
// concurrent use.
type Certificates struct {
	files  CertificateFiles
	failed func(error)
	now    atomic.Pointer[loadedCertificates]

	mu     sync.Mutex
	looked time.Time
	stamps [3]fileStamp
}

type loadedCertificates struct {
	own   *tls.Certificate
	roots *x509.CertPool
}

// fileStamp tells a replaced file from the one before.
type fileStamp struct {
	modified time.Time
	size     int64
}

// certificateInterval is how often the files are looked at.
const certificateInterval = 10 * time.Second

// LoadCertificates reads the files. failed hears, during a handshake, of new files that cannot be read or do not fit together; the old ones stay in use. It may be nil.
func LoadCertificates(files CertificateFiles, failed func(error)) (*Certificates, error) {
	c := &Certificates{files: files, failed: failed}
	if c.failed == nil {
		c.failed = func(error) {}
	}
	return c, c.Reload()
}

// Reload reads the files now. After an error the old certificates stay in use. Errors name the file.
func (c *Certificates) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = time.Now()
	return c.loadLocked(c.stampLocked())
}

func (c *Certificates) stampLocked() (stamps [3]fileStamp) {
	for i, name := range []string{c.files.Certificate, c.files.Key, c.files.Roots} {
		if name == "" {
			continue
		}
		if info, err := os.Stat(name); err == nil {
			stamps[i] = fileStamp{info.ModTime(), info.Size()}
		}
	}
	return stamps
}

func (c *Certificates) loadLocked(stamps [3]fileStamp) error {
	var l loadedCertificates
	if c.files.Certificate != "" {
		own, err := tls.LoadX509KeyPair(c.files.Certificate, c.files.Key)
		if err != nil {
			return fmt.Errorf("load %s and %s: %w", c.files.Certificate, c.files.Key, err)
		}
		l.own = &own
	}
	if c.files.Roots != "" {
		pem, err := os.ReadFile(c.files.Roots)
		if err != nil {
			return err
		}
		l.roots = x509.NewCertPool()
		if !l.roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("load %s: no certificate in it", c.files.Roots)
		}
	}
	c.stamps = stamps
	c.now.Store(&l)
	return nil
}

// current returns the certificates, read anew if their files have changed.
func (c *Certificates) current() *loadedCertificates {
	c.mu.Lock()
	var err error
	if now := time.Now(); now.Sub(c.looked) >= certificateInterval {
		c.looked = now
		if stamps := c.stampLocked(); stamps != c.stamps {
			err = c.loadLocked(stamps)
		}
	}
	c.mu.Unlock()
	if err != nil {
		c.failed(err)
	}
	return c.now.Load()
}

var errNoCertificate = errors.New("transport: listening with TLS needs a certificate")

// ServerConfig is a config for listeners. With auth tls.RequireAndVerifyClientCert clients are named by their certificates.
func (c *Certificates) ServerConfig(auth tls.ClientAuthType) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, // GetConfigForClient decides the rest
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			l := c.current()
			if l.own == nil {
				return nil, errNoCertificate
			}
			clients := l.roots
			if clients == nil {
				clients = x509.NewCertPool() // nil would be the system's: whoever has a web site
			}
			return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*l.own}, ClientAuth: auth, ClientCAs: clients}, nil
		},
	}
}

// ClientConfig is a config for one connection. serverName "" takes the name dialled.
func (c *Certificates) ClientConfig(serverName string) *tls.Config {
	l := c.current()
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: l.roots, ServerName: serverName}
	if l.own != nil {
		config.Certificates = []tls.Certificate{*l.own}
	}
	return config
}

// TLS returns the operating system's TCP network with TLS by certificates that may be replaced. auth says what listeners ask of clients.
func TLS(c *Certificates, auth tls.ClientAuthType) Network { return tlsNetwork{c, auth} }

type tlsNetwork struct {
	c    *Certificates
	auth tls.ClientAuthType
}

func (t tlsNetwork) Listen(ctx context.Context, addr string) (net.Listener, error) {
	if t.c.now.Load().own == nil {
		return nil, errNoCertificate
	}
	return TCP(t.c.ServerConfig(t.auth)).Listen(ctx, addr)
}

func (t tlsNetwork) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return TCP(t.c.ClientConfig("")).Dial(ctx, addr)
}

// Trusted tells whether nobody connects without a certificate that was verified.
func (t tlsNetwork) Trusted() bool { return t.auth == tls.RequireAndVerifyClientCert }
