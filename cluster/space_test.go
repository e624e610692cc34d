package cluster_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// A node at its budget refuses records, goes on with all else, and takes records again when there is room.
func TestFault_F11_BudgetUsedUp(t *testing.T) {
	const budget = 1 << 20
	n := start(t, cluster.Config{MaxBytes: budget})
	admin := cluster.NewAdmin(n.Client())
	for _, topic := range []string{"kept", "given-up"} {
		require.NoError(t, admin.CreateTopic(t.Context(), cluster.TopicSpec{Name: topic, Partitions: 1}))
	}
	p, err := producer.New(producer.Config{Client: n.Client(), DeliveryTimeout: 300 * time.Millisecond})
	require.NoError(t, err)
	defer p.Close()
	send := func(topic string) error {
		_, err := p.Produce(t.Context(), &record.Record{Topic: topic, Value: make([]byte, 100<<10)})
		return err
	}
	require.NoError(t, send("kept"))
	taken := 0
	for err == nil {
		taken++
		require.Less(t, taken, 20, "the budget is no limit")
		err = send("given-up")
	}
	require.ErrorIs(t, err, kerr.NotEnoughReplicas)
	s := n.Status()
	require.True(t, s.Space.Full)
	require.LessOrEqual(t, s.Space.Used, int64(budget))
	require.Greater(t, s.Space.Used, int64(budget-200<<10))
	for _, r := range s.Replicas {
		require.NoError(t, r.Err)
		require.Equal(t, "leader", r.Role)
	}
	require.NoError(t, admin.CreateTopic(t.Context(), cluster.TopicSpec{Name: "another", Partitions: 1}), "metadata goes on")
	require.NoError(t, admin.DeleteTopic(t.Context(), "given-up"))
	require.Eventually(t, func() bool { return send("kept") == nil }, 5*time.Second, 10*time.Millisecond)
	require.False(t, n.Status().Space.Full)
}

// Retention runs when the budget is used up, not minutes later: a producer only waits a little.
func TestRetentionMakesRoom(t *testing.T) {
	n := start(t, cluster.Config{MaxBytes: 5 << 20, Topic: cluster.TopicDefaults{SegmentBytes: 1 << 20, RetentionBytes: 1 << 20}})
	require.NoError(t, cluster.NewAdmin(n.Client()).CreateTopic(t.Context(), cluster.TopicSpec{Name: "t", Partitions: 1}))
	p, err := producer.New(producer.Config{Client: n.Client(), DeliveryTimeout: 10 * time.Second})
	require.NoError(t, err)
	defer p.Close()
	for range 100 {
		_, err := p.Produce(t.Context(), &record.Record{Topic: "t", Value: make([]byte, 100<<10)})
		require.NoError(t, err)
	}
	require.LessOrEqual(t, n.Status().Space.Used, int64(5<<20))
}

// What is reserved of a disk is kept for metadata, groups and replication: records of clients do not take it.
func TestReserveIsKept(t *testing.T) {
	const capacity, reserve = 12 << 20, 6 << 20
	disk := vfs.NewMem()
	disk.SetCapacity(capacity)
	n := start(t, cluster.Config{FS: disk, Dir: "data", ReserveBytes: reserve})
	createTopic(t, n, "t", 20)
	p, err := producer.New(producer.Config{Client: n.Client(), DeliveryTimeout: 300 * time.Millisecond, Partitioner: producer.Manual{}})
	require.NoError(t, err)
	defer p.Close()
	taken := int64(0)
	for i := int32(0); err == nil; i++ {
		require.Less(t, taken, int64(capacity), "the reserve is no limit")
		_, err = p.Produce(t.Context(), &record.Record{Topic: "t", Partition: i % 20, Value: make([]byte, 10<<10)}) // so little that blocks might be written ahead
		taken += 10 << 10
	}
	require.ErrorIs(t, err, kerr.NotEnoughReplicas)
	_, free, err := disk.Space("data")
	require.NoError(t, err)
	require.GreaterOrEqual(t, free, int64(reserve-400<<10), "after %d bytes", taken)
	require.Greater(t, taken, int64(3<<20))
	require.True(t, n.Status().Space.Full)
	createTopic(t, n, "metadata-goes-on", 3)
	disk.SetCapacity(0)
	require.Eventually(t, func() bool { return !n.Status().Space.Full }, 5*time.Second, 10*time.Millisecond, "though nobody asks")
}

// A disk that refuses a write, with no reserve to tell before: the application is told, and told again when writes succeed; the records that waited are there, once.
func TestFault_F11_TheDiskRefusesAndTakesAgain(t *testing.T) {
	disk := vfs.NewMem()
	events := make(chan cluster.SpaceStatus, 10)
	n := start(t, cluster.Config{FS: disk, Dir: "data", Events: cluster.Listener{Space: func(s cluster.SpaceStatus) { events <- s }}})
	createTopic(t, n, "t", 1)
	p, err := producer.New(producer.Config{Client: n.Client()})
	require.NoError(t, err)
	defer p.Close()
	send := func() error {
		_, err := p.Produce(t.Context(), &record.Record{Topic: "t", Value: []byte("v")})
		return err
	}
	require.NoError(t, send())
	refuse := func(err error) {
		disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpWrite && strings.HasPrefix(op.Name, "/data/t-0/") {
				return err
			}
			return nil
		})
	}
	refuse(syscall.EMFILE)
	hasty, err := producer.New(producer.Config{Client: n.Client(), DeliveryTimeout: 200 * time.Millisecond})
	require.NoError(t, err)
	_, err = hasty.Produce(t.Context(), &record.Record{Topic: "t", Value: []byte("v")})
	require.ErrorIs(t, err, kerr.NotEnoughReplicas)
	require.NoError(t, hasty.Close())
	require.False(t, n.Status().Space.Full, "it is not space that there is none of")
	refuse(vfs.ErrNoSpace)
	sent := make(chan error, 1)
	go func() { sent <- send() }()
	select {
	case s := <-events:
		require.True(t, s.Full)
	case <-time.After(3 * time.Second):
		require.Fail(t, "nobody told") // before a round of checkpoints might
	}
	require.True(t, n.Status().Space.Full)
	for _, r := range n.Status().Replicas {
		require.NoError(t, r.Err)
	}
	require.Empty(t, sent)
	disk.SetFault(nil)
	require.NoError(t, <-sent)
	require.False(t, (<-events).Full)
	require.False(t, n.Status().Space.Full)
	require.Empty(t, events)
	for _, r := range n.Status().Replicas {
		if r.Topic == "t" {
			require.EqualValues(t, 2, r.Offsets.LogEndOffset)
		}
	}
}
