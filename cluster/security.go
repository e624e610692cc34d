package cluster

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/acl"
	"github.com/insynclog/insync/internal/broker"
	"github.com/insynclog/insync/internal/sasl"
	"github.com/insynclog/insync/transport"
)

// The SASL mechanisms.
const (
	SASLPlain       = "PLAIN"
	SASLScramSHA256 = "SCRAM-SHA-256"
	SASLScramSHA512 = "SCRAM-SHA-512"
	SASLOAuthBearer = "OAUTHBEARER"
)

// Security says who may connect to a node and what they may do there. All nodes of a cluster must have the same.
//
// Whoever connects is named by a login with one of the SASL mechanisms or, if there are none, by the certificate of a TLS connection; else it is User:ANONYMOUS. Without Authorization everybody who is let in may
// do everything that clients do. What nodes ask of each other is for nodes only. The application's own calls (Node.Client, Admin) may do everything.
type Security struct {
	// SASL lists the mechanisms that clients may log in with (Kafka: sasl.enabled.mechanisms): SASLPlain needs Plain or Passwords, SASLOAuthBearer needs OAuthBearer, users of SCRAM are stored in the cluster's
	// metadata, see Admin.SetPassword. PLAIN and OAUTHBEARER send a password or token as it is, so the Network should be one with TLS.
	SASL []string

	// Passwords are the users of PLAIN.
	Passwords map[string]string
	// Plain decides about logins with PLAIN instead. It must take as long for a user that does not exist, and compare in constant time. An error says that it could not tell.
	Plain func(ctx context.Context, user, password string) (bool, error)
	// OAuthBearer checks a token and returns the name of its user and when it expires; the zero time is never. extensions are what the client sent beside it, checked by nobody else. Its error must not hold
	// the token.
	OAuthBearer func(ctx context.Context, token string, extensions map[string]string) (user string, expires time.Time, err error)
	// ReauthInterval is how long a login holds (Kafka: connections.max.reauth.ms). 0 means as long as the connection, or the token.
	ReauthInterval time.Duration

	// PeerSecret is how nodes know each other where SASL is: the same random text, of 16 bytes at least, on all of them. It is never sent.
	PeerSecret string
	// PeerCertificates is how nodes know each other by TLS: the principals of their certificates.
	PeerCertificates []string
	// Principal names the owner of a client's certificate, which has been verified. nil takes its subject, as Kafka does: "User:CN=alice,O=example".
	Principal func(cert *x509.Certificate) string

	// Authorization turns on access control lists, which are stored in the cluster's metadata: see Admin.CreateACLs.
	Authorization *Authorization
}

// Authorization decides what access control lists do not.
type Authorization struct {
	// SuperUsers may do everything (Kafka: super.users), for example "User:admin".
	SuperUsers []string
	// AllowIfNoACL opens everything that no list says anything about (Kafka: allow.everyone.if.no.acl.found).
	AllowIfNoACL bool
}

// build makes what the broker needs.
func (s *Security) build() (broker.Security, error) {
	b := broker.Security{
		Mechanisms: s.SASL, PeerSecret: s.PeerSecret, Peers: s.PeerCertificates, Principal: s.Principal, ReauthInterval: s.ReauthInterval, Plain: s.Plain, OAuth: s.OAuthBearer,
	}
	if s.Plain == nil && len(s.Passwords) > 0 {
		verify, err := sasl.Passwords(s.Passwords)
		if err != nil {
			return b, err
		}
		b.Plain = verify
	}
	if a := s.Authorization; a != nil {
		b.ACLs = &acl.Config{SuperUsers: a.SuperUsers, AllowEveryoneIfNoACLFound: a.AllowIfNoACL}
		if _, err := acl.NewRules(*b.ACLs, nil); err != nil {
			return b, err
		}
	}
	return b, nil
}

const minPeerSecret = 16

// validate returns all problems.
func (s *Security) validate(voters int) (errs []error) {
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("cluster config: Security: "+format, args...))
	}
	for _, m := range s.SASL {
		if !slices.Contains([]string{SASLPlain, SASLScramSHA256, SASLScramSHA512, SASLOAuthBearer}, m) {
			bad("unknown SASL mechanism %q", m)
		}
	}
	if slices.Contains(s.SASL, SASLPlain) && s.Plain == nil && len(s.Passwords) == 0 {
		bad("PLAIN needs Passwords or Plain")
	}
	if s.Plain != nil && len(s.Passwords) > 0 {
		bad("Passwords and Plain are both set")
	}
	if slices.Contains(s.SASL, SASLOAuthBearer) && s.OAuthBearer == nil {
		bad("OAUTHBEARER needs OAuthBearer")
	}
	switch {
	case s.PeerSecret != "" && len(s.PeerSecret) < minPeerSecret:
		bad("PeerSecret has fewer than %d bytes", minPeerSecret)
	case s.PeerSecret != "" && len(s.SASL) == 0:
		bad("PeerSecret needs SASL: without it nobody logs in")
	case voters > 1 && s.PeerSecret == "" && len(s.PeerCertificates) == 0:
		bad("%d Voters, but nothing by which they know each other: set PeerSecret or PeerCertificates", voters)
	}
	if s.ReauthInterval < 0 {
		bad("ReauthInterval %v is negative", s.ReauthInterval)
	}
	if _, err := s.build(); err != nil {
		bad("%w", err)
	}
	return errs
}

// peerCredentials log this node in to others; nil where certificates do, or nothing is asked.
func (s *Security) peerCredentials() (transport.Credentials, error) {
	if s == nil || s.PeerSecret == "" {
		return nil, nil
	}
	return broker.PeerCredentials(s.PeerSecret)
}

var errOpen = errors.New("set Security and a Network with TLS, or Insecure")

// exposed tells what is wrong with listening at an address without authentication.
func (c *Config) exposed(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || c.Insecure || loopback(host) {
		return nil
	}
	if c.Network == nil {
		return fmt.Errorf("it is beyond loopback and plain: %w", errOpen)
	}
	if t, ok := c.Network.(interface{ Trusted() bool }); ok && t.Trusted() || c.Security != nil {
		return nil
	}
	return fmt.Errorf("it is beyond loopback and anybody may connect: %w", errOpen)
}
