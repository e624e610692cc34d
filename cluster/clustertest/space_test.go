package clustertest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// spaceLoad produces records of 16 KiB one after the other, and knows which were acknowledged.
type spaceLoad struct {
	stop func()

	mu    sync.Mutex
	acked []string
}

func (l *spaceLoad) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

func produceLoad(t *testing.T, c *clustertest.Cluster, topic string) *spaceLoad {
	p, err := producer.New(producer.Config{Client: c.Client(), DeliveryTimeout: time.Hour})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	l := &spaceLoad{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			key := fmt.Sprint(i)
			_, err := p.Produce(context.Background(), &record.Record{Topic: topic, Key: []byte(key), Value: make([]byte, 16<<10)})
			if assert.NoError(t, err) {
				l.mu.Lock()
				l.acked = append(l.acked, key)
				l.mu.Unlock()
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	l.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		require.NoError(t, p.Close())
	})
	t.Cleanup(cancel)
	return l
}

// spaceEvents are what the nodes told of their space, by node.
type spaceEvents struct {
	mu   sync.Mutex
	full map[int32][]bool
}

func (e *spaceEvents) of(id int32) []bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]bool(nil), e.full[id]...)
}

const spaceReserve = 4 << 20

// leave gives a node's disk so many bytes more than it has used; negative is no limit.
func leave(t *testing.T, c *clustertest.Cluster, id int32, bytes int64) {
	disk := c.Disk(id)
	disk.SetCapacity(0)
	if bytes < 0 {
		return
	}
	total, free, err := disk.Space("data")
	require.NoError(t, err)
	disk.SetCapacity(total - free + bytes)
}

// One disk after the other is full, at last all, under load, and then there is space again. What can go on does, producers wait, nothing acknowledged is lost, and nobody has to be restarted.
func TestFault_F11_FullDisksOfACluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := &spaceEvents{full: map[int32][]bool{}}
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Seed: 11, Node: func(n *cluster.Config) {
			id := n.NodeID
			n.ReserveBytes = spaceReserve
			n.Topic.SegmentBytes = 1 << 20
			n.Events.Space = func(s cluster.SpaceStatus) {
				events.mu.Lock()
				defer events.mu.Unlock()
				events.full[id] = append(events.full[id], s.Full)
			}
			n.Events.ReplicaOffline = func(e cluster.ReplicaError) { t.Errorf("node %d: %v", id, e) }
			n.Events.Stopped = func(err error) { t.Errorf("node %d stopped: %v", id, err) }
		}})
		admin := cluster.NewAdmin(c.Client())
		c.CreateTopic("t", 1, 3)
		leader := c.Leader("t", 0)
		follower, third := leader%3+1, (leader+1)%3+1
		l := produceLoad(t, c, "t")
		defer l.stop()
		progress := func(what string) {
			t.Helper()
			from := l.count()
			c.Await(what, func() bool { return l.count() > from+5 })
		}
		full := func(id int32) func() bool { return func() bool { return c.Node(id).Status().Space.Full } }
		told := func(id int32, want ...bool) {
			t.Helper()
			c.Await("the event", func() bool { return len(events.of(id)) >= len(want) })
			require.Equal(t, want, events.of(id), "node %d", id)
		}
		topics := 0
		metadata := func() {
			t.Helper()
			topics++
			require.NoError(t, admin.CreateTopic(t.Context(), cluster.TopicSpec{Name: fmt.Sprint("new", topics), Partitions: 1, ReplicationFactor: 1}))
		}
		produceOnce := func(topic string, partition int32) error {
			p, err := producer.New(producer.Config{Client: c.Client(), DeliveryTimeout: time.Second, Partitioner: producer.Manual{}})
			require.NoError(t, err)
			defer p.Close()
			_, err = p.Produce(t.Context(), &record.Record{Topic: topic, Partition: partition, Key: []byte("once"), Value: make([]byte, 16<<10)})
			return err
		}
		progress("the load")

		// A follower: it leaves the in-sync set, and the others go on.
		leave(t, c, follower, spaceReserve/2+1<<20)
		c.Await("the follower is full", full(follower))
		c.AwaitISR("t", 0, 2)
		progress("two go on")
		metadata()
		told(follower, true)
		_, free, err := c.Disk(follower).Space("data")
		require.NoError(t, err)
		require.Greater(t, free, int64(spaceReserve/4), "the reserve is for metadata")
		leave(t, c, follower, -1)
		c.AwaitISR("t", 0, 3)
		told(follower, true, false)

		// The leader: clients are told to come again, reads and other partitions go on.
		c.CreateTopic("others", 3, 3)
		elsewhere := int32(0)
		for c.Leader("others", elsewhere) == leader {
			elsewhere++
		}
		leave(t, c, leader, spaceReserve+4<<20)
		c.Await("the leader is full", full(leader))
		require.ErrorIs(t, produceOnce("t", 0), kerr.NotEnoughReplicas)
		stuck := l.count()
		require.NotEmpty(t, c.ReadAll("t"))
		metadata()
		c.Await("a partition that another leads goes on", func() bool { return produceOnce("others", elsewhere) == nil })
		require.Equal(t, c.Leader("t", 0), leader)
		require.LessOrEqual(t, l.count(), stuck+1)
		// Retention makes space, and that is all it takes.
		keep := fmt.Sprint(256 << 10)
		require.NoError(t, admin.AlterTopicConfigs(t.Context(), "t", map[string]*string{"retention.bytes": &keep}))
		progress("retention has made space")
		forever := "-1"
		require.NoError(t, admin.AlterTopicConfigs(t.Context(), "t", map[string]*string{"retention.bytes": &forever}))
		leave(t, c, leader, -1)
		told(leader, true, false)
		progress("the load")

		// All of them: nothing is taken, all the rest goes on.
		for _, id := range []int32{leader, follower, third} {
			leave(t, c, id, spaceReserve+4<<20)
		}
		c.Await("the leader is full", full(leader))
		require.ErrorIs(t, produceOnce("t", 0), kerr.NotEnoughReplicas)
		c.Await("others are full", func() bool { return errors.Is(produceOnce("others", elsewhere), kerr.NotEnoughReplicas) })
		stuck = l.count()
		time.Sleep(time.Minute)
		require.LessOrEqual(t, l.count(), stuck+1)
		require.NotEmpty(t, c.ReadAll("t"))
		metadata()
		for _, id := range []int32{leader, follower, third} {
			leave(t, c, id, -1)
		}
		progress("there is space again")
		l.stop()
		c.AwaitISR("t", 0, 3)
		told(leader, true, false, true, false)
		start := int64(-1)
		have := map[string]bool{}
		for _, r := range c.ReadAll("t") {
			if start < 0 {
				start = r.Offset
			}
			have[string(r.Key)] = true
		}
		var lost []string
		for _, key := range l.acked {
			if !have[key] {
				lost = append(lost, key)
			}
		}
		// What retention took is from before the third part; the records are in the order of their numbers.
		for i, key := range lost {
			require.Equal(t, l.acked[i], key, "acknowledged, and lost")
		}
		require.Less(t, len(lost), stuck)
	})
}

