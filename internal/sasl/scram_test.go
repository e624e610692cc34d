package sasl_test

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	franzscram "github.com/twmb/franz-go/pkg/sasl/scram"
	"github.com/xdg-go/scram"

	"github.com/insynclog/insync/internal/sasl"
)

var kinds = []sasl.ScramType{sasl.ScramSHA256, sasl.ScramSHA512}

// TestRFC7677_Exchange is the example of section 3, on both sides.
func TestRFC7677_Exchange(t *testing.T) {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	require.NoError(t, err)
	credential, err := sasl.FromPassword(sasl.ScramSHA256, 4096, salt, "pencil")
	require.NoError(t, err)
	m, err := sasl.NewScram(sasl.ScramSHA256, sasl.ScramConfig{Secret: secret, Lookup: func(user string) (sasl.Credential, bool) { return credential, user == "user" }})
	require.NoError(t, err)
	x := sasl.WithNonce(m, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0").Start()
	y := sasl.WithClientNonce(scramClient(t, sasl.ScramSHA256, "user", "pencil"), "rOprNGfwEbeRWgbNEkqO").Start()

	var token []byte
	for i, c := range []struct{ client, server string }{
		{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"},
		{"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
	} {
		reply, done, err := y.Step(t.Context(), token)
		require.NoError(t, err)
		require.False(t, done)
		require.Equal(t, c.client, string(reply))
		token, done, err = x.Step(t.Context(), reply)
		require.NoError(t, err)
		require.Equal(t, i == 1, done)
		require.Equal(t, c.server, string(token))
	}
	_, done, err := y.Step(t.Context(), token)
	require.NoError(t, err)
	require.True(t, done)
	require.Equal(t, "User:user", x.Identity().Principal)
	over(t, x, nil)
	over(t, y, nil)
}

// TestScramLogins: our client, the library's and franz-go's against our server; names with what SCRAM has to escape.
func TestScramLogins(t *testing.T) {
	names := []string{"alice", "a,b=c", "=2C", "alice@example.com", "übung"}
	for _, kind := range kinds {
		m := scramServer(t, kind, names...)
		for _, name := range names {
			id, server, client := login(t, m, scramClient(t, kind, name, password))
			require.NoError(t, errors.Join(server, client))
			require.Equal(t, sasl.Identity{Principal: "User:" + name}, id)

			auth := franzscram.Auth{User: name, Pass: password}
			franz := auth.AsSha256Mechanism()
			if kind == sasl.ScramSHA512 {
				franz = auth.AsSha512Mechanism()
			}
			id, server, client = loginFranz(t, m, franz)
			require.NoError(t, errors.Join(server, client))
			require.Equal(t, "User:"+name, id.Principal)
		}
		for _, c := range []struct{ user, password string }{{"alice", another}, {"bob", password}, {"bob", another}, {"Alice", password}, {"alic", password}} {
			_, server, client := login(t, m, scramClient(t, kind, c.user, c.password))
			require.NoError(t, client)
			failed(t, server, sasl.ErrAuthentication)
		}
		other := kinds[0] + kinds[1] - kind
		wrong, err := sasl.NewScram(kind, sasl.ScramConfig{Secret: secret, Lookup: users(t, other, "alice")})
		require.NoError(t, err)
		_, server, _ := login(t, wrong, scramClient(t, kind, "alice", password))
		failed(t, server, sasl.ErrAuthentication) // a credential of the other mechanism is none
		const first = "n,,n=alice,r=nonce"
		got, _, err := sasl.WithNonce(wrong, "x").Start().Step(t.Context(), []byte(first))
		require.NoError(t, err)
		want, _, err := sasl.WithNonce(scramServer(t, kind), "x").Start().Step(t.Context(), []byte(first))
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
}

// library lets a client of the library, which knows authorization ids, log in.
func library(t *testing.T, m sasl.Mechanism, user, authzid string) (sasl.Identity, error) {
	t.Helper()
	client, err := scram.SHA256.NewClient(user, password, authzid)
	require.NoError(t, err)
	x, y := m.Start(), client.NewConversation()
	challenge := ""
	for {
		reply, err := y.Step(challenge)
		require.NoError(t, err)
		token, done, err := x.Step(t.Context(), []byte(reply))
		if err != nil {
			return x.Identity(), err
		}
		if done {
			_, err := y.Step(string(token))
			require.NoError(t, err)
			require.True(t, y.Valid())
			return x.Identity(), nil
		}
		challenge = string(token)
	}
}

func TestScramAuthorizationID(t *testing.T) {
	m := scramServer(t, sasl.ScramSHA256, "alice", "bob", "a,b")
	for user, authzid := range map[string]string{"alice": "", "bob": "bob", "a,b": "a,b"} {
		id, err := library(t, m, user, authzid)
		require.NoError(t, err)
		require.Equal(t, "User:"+user, id.Principal)
	}
	for _, user := range []string{"alice", "stranger"} {
		id, err := library(t, m, user, "bob")
		failed(t, err, sasl.ErrAuthentication)
		require.Zero(t, id)
	}
}

// TestScramStrangersLookLikeUsers: all that the client of a user that does not exist sees is what it would see with a wrong password.
func TestScramStrangersLookLikeUsers(t *testing.T) {
	for _, kind := range kinds {
		first := func(m sasl.Mechanism, user string) (salt, iterations string) {
			reply, done, err := m.Start().Step(t.Context(), []byte("n,,n="+user+",r=nonce"))
			require.NoError(t, err)
			require.False(t, done)
			fields := strings.Split(string(reply), ",")
			require.Len(t, fields, 3)
			require.True(t, strings.HasPrefix(fields[0], "r=nonce"))
			require.Len(t, fields[0], len("r=nonce")+32)
			return strings.TrimPrefix(fields[1], "s="), fields[2]
		}
		m, same := scramServer(t, kind, "alice"), scramServer(t, kind)
		salt, iterations := first(m, "alice")
		strangers, of := first(m, "bob")
		require.Len(t, strangers, len(salt))
		require.Equal(t, iterations, of)
		again, _ := first(same, "bob")
		require.Equal(t, strangers, again, "one salt for one name, everywhere")
		others, _ := first(m, "bobby")
		require.NotEqual(t, strangers, others)
		elsewhere, err := sasl.NewScram(kind, sasl.ScramConfig{Lookup: users(t, kind), Secret: []byte("another secret of a node"), Iterations: 8192})
		require.NoError(t, err)
		salt, iterations = first(elsewhere, "bob")
		require.NotEqual(t, strangers, salt)
		require.Equal(t, "i=8192", iterations)

		_, wrong, _ := login(t, m, scramClient(t, kind, "alice", another))
		_, unknown, _ := login(t, m, scramClient(t, kind, "bob", another))
		require.Equal(t, wrong, unknown)
	}
	one, _, err := scramServer(t, sasl.ScramSHA256).Start().Step(t.Context(), []byte("n,,n=bob,r=nonce"))
	require.NoError(t, err)
	two, _, err := scramServer(t, sasl.ScramSHA512).Start().Step(t.Context(), []byte("n,,n=bob,r=nonce"))
	require.NoError(t, err)
	require.NotEqual(t, strings.Split(string(one), ",")[1], strings.Split(string(two), ",")[1], "the mechanisms of a user have different salts")
}

// TestScramStrangerCannotLogIn, not even with a proof that is right.
func TestScramStrangerCannotLogIn(t *testing.T) {
	for _, forget := range []bool{false, true} {
		x, y := scramServer(t, sasl.ScramSHA256, "alice").Start(), scramClient(t, sasl.ScramSHA256, "alice", password).Start()
		token, _, err := y.Step(t.Context(), nil)
		require.NoError(t, err)
		token, _, err = x.Step(t.Context(), token)
		require.NoError(t, err)
		token, _, err = y.Step(t.Context(), token)
		require.NoError(t, err)
		if forget {
			sasl.Forget(x)
		}
		reply, done, err := x.Step(t.Context(), token)
		require.Equal(t, !forget, done)
		require.Equal(t, !forget, len(reply) > 0)
		require.Equal(t, !forget, x.Identity() != sasl.Identity{})
		if forget {
			failed(t, err, sasl.ErrAuthentication)
		}
	}
	c, err := sasl.FromPassword(sasl.ScramSHA256, sasl.MinIterations, sasl.NewSalt(), password)
	require.NoError(t, err)
	m, err := sasl.NewScram(sasl.ScramSHA256, sasl.ScramConfig{Secret: secret, Lookup: func(string) (sasl.Credential, bool) { return c, false }})
	require.NoError(t, err)
	_, server, _ := login(t, m, scramClient(t, sasl.ScramSHA256, "bob", password))
	failed(t, server, sasl.ErrAuthentication)
	m, err = sasl.NewScram(sasl.ScramSHA256, sasl.ScramConfig{Secret: secret, Lookup: func(string) (sasl.Credential, bool) { return sasl.Credential{}, true }})
	require.NoError(t, err)
	_, server, _ = login(t, m, scramClient(t, sasl.ScramSHA256, "bob", password))
	failed(t, server, sasl.ErrAuthentication)
}

// TestKIP48_NoDelegationTokens: with tokenauth the name is the id of a token, and must not be taken for a user's.
func TestKIP48_NoDelegationTokens(t *testing.T) {
	m := scramServer(t, sasl.ScramSHA256, "alice")
	for _, c := range []struct {
		extensions string
		want       error
	}{{"", nil}, {",x=y,abc=d=e", nil}, {",tokenauth=false", nil}, {",tokenauth=true", sasl.ErrAuthentication}, {",x=y,tokenauth=True", sasl.ErrAuthentication}} {
		require.Equal(t, c.want != nil, loginWith(t, m, c.extensions, nil, nil) != nil, c.extensions)
	}
}

// loginWith is alice's login by a client that adds extensions to its first message and has its last changed; the library makes the proof.
func loginWith(t *testing.T, m sasl.Mechanism, extensions string, change func(final string) string, kept *string) error {
	t.Helper()
	client, err := scram.SHA256.NewClientUnprepped("alice", password, "")
	require.NoError(t, err)
	client.WithNonceGenerator(func() string { return "clientnonce" })
	y := client.NewConversation()
	reply, err := y.Step("")
	require.NoError(t, err)
	x := m.Start()
	challenge, _, err := x.Step(t.Context(), []byte(reply+extensions))
	if err != nil {
		return err
	}
	reply, err = y.Step(string(challenge))
	require.NoError(t, err)
	if extensions != "" { // what is signed has to have them: sign anew
		reply = proof(t, reply, "n=alice,r=clientnonce"+extensions, string(challenge))
	}
	if kept != nil {
		*kept = reply
	}
	if change != nil {
		reply = change(reply)
	}
	token, done, err := x.Step(t.Context(), []byte(reply))
	if err == nil {
		require.True(t, done)
		require.NotEmpty(t, token)
		require.Equal(t, "User:alice", x.Identity().Principal)
	} else {
		require.False(t, done)
		require.Empty(t, token)
		require.Zero(t, x.Identity())
		over(t, x, []byte(reply))
	}
	return err
}

// TestScramNonce: what the client says must end with the whole of the server's nonce, as Kafka has it, and be covered by the proof.
func TestScramNonce(t *testing.T) {
	m := sasl.WithNonce(scramServer(t, sasl.ScramSHA256, "alice"), "servernonce")
	const first = "n=alice,r=clientnonce"
	final := func(nonce, signed string) error {
		x := m.Start()
		challenge, _, err := x.Step(t.Context(), []byte("n,,"+first))
		require.NoError(t, err)
		_, p, _ := strings.Cut(proof(t, "c=biws,r="+signed+",p=", first, string(challenge)), ",p=")
		token := "c=biws,r=" + nonce + ",p=" + p
		reply, done, err := x.Step(t.Context(), []byte(token))
		require.Equal(t, err == nil, done)
		if err == nil {
			require.Equal(t, signature(t, token, first, string(challenge)), string(reply))
			require.Equal(t, "User:alice", x.Identity().Principal)
		} else {
			require.Zero(t, x.Identity())
		}
		return err
	}
	const good = "clientnonceservernonce"
	const twice = "clientnonceclientnonceservernonce" // librdkafka 2.0
	for _, nonce := range []string{good, twice, "x" + good} {
		require.NoError(t, final(nonce, nonce))
	}
	// The proof is right, so that only the nonce is wrong; of the server's part nothing may be missing.
	for _, nonce := range []string{"servernonce", "lientnonceservernonce", good + "x", good + "clientnonce", "clientnonceservernonc", "clientnonce", "CLIENTNONCEservernonce", "x"} {
		failed(t, final(nonce, nonce), sasl.ErrAuthentication)
	}
	// The nonce may pass, but is not what was signed.
	failed(t, final(twice, good), sasl.ErrAuthentication)
	failed(t, final(good, twice), sasl.ErrAuthentication)
}

// TestScramDoubledNonceIsFresh: a nonce that has an old one of the server's in front of the new one is as good as the new one; the other way round it is a replay.
func TestScramDoubledNonceIsFresh(t *testing.T) {
	m := scramServer(t, sasl.ScramSHA256, "alice")
	const first = "n=alice,r=clientnonce"
	begin := func() (x sasl.Exchange, challenge, nonce string) {
		x = m.Start()
		token, _, err := x.Step(t.Context(), []byte("n,,"+first))
		require.NoError(t, err)
		nonce, _, _ = strings.Cut(strings.TrimPrefix(string(token), "r="), ",")
		return x, string(token), nonce
	}
	_, _, old := begin()
	x, challenge, fresh := begin()
	_, done, err := x.Step(t.Context(), []byte(proof(t, "c=biws,r="+old+fresh+",p=", first, challenge)))
	require.NoError(t, err)
	require.True(t, done)
	x, challenge, fresh = begin()
	_, _, err = x.Step(t.Context(), []byte(proof(t, "c=biws,r="+fresh+old+",p=", first, challenge)))
	failed(t, err, sasl.ErrAuthentication)
}

// TestScramChannelBinding: the header that was sent at first has to come again.
func TestScramChannelBinding(t *testing.T) {
	m := scramServer(t, sasl.ScramSHA256, "alice")
	final := func(header, binding string) error {
		first := "n=alice,r=clientnonce"
		x := m.Start()
		challenge, _, err := x.Step(t.Context(), []byte(header+first))
		require.NoError(t, err)
		nonce, _, _ := strings.Cut(strings.TrimPrefix(string(challenge), "r="), ",")
		_, _, err = x.Step(t.Context(), []byte(proof(t, "c="+base64.StdEncoding.EncodeToString([]byte(binding))+",r="+nonce+",p=", first, string(challenge))))
		return err
	}
	require.NoError(t, final("n,,", "n,,"))
	require.NoError(t, final("y,,", "y,,"))
	require.NoError(t, final("n,a=alice,", "n,a=alice,"))
	failed(t, final("n,,", "y,,"), sasl.ErrAuthentication)
	failed(t, final("y,,", "n,,"), sasl.ErrAuthentication)
	failed(t, final("n,a=alice,", "n,,"), sasl.ErrAuthentication)
	failed(t, final("n,,", "n,a=authz,"), sasl.ErrAuthentication)
}

// TestScramReplay: what was good for one login is not for the next.
func TestScramReplay(t *testing.T) {
	m := scramServer(t, sasl.ScramSHA256, "alice")
	var old string
	require.NoError(t, loginWith(t, m, "", nil, &old))
	failed(t, loginWith(t, m, "", func(string) string { return old }, nil), sasl.ErrAuthentication)
}

func TestScramMalformed(t *testing.T) {
	m := scramServer(t, sasl.ScramSHA256, "alice")
	long := strings.Repeat("x", 5000)
	for _, first := range []string{
		"", ",", ",,,", "n", "n,", "n,,", "n,,,", "n,,n=alice", "n,,n=alice,", "n,,n=alice,r", "n,,n=alice,r=", "n,,n=,r=x", "n,,r=x,n=alice", "x,,n=alice,r=x", "N,,n=alice,r=x",
		"p=tls-unique,,n=alice,r=x", "p,,n=alice,r=x", "n,authz,n=alice,r=x", "n,a=,n=alice,r=x", "n,a=a=b,n=alice,r=x", "n,,m=x,n=alice,r=x", "n,,n=al=ice,r=x", "n,,n=al=2cice,r=x", "n,,n=alice=,r=x",
		"n,,n=alice=2,r=x", "n,,n=ali\x00ce,r=x", "n,,n=ali\x1bce,r=x", "n,,n=ali\xffce,r=x", "n,,n=*,r=x", "n,,n=alice,r=x y", "n,,n=alice,r=x\x7f", "n,,n=alice,r=ü", "n,,n=alice,r=x,", "n,,n=alice,r=x,y",
		"n,,n=alice,r=x,y=", "n,,n=alice,r=x,=y", "n,,n=alice,r=x,m=y", "n,,n=alice,r=x,y=1,y=2", "n,,n=alice,r=x,4=1", "n,,n=alice,r=x,y=\x00", "n,,n=" + long[:256] + ",r=x", "n,,n=alice,r=" + long,
		"n,a=a\x00b,n=alice,r=x", " n,,n=alice,r=x", "quoted",
	} {
		x := m.Start()
		reply, done, err := x.Step(t.Context(), []byte(first))
		require.Empty(t, reply, "%q", first)
		require.False(t, done)
		failed(t, err, sasl.ErrMalformed)
		over(t, x, []byte("n,,n=alice,r=x"))
	}
	for _, change := range []func(string) string{
		func(string) string { return "" },
		func(string) string { return "quoted" },
		func(string) string { return ",,," },
		func(string) string { return "n,,n=alice,r=clientnonce" },
		func(s string) string { return s + "," },
		func(s string) string { return s + ",x=y" },
		func(s string) string { return s + "A" },
		func(s string) string { return strings.Replace(s, ",p=", ",p=AAAA", 1) },
		func(s string) string { return s[:strings.Index(s, ",p=")] },
		func(s string) string { return s[:strings.Index(s, ",p=")] + ",p=" },
		func(s string) string { return s[:strings.Index(s, ",p=")] + ",p=AAAA" },
		func(s string) string { return strings.Replace(s, "c=biws", "c=biw", 1) },
		func(s string) string { return strings.Replace(s, "c=biws,", "", 1) },
		func(s string) string { return strings.Replace(s, "c=biws", "c=bi\nws", 1) },
		func(s string) string { return strings.Replace(s, ",p=", ",m=x,p=", 1) },
		func(s string) string { return strings.Replace(s, ",p=", ",x=,p=", 1) },
		func(s string) string { return strings.Replace(s, ",r=", ",s=", 1) },
		func(s string) string { return strings.Replace(s, ",r=", ",r= ", 1) },
		func(s string) string { return s + strings.Repeat(" ", 5000) },
	} {
		var good string
		err := loginWith(t, m, "", change, &good)
		failed(t, err, sasl.ErrMalformed)
	}
	// The right proof in another spelling: base64 has bits to spare.
	failed(t, loginWith(t, m, "", func(s string) string { return s[:len(s)-2] + string(s[len(s)-2]+1) + "=" }, nil), sasl.ErrMalformed)
	// A wrong proof of the right form.
	flip := func(s string) string {
		i := strings.Index(s, ",p=") + 3
		b, err := base64.StdEncoding.DecodeString(s[i:])
		require.NoError(t, err)
		b[31] ^= 1
		return s[:i] + base64.StdEncoding.EncodeToString(b)
	}
	failed(t, loginWith(t, m, "", flip, nil), sasl.ErrAuthentication)
}

func TestNewScramRefuses(t *testing.T) {
	lookup := users(t, sasl.ScramSHA256)
	for _, c := range []struct {
		kind   sasl.ScramType
		config sasl.ScramConfig
	}{
		{0, sasl.ScramConfig{Lookup: lookup, Secret: secret}},
		{3, sasl.ScramConfig{Lookup: lookup, Secret: secret}},
		{1, sasl.ScramConfig{Secret: secret}},
		{1, sasl.ScramConfig{Lookup: lookup}},
		{1, sasl.ScramConfig{Lookup: lookup, Secret: secret[:15]}},
		{1, sasl.ScramConfig{Lookup: lookup, Secret: secret, Iterations: 4095}},
		{1, sasl.ScramConfig{Lookup: lookup, Secret: secret, Iterations: 1_000_001}},
	} {
		_, err := sasl.NewScram(c.kind, c.config)
		require.Error(t, err)
	}
	for _, c := range []struct {
		kind           sasl.ScramType
		user, password string
	}{{0, "a", "b"}, {1, "", "b"}, {1, "a", ""}, {1, "*", "b"}} {
		_, err := sasl.NewScramClient(c.kind, c.user, c.password)
		require.Error(t, err)
	}
}

// TestScramClientDistrusts: a server that asks for too much or too little work, or does not know the password.
func TestScramClientDistrusts(t *testing.T) {
	start := func() sasl.ClientExchange {
		y := sasl.WithClientNonce(scramClient(t, sasl.ScramSHA256, "alice", password), "clientnonce").Start()
		first, done, err := y.Step(t.Context(), nil)
		require.NoError(t, err)
		require.False(t, done)
		require.Equal(t, "n,,n=alice,r=clientnonce", string(first))
		return y
	}
	const good = "r=clientnoncex,s=c2FsdA==,i=4096"
	for _, c := range []struct {
		first string
		want  error
	}{
		{"r=clientnonce,s=c2FsdA==,i=4096", sasl.ErrAuthentication},
		{"r=clientnonc,s=c2FsdA==,i=4096", sasl.ErrAuthentication},
		{"r=xclientnonce,s=c2FsdA==,i=4096", sasl.ErrAuthentication},
		{"r=clientnoncex,s=c2FsdA==,i=4095", sasl.ErrMalformed},
		{"r=clientnoncex,s=c2FsdA==,i=1000001", sasl.ErrMalformed},
		{"r=clientnoncex,s=c2FsdA==,i=2147483648", sasl.ErrMalformed},
		{"r=clientnoncex,s=c2FsdA==,i=99999999999999999999999", sasl.ErrMalformed},
		{"r=clientnoncex,s=c2FsdA==,i=-4096", sasl.ErrMalformed},
		{"r=clientnoncex,s=c2FsdA==,i=+4096", sasl.ErrMalformed},
		{"r=clientnoncex,s=c2FsdA==,i=", sasl.ErrMalformed},
		{"r=clientnoncex,s=c2FsdA==", sasl.ErrMalformed},
		{"r=clientnoncex,s=,i=4096", sasl.ErrMalformed},
		{"r=clientnoncex,s=quoted!,i=4096", sasl.ErrMalformed},
		{"m=x,r=clientnoncex,s=c2FsdA==,i=4096", sasl.ErrMalformed},
		{good + ",", sasl.ErrMalformed},
		{good + ",m=x", sasl.ErrMalformed},
		{"e=quoted", sasl.ErrMalformed},
		{"", sasl.ErrMalformed},
		{good + strings.Repeat(" ", 5000), sasl.ErrMalformed},
	} {
		y := start()
		reply, done, err := y.Step(t.Context(), []byte(c.first))
		require.Empty(t, reply, c.first)
		require.False(t, done)
		failed(t, err, c.want)
		over(t, y, []byte(good))
	}
	for _, c := range []struct {
		final string
		want  error
	}{
		{"", sasl.ErrMalformed}, // Kafka's answer to what is over: it must not pass for a proof
		{"v=", sasl.ErrMalformed},
		{"v=AAAA", sasl.ErrMalformed},
		{"e=quoted", sasl.ErrMalformed},
		{"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", sasl.ErrAuthentication},
		{"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,x", sasl.ErrMalformed},
	} {
		y := start()
		_, done, err := y.Step(t.Context(), []byte(good))
		require.NoError(t, err)
		require.False(t, done)
		_, done, err = y.Step(t.Context(), []byte(c.final))
		require.False(t, done)
		failed(t, err, c.want)
		over(t, y, nil)
	}
	_, _, err := scramClient(t, sasl.ScramSHA256, "alice", password).Start().Step(t.Context(), []byte("x"))
	failed(t, err, sasl.ErrMalformed)
}

// TestScramServerOfTheLibrary: our client against a server that is not ours.
func TestScramServerOfTheLibrary(t *testing.T) {
	for _, name := range []string{"alice", "a,b=c"} {
		c, err := sasl.FromPassword(sasl.ScramSHA256, 5000, []byte("salt"), password)
		require.NoError(t, err)
		k := c.Keys()
		server, err := scram.SHA256.NewServer(func(user string) (scram.StoredCredentials, error) {
			require.Equal(t, name, user)
			return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(k.Salt), Iters: c.Iterations()}, StoredKey: k.StoredKey, ServerKey: k.ServerKey}, nil
		})
		require.NoError(t, err)
		x, y := server.NewConversation(), scramClient(t, sasl.ScramSHA256, name, password).Start()
		token, _, err := y.Step(t.Context(), nil)
		require.NoError(t, err)
		for range 2 {
			challenge, err := x.Step(string(token))
			require.NoError(t, err)
			var done bool
			token, done, err = y.Step(t.Context(), []byte(challenge))
			require.NoError(t, err)
			require.Equal(t, x.Done(), done)
		}
		require.True(t, x.Valid())
	}
}

func TestCredential(t *testing.T) {
	for _, kind := range kinds {
		hash := scram.SHA256
		if kind == sasl.ScramSHA512 {
			hash = scram.SHA512
		}
		client, err := hash.NewClientUnprepped("alice", password, "")
		require.NoError(t, err)
		want, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt", Iters: 6000})
		require.NoError(t, err)
		c, err := sasl.FromPassword(kind, 6000, []byte("salt"), password)
		require.NoError(t, err)
		require.Equal(t, sasl.Keys{Salt: []byte("salt"), StoredKey: want.StoredKey, ServerKey: want.ServerKey}, c.Keys())
		require.Equal(t, 6000, c.Iterations())
		require.Equal(t, kind, c.Type())

		k := c.Keys()
		again, err := sasl.MakeCredential(kind, 6000, k)
		require.NoError(t, err)
		require.True(t, c.Equal(again))
		k.StoredKey[0]++
		k.ServerKey[0]++
		k.Salt[0]++
		c.Keys().StoredKey[0]++
		require.True(t, c.Equal(again), "keys are copied both ways")
		for _, change := range []func(*sasl.Keys){
			func(k *sasl.Keys) { k.Salt[0]++ }, func(k *sasl.Keys) { k.StoredKey[0]++ }, func(k *sasl.Keys) { k.ServerKey[0]++ },
		} {
			k := c.Keys()
			change(&k)
			other, err := sasl.MakeCredential(kind, 6000, k)
			require.NoError(t, err)
			require.False(t, c.Equal(other))
		}
		other, err := sasl.MakeCredential(kind, 6001, c.Keys())
		require.NoError(t, err)
		require.False(t, c.Equal(other))
		require.False(t, c.Equal(sasl.Credential{}))
	}
	require.Zero(t, sasl.Credential{}.Keys())
	require.True(t, sasl.Credential{}.Equal(sasl.Credential{}))
	require.NotEqual(t, sasl.NewSalt(), sasl.NewSalt())
	require.Equal(t, "SCRAM-SHA-256 SCRAM-SHA-512 SCRAM(0)", sasl.ScramSHA256.String()+" "+sasl.ScramSHA512.String()+" "+sasl.UnknownScram.String())
	require.Equal(t, []sasl.ScramType{1, 2}, kinds, "Kafka's codes")
}

func TestCredentialRefuses(t *testing.T) {
	key, salt := make([]byte, 32), []byte("salt")
	refused := func(_ sasl.Credential, err error) func(want string) {
		return func(want string) {
			t.Helper()
			var e *sasl.CredentialError
			require.ErrorAs(t, err, &e, want)
			require.Contains(t, e.Reason, want)
		}
	}
	make := func(kind sasl.ScramType, n int, salt, stored, server []byte) func(string) {
		return refused(sasl.MakeCredential(kind, n, sasl.Keys{Salt: salt, StoredKey: stored, ServerKey: server}))
	}
	make(0, 4096, salt, key, key)("unknown")
	make(3, 4096, salt, key, key)("unknown")
	make(1, 4095, salt, key, key)("too few")
	make(1, -1, salt, key, key)("too few")
	make(1, 1_000_001, salt, key, key)("too many")
	make(1, 4096, nil, key, key)("salt")
	make(1, 4096, append(salt, strings.Repeat("x", 1021)...), key, key)("salt")
	make(1, 4096, salt, key[1:], key)("keys")
	make(1, 4096, salt, key, nil)("keys")
	make(2, 4096, salt, key, key)("keys")
	refused(sasl.FromSaltedPassword(0, 4096, salt, key))("unknown")
	refused(sasl.FromSaltedPassword(1, 4096, salt, key[1:]))("salted password")
	refused(sasl.FromSaltedPassword(2, 4096, salt, key))("salted password")
	refused(sasl.FromPassword(1, 4096, salt, ""))("password is empty")
	refused(sasl.FromPassword(9, 4096, salt, password))("unknown")
	refused(sasl.FromPassword(1, 2_000_000_000, salt, password))("too many") // at once
	for _, n := range []int{4096, 1_000_000} {
		_, err := sasl.MakeCredential(1, n, sasl.Keys{Salt: salt, StoredKey: key, ServerKey: key})
		require.NoError(t, err, strconv.Itoa(n))
	}
}
