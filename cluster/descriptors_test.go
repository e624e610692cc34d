//go:build unix

package cluster_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
)

const fewDescriptors = "INSYNC_TEST_FEW_DESCRIPTORS"

// TestFewDescriptorsChild is a node with few descriptors, in a process of its own: it takes all that are left and gives them back as its input says, and tells how much of the processor that took.
func TestFewDescriptorsChild(t *testing.T) {
	if os.Getenv(fewDescriptors) == "" {
		return // it is the process that TestFault_F43_NothingToAcceptWith starts, and no test by itself
	}
	var r syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r))
	r.Cur = 200
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r))
	n := start(t, cluster.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	createTopic(t, n, "t", 1)
	fmt.Println("node", n.Addrs()[0])
	var taken []*os.File
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "take":
			for {
				f, err := os.Open(os.DevNull)
				if err != nil {
					require.ErrorIs(t, err, syscall.EMFILE)
					break
				}
				taken = append(taken, f)
			}
		case "give":
			for _, f := range taken {
				require.NoError(t, f.Close())
			}
		}
		fmt.Println("done", used(t).Milliseconds(), len(taken))
	}
	require.NoError(t, n.Err())
}

// used is the time of the processor that this process has had.
func used(t *testing.T) time.Duration {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A node has no descriptor left: who is connected goes on, who comes waits without the node running in circles, and is served when there are some again.
func TestFault_F43_NothingToAcceptWith(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestFewDescriptorsChild$")
	cmd.Env, cmd.Stderr = append(os.Environ(), fewDescriptors+"=1"), os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	line := func(prefix string) string {
		t.Helper()
		for lines.Scan() {
			if rest, ok := strings.CutPrefix(lines.Text(), prefix+" "); ok {
				return rest
			}
		}
		t.Fatal("the node has ended")
		return ""
	}
	tell := func(what string) (ms, taken int) {
		t.Helper()
		_, err := fmt.Fprintln(in, what)
		require.NoError(t, err)
		_, err = fmt.Sscan(line("done"), &ms, &taken)
		require.NoError(t, err)
		return ms, taken
	}
	addr := line("node")
	client, err := transport.NewClient(transport.ClientConfig{Bootstrap: []string{addr}})
	require.NoError(t, err)
	defer client.Close()
	p, err := producer.New(producer.Config{Client: client})
	require.NoError(t, err)
	defer p.Close()
	write := func(v string) {
		t.Helper()
		_, err := p.Produce(t.Context(), &record.Record{Topic: "t", Value: []byte(v)})
		require.NoError(t, err)
	}
	write("before")

	before, taken := tell("take")
	require.Greater(t, taken, 50)
	late, err := transport.NewClient(transport.ClientConfig{Bootstrap: []string{addr}})
	require.NoError(t, err)
	defer late.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err = late.Topic(ctx, "t", false)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	write("meanwhile")
	after, _ := tell("nothing")
	assert.Less(t, after-before, 250, "ms of the processor in two seconds")

	tell("give")
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = late.Topic(ctx, "t", false)
	require.NoError(t, err)
	assert.Equal(t, []string{"before", "meanwhile"}, consume(t, late, "t", 2))
	require.NoError(t, in.Close())
	for lines.Scan() {
	}
	require.NoError(t, cmd.Wait())
}
