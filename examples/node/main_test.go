package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
