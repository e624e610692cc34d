package sasl_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	franzplain "github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/insynclog/insync/internal/sasl"
)

func plainServer(t testing.TB, names ...string) sasl.Mechanism {
	t.Helper()
	known := map[string]string{}
	for _, name := range names {
		known[name] = password
	}
	verify, err := sasl.Passwords(known)
	require.NoError(t, err)
	return sasl.NewPlain(verify)
}

func TestPlain(t *testing.T) {
	m := plainServer(t, "alice", "übung", strings.Repeat("n", 255))
	for _, c := range []struct {
		token string
		user  string
		err   error
	}{
		{"\x00alice\x00" + password, "alice", nil},
		{"alice\x00alice\x00" + password, "alice", nil},
		{"\x00übung\x00" + password, "übung", nil},
		{"\x00" + strings.Repeat("n", 255) + "\x00" + password, strings.Repeat("n", 255), nil},

		{"\x00alice\x00" + another, "", sasl.ErrAuthentication},
		{"\x00alice\x00" + password + "x", "", sasl.ErrAuthentication},
		{"\x00alice\x00" + password[:5], "", sasl.ErrAuthentication},
		{"\x00bob\x00" + password, "", sasl.ErrAuthentication},
		{"\x00Alice\x00" + password, "", sasl.ErrAuthentication},
		{"authz\x00alice\x00" + password, "", sasl.ErrAuthentication},
		{"authz\x00alice\x00" + another, "", sasl.ErrAuthentication},
		{"authz\x00bob\x00" + another, "", sasl.ErrAuthentication},

		{"", "", sasl.ErrMalformed},
		{"alice", "", sasl.ErrMalformed},
		{"alice\x00" + password, "", sasl.ErrMalformed},
		{"\x00alice\x00" + password + "\x00", "", sasl.ErrMalformed},
		{"\x00\x00" + password, "", sasl.ErrMalformed},
		{"\x00alice\x00", "", sasl.ErrMalformed},
		{"\x00*\x00" + password, "", sasl.ErrMalformed},
		{"\x00al\x1bice\x00" + password, "", sasl.ErrMalformed},
		{"\x00alice\x00\xff" + password, "", sasl.ErrMalformed},
		{"\xff\x00alice\x00" + password, "", sasl.ErrMalformed},
		{"\x00" + strings.Repeat("n", 256) + "\x00" + password, "", sasl.ErrMalformed},
		{"\x00alice\x00" + strings.Repeat("p", 33<<10), "", sasl.ErrMalformed},
	} {
		x := m.Start()
		require.Zero(t, x.Identity())
		reply, done, err := x.Step(t.Context(), []byte(c.token))
		require.Empty(t, reply)
		if c.err == nil {
			require.NoError(t, err, "%q", c.token)
			require.True(t, done)
			require.Equal(t, sasl.Identity{Principal: "User:" + c.user}, x.Identity())
		} else {
			require.False(t, done, "%q", c.token)
			failed(t, err, c.err)
			require.Zero(t, x.Identity())
		}
		over(t, x, []byte("\x00alice\x00"+password))
		hides(t, x)
	}
}

// TestPlainStrangersLookLikeUsers: one error for a wrong password, a user that does not exist and a forbidden authorization id.
func TestPlainStrangersLookLikeUsers(t *testing.T) {
	m := plainServer(t, "alice")
	_, wrong, _ := login(t, m, plainClient(t, "alice", another))
	_, unknown, _ := login(t, m, plainClient(t, "bob", another))
	_, _, forbidden := m.Start().Step(t.Context(), []byte("authz\x00alice\x00"+password))
	require.Error(t, wrong)
	require.Equal(t, wrong, unknown)
	require.Equal(t, wrong, forbidden)
}

func plainClient(t testing.TB, user, password string) sasl.Client {
	t.Helper()
	c, err := sasl.NewPlainClient(user, password)
	require.NoError(t, err)
	return c
}

func TestPlainClients(t *testing.T) {
	m := plainServer(t, "alice")
	id, server, client := login(t, m, plainClient(t, "alice", password))
	require.NoError(t, errors.Join(server, client))
	require.Equal(t, "User:alice", id.Principal)
	for _, zid := range []string{"", "alice"} {
		id, server, client = loginFranz(t, m, franzplain.Auth{Zid: zid, User: "alice", Pass: password}.AsMechanism())
		require.NoError(t, errors.Join(server, client))
		require.Equal(t, "User:alice", id.Principal)
	}
	_, server, _ = loginFranz(t, m, franzplain.Auth{Zid: "authz", User: "alice", Pass: password}.AsMechanism())
	failed(t, server, sasl.ErrAuthentication)

	y := plainClient(t, "alice", password).Start()
	_, _, err := y.Step(t.Context(), []byte("quoted"))
	failed(t, err, sasl.ErrMalformed)
	over(t, y, nil)
	for _, c := range []struct{ user, password string }{{"", password}, {"alice", ""}, {"*", password}, {"alice", password + "\x00"}, {"al\x00ice", password}} {
		_, err := sasl.NewPlainClient(c.user, c.password)
		require.Error(t, err)
		hides(t, err)
	}
}

