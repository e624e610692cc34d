package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// write produces values one after the other to whoever leads, until all are acknowledged. The producer is idempotent.
func (h *harness) write(topic string, producer int64, from, count int) (want []string) {
	h.t.Helper()
	for i := from; i < from+count; i++ {
		v := fmt.Sprint(i)
		want = append(want, v)
		h.await(func() bool {
			n := h.leader(topic, 0)
			req := produceRequest(topic, 0, -1, producerBatch(h.t, producer, 0, int32(i), v))
			req.TimeoutMillis = 500
			p := call[*kmsg.ProduceResponse](n, req).Topics[0].Partitions[0]
			require.NotEqual(h.t, kerr.OutOfOrderSequenceNumber.Code, p.ErrorCode)
			return p.ErrorCode == 0
		})
	}
	return want
}

func TestLeaderCrash(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3)
		h.isr("t", 0, 3)
		want := h.write("t", 5, 0, 20)
		old := h.leader("t", 0)
		began := time.Now()
		old.stop(false)
		want = append(want, h.write("t", 5, 20, 20)...)
		assert.Less(t, time.Since(began), 18*time.Second, "a leader within two session timeouts")
		n := h.leader("t", 0)
		require.NotEqual(t, old.id, n.id)
		require.Equal(t, want, n.readAll("t", 0))
		h.start(old.id)
		h.isr("t", 0, 3)
		want = append(want, h.write("t", 5, 40, 5)...)
		h.await(func() bool {
			r, ok := h.nodes[old.id].Replica("t", 0)
			return ok && r.Log().Offsets().HighWatermark == 45
		})
		require.Equal(t, want, h.leader("t", 0).readAll("t", 0))
	})
}

// TestPowerLossOfAll crashes all nodes at once, so that only synced bytes survive: what was acknowledged must be there.
func TestPowerLossOfAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3)
		want := h.write("t", 5, 0, 30)
		for _, id := range h.ids {
			h.nodes[id].stop(false)
		}
		h.start(h.ids...)
		h.isr("t", 0, 3) // until then the high watermark is unknown
		require.Equal(t, want, h.leader("t", 0).readAll("t", 0))
		want = append(want, h.write("t", 5, 30, 5)...)
		require.Equal(t, want, h.leader("t", 0).readAll("t", 0))
	})
}

func TestCrashOfOneNodeAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		h.create(1, "t", 1, 1)
		want := h.write("t", 5, 0, 10)
		h.nodes[1].stop(false)
		h.start(1)
		require.Equal(t, want, h.leader("t", 0).readAll("t", 0))
		require.Equal(t, append(want, h.write("t", 5, 10, 3)...), h.leader("t", 0).readAll("t", 0))
	})
}

func TestCleanRestartKeepsISR(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3)
		want := h.write("t", 5, 0, 10)
		for _, id := range h.ids {
			h.nodes[id].stop(true)
		}
		h.start(h.ids...)
		h.isr("t", 0, 3)
		require.Equal(t, want, h.leader("t", 0).readAll("t", 0))
	})
}

// TestHandOver shuts every node down in order while a producer goes on: leadership moves before the node goes, so no request waits for a session timeout.
func TestHandOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 3, 3)
		for p := range int32(3) {
			h.isr("t", p, 3)
		}
		want := h.write("t", 5, 0, 5)
		at := 5
		for _, id := range h.ids {
			n := h.nodes[id]
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			began := time.Now()
			require.NoError(t, n.HandOver(ctx))
			cancel()
			assert.Less(t, time.Since(began), 2*time.Second)
			for _, st := range n.Replicas() {
				assert.NotEqual(t, id, st.State.Leader, "%s-%d", st.Topic, st.Partition)
			}
			n.ctl.Resign(t.Context())
			n.stop(true)
			began = time.Now()
			want = append(want, h.write("t", 5, at, 5)...)
			at += 5
			assert.Less(t, time.Since(began), 2*time.Second)
			h.start(id)
			for p := range int32(3) {
				h.isr("t", p, 3)
			}
		}
		require.Equal(t, want, h.leader("t", 0).readAll("t", 0))
	})
}

