package sasl

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"
	"unicode/utf8"
)

// PlainName is the name of the mechanism PLAIN.
const PlainName = "PLAIN"

// Verifier tells whether a password is that of a user. It must take as long for a user that does not exist, must compare in constant time and may be called by any number of goroutines. Its error, that it could
// not tell, must not hold the password.
type Verifier func(ctx context.Context, user, password string) (bool, error)

// Passwords returns a verifier of a fixed set of users. It keeps no password, only keyed hashes that are worthless elsewhere. Errors: a name that CheckUser refuses, an empty password.
func Passwords(users map[string]string) (Verifier, error) {
	key := make([]byte, sha256.Size)
	rand.Read(key) // which never fails
	hash := func(password string) (sum [sha256.Size]byte) {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(password))
		h.Sum(sum[:0])
		return sum
	}
	hashes := make(map[string][sha256.Size]byte, len(users))
	for user, password := range users {
		if err := CheckUser(user); err != nil {
			return nil, fmt.Errorf("user %q: %w", user, err)
		}
		if password == "" {
			return nil, fmt.Errorf("user %q: the password is empty", user)
		}
		hashes[user] = hash(password)
	}
	return func(_ context.Context, user, password string) (bool, error) {
		want, known := hashes[user] // of a stranger: zero, which no hash is
		got := hash(password)
		return subtle.ConstantTimeCompare(got[:], want[:]) == 1 && known, nil
	}, nil
}

// NewPlain returns the server's side of PLAIN (RFC 4616). The password crosses the connection as it is, so that the connection must be encrypted.
func NewPlain(verify Verifier) Mechanism { return plain{verify} }

type plain struct{ verify Verifier }

func (plain) Name() string { return PlainName }

func (p plain) Start() Exchange {
	return &plainExchange{gate: gate{mechanism: PlainName, limit: maxPlain}, verify: p.verify}
}

type plainExchange struct {
	gate
	verify   Verifier
	identity Identity
}

func (x *plainExchange) Identity() Identity { return x.identity }

func (x *plainExchange) Step(ctx context.Context, token []byte) ([]byte, bool, error) {
	if err := x.enter(token); err != nil {
		return nil, false, err
	}
	m, reason := parsePlain(string(token))
	if reason != "" {
		return nil, false, x.fail(ErrMalformed, reason)
	}
	ok, err := x.verify(ctx, m.user, m.password)
	switch {
	case err != nil:
		return nil, false, x.failBecause(err)
	case !ok, m.authzid != "" && m.authzid != m.user:
		return nil, false, x.fail(ErrAuthentication, badLogin)
	}
	x.over = true
	x.identity = Identity{Principal: principal(m.user)}
	return []byte{}, true, nil
}

type plainMessage struct{ authzid, user, password string }

// parsePlain reads [authzid] NUL user NUL password.
func parsePlain(s string) (m plainMessage, reason string) {
	parts := strings.SplitN(s, "\x00", 4)
	if len(parts) != 3 || !utf8.ValidString(s) {
		return m, "not an authorization id, a user name and a password"
	}
	m = plainMessage{authzid: parts[0], user: parts[1], password: parts[2]}
	if err := CheckUser(m.user); err != nil {
		return m, err.Error()
	}
	if m.password == "" {
		return m, "the password is empty"
	}
	return m, ""
}

func (m plainMessage) encode() []byte {
	return []byte(m.authzid + "\x00" + m.user + "\x00" + m.password)
}

// NewPlainClient returns the client's side of PLAIN. Errors: a name that CheckUser refuses, a password that is empty or holds a zero byte.
func NewPlainClient(user, password string) (Client, error) {
	m := plainMessage{user: user, password: password}
	if _, reason := parsePlain(string(m.encode())); reason != "" {
		return nil, fmt.Errorf("sasl %s: %s", PlainName, reason)
	}
	return plainClient{func() plainMessage { return m }}, nil
}

// plainClient has its secrets behind a function, where no way of printing it reaches.
type plainClient struct{ message func() plainMessage }

func (plainClient) Name() string { return PlainName }

func (c plainClient) Start() ClientExchange {
	return &plainClientExchange{gate: gate{mechanism: PlainName, limit: 0}, message: c.message}
}

type plainClientExchange struct {
	gate
	message func() plainMessage
	sent    bool
}

func (x *plainClientExchange) Step(_ context.Context, token []byte) ([]byte, bool, error) {
	if err := x.enter(token); err != nil {
		return nil, false, err
	}
	if x.sent {
		x.over = true
		return nil, true, nil
	}
	x.sent = true
	return x.message().encode(), false, nil
}
