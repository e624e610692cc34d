package sasl_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/sasl"
)

// An exchange takes any tokens without panicking, ends with its first error, and lets nobody in who does not know the password.

// tokens splits what the fuzzer makes.
func tokens(b []byte) [][]byte { return bytes.SplitN(b, []byte{0xfe}, 6) }

// stepper is either side.
type stepper interface {
	Step(ctx context.Context, token []byte) ([]byte, bool, error)
}

// feed gives an exchange tokens until it is over, and returns whether it was done.
func feed(t *testing.T, x stepper, tokens [][]byte) bool {
	for i, token := range tokens {
		before := slices.Clone(token)
		reply, done, err := x.Step(t.Context(), token)
		require.Equal(t, before, token)
		switch {
		case err != nil:
			require.Empty(t, reply)
			require.False(t, done)
			require.True(t, errors.Is(err, sasl.ErrMalformed) || errors.Is(err, sasl.ErrAuthentication), "%v", err)
		case !done:
			require.LessOrEqual(t, len(reply), 2*len(token)+1024)
			continue
		}
		for _, token := range append(tokens[i:], nil) {
			_, done, err := x.Step(t.Context(), token)
			require.ErrorIs(t, err, sasl.ErrState)
			require.False(t, done)
		}
		return err == nil
	}
	return false
}

func FuzzPlainServer(f *testing.F) {
	m := plainServer(f, "alice")
	f.Add([]byte("\x00alice\x00" + password))
	f.Add([]byte("alice\x00alice\x00x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		x := m.Start()
		if feed(t, x, tokens(b)) {
			require.Equal(t, "User:alice", x.Identity().Principal)
			require.True(t, bytes.HasSuffix(tokens(b)[0], []byte("\x00alice\x00"+password)))
		} else {
			require.Zero(t, x.Identity())
		}
	})
}

func FuzzScramServer(f *testing.F) {
	m := sasl.WithNonce(scramServer(f, sasl.ScramSHA256, "alice"), "server")
	f.Add([]byte("n,,n=alice,r=x\xfec=biws,r=xserver,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="))
	f.Add([]byte("n,,n=alice,r=x\xfec=biws,r=xxserver,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="))
	f.Add([]byte("y,a=b=2C,n=b=2C,r=x,tokenauth=true\xfec=biws,r=xserver,x=y,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="))
	f.Fuzz(func(t *testing.T, b []byte) {
		x := m.Start()
		require.False(t, feed(t, x, tokens(b)))
		require.Zero(t, x.Identity())
	})
}

func FuzzScramClient(f *testing.F) {
	c := sasl.WithClientNonce(scramClient(f, sasl.ScramSHA256, "alice", password), "client")
	f.Add([]byte("r=clientx,s=c2FsdA==,i=4096\xfev=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="))
	f.Add([]byte("e=unknown-user"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Count(b, []byte("i=")) > 0 && !bytes.Contains(b, []byte("i=4096")) {
			return // work that is allowed, but slow
		}
		y := c.Start()
		require.False(t, feed(t, y, append([][]byte{nil}, tokens(b)...)))
	})
}

func FuzzOAuthBearerServer(f *testing.F) {
	f.Add([]byte("n,a=u,\x01auth=Bearer t0ken==\x01x=y z\x01\x01"))
	f.Add([]byte("n,,\x01auth=bearer  t\x01\x01\xfe\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var seen sasl.Token
		m := sasl.NewOAuthBearer(func(_ context.Context, token string, extensions map[string]string) (string, time.Time, error) {
			seen = sasl.Token{Value: token, Extensions: extensions}
			if len(token)%2 == 0 {
				return "", time.Time{}, &sasl.TokenError{}
			}
			return "u", time.Time{}, nil
		})
		x := m.Start()
		if !feed(t, x, tokens(b)) {
			require.Zero(t, x.Identity())
			return
		}
		require.Equal(t, "User:u", x.Identity().Principal)
		// Our client can say what was understood, and is understood.
		want := seen
		_, server, client := login(t, m, sasl.NewOAuthBearerClient(func(context.Context) (sasl.Token, error) { return want, nil }))
		require.NoError(t, errors.Join(server, client))
		require.Equal(t, want, seen)
	})
}

func FuzzOAuthBearerClient(f *testing.F) {
	c := sasl.NewOAuthBearerClient(func(context.Context) (sasl.Token, error) { return sasl.Token{Value: "t0ken"}, nil })
	f.Add([]byte(`{"status":"invalid_token"}` + "\xfe"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		require.Equal(t, len(tokens(b)[0]) == 0, feed(t, c.Start(), append([][]byte{nil}, tokens(b)...)))
	})
}

// TestHostileTokensAreCheap: what an unauthenticated client can make a server allocate is in proportion to what it sends.
func TestHostileTokensAreCheap(t *testing.T) {
	scram, plain, bearer := scramServer(t, sasl.ScramSHA256), plainServer(t, "alice"), bearerServer(errRefused)
	for what, c := range map[string]struct {
		m     sasl.Mechanism
		token []byte
	}{
		"scram, commas":      {scram, append([]byte("n,,n=a,r=x"), bytes.Repeat([]byte(",a=b"), 1000)...)},
		"scram, escapes":     {scram, append([]byte("n,,n="), bytes.Repeat([]byte("=2C"), 1000)...)},
		"scram, nonce":       {scram, append([]byte("n,,n=a,r="), bytes.Repeat([]byte("x"), 4000)...)},
		"plain, zeros":       {plain, make([]byte, 32<<10)},
		"plain, password":    {plain, append([]byte("\x00a\x00"), bytes.Repeat([]byte("x"), 30<<10)...)},
		"bearer, separators": {bearer, append([]byte("n,,"), bytes.Repeat([]byte("\x01"), 30<<10)...)},
		"bearer, keys":       {bearer, append(append([]byte("n,,\x01"), bytes.Repeat([]byte("a=b\x01"), 8000)...), 1)},
		"bearer, token":      {bearer, append(append([]byte("n,,\x01auth=Bearer "), bytes.Repeat([]byte("x"), 30<<10)...), 1, 1)},
		"bearer, escapes":    {bearer, append([]byte("n,a="), bytes.Repeat([]byte("=2C"), 10_000)...)},
	} {
		step := func() {
			_, _, err := c.m.Start().Step(t.Context(), c.token)
			_ = err // whatever comes of it
		}
		step()
		const runs = 20
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			step()
		}
		runtime.ReadMemStats(&after)
		require.LessOrEqual(t, (after.TotalAlloc-before.TotalAlloc)/runs, uint64(16*len(c.token)+4096), what)
	}
}
