//go:build unix

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/require"
)

// site is a cluster of processes, each with a directory of its own, and who watches them from outside.
type site struct {
	t      *testing.T
	nodes  []*process
	addrs  []string
	client *transport.Client
}

// process is a node that is started again and again. Its standard error goes to a file, life after life.
type process struct {
	t    *testing.T
	id   int
	dir  string
	args string
	log  *os.File

	cmd    *exec.Cmd // nil when it does not run
	ready  chan error
	paused bool
}

// startSite starts three nodes that are fenced after two seconds of silence, and makes a topic that all of them have.
func startSite(t *testing.T, topic string, partitions int) *site {
	t.Helper()
	s := &site{t: t}
	var voters []string
	for id := 1; id <= 3; id++ {
		s.addrs = append(s.addrs, freeAddr(t))
		voters = append(voters, fmt.Sprintf("%d@%s", id, s.addrs[id-1]))
	}
	for i, addr := range s.addrs {
		dir := t.TempDir()
		file, err := os.Create(filepath.Join(dir, "stderr"))
		require.NoError(t, err)
		p := &process{t: t, id: i + 1, dir: filepath.Join(dir, "data"), log: file}
		p.args = fmt.Sprintf("-v -session-timeout 2s -id %d -dir %s -listen %s -voters %s", p.id, p.dir, addr, strings.Join(voters, ","))
		s.nodes = append(s.nodes, p)
	}
	t.Cleanup(s.end)
	s.start(s.nodes...)
	var err error
	s.client, err = transport.NewClient(transport.ClientConfig{Bootstrap: s.addrs, RequestTimeout: 5 * time.Second, DialTimeout: time.Second})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, cluster.NewAdmin(s.client).CreateTopic(ctx, cluster.TopicSpec{Name: topic, Partitions: int32(partitions), ReplicationFactor: 3}))
	return s
}

// freeAddr finds a port below those that the system gives to clients: else one of them may have it while its node is down.
func freeAddr(t *testing.T) string {
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(18000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

// end kills what still runs, and tells what it had to say if the test has failed.
func (s *site) end() {
	if s.client != nil {
		s.client.Close()
	}
	for _, p := range s.nodes {
		if p.cmd != nil {
			p.signal(syscall.SIGKILL)
			_ = p.wait()
		}
		if s.t.Failed() {
			s.t.Logf("node %d:\n%s", p.id, tail(p.said(), 6000))
		}
		p.log.Close()
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// said is what the node has logged, in all of its lives.
func (p *process) said() string {
	b, err := os.ReadFile(p.log.Name())
	require.NoError(p.t, err)
	return string(b)
}

// start starts nodes side by side and waits until all can take requests.
func (s *site) start(nodes ...*process) {
	s.t.Helper()
	for _, p := range nodes {
		p.launch()
	}
	for _, p := range nodes {
		p.await()
	}
}

func (p *process) launch() {
	p.t.Helper()
	require.Nil(p.t, p.cmd)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "INSYNC_TEST_NODE="+p.args)
	cmd.Stderr = p.log
	out, err := cmd.StdoutPipe()
	require.NoError(p.t, err)
	require.NoError(p.t, cmd.Start())
	p.cmd, p.ready = cmd, make(chan error, 1)
	go func(ready chan error) { // ends with the process
		r := bufio.NewReader(out)
		if line, err := r.ReadString('\n'); err != nil {
			ready <- fmt.Errorf("node %d ended before it was ready: %w", p.id, err)
		} else if !strings.HasPrefix(line, fmt.Sprintf("node %d ready on ", p.id)) {
			ready <- fmt.Errorf("node %d said %q", p.id, line)
		}
		close(ready)
		_, _ = io.Copy(io.Discard, r)
	}(p.ready)
}

// await waits until the node is ready.
func (p *process) await() {
	p.t.Helper()
	select {
	case err := <-p.ready:
		require.NoError(p.t, err)
	case <-time.After(time.Minute):
		p.t.Fatalf("node %d is not ready after a minute", p.id)
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

func (p *process) wait() error {
	cmd, ready := p.cmd, p.ready
	p.cmd = nil
	for range ready { // until the pipe is read to its end, as Wait wants it
	}
	return cmd.Wait()
}

// kill ends nodes without a warning, all at once.
func (s *site) kill(nodes ...*process) {
	s.t.Helper()
	for _, p := range nodes {
		p.signal(syscall.SIGKILL)
	}
	for _, p := range nodes {
		_ = p.wait() // says that it was killed
	}
}

// stop ends nodes in good order, all at once.
func (s *site) stop(nodes ...*process) {
	s.t.Helper()
	for _, p := range nodes {
		p.signal(syscall.SIGTERM)
	}
	for _, p := range nodes {
		require.NoErrorf(s.t, p.wait(), "node %d ends with success", p.id)
	}
}

// partitions is what the first node that runs, and is not paused, knows of the topic; empty if it does not answer.
func (s *site) partitions(topic string) []cluster.PartitionStatus {
	for _, p := range s.nodes {
		if p.cmd != nil && !p.paused {
			return s.known(p, topic)
		}
	}
	return nil
}

// known is what a node knows of the topic. Every call is a client of its own, which knows nobody else.
func (s *site) known(p *process, topic string) []cluster.PartitionStatus {
	client, err := transport.NewClient(transport.ClientConfig{Bootstrap: s.addrs[p.id-1 : p.id], RequestTimeout: 2 * time.Second, DialTimeout: time.Second})
	require.NoError(s.t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	t, err := cluster.NewAdmin(client).Topic(ctx, topic)
	if err != nil {
		return nil
	}
	return t.Partitions
}

// whole waits until all nodes know the same leaders, and all replicas in sync, and returns how long that took.
func (s *site) whole(topic string, limit time.Duration) time.Duration {
	s.t.Helper()
	began := time.Now()
	for {
		var views [][]cluster.PartitionStatus
		ok := true
		for _, p := range s.nodes {
			list := s.known(p, topic)
			views = append(views, list)
			ok = ok && len(list) > 0
			for i, v := range list {
				ok = ok && v.Leader >= 0 && len(v.ISR) == len(s.nodes) && v.LeaderEpoch == views[0][min(i, len(views[0])-1)].LeaderEpoch
			}
			if !ok {
				break
			}
		}
		if ok {
			return time.Since(began)
		}
		require.Lessf(s.t, time.Since(began), limit, "not all replicas are back in sync: %+v", views)
		time.Sleep(50 * time.Millisecond)
	}
}

// pause stops a node's process without ending it.
func (p *process) pause() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	p.paused = true
}

func (p *process) resume() {
	p.t.Helper()
	p.signal(syscall.SIGCONT)
	p.paused = false
}
