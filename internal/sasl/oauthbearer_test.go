package sasl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sasl/oauth"

	"github.com/insynclog/insync/internal/sasl"
)

var expiry = time.Unix(5000, 0)

// bearerServer knows one token, of alice.
func bearerServer(refusal error) sasl.Mechanism {
	return sasl.NewOAuthBearer(func(_ context.Context, token string, extensions map[string]string) (string, time.Time, error) {
		if token != "t0ken" || extensions["bad"] != "" {
			return "", time.Time{}, refusal
		}
		return "alice" + extensions["more"], expiry, nil
	})
}

var errRefused = fmt.Errorf("quoted: %w", errors.New("t0ken is not good"))

func TestRFC7628_ClientMessages(t *testing.T) {
	for _, c := range []struct {
		token string
		user  string
		err   error
	}{
		{"n,,\x01auth=Bearer t0ken\x01\x01", "alice", nil},
		{"n,,\x01auth=bEARER   t0ken\x01\x01", "alice", nil},
		{"n,a=alice,\x01auth=Bearer t0ken\x01\x01", "alice", nil},
		{"n,a=alice=2Cx,\x01auth=Bearer t0ken\x01more=,x\x01\x01", "alice,x", nil},
		{"n,,\x01host=server.example.com\x01port=143\x01auth=Bearer t0ken\x01\x01", "alice", nil},
		{"n,,\x01auth=Bearer t0ken\x01more=1 ~\t\r\n=\x01\x01", "", sasl.ErrAuthentication}, // a value, but no name
		{"n,a=authz,\x01auth=Bearer t0ken\x01\x01", "", sasl.ErrAuthentication},

		{"", "", sasl.ErrMalformed},
		{"\x01", "", sasl.ErrMalformed}, // the answer to an error that was not
		{"n", "", sasl.ErrMalformed},
		{"n,", "", sasl.ErrMalformed},
		{"n,,", "", sasl.ErrMalformed},
		{"n,,\x01", "", sasl.ErrMalformed},
		{"n,,\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer t0ken\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer t0ken", "", sasl.ErrMalformed},
		{"n,,auth=Bearer t0ken\x01\x01", "", sasl.ErrMalformed},
		{"y,,\x01auth=Bearer t0ken\x01\x01", "", sasl.ErrMalformed},
		{"p=tls-unique,,\x01auth=Bearer t0ken\x01\x01", "", sasl.ErrMalformed},
		{"n,authz,\x01auth=Bearer t0ken\x01\x01", "", sasl.ErrMalformed},
		{"n,a=,\x01auth=Bearer t0ken\x01\x01", "", sasl.ErrMalformed},
		{"n,a=a=b,\x01auth=Bearer t0ken\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Basic t0ken\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=t0ken\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer \x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer t0ken x\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer t0=ken\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer ==\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01Auth=Bearer t0ken\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01host=x\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer t0ken\x01auth=Bearer t0ken\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer t0ken\x01x=1\x01x=1\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer t0ken\x01x1=1\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer t0ken\x01=1\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer t0ken\x01x=\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer t0ken\x01x\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer t0ken\x01x=ü\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer t0ken\x01x=\x00\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer t0ken\x01\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01auth=Bearer " + strings.Repeat("t", 33<<10) + "\x01\x01", "", sasl.ErrMalformed},
		{"n,,\x01" + manyKeys(64) + "auth=Bearer t0ken\x01\x01", "alice", nil},
		{"n,,\x01" + manyKeys(65) + "auth=Bearer t0ken\x01\x01", "", sasl.ErrMalformed},
	} {
		x := bearerServer(errRefused).Start()
		reply, done, err := x.Step(t.Context(), []byte(c.token))
		require.Empty(t, reply, "%q", c.token)
		if c.err == nil {
			require.NoError(t, err, "%q", c.token)
			require.True(t, done)
			require.Equal(t, sasl.Identity{Principal: "User:" + c.user, ExpiresAt: expiry}, x.Identity())
		} else {
			require.False(t, done, "%q", c.token)
			failed(t, err, c.err)
			require.Zero(t, x.Identity())
		}
		over(t, x, []byte("n,,\x01auth=Bearer t0ken\x01\x01"))
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%c%c=1\x01", 'a'+i/26, 'a'+i%26)
	}
	return b.String()
}

// TestRFC7628_Refusal: a refused token is answered with why, and is over when the client has answered that, whatever it says.
func TestRFC7628_Refusal(t *testing.T) {
	for _, c := range []struct {
		refusal error
		want    string
	}{
		{errRefused, `{"status":"invalid_token"}`},
		{&sasl.TokenError{}, `{"status":"invalid_token"}`},
		{
			fmt.Errorf("quoted: %w", &sasl.TokenError{Status: "insufficient_scope", Scope: `a "b"`, OpenIDConfiguration: "https://x/y"}),
			`{"status":"insufficient_scope","scope":"a \"b\"","openid-configuration":"https://x/y"}`,
		},
	} {
		for _, answer := range []string{"\x01", "", "n,,\x01auth=Bearer t0ken\x01\x01", "x"} {
			x := bearerServer(c.refusal).Start()
			reply, done, err := x.Step(t.Context(), []byte("n,,\x01auth=Bearer t0kens\x01\x01"))
			require.NoError(t, err)
			require.False(t, done)
			require.Equal(t, c.want, string(reply))
			require.True(t, json.Valid(reply))
			require.Zero(t, x.Identity())
			reply, done, err = x.Step(t.Context(), []byte(answer))
			require.Empty(t, reply)
			require.False(t, done)
			require.ErrorIs(t, err, sasl.ErrAuthentication)
			require.ErrorIs(t, err, c.refusal)
			require.Equal(t, "sasl OAUTHBEARER: authentication failed: the token is refused", err.Error())
			require.Zero(t, x.Identity())
			over(t, x, []byte("\x01"))
		}
	}
}

