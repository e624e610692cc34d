package broker

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/acl"
	"github.com/insynclog/insync/internal/sasl"
	"github.com/insynclog/insync/transport"
)

// Security says who may connect and do what.
type Security struct {
	Mechanisms []string           // of SASL, for clients, in order; none: they are named by their certificates, or nobody
	Plain      sasl.Verifier      // for PLAIN
	OAuth      sasl.Authenticator // for OAUTHBEARER

	PeerSecret string   // by which nodes know each other; needs Mechanisms
	Peers      []string // principals of certificates that are nodes

	Principal      func(*x509.Certificate) string // of a client's certificate; nil takes its subject
	ReauthInterval time.Duration                  // connections.max.reauth.ms; 0 = logins last as long as what they prove

	ACLs *acl.Config // nil: whoever is let in may do everything
}

// peerUser is the name by which nodes log in to each other.
const peerUser = "insync-node"

// peerMechanism is how they do.
const peerMechanism = sasl.ScramSHA512

// ErrReservedUser says that a user has the name that nodes have among themselves.
var ErrReservedUser = fmt.Errorf("the user name %q is that of nodes", peerUser)

// PeerCredentials log a node in to others that have the same secret.
func PeerCredentials(secret string) (transport.Credentials, error) {
	return sasl.NewScramClient(peerMechanism, peerUser, secret)
}

// Login finds out who connections belong to. It implements transport.Login.
//
// Users of SCRAM are in the metadata, so a node that is starting knows none: their login waits for it, as other requests do. Nodes are known by a secret or by certificates, which need no metadata.
type Login struct {
	b          *Broker
	c          Security
	mechanisms []sasl.Mechanism
	names      []string
	peers      map[string]bool
	peer       sasl.Credential // zero without PeerSecret
	peerOnly   bool            // clients are not offered the mechanism of nodes
}

// NewLogin returns the login for connections to b. Errors: all problems of the Security at once.
func NewLogin(b *Broker, c Security) (*Login, error) {
	l := &Login{b: b, c: c, peers: make(map[string]bool)}
	for _, p := range c.Peers {
		l.peers[p] = true
	}
	if l.c.Principal == nil {
		l.c.Principal = func(cert *x509.Certificate) string { return "User:" + cert.Subject.String() }
	}
	// Salts of users that do not exist come from a secret that is the same as long as there are users, and on all nodes.
	id := b.c.Directory.ID()
	secret := sha256.Sum256(append([]byte("salts of strangers "), id[:]...))
	mechanisms := slices.Clone(c.Mechanisms)
	var errs []error
	if c.PeerSecret != "" {
		salt := sha256.Sum256([]byte("insync node")) // the same on every node
		var err error
		if l.peer, err = sasl.FromPassword(peerMechanism, sasl.MinIterations, salt[:24], c.PeerSecret); err != nil {
			errs = append(errs, fmt.Errorf("PeerSecret: %w", err))
		}
		// Not of the PeerSecret itself: strangers' salts would let everybody guess it without the cost of the iterations.
		secret = sha256.Sum256(append([]byte("salts of strangers "), l.peer.Keys().ServerKey...))
		if !slices.Contains(mechanisms, peerMechanism.String()) {
			l.peerOnly = true
			mechanisms = append(mechanisms, peerMechanism.String())
		}
	}
	for _, name := range mechanisms {
		m, err := l.mechanism(name, secret[:])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l.mechanisms = append(l.mechanisms, m)
		l.names = append(l.names, name)
	}
	return l, errors.Join(errs...)
}

func (l *Login) mechanism(name string, secret []byte) (sasl.Mechanism, error) {
	switch {
	case name == sasl.PlainName && l.c.Plain != nil:
		return sasl.NewPlain(l.c.Plain), nil
	case name == sasl.OAuthBearerName && l.c.OAuth != nil:
		return sasl.NewOAuthBearer(l.c.OAuth), nil
	case name == sasl.PlainName || name == sasl.OAuthBearerName:
		return nil, fmt.Errorf("%s: nothing to check logins with", name)
	}
	for _, t := range []sasl.ScramType{sasl.ScramSHA256, sasl.ScramSHA512} {
		if name == t.String() {
			return sasl.NewScram(t, sasl.ScramConfig{Lookup: func(user string) (sasl.Credential, bool) { return l.credential(t, user) }, Secret: secret})
		}
	}
	return nil, fmt.Errorf("unknown SASL mechanism %q", name)
}

// credential looks a user of SCRAM up.
func (l *Login) credential(t sasl.ScramType, user string) (sasl.Credential, bool) {
	if user == peerUser {
		return l.peer, t == peerMechanism && l.peer.Type() == peerMechanism
	}
	if l.peerOnly && t == peerMechanism {
		return sasl.Credential{}, false
	}
	return l.b.scramCredential(t, user)
}

// Mechanisms implements transport.Login.
func (l *Login) Mechanisms() []string { return l.names }

// Begin implements transport.Login.
func (l *Login) Begin(mechanism string) transport.LoginExchange {
	return &loginExchange{l: l, x: l.mechanisms[slices.Index(l.names, mechanism)].Start(), scram: mechanism == sasl.ScramSHA256.String() || mechanism == sasl.ScramSHA512.String()}
}

// Identify implements transport.Login.
func (l *Login) Identify(cs *tls.ConnectionState) (transport.Identity, error) {
	if cs == nil || len(cs.VerifiedChains) == 0 {
		return transport.Identity{Principal: transport.Anonymous}, nil
	}
	cert := cs.PeerCertificates[0]
	principal := l.c.Principal(cert)
	return transport.Identity{Principal: principal, Peer: l.peers[principal]}, nil
}

// loginExchange is one login by SASL.
type loginExchange struct {
	l     *Login
	x     sasl.Exchange
	scram bool
}

var errLoginExpired = errors.New("the login has expired already")

// Step implements transport.LoginExchange.
func (e *loginExchange) Step(ctx context.Context, token []byte) ([]byte, *transport.Identity, error) {
	answer, done, err := e.x.Step(ctx, token)
	if err != nil || !done {
		return answer, nil, err
	}
	who := e.x.Identity()
	id := &transport.Identity{Principal: who.Principal}
	if who.Principal == "User:"+peerUser {
		if !e.scram { // by PLAIN or a token, somebody else decides on names
			return nil, nil, ErrReservedUser
		}
		id.Peer = true
		return answer, id, nil
	}
	now := time.Now()
	session, err := who.Session(now, e.l.c.ReauthInterval)
	if err != nil {
		return nil, nil, errLoginExpired
	}
	if session > 0 {
		id.Expires = now.Add(session)
	}
	return answer, id, nil
}
