package broker

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// deleteRecordsRequest asks for one partition.
func deleteRecordsRequest(version int16, topic string, partition int32, offset int64, timeout time.Duration) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Version, req.TimeoutMillis = version, int32(timeout.Milliseconds())
	req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: partition, Offset: offset}}}}
	return req
}

func (n *testNode) deleteRecords(version int16, topic string, partition int32, offset int64, timeout time.Duration) kmsg.DeleteRecordsResponseTopicPartition {
	n.h.t.Helper()
	resp := call[*kmsg.DeleteRecordsResponse](n, deleteRecordsRequest(version, topic, partition, offset, timeout))
	require.Equal(n.h.t, version, resp.Version)
	require.Len(n.h.t, resp.Topics, 1)
	require.Equal(n.h.t, topic, resp.Topics[0].Topic)
	require.Len(n.h.t, resp.Topics[0].Partitions, 1)
	require.Equal(n.h.t, partition, resp.Topics[0].Partitions[0].Partition)
	return resp.Topics[0].Partitions[0]
}

// logStart is where a node's replica begins.
func (n *testNode) logStart(topic string, partition int32) int64 {
	r, ok := n.Replica(topic, partition)
	if !ok {
		return -1
	}
	return r.Log().Offsets().LogStartOffset
}

// file is the content of a file on a node's disk.
func (n *testNode) file(name string) string {
	n.h.t.Helper()
	f, err := n.disk.Open(name, vfs.ReadOnly)
	require.NoError(n.h.t, err)
	defer f.Close()
	size, err := f.Size()
	require.NoError(n.h.t, err)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	require.NoError(n.h.t, err)
	return string(b)
}

// KIP-107: the answer says that the records are gone from all live replicas, and they are gone for readers of each.
func TestDeleteRecords(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3, "segment.bytes", "1048576")
		lead := h.leader("t", 0)
		for i := range 10 {
			lead.mustProduce("t", 0, fmt.Sprint(i))
		}
		for v, offset := range []int64{2, 4, 6} {
			began := time.Now()
			p := lead.deleteRecords(int16(v), "t", 0, offset, 10*time.Second)
			require.Zero(t, p.ErrorCode)
			require.Equal(t, offset, p.LowWatermark)
			assert.Less(t, time.Since(began), 100*time.Millisecond, "a log start is news for followers whose fetch waits")
			for _, n := range h.nodes {
				assert.Equal(t, offset, n.logStart("t", 0))
				assert.Equal(t, fmt.Sprintf("0\n1\nt 0 %d", offset), strings.TrimRight(n.file("data/log-start-offset-checkpoint"), " \t\n"), "Kafka's file, and a checksum of white space")
			}
		}
		p := lead.deleteRecords(2, "t", 0, 3, time.Second)
		assert.Equal(t, []int64{0, 6}, []int64{int64(p.ErrorCode), p.LowWatermark}, "it does not fall")

		got := call[*kmsg.FetchResponse](lead, fetchRequest("t", 0, 5)).Topics[0].Partitions[0]
		assert.Equal(t, kerr.OffsetOutOfRange.Code, got.ErrorCode)
		got = call[*kmsg.FetchResponse](lead, fetchRequest("t", 0, 6)).Topics[0].Partitions[0]
		assert.Equal(t, []string{"6", "7", "8", "9"}, values(t, got.RecordBatches, 6))
		assert.Equal(t, int64(6), got.LogStartOffset)

		p = lead.deleteRecords(1, "t", 0, -1, time.Second)
		assert.Equal(t, []int64{0, 10}, []int64{int64(p.ErrorCode), p.LowWatermark}, "-1 is the high watermark")
		assert.Equal(t, int64(10), lead.mustProduce("t", 0, "on it goes"))

		// What nobody checkpointed is there after a crash of all.
		for _, n := range h.nodes {
			n.stop(false)
		}
		h.start(h.ids...)
		lead = h.leader("t", 0)
		for _, n := range h.nodes {
			assert.Equal(t, int64(10), n.logStart("t", 0))
		}
		h.await(func() bool {
			p := call[*kmsg.FetchResponse](lead, fetchRequest("t", 0, 10)).Topics[0].Partitions[0]
			return slices.Equal([]string{"on it goes"}, values(t, p.RecordBatches, 10))
		})
	})
}

func TestDeleteRecordsRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, nil)
		h.create(1, "t", 1, 2)
		h.create(1, "compacted", 1, 1, "cleanup.policy", "compact")
		h.create(1, "both", 1, 1, "cleanup.policy", "compact,delete")
		h.create(1, topicConsumerOffsets, 1, 1)
		lead := h.leader("t", 0)
		follower := h.nodes[3-lead.id]
		lead.mustProduce("t", 0, "a")
		for _, c := range []struct {
			name   string
			node   *testNode
			topic  string
			part   int32
			offset int64
			want   *kerr.Error
		}{
			{"unknown topic", lead, "none", 0, 0, kerr.UnknownTopicOrPartition},
			{"unknown partition", lead, "t", 1, 0, kerr.UnknownTopicOrPartition},
			{"negative partition", lead, "t", -1, 0, kerr.UnknownTopicOrPartition},
			{"follower", follower, "t", 0, 0, kerr.NotLeaderForPartition},
			{"replica elsewhere", h.other("compacted"), "compacted", 0, 0, kerr.NotLeaderForPartition},
			{"above the high watermark", lead, "t", 0, 2, kerr.OffsetOutOfRange},
			{"below -1", lead, "t", 0, -2, kerr.OffsetOutOfRange},
			{"compacted", h.leader("compacted", 0), "compacted", 0, 0, kerr.PolicyViolation},
			{"compacted and deleted", h.leader("both", 0), "both", 0, 0, nil},
			{"internal", h.leader(topicConsumerOffsets, 0), topicConsumerOffsets, 0, 0, kerr.InvalidTopicException},
			{"leader", lead, "t", 0, 0, nil},
		} {
			for v := int16(0); v <= 2; v++ {
				p := c.node.deleteRecords(v, c.topic, c.part, c.offset, time.Second)
				if c.want == nil {
					assert.Zero(t, p.ErrorCode, c.name)
					assert.Zero(t, p.LowWatermark, c.name)
					continue
				}
				assert.Equal(t, c.want.Code, p.ErrorCode, c.name)
				assert.Equal(t, int64(-1), p.LowWatermark, c.name)
			}
		}

		// One that is refused does not keep the others from theirs.
		req := deleteRecordsRequest(2, "none", 0, 0, time.Second)
		req.Topics = append(req.Topics, deleteRecordsRequest(2, "t", 0, 1, time.Second).Topics...)
		resp := call[*kmsg.DeleteRecordsResponse](lead, req)
		require.Len(t, resp.Topics, 2)
		assert.Equal(t, kerr.UnknownTopicOrPartition.Code, resp.Topics[0].Partitions[0].ErrorCode)
		assert.Zero(t, resp.Topics[1].Partitions[0].ErrorCode)
		assert.Equal(t, int64(1), lead.logStart("t", 0))
		assert.Empty(t, call[*kmsg.DeleteRecordsResponse](lead, &kmsg.DeleteRecordsRequest{Version: 2}).Topics)
	})
}

// other is a node that has no replica of a topic's partition 0.
func (h *harness) other(topic string) *testNode {
	for _, id := range h.ids {
		if _, ok := h.nodes[id].Replica(topic, 0); !ok {
			return h.nodes[id]
		}
	}
	h.t.Fatal("every node has one")
	return nil
}