// occupy has somebody else take all that is free on a node's disk, to the last byte, and vacate gives it back.
func occupy(t *testing.T, c *clustertest.Cluster, id int32) {
	disk := c.Disk(id)
	require.NoError(t, disk.MkdirAll("foreign"))
	f, err := disk.Open("foreign/file", vfs.Create)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	for {
		_, left, err := disk.Space("data")
		require.NoError(t, err)
		if left == 0 {
			break
		}
		if f.Preallocate(size, left) == nil { // the node takes some, too
			size += left
		}
	}
	require.NoError(t, f.Close())
}

func vacate(t *testing.T, c *clustertest.Cluster, id int32) {
	require.NoError(t, c.Disk(id).Remove("foreign/file"))
}

// All disks are full to the last byte, for somebody else has taken what was left, with nothing configured. Records are refused, all else goes on, whatever makes space heals it, and nobody is restarted.
func TestFault_F11_FullToTheLastByte(t *testing.T) {
	for _, nodes := range []int32{1, 3} {
		synctest.Test(t, func(t *testing.T) { fullToTheLastByte(t, nodes) })
	}
}

func fullToTheLastByte(t *testing.T, nodes int32) {
	const ballast = "data/.ballast"
	c := clustertest.New(t, clustertest.Config{Nodes: int(nodes), Seed: 12, Node: func(n *cluster.Config) {
		id := n.NodeID
		n.Topic.SegmentBytes = 1 << 20
		n.Events.ReplicaOffline = func(e cluster.ReplicaError) { t.Errorf("node %d: %v", id, e) }
		n.Events.Stopped = func(err error) { t.Errorf("node %d stopped: %v", id, err) }
	}})
	all := func(f func(id int32)) {
		for id := int32(1); id <= nodes; id++ {
			f(id)
		}
	}
	all(func(id int32) { c.Disk(id).SetCapacity(256 << 20) })
	whole := func(id int32) func() bool {
		return func() bool {
			info, err := c.Disk(id).Stat(ballast)
			return err == nil && info.Size() == 4<<20 && !c.Node(id).Status().Space.Full
		}
	}
	admin := cluster.NewAdmin(c.Client())
	c.CreateTopic("t", 1, int16(nodes))
	c.CreateTopic("doomed", 1, int16(nodes))
	l := produceLoad(t, c, "t")
	defer l.stop()
	d := produceLoad(t, c, "doomed")
	progress := func(what string) {
		t.Helper()
		from := l.count()
		c.Await(what, func() bool { return l.count() > from+5 })
	}
	fill := func() {
		t.Helper()
		all(func(id int32) { occupy(t, c, id) })
		c.Await("records are refused", func() bool {
			p, err := producer.New(producer.Config{Client: c.Client(), DeliveryTimeout: time.Second})
			require.NoError(t, err)
			defer p.Close()
			_, err = p.Produce(t.Context(), &record.Record{Topic: "t", Key: []byte("refused"), Value: make([]byte, 16<<10)})
			return errors.Is(err, kerr.NotEnoughReplicas)
		})
		stuck := l.count()
		time.Sleep(20 * time.Second)
		require.LessOrEqual(t, l.count(), stuck+1)
		c.Await("the leader says so", func() bool { return c.Node(c.Leader("t", 0)).Status().Space.Full }) // between two attempts of the load it may not
		require.NotEmpty(t, c.ReadAll("t"))
	}
	time.Sleep(time.Minute)
	all(func(id int32) { c.Await("the ballast", whole(id)) })
	d.stop()

	fill()
	require.NoError(t, admin.CreateTopic(t.Context(), cluster.TopicSpec{Name: "metadata-goes-on", Partitions: 3, ReplicationFactor: int16(nodes)}))
	require.NoError(t, admin.DeleteTopic(t.Context(), "doomed"))
	progress("a deleted topic has made space")
	all(func(id int32) { c.Await("the ballast is whole again", whole(id)) })

	fill()
	keep := fmt.Sprint(1 << 20)
	require.NoError(t, admin.AlterTopicConfigs(t.Context(), "t", map[string]*string{"retention.bytes": &keep}))
	progress("retention has made space")
	forever := "-1"
	require.NoError(t, admin.AlterTopicConfigs(t.Context(), "t", map[string]*string{"retention.bytes": &forever}))
	all(func(id int32) { c.Await("the ballast is whole again", whole(id)) })

	// Somebody takes all that the nodes give back: with half of its ballast gone a controller refuses what only adds to metadata, and what makes space goes on. The nodes live on for as long as it lasts.
	fill()
	var err error
	for i := 0; ; i++ {
		require.Less(t, i, 500)
		all(func(id int32) { occupy(t, c, id) })
		if err = admin.CreateTopic(t.Context(), cluster.TopicSpec{Name: fmt.Sprint("more", i), Partitions: 1, ReplicationFactor: 1}); err != nil {
			break
		}
		time.Sleep(time.Second)
	}
	require.ErrorIs(t, err, kerr.KafkaStorageError)
	require.NoError(t, admin.DeleteTopic(t.Context(), "metadata-goes-on"))
	for range 60 {
		all(func(id int32) { occupy(t, c, id) })
		time.Sleep(5 * time.Second)
	}
	require.NotEmpty(t, c.ReadAll("t"))

	all(func(id int32) { vacate(t, c, id) })
	progress("there is space again")
	require.NoError(t, admin.CreateTopic(t.Context(), cluster.TopicSpec{Name: "at-last", Partitions: 1, ReplicationFactor: int16(nodes)}))
	l.stop()
	c.AwaitISR("t", 0, int(nodes))
	all(func(id int32) { c.Await("the ballast is whole again", whole(id)) })
	have := map[string]bool{}
	for _, r := range c.ReadAll("t") {
		have[string(r.Key)] = true
	}
	gone := 0
	for i, key := range l.acked {
		if !have[key] {
			gone++
			require.Equal(t, gone-1, i, "%s was acknowledged, is behind what retention took, and is lost", key)
		}
	}
	require.Less(t, gone, len(l.acked))
}
