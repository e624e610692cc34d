package sasl

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// OAuthBearerName is the name of the mechanism OAUTHBEARER.
const OAuthBearerName = "OAUTHBEARER"

// Authenticator validates a bearer token and returns the name of the user whose it is, without "User:", and when it expires, zero meaning never. Extensions are what the client sent beside the token (KIP-342),
// not validated by anybody else. It may be called by any number of goroutines. Its error must not hold the token; a *TokenError within says what the client is told.
type Authenticator func(ctx context.Context, token string, extensions map[string]string) (user string, expiresAt time.Time, err error)

// TokenError is what a client is told of a refused token (RFC 7628 section 3.2.2). Empty fields are left out, an empty Status is invalid_token.
type TokenError struct{ Status, Scope, OpenIDConfiguration string }

func (e *TokenError) Error() string { return "token refused: " + e.status() }

func (e *TokenError) status() string {
	if e.Status == "" {
		return "invalid_token"
	}
	return e.Status
}

func (e *TokenError) encode() []byte {
	b, err := json.Marshal(struct {
		Status string `json:"status"`
		Scope  string `json:"scope,omitempty"`
		OpenID string `json:"openid-configuration,omitempty"`
	}{e.status(), e.Scope, e.OpenIDConfiguration})
	if err != nil { // three strings
		return []byte(`{"status":"invalid_token"}`)
	}
	return b
}

// NewOAuthBearer returns the server's side of OAUTHBEARER (RFC 7628). The token crosses the connection as it is, so that the connection must be encrypted.
func NewOAuthBearer(authenticate Authenticator) Mechanism { return bearer{authenticate} }

type bearer struct{ authenticate Authenticator }

func (bearer) Name() string { return OAuthBearerName }

func (b bearer) Start() Exchange {
	return &bearerExchange{gate: gate{mechanism: OAuthBearerName, limit: maxBearer}, authenticate: b.authenticate}
}

type bearerExchange struct {
	gate
	authenticate Authenticator
	refusal      error // why the token was refused: the client knows, and has to say so
	identity     Identity
}

func (x *bearerExchange) Identity() Identity { return x.identity }

func (x *bearerExchange) Step(ctx context.Context, token []byte) ([]byte, bool, error) {
	if err := x.enter(token); err != nil {
		return nil, false, err
	}
	if x.refusal != nil {
		x.over = true
		return nil, false, x.refusal // whatever the client says
	}
	m, reason := parseBearer(string(token))
	if reason != "" {
		return nil, false, x.fail(ErrMalformed, reason)
	}
	user, expiresAt, err := x.authenticate(ctx, m.token, m.extensions)
	switch {
	case err != nil:
		return x.refuse(err), false, nil
	case CheckUser(user) != nil:
		return nil, false, x.fail(ErrAuthentication, "the token is not that of a user")
	case m.authzid != "" && m.authzid != user:
		return nil, false, x.fail(ErrAuthentication, "the token is not that of the authorization id")
	}
	x.over = true
	x.identity = Identity{Principal: principal(user), ExpiresAt: expiresAt}
	return []byte{}, true, nil
}

// refuse tells the client why, which is not the end yet: the client has to answer.
func (x *bearerExchange) refuse(err error) []byte {
	var told *TokenError
	if !errors.As(err, &told) {
		told = &TokenError{}
	}
	x.refusal = &Error{Mechanism: OAuthBearerName, Kind: ErrAuthentication, Reason: "the token is refused", Cause: err}
	return told.encode()
}
