package broker

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestStepDowns(t *testing.T) {
	var s stepDowns
	a, b := controller.Leadership{TopicID: log.TopicID{2}, Partition: 1, LeaderEpoch: 5}, controller.Leadership{TopicID: log.TopicID{1}, Partition: 7, LeaderEpoch: 0}
	assert.Equal(t, []controller.Leadership{a, b}, s.take([]controller.Leadership{a, b}))
	assert.Empty(t, s.take([]controller.Leadership{a, b}), "asked for again")
	assert.Empty(t, s.list(), "not done yet")
	assert.Equal(t, int32(5), s.epoch(a.TopicID, 1))
	assert.Equal(t, int32(-1), s.epoch(a.TopicID, 2))
	s.done(a)
	s.done(b)
	assert.Equal(t, []controller.Leadership{b, a}, s.list())
	later := a
	later.LeaderEpoch = 6
	assert.Equal(t, []controller.Leadership{later}, s.take([]controller.Leadership{a, later}))
	s.done(a)
	assert.Equal(t, []controller.Leadership{b}, s.list(), "what is done is not the later one")
	s.done(later)
	s.heard(a.TopicID, 1, 6)
	assert.Equal(t, []controller.Leadership{b, later}, s.list())
	s.heard(a.TopicID, 1, 7)
	s.heard(b.TopicID, 7, 1)
	assert.Empty(t, s.list())

	var many []controller.Leadership
	for i := range int32(controller.MaxLogEnds + 10) {
		many = append(many, controller.Leadership{Partition: i})
		s.take(many[i:])
		s.done(many[i])
	}
	told := s.list()
	require.Len(t, told, controller.MaxLogEnds)
	told = append(told, s.list()[:10]...)
	assert.Equal(t, many, told, "all in their turn")
}

// A leader is asked to step down from what it leads, its group coordinator with it. Nobody asks for the move: the controller makes another the leader when it hears of it, and the clients of both go on.
func TestStepDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := groupHarness(t, 3)
		old := h.coordinatorOf("g")
		require.Equal(t, []int16{0}, old.commitCodes(commitRequest("g", "orders", 5)))
		var recalled []controller.Leadership
		for _, st := range old.Replicas() {
			if st.Topic == topicConsumerOffsets && st.State.Leader == old.id {
				h.isr(st.Topic, st.Partition, 3)
				topic := old.metadataImage().Topics[st.Topic]
				recalled = append(recalled, controller.Leadership{TopicID: topic.ID, Partition: st.Partition, LeaderEpoch: st.State.LeaderEpoch})
			}
		}
		require.NotEmpty(t, recalled)
		unknown := controller.Leadership{TopicID: log.TopicID{0xff, 77}, Partition: 1, LeaderEpoch: 3}
		h.net.SetLink("*", "*", transport.Link{Latency: 5 * time.Millisecond})
		old.stepDown(append(slices.Clone(recalled), unknown))
		synctest.Wait()
		assert.Equal(t, append([]controller.Leadership{}, recalled...), old.stepDowns.list()[:len(recalled)])
		assert.Equal(t, old.id, partitionOf(old.metadataImage(), topicConsumerOffsets, recalled[0].Partition).Leader, "for all that it has heard")
		_, code := old.committed("g", "orders", 0)
		assert.Equal(t, kerr.NotCoordinator.Code, code)
		r, _ := old.Replica(topicConsumerOffsets, recalled[0].Partition)
		assert.ErrorIs(t, r.CheckLeader(-1), replication.ErrNotLeader)
		h.await(func() bool { return len(old.stepDowns.list()) == 1 })
		assert.Equal(t, []controller.Leadership{unknown}, old.stepDowns.list(), "of the others it has heard that others lead")
		for _, l := range recalled {
			p := partitionOf(old.metadataImage(), topicConsumerOffsets, l.Partition)
			assert.NotEqual(t, old.id, p.Leader)
			assert.Equal(t, l.LeaderEpoch+1, p.LeaderEpoch)
		}
		assert.Equal(t, []int16{kerr.NotCoordinator.Code}, old.commitCodes(commitRequest("g", "orders", 6)))
		now := h.coordinatorOf("g")
		require.NotEqual(t, old.id, now.id)
		h.await(func() bool { return slices.Equal([]int16{0}, now.commitCodes(commitRequest("g", "orders", 7))) })
	})
}

