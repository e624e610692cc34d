package sasl

import "errors"

// ErrAuthentication says that the other side is not who it claims to be: a wrong password or token, an unknown user, a server that does not know the password. Kafka: SASL_AUTHENTICATION_FAILED.
var ErrAuthentication = errors.New("authentication failed")

// ErrMalformed says that a token does not have the form that its mechanism gives it. Kafka: SASL_AUTHENTICATION_FAILED.
var ErrMalformed = errors.New("malformed token")

// ErrState says that a token came to an exchange that is over. Kafka: ILLEGAL_SASL_STATE.
var ErrState = errors.New("the exchange is over")

// ErrUnavailable says that nobody could tell whether the other side is who it claims to be. Kafka: SASL_AUTHENTICATION_FAILED.
var ErrUnavailable = errors.New("credentials could not be checked")

// Error is the end of an exchange. Its text may be shown to the other side.
type Error struct {
	Mechanism string
	Kind      error  // ErrAuthentication, ErrMalformed, ErrState or ErrUnavailable
	Reason    string // never of the other side's making
	Cause     error  // of ErrUnavailable, not in the text: the error of a Verifier or Authenticator
}

func (e *Error) Error() string {
	s := "sasl " + e.Mechanism + ": " + e.Kind.Error()
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// The reason for every login with a name and password that fails, whatever is wrong with it.
const badLogin = "invalid user name or password"

// gate lets tokens into an exchange until it is over, if they are short enough.
type gate struct {
	mechanism string
	limit     int // of tokens, bytes
	over      bool
}

// enter checks a token before anybody looks at it.
func (g *gate) enter(token []byte) error {
	switch {
	case g.over:
		return g.fail(ErrState, "")
	case len(token) > g.limit:
		return g.fail(ErrMalformed, "longer than any such token")
	}
	return nil
}

func (g *gate) fail(kind error, reason string) error {
	g.over = true
	return &Error{Mechanism: g.mechanism, Kind: kind, Reason: reason}
}

func (g *gate) failBecause(cause error) error {
	g.over = true
	return &Error{Mechanism: g.mechanism, Kind: ErrUnavailable, Cause: cause}
}
