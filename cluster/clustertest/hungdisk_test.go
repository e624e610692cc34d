package clustertest_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hang makes operations of a disk wait until release is called.
func hang(disk *vfs.Mem, which func(vfs.Op) bool) (release func()) {
	hung := make(chan struct{})
	disk.SetFault(func(op vfs.Op) error {
		if which(op) {
			<-hung
		}
		return nil
	})
	return sync.OnceFunc(func() {
		disk.SetFault(nil)
		close(hung)
	})
}

var hangs = []struct {
	name  string
	which func(vfs.Op) bool
}{
	{"syncs of a log", func(op vfs.Op) bool { return op.Kind == vfs.OpSync && strings.HasPrefix(op.Name, "/data/t-0/") }},
	{"all syncs", func(op vfs.Op) bool {
		return op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncDir || op.Kind == vfs.OpSyncMap
	}},
	{"all syncs of metadata", func(op vfs.Op) bool {
		return op.Kind == vfs.OpSync && strings.HasPrefix(op.Name, "/data/__cluster_metadata-0/")
	}},
}

// A leader's disk hangs. Others lead within a session for it to be noticed, and a second one for those who cannot say so themselves; the node closes although nothing has changed, and its directory
// is nobody else's until the disk answers. Then all of its goroutines end, which the bubble waits for.
func TestFault_F20_HungDiskIsLeft(t *testing.T) {
	for _, h := range hangs {
		for name, end := range map[string]func(*cluster.Node) error{"close": (*cluster.Node).Close, "kill": func(n *cluster.Node) error { n.Kill(); return cluster.ErrDiskHung }} {
			t.Run(h.name+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 13})
					c.CreateTopic("t", 1, 3)
					c.Produce("t", []byte("a"))
					victim := c.Leader("t", 0)
					disk := c.Disk(victim)
					release := hang(disk, h.which)
					defer release()
					other := c.Node(victim%3 + 1) // a client that asks the victim alone hears old news, as long as its copy of the metadata hangs
					p, err := producer.New(producer.Config{Client: other.Client()})
					require.NoError(t, err)
					began := time.Now()
					settled := make(chan error, 1)
					require.NoError(t, p.Enqueue(context.Background(), &record.Record{Topic: "t", Value: []byte("b")}, func(_ producer.Metadata, err error) { settled <- err }))
					ctx, cancel := context.WithCancel(t.Context())
					var wg sync.WaitGroup
					wg.Go(func() { // metadata is written, too; there may be no answer, for the controller may be the victim
						_ = cluster.NewAdmin(other.Client()).CreateTopic(ctx, cluster.TopicSpec{Name: "u", Partitions: 1, ReplicationFactor: 1})
					})
					defer wg.Wait()
					defer cancel()
					c.Await("another leader", func() bool {
						s := other.Status()
						topic, ok := s.Topic("t")
						return ok && topic.Partitions[0].Leader >= 0 && topic.Partitions[0].Leader != victim
					})
					assert.Less(t, time.Since(began), 2*9*time.Second+2*time.Second)
					require.NoError(t, <-settled)
					require.NoError(t, p.Close())

					began = time.Now()
					n := c.Node(victim)
					require.ErrorIs(t, end(n), cluster.ErrDiskHung)
					assert.Less(t, time.Since(began), 5*time.Second)
					<-n.Done()
					start := c.Prepare(victim)
					_, err = start(context.Background())
					require.ErrorIs(t, err, log.ErrDirectoryLocked)

					release()
					synctest.Wait()
					n, err = c.Prepare(victim)(t.Context())
					require.NoError(t, err)
					c.Adopt(victim, n)
					c.AwaitISR("t", 0, 3)
					assert.Equal(t, []string{"a", "b"}, values(c, "t"))
				})
			})
		}
	}
}

// A disk that hangs for a while and goes on: the node is back without a restart.
func TestDiskHangsForAWhile(t *testing.T) {
	for _, h := range hangs {
		t.Run(h.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 14})
				c.CreateTopic("t", 1, 3)
				c.Produce("t", []byte("a"))
				victim := c.Leader("t", 0)
				release := hang(c.Disk(victim), h.which)
				defer release()
				p, err := producer.New(producer.Config{Client: c.Node(victim%3 + 1).Client()})
				require.NoError(t, err)
				_, err = p.Produce(t.Context(), &record.Record{Topic: "t", Value: []byte("b")})
				require.NoError(t, err)
				require.NoError(t, p.Close())
				time.Sleep(time.Minute)
				release()
				c.AwaitISR("t", 0, 3)
				assert.Equal(t, []string{"a", "b"}, values(c, "t"))
			})
		})
	}
}