// A node is not told for ever what it has stepped down from: it has no replica any more, or there is no topic.
func TestStepDownIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		n := h.nodes[1]
		id := h.create(1, "t", 1, 3)
		h.isr("t", 0, 3)
		old := h.leader("t", 0)
		epoch := partitionOf(old.metadataImage(), "t", 0).LeaderEpoch
		reassign := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		reassign.TimeoutMillis = 10_000
		rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
		rt.Topic = "t"
		rp := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		rp.Replicas = slices.DeleteFunc([]int32{1, 2, 3}, func(id int32) bool { return id == old.id })
		rt.Partitions = append(rt.Partitions, rp)
		reassign.Topics = append(reassign.Topics, rt)
		assert.Zero(t, call[*kmsg.AlterPartitionAssignmentsResponse](n, reassign).Topics[0].Partitions[0].ErrorCode)
		old.stepDown([]controller.Leadership{{TopicID: id, LeaderEpoch: epoch}})
		h.await(func() bool { return !slices.Contains(partitionOf(old.metadataImage(), "t", 0).Replicas, old.id) })
		time.Sleep(time.Second)
		assert.Empty(t, old.stepDowns.list(), "it has no replica any more")
		old.stepDown([]controller.Leadership{{TopicID: id, LeaderEpoch: epoch}})
		synctest.Wait()
		assert.Empty(t, old.stepDowns.list(), "an answer that came late")

		old = h.leader("t", 0)
		old.stepDown([]controller.Leadership{{TopicID: id, LeaderEpoch: math.MaxInt32 - 1}})
		synctest.Wait()
		assert.Len(t, old.stepDowns.list(), 1)
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version, req.TimeoutMillis = 6, 10_000
		req.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: id}}
		require.Zero(t, call[*kmsg.DeleteTopicsResponse](n, req).Topics[0].ErrorCode)
		time.Sleep(time.Second)
		assert.Empty(t, old.stepDowns.list(), "the topic is deleted")
	})
}

// What is recalled before this node has heard that it leads it is not begun; under the next epoch it leads.
func TestStepDownFromWhatIsToCome(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		id := h.create(1, "t", 1, 1)
		h.leader("t", 0).mustProduce("t", 0, "a")
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version, req.TimeoutMillis = 6, 10_000
		req.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: id}}
		require.Zero(t, call[*kmsg.DeleteTopicsResponse](n, req).Topics[0].ErrorCode)
		n.stepDown([]controller.Leadership{{TopicID: id, LeaderEpoch: 9}})
		h.await(func() bool { return len(n.stepDowns.list()) == 1 })
		p := &partition{topic: "t", id: id, leader: -1, epoch: -1, following: -1}
		topic := &controller.Topic{Name: "t", ID: id}
		states := func(epoch int32) []*localState {
			state := &controller.Partition{Leader: 1, LeaderEpoch: epoch, PartitionEpoch: epoch, Replicas: []int32{1}, ISR: []int32{1}}
			return []*localState{{part: p, topic: topic, state: state, conf: n.effective(n.metadataImage(), topic)}}
		}
		at := states(9)
		n.applier.openOne(at[0])
		require.NoError(t, p.err)
		n.applier.tell(at)
		assert.Equal(t, "idle", at[0].role.String())
		at = states(10)
		n.applier.tell(at)
		assert.Equal(t, "leader", at[0].role.String())
		assert.Empty(t, n.stepDowns.list())
		l := p.replica.Log()
		require.NoError(t, p.replica.Close())
		require.NoError(t, n.dir.DeleteLog(l))
	})
}

// A node whose disk has failed says that it serves nobody, before anybody else is made leader of what it leads: also of logs that have not met the failure.
func TestFailedDiskServesNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 3, nil)
		h.create(1, "t", 1, 3)
		h.isr("t", 0, 3)
		old := h.leader("t", 0)
		old.mustProduce("t", 0, "a")
		h.net.SetLink("*", "*", transport.Link{Latency: 5 * time.Millisecond})
		old.diskFailed.Store(true)
		old.life.kick()
		synctest.Wait()
		assert.True(t, old.selfFenced(time.Now()))
		assert.Equal(t, old.id, partitionOf(old.metadataImage(), "t", 0).Leader, "for all that it has heard")
		h.await(func() bool { return h.leader("t", 0).id != old.id })
		for range 5000 {
			require.True(t, old.selfFenced(time.Now()), "for good")
			time.Sleep(time.Millisecond)
		}
		assert.False(t, old.cutOff(time.Now()))
		assert.Equal(t, kerr.KafkaStorageError.Code, old.produce("t", 0, 1, batch(t, "x")).ErrorCode)
		h.leader("t", 0).mustProduce("t", 0, "b")
	})
}
