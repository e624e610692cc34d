package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("INSYNC_TEST_CHILD"); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, c cluster.Config) *cluster.Node {
	t.Helper()
	n, err := cluster.Start(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { n.Close() })
	return n
}

func createTopic(t *testing.T, n *cluster.Node, name string, partitions int32) {
	t.Helper()
	require.NoError(t, cluster.NewAdmin(n.Client()).CreateTopic(t.Context(), cluster.TopicSpec{Name: name, Partitions: partitions}))
}

func produce(t *testing.T, client *transport.Client, topic string, values ...string) {
	t.Helper()
	p, err := producer.New(producer.Config{Client: client})
	require.NoError(t, err)
	defer p.Close()
	for _, v := range values {
		_, err := p.Produce(t.Context(), &record.Record{Topic: topic, Value: []byte(v)})
		require.NoError(t, err)
	}
}

func consume(t *testing.T, client *transport.Client, topic string, n int) (values []string) {
	t.Helper()
	c, err := consumer.New(consumer.Config{Client: client, Topics: []string{topic}})
	require.NoError(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for r, err := range c.Records(ctx) {
		require.NoError(t, err)
		if values = append(values, string(r.Value)); len(values) == n {
			return values
		}
	}
	t.Fatalf("%d records of %d", len(values), n)
	return nil
}

func TestNodeInMemory(t *testing.T) {
	n := start(t, cluster.Config{})
	assert.Empty(t, n.Addrs())
	createTopic(t, n, "t", 1)
	produce(t, n.Client(), "t", "a", "b", "c")
	assert.Equal(t, []string{"a", "b", "c"}, consume(t, n.Client(), "t", 3))
	require.NoError(t, n.Close())
}

func TestNodeKeepsItsRecordsOverARestart(t *testing.T) {
	for _, end := range []struct {
		name string
		stop func(*cluster.Node) error
	}{
		{"close", (*cluster.Node).Close},
		{"shutdown", func(n *cluster.Node) error { return n.Shutdown(context.Background()) }},
		{"kill", func(n *cluster.Node) error { n.Kill(); return nil }},
	} {
		t.Run(end.name, func(t *testing.T) {
			c := cluster.Config{Dir: t.TempDir()}
			n := start(t, c)
			createTopic(t, n, "t", 1)
			produce(t, n.Client(), "t", "a", "b")
			id := n.Status().ClusterID
			require.NotEmpty(t, id)
			require.NoError(t, end.stop(n))

			n = start(t, c)
			assert.Equal(t, id, n.Status().ClusterID)
			produce(t, n.Client(), "t", "c")
			assert.Equal(t, []string{"a", "b", "c"}, consume(t, n.Client(), "t", 3))
			require.NoError(t, n.Close())
		})
	}
}

func TestDirectoryInUseIsRefused(t *testing.T) {
	c := cluster.Config{Dir: t.TempDir()}
	n := start(t, c)
	_, err := cluster.Start(t.Context(), c)
	require.ErrorIs(t, err, log.ErrDirectoryLocked)
	require.ErrorContains(t, err, c.Dir, "the error names the directory")
	require.NoError(t, n.Close())
	start(t, c) // free again
}

func TestForeignDirectoryIsRefused(t *testing.T) {
	t.Run("another node's", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, start(t, cluster.Config{Dir: dir, NodeID: 1}).Close())
		_, err := cluster.Start(t.Context(), cluster.Config{Dir: dir, NodeID: 2})
		var identity *log.IdentityError
		require.ErrorAs(t, err, &identity)
		assert.Equal(t, "node.id", identity.Field)
	})
	t.Run("another cluster's", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, start(t, cluster.Config{Dir: dir}).Close())
		_, err := cluster.Start(t.Context(), cluster.Config{Dir: dir, ClusterID: "other"})
		var identity *log.IdentityError
		require.ErrorAs(t, err, &identity)
		assert.Equal(t, "cluster.id", identity.Field)
	})
	t.Run("somebody else's files", func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "thesis.tex")
		require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
		_, err := cluster.Start(t.Context(), cluster.Config{Dir: dir})
		var foreign *log.ForeignDirectoryError
		require.ErrorAs(t, err, &foreign)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, left, 1, "nothing was created beside them")
	})
	t.Run("a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		_, err := cluster.Start(t.Context(), cluster.Config{Dir: file})
		require.Error(t, err)
		require.ErrorContains(t, err, file)
	})
}

func TestCloseTwiceAndConcurrently(t *testing.T) {
	n := start(t, cluster.Config{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { assert.NoError(t, n.Close()) })
		wg.Go(func() { assert.NoError(t, n.Shutdown(t.Context())) })
	}
	wg.Wait()
	<-n.Done()
	require.NoError(t, n.Err())
	_, err := n.Client().Topic(t.Context(), "t", false)
	require.ErrorIs(t, err, transport.ErrClosed)
}

