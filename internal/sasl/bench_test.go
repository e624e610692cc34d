package sasl_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/sasl"
)

// BenchmarkScramServer is the work of a server for a login that fails: the same for a user and a stranger.
func BenchmarkScramServer(b *testing.B) {
	m := sasl.WithNonce(scramServer(b, sasl.ScramSHA256, "alice"), "y")
	final := []byte("c=biws,r=xy,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	for _, user := range []string{"alice", "bobby"} {
		first := []byte("n,,n=" + user + ",r=x")
		b.Run("user="+user, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x := m.Start()
				_, _, err := x.Step(b.Context(), first)
				require.NoError(b, err)
				_, _, err = x.Step(b.Context(), final)
				require.Error(b, err)
			}
		})
	}
}

// BenchmarkPlainServer likewise.
func BenchmarkPlainServer(b *testing.B) {
	m := plainServer(b, "alice")
	for _, user := range []string{"alice", "bobby"} {
		token := []byte("\x00" + user + "\x00" + another)
		b.Run("user="+user, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, err := m.Start().Step(b.Context(), token)
				require.Error(b, err)
			}
		})
	}
}

// BenchmarkFromPassword is the work of a client for a login, and of who makes a credential.
func BenchmarkFromPassword(b *testing.B) {
	for b.Loop() {
		_, err := sasl.FromPassword(sasl.ScramSHA512, sasl.MinIterations, []byte("salt"), password)
		require.NoError(b, err)
	}
}
