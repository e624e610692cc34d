package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// TestMain makes the test binary the example when it is told to.
func TestMain(m *testing.M) {
	if args := os.Getenv("INSYNC_TEST_NODE"); args != "" {
		os.Args = append(os.Args[:1], strings.Fields(args)...)
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// The node says where it is ready, answers there, and ends in order on SIGTERM.
func TestNode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("windows has no SIGTERM to send")
		return
	}
	dir := t.TempDir()
	for range 2 { // the second time with what the first one left
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "INSYNC_TEST_NODE=-id 1 -dir "+dir+" -listen 127.0.0.1:0")
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		line, err := bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err)
		addr, ok := strings.CutPrefix(strings.TrimSpace(line), "node 1 ready on ")
		require.True(t, ok, line)

		client, err := transport.NewClient(transport.ClientConfig{Bootstrap: []string{addr}})
		require.NoError(t, err)
		_, err = cluster.NewAdmin(client).Topics(context.Background())
		assert.NoError(t, err)
		require.NoError(t, client.Close())

		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait(), "it ends with success")
	}
}

func TestParseVoters(t *testing.T) {
	voters, err := parseVoters("1@127.0.0.1:9092,2@[::1]:9093")
	require.NoError(t, err)
	assert.Equal(t, []cluster.Voter{{ID: 1, Addr: "127.0.0.1:9092"}, {ID: 2, Addr: "[::1]:9093"}}, voters)
	for _, bad := range []string{"1", "x@a:1", "1@a:1,", "99999999999@a:1"} {
		_, err := parseVoters(bad)
		assert.ErrorContains(t, err, "want id@host:port", bad)
	}
}

// Nodes of a cluster with logins know each other, and nobody else without a login.
func TestLogins(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("windows has no SIGTERM to send")
		return
	}
	dir := t.TempDir()
	users, secret := filepath.Join(dir, "users.txt"), filepath.Join(dir, "secret.txt")
	require.NoError(t, os.WriteFile(users, []byte("admin admin-secret\n\nalice wonderland\n"), 0o600))
	require.NoError(t, os.WriteFile(secret, []byte("nodes know each other by this\n"), 0o600))
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "INSYNC_TEST_NODE=-listen 127.0.0.1:0 -super admin -users "+users+" -peer-secret "+secret)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "node 1 ready on ")
	require.True(t, ok, line)
	try := func(c transport.Credentials, err error) error {
		require.NoError(t, err)
		client, err := transport.NewClient(transport.ClientConfig{Bootstrap: []string{addr}, Credentials: c, BackoffMax: 100 * time.Millisecond})
		require.NoError(t, err)
		defer client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_, err = cluster.NewAdmin(client).Users(ctx)
		return err
	}
	assert.NoError(t, try(transport.Plain("admin", "admin-secret")))
	assert.NoError(t, try(transport.ScramSHA512("admin", "admin-secret")))
	assert.ErrorIs(t, try(transport.ScramSHA256("alice", "wonderland")), kerr.ClusterAuthorizationFailed)
	assert.Error(t, try(transport.Plain("admin", "guess")))
	assert.Error(t, try(nil, nil))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
}
