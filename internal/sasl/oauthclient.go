package sasl

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// Token is a bearer token and what to send beside it.
type Token struct {
	Value      string
	AuthzID    string            // the user to act as; usually empty
	Extensions map[string]string // KIP-342; keys are letters
}

// TokenSource returns a token that is good now. It may be called by any number of goroutines.
type TokenSource func(ctx context.Context) (Token, error)

// NewOAuthBearerClient returns the client's side of OAUTHBEARER. The source is asked once for each login.
func NewOAuthBearerClient(source TokenSource) Client { return bearerClient{source} }

type bearerClient struct{ source TokenSource }

func (bearerClient) Name() string { return OAuthBearerName }

func (c bearerClient) Start() ClientExchange {
	return &bearerClientExchange{gate: gate{mechanism: OAuthBearerName, limit: maxChallenge}, source: c.source}
}

type bearerClientExchange struct {
	gate
	source  TokenSource
	sent    bool
	refusal error
}

func (x *bearerClientExchange) Step(ctx context.Context, token []byte) ([]byte, bool, error) {
	if err := x.enter(token); err != nil {
		return nil, false, err
	}
	switch {
	case x.refusal != nil:
		x.over = true
		return nil, false, x.refusal
	case !x.sent:
		return x.first(ctx, token)
	case len(token) == 0:
		x.over = true
		return nil, true, nil
	}
	x.refusal = &Error{Mechanism: OAuthBearerName, Kind: ErrAuthentication, Reason: refusalReason(token)}
	return []byte(separator), false, nil
}

func (x *bearerClientExchange) first(ctx context.Context, token []byte) ([]byte, bool, error) {
	if len(token) != 0 {
		return nil, false, x.fail(ErrMalformed, "the client speaks first")
	}
	t, err := x.source(ctx)
	if err != nil {
		x.over = true
		return nil, false, fmt.Errorf("sasl %s: token source: %w", OAuthBearerName, err)
	}
	m := bearerMessage{authzid: t.AuthzID, token: t.Value, extensions: t.Extensions}
	if reason := m.check(); reason != "" {
		return nil, false, x.fail(ErrMalformed, reason)
	}
	x.sent = true
	return m.encode(), false, nil
}

// refusalReason reads the status of a server's answer, if it is one that RFC 6750 has: another is the other side's text.
func refusalReason(answer []byte) string {
	var told struct {
		Status string `json:"status"`
	}
	reason := "the server refuses the token"
	if json.Unmarshal(answer, &told) == nil && slices.Contains([]string{"invalid_request", "invalid_token", "insufficient_scope"}, told.Status) {
		reason += ": " + told.Status
	}
	return reason
}