// A follower that does not answer holds the answer up until the time is over, or it is fenced; the log start stays where it is.
func TestDeleteRecordsWaitsForLiveReplicas(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3)
		lead := h.leader("t", 0)
		for i := range 5 {
			lead.mustProduce("t", 0, fmt.Sprint(i))
		}
		require.Zero(t, lead.deleteRecords(2, "t", 0, 1, time.Second).ErrorCode)
		h.await(func() bool { return lead.ctl.Status().Leader >= 0 })
		away := h.nodes[lead.id%3+1]
		name := fmt.Sprintf("n%d", away.id)
		h.net.SetLink(name, "*", transport.Link{Cut: true})
		h.net.SetLink("*", name, transport.Link{Cut: true})
		began := time.Now()
		p := lead.deleteRecords(2, "t", 0, 3, 700*time.Millisecond)
		assert.Equal(t, kerr.RequestTimedOut.Code, p.ErrorCode)
		assert.Equal(t, int64(1), p.LowWatermark)
		assert.Equal(t, 700*time.Millisecond, time.Since(began).Truncate(50*time.Millisecond))
		assert.Equal(t, int64(3), lead.logStart("t", 0))
		assert.Equal(t, kerr.RequestTimedOut.Code, lead.deleteRecords(2, "t", 0, 3, 0).ErrorCode, "no time at all")

		p = lead.deleteRecords(2, "t", 0, 4, 30*time.Second)
		require.Zero(t, p.ErrorCode, "a fenced broker does not count")
		assert.Equal(t, int64(4), p.LowWatermark)
		assert.Less(t, time.Since(began), 15*time.Second)
		assert.Equal(t, int64(1), away.logStart("t", 0))

		assert.Equal(t, kerr.NotLeaderForPartition.Code, away.deleteRecords(2, "t", 0, 1, time.Second).ErrorCode)

		h.net.Heal()
		h.isr("t", 0, 3)
		h.await(func() bool { return away.logStart("t", 0) == 4 })
		p = lead.deleteRecords(2, "t", 0, 4, time.Second)
		assert.Equal(t, []int64{0, 4}, []int64{int64(p.ErrorCode), p.LowWatermark})
	})
}

// createAwayFromController creates a topic of one partition whose replicas are not on the active controller's node.
func (h *harness) createAwayFromController(rf int16) string {
	h.t.Helper()
	for i := range 100 {
		name := fmt.Sprintf("away%d", i)
		h.create(1, name, 1, rf, "min.insync.replicas", "1")
		id, _, ok := h.nodes[1].ctl.Leader()
		if ok && !slices.Contains(partitionOf(h.nodes[1].metadataImage(), name, 0).Replicas, id) {
			return name
		}
	}
	h.t.Fatal("every topic has a replica there")
	return ""
}

// Who waits hears of a leader that leads no more, of a topic that is deleted, and of a broker that closes.
func TestDeleteRecordsEndsWithThePartition(t *testing.T) {
	for _, end := range []string{"moved", "deleted", "closed"} {
		t.Run(end, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHarness(t, 3, nil)
				topic := h.createAwayFromController(2)
				lead := h.leader(topic, 0)
				lead.mustProduce(topic, 0, "a", "b")
				h.isr(topic, 0, 2)
				p := partitionOf(lead.metadataImage(), topic, 0)
				follower := h.nodes[p.Replicas[0]+p.Replicas[1]-lead.id]
				// The two do not hear each other; the third, the active controller, hears both.
				h.net.SetLink(fmt.Sprintf("n%d", lead.id), fmt.Sprintf("n%d", follower.id), transport.Link{Stall: true})
				h.net.SetLink(fmt.Sprintf("n%d", follower.id), fmt.Sprintf("n%d", lead.id), transport.Link{Stall: true})
				got := make(chan transport.Reply, 1)
				go lead.Serve(t.Context(), &transport.Request{Message: deleteRecordsRequest(2, topic, 0, 1, 2*time.Minute), Conn: &transport.ConnInfo{Direct: true}},
					func(r transport.Reply) { got <- r })
				time.Sleep(10 * time.Millisecond)
				want := kerr.NotLeaderForPartition
				switch end {
				case "moved":
					go func() { _ = lead.HandOver(t.Context()) }()
				case "deleted":
					req := kmsg.NewPtrDeleteTopicsRequest()
					req.Version, req.TimeoutMillis, req.TopicNames = 5, 5000, []string{topic}
					call[*kmsg.DeleteTopicsResponse](lead, req)
					want = kerr.UnknownTopicOrPartition
				case "closed":
					lead.stop(true)
					want = kerr.RequestTimedOut
				}
				resp := (<-got).Message.(*kmsg.DeleteRecordsResponse)
				assert.Equal(t, want.Code, resp.Topics[0].Partitions[0].ErrorCode)
				h.net.Heal()
			})
		})
	}
}