func TestR12_SelfFencing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var fenced atomic.Int32
		h := newHarness(t, 3, func(id int32, c *Config) { c.Events.Fenced = func() { fenced.Add(1) } })
		id := h.create(1, "t", 1, 3)
		h.isr("t", 0, 3)
		want := h.write("t", 5, 0, 5)
		old := h.leader("t", 0)
		name := fmt.Sprintf("n%d", old.id)
		h.net.SetLink(name, "*", transport.Link{Cut: true})
		h.net.SetLink("*", name, transport.Link{Cut: true})
		time.Sleep(old.c.SessionTimeout + time.Second)
		assert.Equal(t, kerr.NotLeaderForPartition.Code, old.produce("t", 0, 1, batch(t, "x")).ErrorCode)
		assert.Equal(t, kerr.NotLeaderForPartition.Code, one(t, call[*kmsg.FetchResponse](old, fetchRequest("t", 0, 0))).ErrorCode, "reads too")
		assert.Equal(t, kerr.NotLeaderForPartition.Code, old.listOne("t", 0, timestampLatest, 7).ErrorCode)
		assert.Equal(t, kerr.NotLeaderForPartition.Code, old.epochOne("t", 0, 0).ErrorCode)
		assert.Equal(t, int32(1), fenced.Load())
		want = append(want, h.write("t", 5, 5, 5)...)
		h.net.Heal()
		h.isr("t", 0, 3)
		h.await(func() bool {
			r, ok := old.Replica("t", 0)
			return ok && r.Log().Offsets().HighWatermark == 10
		})
		assert.Equal(t, id, old.Replicas()[0].TopicID)
		require.Equal(t, want, h.leader("t", 0).readAll("t", 0))
	})
}

func TestLoneNodeNeverFencesItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		assert.False(t, h.nodes[1].selfFenced(time.Now().Add(time.Hour)))
	})
}

func TestStrayDirectoriesAreSetAside(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		h.create(1, "t", 1, 1)
		n.stop(true)
		dir, err := log.OpenDirectory("data", log.DirectoryConfig{FS: n.disk, NodeID: 1})
		require.NoError(t, err)
		_, err = dir.OpenLog("stray", 3, log.TopicID{1}, log.Config{})
		require.NoError(t, err)
		// A directory of the right name, and of another incarnation of the topic.
		require.NoError(t, n.disk.RemoveAll("data/t-0"))
		_, err = dir.OpenLog("t", 0, log.TopicID{1}, log.Config{})
		require.NoError(t, err)
		require.NoError(t, dir.Close(-1))
		h.start(1)
		entries, err := n.disk.ReadDir("data")
		require.NoError(t, err)
		var found []string
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), "-stray") {
				found = append(found, e.Name()[:strings.IndexByte(e.Name(), '.')])
			}
		}
		assert.Equal(t, []string{"stray-3", "t-0"}, found)
		_, ok := n.Replica("t", 0)
		assert.True(t, ok)
	})
}

func TestDeletedTopicLosesItsFiles(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 2, 3)
		del := kmsg.NewPtrDeleteTopicsRequest()
		del.Version, del.TopicNames, del.TimeoutMillis = 5, []string{"t"}, 5000
		require.Zero(t, call[*kmsg.DeleteTopicsResponse](h.nodes[2], del).Topics[0].ErrorCode)
		h.await(func() bool {
			for _, id := range h.ids {
				if len(h.nodes[id].Replicas()) > 0 {
					return false
				}
			}
			return true
		})
		logs, err := h.nodes[2].dir.Logs()
		require.NoError(t, err)
		assert.Empty(t, logs)
	})
}

func TestEvents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		var told []string
		h := newHarness(t, 1, func(id int32, c *Config) {
			c.Events.LeaderChanged = func(topic string, partition, leader, epoch int32) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, fmt.Sprintf("%s-%d %d %d", topic, partition, leader, epoch))
			}
		})
		h.create(1, "t", 2, 1)
		mu.Lock()
		defer mu.Unlock()
		assert.Equal(t, []string{"t-0 1 0", "t-1 1 0"}, told)
	})
}

func TestOfflineLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var offline atomic.Int32
		h := newHarness(t, 3, func(id int32, c *Config) {
			c.Events.Replica = replication.Events{Offline: func(string, int32, error) { offline.Add(1) }}
		})
		h.create(1, "t", 1, 3)
		h.isr("t", 0, 3)
		want := h.write("t", 5, 0, 5)
		old := h.leader("t", 0)
		old.disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync && op.Name != "" && containsLog(op.Name) {
				return errors.New("disk on fire")
			}
			return nil
		})
		p := old.produce("t", 0, 1, producerBatch(t, 5, 0, 5, "5"))
		assert.Contains(t, []int16{kerr.KafkaStorageError.Code, kerr.NotLeaderForPartition.Code}, p.ErrorCode)
		want = append(want, h.write("t", 5, 5, 5)...)
		n := h.leader("t", 0)
		assert.NotEqual(t, old.id, n.id, "the controller moves the leadership away")
		assert.Equal(t, int32(1), offline.Load())
		assert.Equal(t, want, n.readAll("t", 0))
		assert.Equal(t, kerr.KafkaStorageError.Code, old.produce("t", 0, 1, batch(t, "x")).ErrorCode)
		old.stop(false)
	})
}

