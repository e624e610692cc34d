package sasl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Mechanism is the server's side of one mechanism.
type Mechanism interface {
	// Name is what SaslHandshake calls it.
	Name() string

	// Start begins a login.
	Start() Exchange
}

// Exchange is the server's side of one login.
type Exchange interface {
	// Step takes the client's next token, which it does not keep, and returns what to send back, which is the caller's. The exchange is over when done or when there is an error, and then nothing of reply
	// is to be sent. ctx bounds the call where a Verifier or Authenticator is asked.
	//
	// Errors: *Error.
	Step(ctx context.Context, token []byte) (reply []byte, done bool, err error)

	// Identity says who has logged in. It is the zero value unless Step has returned done.
	Identity() Identity
}

// Client is the client's side of one mechanism, for one user.
type Client interface {
	// Name is what SaslHandshake calls it.
	Name() string

	// Start begins a login.
	Start() ClientExchange
}

// ClientExchange is the client's side of one login.
type ClientExchange interface {
	// Step takes the server's next token, none at first, and returns what to send, until it is done: then there is nothing to send, and the server has shown what it has to show. A server that says that the
	// login is over before Step is done must not be trusted.
	//
	// Errors: *Error; that of a token source.
	Step(ctx context.Context, token []byte) (reply []byte, done bool, err error)
}

// Identity is who has logged in.
type Identity struct {
	Principal string    // "User:name"
	ExpiresAt time.Time // when the login stops being good; zero: never
}

// Session returns for how long a connection may be used before it has to log in again (KIP-368): until the login expires, and not longer than limit, if that is not 0 (Kafka: connections.max.reauth.ms). 0 is
// without end. A login that has expired gives no session.
//
// Errors: ErrAuthentication.
func (i Identity) Session(now time.Time, limit time.Duration) (time.Duration, error) {
	if i.ExpiresAt.IsZero() {
		return limit, nil
	}
	left := i.ExpiresAt.Sub(now)
	switch {
	case left <= 0:
		return 0, fmt.Errorf("%w: the login has expired", ErrAuthentication)
	case limit > 0:
		return min(left, limit), nil
	}
	return left, nil
}

// The longest tokens, in bytes. A password may be a token of another system.
const (
	maxPlain     = 32 << 10
	maxScram     = 4 << 10
	maxBearer    = 32 << 10
	maxChallenge = 8 << 10 // what a server of PLAIN or OAUTHBEARER may answer
)

// maxUser is the longest name of a user, in bytes.
const maxUser = 255

// principal returns the principal of a user. The name must be valid.
func principal(user string) string { return "User:" + user }

// CheckUser says what is wrong with the name of a user: no text of 1 to 255 bytes, control characters, or the name that means everybody in access control lists. Errors: those, without the name.
func CheckUser(name string) error {
	switch {
	case name == "":
		return errors.New("the user name is empty")
	case len(name) > maxUser:
		return fmt.Errorf("the user name has %d bytes, more than %d", len(name), maxUser)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("the user name has characters that cannot be printed")
	case name == "*":
		return errors.New("a user cannot be named like all of them")
	}
	return nil
}
