package sasl

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/xdg-go/scram"
)

// NewScramClient returns the client's side of SCRAM. Errors: an unknown type, a name that CheckUser refuses, an empty password.
func NewScramClient(t ScramType, user, password string) (Client, error) {
	if !t.Known() {
		return nil, errors.New("sasl: unknown SCRAM mechanism")
	}
	if err := CheckUser(user); err != nil {
		return nil, fmt.Errorf("sasl %s: %w", t, err)
	}
	if password == "" {
		return nil, fmt.Errorf("sasl %s: the password is empty", t)
	}
	return &scramClient{kind: t, secrets: func() (string, string) { return user, password }}, nil
}

// scramClient has its secrets behind a function, where no way of printing it reaches.
type scramClient struct {
	kind    ScramType
	secrets func() (user, password string)
	nonce   func() string // nil: the library's, 24 random bytes
}

func (c *scramClient) Name() string { return c.kind.String() }

func (c *scramClient) Start() ClientExchange {
	return &scramClientExchange{gate: gate{mechanism: c.Name(), limit: maxScram}, c: c}
}

type scramClientExchange struct {
	gate
	c        *scramClient
	converse func(token string) (reply string, err error) // nil before the first token
	valid    func() bool
	nonce    string // our part; empty once the server has sent its
}

// Step computes for as long as the server's iterations take when the token is the server's first.
func (x *scramClientExchange) Step(_ context.Context, token []byte) ([]byte, bool, error) {
	if err := x.enter(token); err != nil {
		return nil, false, err
	}
	switch {
	case x.converse == nil:
		return x.first(token)
	case x.nonce != "":
		return x.final(string(token))
	}
	return x.verify(string(token))
}

func (x *scramClientExchange) first(token []byte) ([]byte, bool, error) {
	if len(token) != 0 {
		return nil, false, x.fail(ErrMalformed, "the client speaks first")
	}
	user, password := x.c.secrets()
	// A client of the library for each login: it keeps the keys it has derived, for as many salts as a server likes to send.
	client, err := hashOf(x.c.kind).NewClientUnprepped(user, password, "")
	if err != nil {
		return nil, false, x.fail(ErrMalformed, "")
	}
	if x.c.nonce != nil {
		client.WithNonceGenerator(x.c.nonce)
	}
	conversation := client.NewConversation()
	x.converse, x.valid = conversation.Step, conversation.Valid
	reply, err := x.converse("")
	first, reason := parseClientFirst(reply)
	if err != nil || reason != "" {
		return nil, false, x.fail(ErrMalformed, reason)
	}
	x.nonce = first.nonce
	return []byte(reply), false, nil
}

func (x *scramClientExchange) final(token string) ([]byte, bool, error) {
	m, reason := parseServerFirst(token)
	switch {
	case reason != "":
		return nil, false, x.fail(ErrMalformed, reason)
	case !strings.HasPrefix(m.nonce, x.nonce) || m.nonce == x.nonce:
		return nil, false, x.fail(ErrAuthentication, "the server's nonce does not continue ours")
	}
	x.nonce = ""
	reply, err := x.converse(token)
	if err != nil {
		return nil, false, x.fail(ErrMalformed, "")
	}
	return []byte(reply), false, nil
}

func (x *scramClientExchange) verify(token string) ([]byte, bool, error) {
	if reason := checkServerFinal(token, x.c.kind.size()); reason != "" {
		return nil, false, x.fail(ErrMalformed, reason)
	}
	if _, err := x.converse(token); err != nil || !x.valid() {
		return nil, false, x.fail(ErrAuthentication, "the server does not know the password")
	}
	x.over = true
	return nil, true, nil
}

// hashOf returns the library's name for a known type.
func hashOf(t ScramType) scram.HashGeneratorFcn { return t.hash }
