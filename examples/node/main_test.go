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
		cmd, addr := startNode(t, "1", "-dir "+dir+" -listen 127.0.0.1:0")
		client, err := transport.NewClient(transport.ClientConfig{Bootstrap: []string{addr}})
		require.NoError(t, err)
		_, err = cluster.NewAdmin(client).Topics(context.Background())
		assert.NoError(t, err)
		require.NoError(t, client.Close())

		stopNode(t, cmd)
	}
}

// startNode starts the example and returns when it is ready.
func startNode(t *testing.T, id, args string) (cmd *exec.Cmd, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel) // kills it if the test has failed
	cmd = exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "INSYNC_TEST_NODE=-id "+id+" "+args)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "node "+id+" ready on ")
	require.True(t, ok, line)
	return cmd, addr
}

func stopNode(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), "it ends with success")
}

// A node joins a cluster that runs, and is part of it when it is started again in the same way. Of the addresses one is enough.
func TestJoin(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("windows has no SIGTERM to send")
		return
	}
	first, addr := startNode(t, "1", "-dir "+t.TempDir()+" -listen 127.0.0.1:0")
	client, err := transport.NewClient(transport.ClientConfig{Bootstrap: []string{addr}})
	require.NoError(t, err)
	defer client.Close()
	dir, listen := t.TempDir(), "127.0.0.1:0"
	for range 2 {
		second, at := startNode(t, "2", "-dir "+dir+" -listen "+listen+" -join 127.0.0.1:1,"+addr)
		listen = at // where the others know it
		quorum, err := cluster.NewAdmin(client).Quorum(context.Background())
		require.NoError(t, err)
		require.Len(t, quorum.Voters, 1)
		require.Len(t, quorum.Observers, 1)
		assert.EqualValues(t, 2, quorum.Observers[0].ID)
		stopNode(t, second)
	}
	stopNode(t, first)
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
	cmd, addr := startNode(t, "1", "-listen 127.0.0.1:0 -super admin -users "+users+" -peer-secret "+secret)
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
	stopNode(t, cmd)
}