// TestAuthenticatorNamesNobody: a token without a name, or with one that nobody may have, lets nobody in.
func TestAuthenticatorNamesNobody(t *testing.T) {
	for _, name := range []string{"", "*", "a\x00", strings.Repeat("n", 256)} {
		x := sasl.NewOAuthBearer(func(context.Context, string, map[string]string) (string, time.Time, error) { return name, expiry, nil }).Start()
		_, done, err := x.Step(t.Context(), []byte("n,,\x01auth=Bearer t0ken\x01\x01"))
		require.False(t, done)
		failed(t, err, sasl.ErrAuthentication)
		require.Zero(t, x.Identity())
	}
}

func TestOAuthBearerClients(t *testing.T) {
	source := func(token sasl.Token) sasl.Client {
		return sasl.NewOAuthBearerClient(func(context.Context) (sasl.Token, error) { return token, nil })
	}
	m := bearerServer(&sasl.TokenError{Status: "insufficient_scope"})
	for _, token := range []sasl.Token{
		{Value: "t0ken"},
		{Value: "t0ken", AuthzID: "alice"},
		{Value: "t0ken", Extensions: map[string]string{"logicalCluster": "lkc-1", "x": "a=b", "a": "1"}},
	} {
		id, server, client := login(t, m, source(token))
		require.NoError(t, errors.Join(server, client))
		require.Equal(t, sasl.Identity{Principal: "User:alice", ExpiresAt: expiry}, id)
		id, server, client = loginFranz(t, m, oauth.Auth{Zid: token.AuthzID, Token: token.Value, Extensions: token.Extensions}.AsMechanism())
		require.NoError(t, errors.Join(server, client))
		require.Equal(t, "User:alice", id.Principal)
	}
	id, server, client := login(t, m, source(sasl.Token{Value: "t0ken", AuthzID: "alice,=", Extensions: map[string]string{"more": ",="}}))
	require.NoError(t, errors.Join(server, client))
	require.Equal(t, "User:alice,=", id.Principal)

	y := source(sasl.Token{Value: "t0ken", Extensions: map[string]string{"z": "1", "a": "2", "m": "3"}}).Start()
	first, _, err := y.Step(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, "n,,\x01auth=Bearer t0ken\x01a=2\x01m=3\x01z=1\x01\x01", string(first))

	for _, token := range []sasl.Token{{Value: "t0kens"}, {Value: "t0ken=="}, {Value: "t0ken", Extensions: map[string]string{"bad": "1"}}} {
		_, server, client = login(t, m, source(token))
		require.NoError(t, client)
		failed(t, server, sasl.ErrAuthentication)
	}
	for _, c := range []struct{ answer, reason string }{
		{`{"status":"invalid_token"}`, ": invalid_token"},
		{`{"status":"insufficient_scope","scope":"quoted"}`, ": insufficient_scope"},
		{`{"status":"quoted"}`, ""},
		{`quoted`, ""},
		{"\x00", ""},
	} {
		y := source(sasl.Token{Value: "t0ken"}).Start()
		_, _, err := y.Step(t.Context(), nil)
		require.NoError(t, err)
		reply, done, err := y.Step(t.Context(), []byte(c.answer))
		require.NoError(t, err)
		require.False(t, done)
		require.Equal(t, "\x01", string(reply))
		_, done, err = y.Step(t.Context(), nil) // as if it were good
		require.False(t, done)
		failed(t, err, sasl.ErrAuthentication)
		require.Equal(t, "sasl OAUTHBEARER: authentication failed: the server refuses the token"+c.reason, err.Error())
		over(t, y, nil)
	}
	for _, token := range []sasl.Token{
		{},
		{Value: "t0 ken"},
		{Value: "t0ken\x01"},
		{Value: "t0ken", AuthzID: "a\x01"},
		{Value: "t0ken", Extensions: map[string]string{"auth": "x"}},
		{Value: "t0ken", Extensions: map[string]string{"x1": "x"}},
		{Value: "t0ken", Extensions: map[string]string{"x": ""}},
		{Value: "t0ken", Extensions: map[string]string{"x": "a\x01auth=Bearer y"}},
	} {
		y := source(token).Start()
		_, _, err := y.Step(t.Context(), nil)
		failed(t, err, sasl.ErrMalformed)
		over(t, y, nil)
	}
	y = source(sasl.Token{Value: "t0ken"}).Start()
	_, _, err = y.Step(t.Context(), []byte("quoted"))
	failed(t, err, sasl.ErrMalformed)
	y = source(sasl.Token{Value: "t0ken"}).Start()
	_, _, err = y.Step(t.Context(), nil)
	require.NoError(t, err)
	_, _, err = y.Step(t.Context(), make([]byte, 9<<10))
	failed(t, err, sasl.ErrMalformed)
}

func TestTokenSourceFails(t *testing.T) {
	cause := errors.New("no network")
	y := sasl.NewOAuthBearerClient(func(context.Context) (sasl.Token, error) { return sasl.Token{Value: "t0ken"}, cause }).Start()
	_, done, err := y.Step(t.Context(), nil)
	require.False(t, done)
	require.ErrorIs(t, err, cause)
	over(t, y, nil)
}