// containsLog tells whether a file is the log of a partition of topic t.
func containsLog(name string) bool {
	return strings.HasPrefix(name, "/data/t-") && strings.HasSuffix(name, ".log")
}

// TestIdleGoroutines counts what a node of three costs when nothing happens: broker, controller, server, connections.
func TestIdleGoroutines(t *testing.T) {
	bubble(t, func(t *testing.T) {
		before := runtime.NumGoroutine()
		h := newHarness(t, 3, nil)
		h.create(1, "t", 6, 3)
		for p := range int32(6) {
			h.isr("t", p, 3)
			h.leader("t", p).mustProduce("t", p, "v")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		perNode := (runtime.NumGoroutine() - before) / 3
		t.Logf("%d goroutines per node", perNode)
		assert.LessOrEqual(t, perNode, 40)
	})
}

func TestPanicTakesTheNodeDownOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		failed := make(chan error, 1)
		h := newHarness(t, 3, func(id int32, c *Config) { c.Events.Failed = func(err error) { failed <- err } })
		h.create(1, "t", 1, 3)
		h.isr("t", 0, 3)
		want := h.write("t", 5, 0, 3)
		old := h.leader("t", 0)
		require.True(t, old.spawn(func() { panic("a bug") }))
		assert.ErrorContains(t, <-failed, "a bug")
		assert.Equal(t, kerr.NotLeaderForPartition.Code, old.produce("t", 0, 1, batch(t, "x")).ErrorCode)
		want = append(want, h.write("t", 5, 3, 3)...)
		n := h.leader("t", 0)
		assert.NotEqual(t, old.id, n.id)
		assert.Equal(t, want, n.readAll("t", 0))
	})
}

// TestLogThatCannotBeOpened starts a node one of whose logs is unreadable: the node lives, its partition is KAFKA_STORAGE_ERROR, and in a cluster others lead.
func TestLogThatCannotBeOpened(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3)
		h.isr("t", 0, 3)
		want := h.write("t", 5, 0, 5)
		old := h.leader("t", 0)
		old.stop(true)
		old.disk.SetFault(func(op vfs.Op) error {
			if strings.HasPrefix(op.Name, "/data/t-0/") {
				return errors.New("unreadable")
			}
			return nil
		})
		h.start(old.id)
		// The node reports its disk, upon which the controller fences it, and a fenced node leads nothing: which of the two is seen depends on what comes first.
		refused := []int16{kerr.KafkaStorageError.Code, kerr.NotLeaderForPartition.Code}
		assert.Contains(t, refused, old.produce("t", 0, 1, batch(t, "x")).ErrorCode)
		assert.Contains(t, refused, one(t, call[*kmsg.FetchResponse](old, fetchRequest("t", 0, 0))).ErrorCode)
		req := fetchRequest("t", 0, 0)
		req.Version = 5
		assert.Equal(t, kerr.NotLeaderForPartition.Code, one(t, call[*kmsg.FetchResponse](old, req)).ErrorCode, "old consumers do not know the code")
		st := old.Replicas()
		require.Len(t, st, 1)
		assert.Equal(t, replication.Offline, st[0].Role)
		assert.Error(t, st[0].Err)
		want = append(want, h.write("t", 5, 5, 3)...)
		n := h.leader("t", 0)
		assert.NotEqual(t, old.id, n.id)
		assert.Equal(t, want, n.readAll("t", 0))
		old.stop(false)
	})
}

// TestLeaderMovesToParkedFetcher measures how soon records are acknowledged after a partition's leadership moved to a node that the other follower already follows, with a long poll under way.
func TestLeaderMovesToParkedFetcher(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 3, 3) // so that each node leads one, and each follows both others
		for p := range int32(3) {
			h.isr("t", p, 3)
		}
		want := h.write("t", 5, 0, 3)
		old := h.leader("t", 0)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.NoError(t, old.HandOver(ctx))
		began := time.Now()
		want = append(want, h.write("t", 5, 3, 3)...)
		assert.Less(t, time.Since(began), 100*time.Millisecond, "no long poll is waited for")
		assert.Equal(t, want, h.leader("t", 0).readAll("t", 0))
	})
}
