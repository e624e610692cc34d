package sasl

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
)

// ScramConfig is what the server's side of SCRAM needs.
type ScramConfig struct {
	// Lookup returns the credential of a user, if there is one. It must take as long for a user that does not exist, and may be called by any number of goroutines.
	Lookup func(user string) (Credential, bool)

	// Secret is what the salts of users that do not exist are made of, at least 16 bytes that nobody can guess. It should be the same for all nodes of a cluster, and for as long as there are users: a salt that
	// differs from node to node, or day to day, is that of nobody.
	Secret []byte

	// Iterations are those of users that do not exist; those of most users that do. Zero is MinIterations.
	Iterations int
}

// NewScram returns the server's side of SCRAM (RFC 5802, without channel binding). Errors: an unknown type, no Lookup, a short Secret, Iterations out of bounds.
func NewScram(t ScramType, c ScramConfig) (Mechanism, error) {
	if c.Iterations == 0 {
		c.Iterations = MinIterations
	}
	secret := bytes.Clone(c.Secret)
	m := &scramMechanism{kind: t, lookup: c.Lookup, iterations: c.Iterations, secret: func() []byte { return secret }, nonce: newNonce}
	switch {
	case !t.Known():
		return nil, errors.New("sasl: unknown SCRAM mechanism")
	case c.Lookup == nil:
		return nil, errors.New("sasl " + t.String() + ": no Lookup")
	case len(c.Secret) < minSecret:
		return nil, errors.New("sasl " + t.String() + ": the Secret has fewer than 16 bytes")
	case c.Iterations < MinIterations || c.Iterations > MaxIterations:
		return nil, errors.New("sasl " + t.String() + ": Iterations are out of bounds")
	}
	return m, nil
}

const minSecret = 16

type scramMechanism struct {
	kind       ScramType
	lookup     func(user string) (Credential, bool)
	iterations int
	secret     func() []byte // a function, where no way of printing it reaches
	nonce      func() string // the server's part
}

func (m *scramMechanism) Name() string { return m.kind.String() }

func (m *scramMechanism) Start() Exchange {
	return &scramExchange{gate: gate{mechanism: m.Name(), limit: maxScram}, m: m}
}

// stranger returns the credential of a user that does not exist: always the same for a name, and nobody has its password.
func (m *scramMechanism) stranger(user string) Credential {
	part := func(of string) []byte { return m.kind.hmac(m.secret(), of, "\x00", user) }
	return makeCredential(m.kind, m.iterations, Keys{Salt: part("salt")[:newSalt], StoredKey: part("stored key"), ServerKey: part("server key")})
}

// credential returns what to check a login against, and whether it may succeed. That of a stranger is made in any case, so that it takes no longer when it is needed.
func (m *scramMechanism) credential(first clientFirst) (c Credential, known bool) {
	c = m.stranger(first.user)
	found, known := m.lookup(first.user)
	if known = known && found.kind == m.kind && !first.tokenAuth; known {
		c = found
	}
	return c, known
}

type scramExchange struct {
	gate
	m        *scramMechanism
	verify   func(clientFinal) (signature []byte, ok bool) // nil before the first token; holds the keys, where no way of printing it reaches
	user     string
	known    bool
	identity Identity
}

func (x *scramExchange) Identity() Identity { return x.identity }

func (x *scramExchange) Step(_ context.Context, token []byte) ([]byte, bool, error) {
	if err := x.enter(token); err != nil {
		return nil, false, err
	}
	if x.verify == nil {
		return x.first(string(token))
	}
	return x.final(string(token))
}

func (x *scramExchange) first(token string) ([]byte, bool, error) {
	first, reason := parseClientFirst(token)
	switch {
	case reason != "":
		return nil, false, x.fail(ErrMalformed, reason)
	case first.authzid != "" && first.authzid != first.user:
		return nil, false, x.fail(ErrAuthentication, badLogin)
	}
	c, known := x.m.credential(first)
	keys, nonce := c.keys(), first.nonce+x.m.nonce()
	reply := "r=" + nonce + ",s=" + base64.StdEncoding.EncodeToString(keys.Salt) + ",i=" + strconv.Itoa(c.iterations)
	x.user, x.known = first.user, known
	x.verify = func(final clientFinal) ([]byte, bool) {
		return verifyScram(x.m.kind, keys, first, nonce, reply, final)
	}
	return []byte(reply), false, nil
}

func (x *scramExchange) final(token string) ([]byte, bool, error) {
	final, reason := parseClientFinal(token, x.m.kind.size())
	if reason != "" {
		return nil, false, x.fail(ErrMalformed, reason)
	}
	signature, ok := x.verify(final)
	if !ok || !x.known {
		return nil, false, x.fail(ErrAuthentication, badLogin)
	}
	x.over = true
	x.identity = Identity{Principal: principal(x.user)}
	return []byte("v=" + base64.StdEncoding.EncodeToString(signature)), true, nil
}

// verifyScram says whether a client's last message proves that it knows the password, and returns what proves to the client that the server does (RFC 5802 section 3). The proof is over the messages as they were sent.
//
// The client's nonce has to end with the whole of ours, which begins with what the client has sent at first: librdkafka up to 2.0 sends that part twice, and Kafka's broker takes it. It is no less fresh, as our
// part is in it, and the proof covers what was sent.
func verifyScram(t ScramType, k Keys, first clientFirst, nonce, reply string, final clientFinal) (signature []byte, ok bool) {
	messages := []string{first.bare, ",", reply, ",", final.signed}
	clientKey := t.hmac(k.StoredKey, messages...)
	subtle.XORBytes(clientKey, clientKey, final.proof)
	h := t.hash()
	h.Write(clientKey)
	right := hmac.Equal(h.Sum(nil), k.StoredKey)
	if !right || final.binding != first.header || !strings.HasSuffix(final.nonce, nonce) {
		return nil, false
	}
	return t.hmac(k.ServerKey, messages...), true
}

// newNonce returns a server's part of a nonce: 24 random bytes.
func newNonce() string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // it does not return without having filled them
	return base64.RawStdEncoding.EncodeToString(b[:])
}