func TestPasswordsRefuses(t *testing.T) {
	for _, users := range []map[string]string{{"": password}, {"*": password}, {"alice": ""}, {"a\x00b": password}} {
		_, err := sasl.Passwords(users)
		require.Error(t, err)
		hides(t, err)
	}
}

// TestPasswordsOfStrangers: no password is that of a user that does not exist, the empty one neither.
func TestPasswordsOfStrangers(t *testing.T) {
	verify, err := sasl.Passwords(map[string]string{"alice": password})
	require.NoError(t, err)
	for _, c := range []struct{ user, password string }{{"bob", ""}, {"bob", password}, {"", ""}, {"alice", ""}} {
		ok, err := verify(t.Context(), c.user, c.password)
		require.NoError(t, err)
		require.False(t, ok)
	}
}

// TestVerifierThatCannotTell: its error can be found, but is not told.
func TestVerifierThatCannotTell(t *testing.T) {
	cause := errors.New("quoted: connection refused")
	m := sasl.NewPlain(func(ctx context.Context, user, _ string) (bool, error) {
		require.Equal(t, "alice", user)
		require.Equal(t, "yes", ctx.Value(key{}))
		return true, cause
	})
	x := m.Start()
	_, done, err := x.Step(context.WithValue(t.Context(), key{}, "yes"), []byte("\x00alice\x00"+password))
	require.False(t, done)
	require.ErrorIs(t, err, sasl.ErrUnavailable)
	require.ErrorIs(t, err, cause)
	require.NotErrorIs(t, err, sasl.ErrAuthentication)
	require.NotContains(t, err.Error(), "quoted")
	require.Zero(t, x.Identity())
}

type key struct{}

func TestSession(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		expires time.Time
		limit   time.Duration
		want    time.Duration
		err     error
	}{
		{time.Time{}, 0, 0, nil},
		{time.Time{}, time.Hour, time.Hour, nil},
		{now.Add(time.Minute), 0, time.Minute, nil},
		{now.Add(time.Minute), time.Hour, time.Minute, nil},
		{now.Add(2 * time.Hour), time.Hour, time.Hour, nil},
		{now, 0, 0, sasl.ErrAuthentication},
		{now.Add(-1), time.Hour, 0, sasl.ErrAuthentication},
	} {
		got, err := sasl.Identity{Principal: "User:a", ExpiresAt: c.expires}.Session(now, c.limit)
		require.ErrorIs(t, err, c.err)
		require.Equal(t, c.want, got)
	}
}

// TestNothingShowsSecrets: whatever somebody prints or logs.
func TestNothingShowsSecrets(t *testing.T) {
	credential, _ := users(t, sasl.ScramSHA256, "alice")("alice")
	k := credential.Keys()
	for _, v := range []any{credential, &credential, struct{ C sasl.Credential }{credential}, struct{ c *sasl.Credential }{&credential}, []any{credential}} {
		hides(t, v)
		for _, part := range [][]byte{k.Salt, k.StoredKey, k.ServerKey} {
			conceals(t, v, part)
		}
	}
	m := scramServer(t, sasl.ScramSHA256, "alice")
	x, y := m.Start(), scramClient(t, sasl.ScramSHA256, "alice", password).Start()
	token, _, err := y.Step(t.Context(), nil)
	require.NoError(t, err)
	hides(t, y)
	token, _, err = x.Step(t.Context(), token)
	require.NoError(t, err)
	hides(t, x)
	_, _, err = y.Step(t.Context(), token)
	require.NoError(t, err)
	hides(t, y)
	bearer := sasl.NewOAuthBearerClient(func(context.Context) (sasl.Token, error) { return sasl.Token{Value: "t0ken"}, nil })
	z := bearer.Start()
	_, _, err = z.Step(t.Context(), nil)
	require.NoError(t, err)
	for _, v := range []any{
		m, plainServer(t, "alice"), plainClient(t, "alice", password), plainClient(t, "alice", password).Start(), scramClient(t, sasl.ScramSHA512, "alice", password), bearer, z,
	} {
		hides(t, v)
	}
}

// TestCheckUser is what the controller asks before it stores a credential.
func TestCheckUser(t *testing.T) {
	for _, good := range []string{"a", "a b", "CN=x,O=y", "ü", strings.Repeat("n", 255), "**"} {
		require.NoError(t, sasl.CheckUser(good))
	}
	for _, bad := range []string{"", "*", "a\n", "a\x00", "\xc3", "\u0085", strings.Repeat("n", 256)} {
		require.Error(t, sasl.CheckUser(bad))
	}
}
