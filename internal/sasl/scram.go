package sasl

import (
	"bytes"
	"context"
	"errors"

	"github.com/xdg-go/scram"
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
	m := &scramMechanism{kind: t, lookup: c.Lookup, iterations: c.Iterations, secret: func() []byte { return secret }}
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
	nonce      func() string // nil: the library's, 24 random bytes
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
	converse func(token string) (reply string, err error) // nil before the first token
	valid    func() bool
	user     string
	known    bool
	identity Identity
}

func (x *scramExchange) Identity() Identity { return x.identity }

func (x *scramExchange) Step(_ context.Context, token []byte) ([]byte, bool, error) {
	if err := x.enter(token); err != nil {
		return nil, false, err
	}
	if x.converse == nil {
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
	server, err := hashOf(x.m.kind).NewServer(func(string) (scram.StoredCredentials, error) {
		k := c.keys()
		return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(k.Salt), Iters: c.iterations}, StoredKey: k.StoredKey, ServerKey: k.ServerKey}, nil
	})
	if err != nil {
		return nil, false, x.fail(ErrAuthentication, badLogin)
	}
	if x.m.nonce != nil {
		server.WithNonceGenerator(x.m.nonce)
	}
	conversation := server.NewConversation()
	x.converse, x.valid, x.user, x.known = conversation.Step, conversation.Valid, first.user, known
	reply, err := x.converse(token)
	if err != nil {
		return nil, false, x.fail(ErrMalformed, "") // the error quotes the token
	}
	return []byte(reply), false, nil
}

func (x *scramExchange) final(token string) ([]byte, bool, error) {
	if reason := checkClientFinal(token, x.m.kind.size()); reason != "" {
		return nil, false, x.fail(ErrMalformed, reason)
	}
	// The library compares the channel binding with the header and the nonce with the whole of the one it sent, and then the proof, in constant time.
	reply, err := x.converse(token)
	if err != nil || !x.valid() || !x.known {
		return nil, false, x.fail(ErrAuthentication, badLogin)
	}
	x.over = true
	x.identity = Identity{Principal: principal(x.user)}
	return []byte(reply), true, nil
}

// hashOf returns the library's name for a known type.
func hashOf(t ScramType) scram.HashGeneratorFcn { return t.hash }