func TestStartThatFailsLeavesNothing(t *testing.T) {
	// The other two voters are not there: no quorum, and the caller gives up.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	dir := t.TempDir()
	_, err := cluster.Start(ctx, cluster.Config{
		Dir: dir, NodeID: 1, Listen: "127.0.0.1:0",
		Voters: []cluster.Voter{{ID: 1, Addr: "127.0.0.1:1"}, {ID: 2, Addr: "127.0.0.1:2"}, {ID: 3, Addr: "127.0.0.1:3"}},
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, start(t, cluster.Config{Dir: t.TempDir()}).Close()) // goleak and the lock tell the rest
}

func TestTwoClustersInOneProcess(t *testing.T) {
	a, b := start(t, cluster.Config{Dir: t.TempDir()}), start(t, cluster.Config{Dir: t.TempDir()})
	createTopic(t, a, "t", 1)
	produce(t, a.Client(), "t", "a")
	err := cluster.NewAdmin(b.Client()).DeleteTopic(t.Context(), "t")
	require.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
	createTopic(t, b, "t", 1)
	produce(t, b.Client(), "t", "b")
	assert.Equal(t, []string{"a"}, consume(t, a.Client(), "t", 1))
	assert.Equal(t, []string{"b"}, consume(t, b.Client(), "t", 1))
	assert.NotEqual(t, a.Status().ClusterID, b.Status().ClusterID)
}

func TestNodeLogsOnlyWhereItIsTold(t *testing.T) {
	var global, own bytes.Buffer
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&global, nil)))
	defer slog.SetDefault(old)
	var mu sync.Mutex
	n := start(t, cluster.Config{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(lockedWriter{&mu, &own}, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	createTopic(t, n, "t", 1)
	produce(t, n.Client(), "t", "a")
	require.NoError(t, n.Close())
	assert.Empty(t, global.String())
	mu.Lock()
	defer mu.Unlock()
	assert.NotEmpty(t, own.String())
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// The library must not catch signals: a process that embeds a node and does nothing about SIGINT dies of it as every Go program does.
func TestNodeLeavesSignalsAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("SIGINT cannot be sent to one process on windows; the import policy test holds there")
		return
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "INSYNC_TEST_CHILD="+t.TempDir())
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line := make([]byte, 64)
	n, err := out.Read(line)
	require.NoError(t, err)
	require.Equal(t, "ready", strings.TrimSpace(string(line[:n])))
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	err = cmd.Wait()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Contains(t, exit.String(), "interrupt")
}

// child is a process that embeds a node and waits.
func child(dir string) {
	n, err := cluster.Start(context.Background(), cluster.Config{Dir: dir})
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	fmt.Println("ready")
	<-n.Done()
}

func TestAdminErrorsAreKafkas(t *testing.T) {
	n := start(t, cluster.Config{})
	a := cluster.NewAdmin(n.Client())
	ctx := t.Context()
	createTopic(t, n, "t", 2)
	for _, tc := range []struct {
		name string
		err  error
		want error
	}{
		{"again", a.CreateTopic(ctx, cluster.TopicSpec{Name: "t"}), kerr.TopicAlreadyExists},
		{"bad name", a.CreateTopic(ctx, cluster.TopicSpec{Name: "../t"}), kerr.InvalidTopicException},
		{"too many replicas", a.CreateTopic(ctx, cluster.TopicSpec{Name: "u", ReplicationFactor: 2}), kerr.InvalidReplicationFactor},
		{"negative partitions", a.CreateTopic(ctx, cluster.TopicSpec{Name: "u", Partitions: -5}), kerr.InvalidPartitions},
		{"bad config", a.CreateTopic(ctx, cluster.TopicSpec{Name: "u", Configs: map[string]string{"no.such": "1"}}), kerr.InvalidConfig},
		{"bad value", a.CreateTopic(ctx, cluster.TopicSpec{Name: "u", Configs: map[string]string{"segment.bytes": "x"}}), kerr.InvalidConfig},
		{"delete unknown", a.DeleteTopic(ctx, "u"), kerr.UnknownTopicOrPartition},
		{"shrink", a.CreatePartitions(ctx, "t", 1), kerr.InvalidPartitions},
		{"grow unknown", a.CreatePartitions(ctx, "u", 3), kerr.UnknownTopicOrPartition},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.ErrorIs(t, tc.err, tc.want)
			var ae *cluster.AdminError
			require.True(t, errors.As(tc.err, &ae))
		})
	}
	topics, err := a.Topics(ctx)
	require.NoError(t, err)
	require.Len(t, topics, 1, "nothing was half created")

	require.NoError(t, a.CreatePartitions(ctx, "t", 3))
	topic, err := a.Topic(ctx, "t")
	require.NoError(t, err)
	assert.Len(t, topic.Partitions, 3)
	value := "123456"
	require.NoError(t, a.AlterTopicConfigs(ctx, "t", map[string]*string{"retention.ms": &value}))
	configs, err := a.TopicConfigs(ctx, "t")
	require.NoError(t, err)
	assert.Equal(t, value, configs["retention.ms"])
	require.NoError(t, a.DeleteTopic(ctx, "t"))
	_, err = a.Topic(ctx, "t")
	require.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
}

// A voter list that differs from the one the metadata log was begun with would let two halves elect a controller each.
func TestChangedVotersAreRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, start(t, cluster.Config{Dir: dir}).Close())
	_, err := cluster.Start(t.Context(), cluster.Config{
		Dir: dir, NodeID: 1, Listen: "127.0.0.1:0", Voters: []cluster.Voter{{ID: 1, Addr: "127.0.0.1:1"}, {ID: 2, Addr: "127.0.0.1:2"}, {ID: 3, Addr: "127.0.0.1:3"}},
	})
	require.ErrorContains(t, err, "voters")
	require.NoError(t, start(t, cluster.Config{Dir: dir}).Close(), "the directory is unharmed")
}