// A leader that is cut off from its controller says that it leads no more, also before it has heard who does.
func TestDeleteRecordsOfAFencedLeader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3)
		lead := h.leader("t", 0)
		lead.mustProduce("t", 0, "a")
		name := fmt.Sprintf("n%d", lead.id)
		h.net.SetLink(name, "*", transport.Link{Cut: true})
		h.net.SetLink("*", name, transport.Link{Cut: true})
		h.await(func() bool { return lead.selfFenced(time.Now()) })
		r, _ := lead.Replica("t", 0)
		require.NoError(t, r.CheckLeader(-1), "it does not know better")
		p := lead.deleteRecords(2, "t", 0, 1, time.Second)
		assert.Equal(t, []int64{int64(kerr.NotLeaderForPartition.Code), -1}, []int64{int64(p.ErrorCode), p.LowWatermark})
		assert.Zero(t, lead.logStart("t", 0))
		h.net.Heal()
	})
}

// A leader that cannot write its log start down does not say that records are deleted.
func TestDeleteRecordsOnAFailingDisk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		h.create(1, "t", 1, 1)
		n := h.nodes[1]
		n.mustProduce("t", 0, "a")
		n.disk.SetFault(func(op vfs.Op) error {
			if op.Kind.Changes() {
				return syscall.EIO
			}
			return nil
		})
		p := n.deleteRecords(2, "t", 0, 1, time.Second)
		assert.Equal(t, []int64{int64(kerr.KafkaStorageError.Code), -1}, []int64{int64(p.ErrorCode), p.LowWatermark})
		p = n.deleteRecords(2, "t", 0, 1, time.Second)
		assert.Equal(t, kerr.KafkaStorageError.Code, p.ErrorCode)
		n.disk.SetFault(nil)
		n.stop(false)
		h.start(1)
		assert.Zero(t, n.logStart("t", 0))
		require.False(t, errors.Is(n.ctl.Err(), syscall.EIO))
	})
}

// Files of deleted records go with a checkpoint, on followers, too.
func TestDeleteRecordsFreesTheDisk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, nil)
		h.create(1, "t", 1, 2, "segment.bytes", "1048576")
		lead := h.leader("t", 0)
		value := string(make([]byte, 300_000))
		for range 12 {
			lead.mustProduce("t", 0, value)
		}
		h.isr("t", 0, 2)
		require.Zero(t, lead.deleteRecords(2, "t", 0, -1, time.Second).ErrorCode)
		h.await(func() bool {
			for _, n := range h.nodes {
				if r, _ := n.Replica("t", 0); r.Log().SizeBytes() > 1<<20 {
					return false
				}
			}
			return true
		})
	})
}

// On a disk that is full to the last byte somebody deletes records to make space, and the segments go soon: a full node looks for what retention gives up time and again, which leaves checkpoints their turn.
func TestFault_F11_DeleteRecordsOnAFullDisk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		h.create(1, "t", 1, 1, "retention.ms", "-1", "segment.bytes", "1048576")
		n := h.leader("t", 0)
		n.disk.SetCapacity(64 << 20)
		time.Sleep(2 * retentionDelay) // the ballast is there
		value := string(bytes.Repeat([]byte("x"), 400_000))
		for range 20 {
			n.mustProduce("t", 0, value)
		}
		time.Sleep(2 * checkpointInterval)
		_, free, err := n.disk.Space("/")
		require.NoError(t, err)
		foreign, err := n.disk.Open("/foreign", vfs.Create)
		require.NoError(t, err)
		require.NoError(t, foreign.Preallocate(0, free))
		require.NoError(t, foreign.Close())
		for n.produce("t", 0, 1, batch(t, value)).ErrorCode == 0 {
			used, _ := n.Space()
			require.Less(t, used, int64(10_000_000), "the disk is full")
		}
		time.Sleep(2 * checkpointInterval)
		require.True(t, n.dir.Short(), "a checkpoint was written, into what is kept for that")
		used, full := n.Space()
		require.True(t, full)
		require.Greater(t, used, int64(8_000_000))

		require.Zero(t, n.deleteRecords(2, "t", 0, 18, time.Second).ErrorCode)
		time.Sleep(2 * checkpointInterval)
		used, full = n.Space()
		require.Less(t, used, int64(1_000_000), "the last segment stays")
		require.False(t, full)
		n.mustProduce("t", 0, value)
	})
}
