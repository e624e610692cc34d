package sasl_test

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	franz "github.com/twmb/franz-go/pkg/sasl"

	"github.com/insynclog/insync/internal/sasl"
)

var secret = []byte("0123456789abcdef")

const (
	password = "pa55-of-alice"
	another  = "pa55-of-nobody"
)

// users has a credential for each of its names, made of the constant password.
func users(t testing.TB, kind sasl.ScramType, names ...string) func(string) (sasl.Credential, bool) {
	t.Helper()
	known := map[string]sasl.Credential{}
	for _, name := range names {
		c, err := sasl.FromPassword(kind, sasl.MinIterations, sasl.NewSalt(), password)
		require.NoError(t, err)
		known[name] = c
	}
	return func(name string) (sasl.Credential, bool) {
		c, ok := known[name]
		return c, ok
	}
}

func scramServer(t testing.TB, kind sasl.ScramType, names ...string) sasl.Mechanism {
	t.Helper()
	m, err := sasl.NewScram(kind, sasl.ScramConfig{Lookup: users(t, kind, names...), Secret: secret})
	require.NoError(t, err)
	return m
}

func scramClient(t testing.TB, kind sasl.ScramType, user, password string) sasl.Client {
	t.Helper()
	c, err := sasl.NewScramClient(kind, user, password)
	require.NoError(t, err)
	return c
}

// login lets two sides talk until one of them is done or fails. A login is only good when both are done.
func login(t testing.TB, m sasl.Mechanism, c sasl.Client) (id sasl.Identity, server, client error) {
	t.Helper()
	require.Equal(t, m.Name(), c.Name())
	x, y := m.Start(), c.Start()
	var token []byte
	for range 5 {
		reply, done, err := y.Step(t.Context(), token)
		if err != nil {
			return id, nil, err
		}
		require.False(t, done, "the client has more to say than that")
		challenge, done, err := x.Step(t.Context(), reply)
		if err != nil {
			require.Zero(t, x.Identity())
			require.Empty(t, challenge)
			return id, err, nil
		}
		if done {
			reply, done, err = y.Step(t.Context(), challenge)
			require.Empty(t, reply)
			require.Equal(t, err == nil, done)
			return x.Identity(), nil, err
		}
		require.Zero(t, x.Identity())
		token = challenge
	}
	t.Fatal("they never stop")
	return id, nil, nil
}

// loginFranz lets a client of franz-go talk with the server.
func loginFranz(t testing.TB, m sasl.Mechanism, c franz.Mechanism) (id sasl.Identity, server, client error) {
	t.Helper()
	require.Equal(t, m.Name(), c.Name())
	session, token, err := c.Authenticate(t.Context(), "host")
	require.NoError(t, err)
	x := m.Start()
	for range 5 {
		challenge, done, err := x.Step(t.Context(), token)
		if err != nil {
			return id, err, nil
		}
		clientDone, reply, err := session.Challenge(challenge)
		if err != nil {
			return id, nil, err
		}
		require.Equal(t, done, clientDone)
		if done {
			return x.Identity(), nil, nil
		}
		token = reply
	}
	t.Fatal("they never stop")
	return id, nil, nil
}

// failed asserts the kind of an error, and that its text tells nothing that is not ours.
func failed(t testing.TB, err, kind error) {
	t.Helper()
	require.ErrorIs(t, err, kind)
	var e *sasl.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, kind == sasl.ErrState, e.Reason == "", "what is wrong is found here, not by the library: %v", err)
	hides(t, err)
}

// hides asserts that no way of printing v shows a secret of the tests.
func hides(t testing.TB, v any) {
	t.Helper()
	for _, s := range []string{password, another, "t0ken", string(secret), "authz", "quoted"} {
		conceals(t, v, []byte(s))
	}
}

// conceals asserts that no way of printing v shows some bytes, in no way of writing bytes.
func conceals(t testing.TB, v any, some []byte) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%v %+v %#v %s %q %x %X", v, v, v, v, v, v, v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", struct{ V any }{v})
	if j, err := json.Marshal(v); err == nil {
		b.Write(j)
	}
	decimal := strings.Trim(fmt.Sprint(some), "[]")
	for _, written := range []string{string(some), fmt.Sprintf("%x", some), fmt.Sprintf("%X", some), decimal, strings.ReplaceAll(decimal, " ", ", "), base64.StdEncoding.EncodeToString(some)} {
		require.NotContains(t, b.String(), written)
	}
}

// over asserts that an exchange takes nothing more.
func over(t testing.TB, x interface {
	Step(context.Context, []byte) ([]byte, bool, error)
}, token []byte,
) {
	t.Helper()
	reply, done, err := x.Step(context.Background(), token)
	require.Empty(t, reply)
	require.False(t, done)
	failed(t, err, sasl.ErrState)
}

// proof signs a client's last message of SCRAM-SHA-256, whatever it says before the proof, as the owner of the password can (RFC 5802 section 3).
func proof(t testing.TB, final, firstBare, challenge string) string {
	t.Helper()
	without, _, _ := strings.Cut(final, ",p=")
	clientKey := mac(salted(t, challenge), "Client Key")
	stored := sha256.Sum256(clientKey)
	subtle.XORBytes(clientKey, clientKey, mac(stored[:], firstBare+","+challenge+","+without))
	return without + ",p=" + base64.StdEncoding.EncodeToString(clientKey)
}

// signature is what the server's last message has to be then.
func signature(t testing.TB, final, firstBare, challenge string) string {
	t.Helper()
	without, _, _ := strings.Cut(final, ",p=")
	return "v=" + base64.StdEncoding.EncodeToString(mac(mac(salted(t, challenge), "Server Key"), firstBare+","+challenge+","+without))
}

func salted(t testing.TB, challenge string) []byte {
	t.Helper()
	fields := strings.Split(challenge, ",")
	salt, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(fields[1], "s="))
	require.NoError(t, err)
	salted, err := pbkdf2.Key(sha256.New, password, salt, sasl.MinIterations, sha256.Size)
	require.NoError(t, err)
	return salted
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
