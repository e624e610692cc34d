package format_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/require"
)

// files are those of a data directory, by name relative to it.
type files map[string][]byte

// filesOf reads a data directory as it lies on a disk.
func filesOf(tb testing.TB, disk vfs.FS, dir string) files {
	tb.Helper()
	all := files{}
	var walk func(rel string)
	walk = func(rel string) {
		entries, err := disk.ReadDir(path.Join(dir, rel))
		require.NoError(tb, err)
		for _, e := range entries {
			name := path.Join(rel, e.Name())
			if e.IsDir() {
				walk(name)
				continue
			}
			f, err := disk.Open(path.Join(dir, name), vfs.ReadOnly)
			require.NoError(tb, err)
			size, err := f.Size()
			require.NoError(tb, err)
			b := make([]byte, size)
			if n, err := f.ReadAt(b, 0); n < len(b) && err != io.EOF {
				require.NoError(tb, err)
			}
			require.NoError(tb, f.Close())
			all[name] = b
		}
	}
	walk("")
	return all
}

// written is one record that was acknowledged: where it is, and in which batch.
type written struct {
	record.Record
	offset int64
	codec  record.Codec
}

// clusterWorld is what three nodes were told, and what their disks held after that.
type clusterWorld struct {
	clean, killed files // of a node that was stopped in order, and of one that was killed
	cleanID       int32
	clusterID     string
	topics        map[string]log.TopicID
	orders        []written
	epochStarts   map[int64]int32 // leader epochs of orders-0 by the offset at which they began
	deletedBelow  int64           // DeleteRecords on orders-0
	highWatermark int64           // of orders-0
	retention     string          // retention.ms of orders
	members       map[string]string
	producer      cluster.ProducerState
	committed     map[int32]int64 // offsets of group "audit" on orders
	voters        []int32
}

// member is one node of a cluster with its disk.
type member struct {
	config cluster.Config
	disk   *vfs.Mem
	node   *cluster.Node
}

func start(t *testing.T, members ...*member) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, len(members))
	for i, m := range members {
		wg.Go(func() {
			m.config.FS = m.disk
			m.node, errs[i] = cluster.Start(t.Context(), m.config)
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

const dataDir = "data"

// runCluster has three nodes live: records with and without keys, headers and codecs, segments that roll, a leader that loses power, records that are deleted, groups of both protocols, a clean
// stop and a kill.
func runCluster(t *testing.T) *clusterWorld {
	w := &clusterWorld{topics: map[string]log.TopicID{}, epochStarts: map[int64]int32{}, retention: "123456789", committed: map[int32]int64{}, members: map[string]string{}}
	synctest.Test(t, func(t *testing.T) {
		network, rng := transport.NewMem(), rand.New(rand.NewPCG(1, 2))
		var voters []cluster.Voter
		var all []*member
		for id := int32(1); id <= 3; id++ {
			voters = append(voters, cluster.Voter{ID: id, Addr: fmt.Sprintf("node%d:9092", id)})
			w.voters = append(w.voters, id)
		}
		for _, v := range voters {
			disk := vfs.NewMem()
			disk.SetCapacity(64 << 20)
			all = append(all, &member{disk: disk, config: cluster.Config{
				NodeID: v.ID, Dir: dataDir, Listen: v.Addr, Network: network.Host(fmt.Sprintf("node%d", v.ID)), Voters: voters, Rack: fmt.Sprintf("rack%d", v.ID),
				Topic:  cluster.TopicDefaults{SegmentBytes: 1 << 20},
				Groups: cluster.GroupSettings{InitialRebalanceDelay: -1, OffsetsPartitions: 1},
				Rand:   rand.New(rand.NewPCG(3, uint64(v.ID))),
			}})
		}
		start(t, all...)
		defer func() {
			for _, m := range all {
				if m.node != nil {
					m.node.Kill()
				}
			}
		}()
		client, err := transport.NewClient(transport.ClientConfig{Bootstrap: []string{voters[0].Addr, voters[1].Addr, voters[2].Addr}, Network: network.Host("client")})
		require.NoError(t, err)
		defer client.Close()
		admin, ctx := cluster.NewAdmin(client), t.Context()
		require.NoError(t, admin.CreateTopic(ctx, cluster.TopicSpec{Name: "pad", Partitions: 1, ReplicationFactor: 3}))
		require.NoError(t, admin.CreateTopic(ctx, cluster.TopicSpec{Name: "orders", Partitions: 1, ReplicationFactor: 3}))
		require.NoError(t, admin.AlterTopicConfigs(ctx, "orders", map[string]*string{"retention.ms": &w.retention}))

		p, err := producer.New(producer.Config{Client: client, Linger: 50 * time.Millisecond})
		require.NoError(t, err)
		defer p.Close()
		_, err = p.Produce(ctx, &record.Record{Topic: "pad", Value: []byte("x")})
		require.NoError(t, err)
		squeezed, err := producer.New(producer.Config{Client: client, Codec: record.Zstd})
		require.NoError(t, err)
		defer squeezed.Close()
		w.load(t, p, squeezed)

		leader := func() *member {
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
				require.True(t, time.Now().Before(deadline), "orders has a leader")
				for _, m := range all {
					if m.node == nil {
						continue
					}
					s := m.node.Status()
					if topic, ok := s.Topic("orders"); ok && topic.Partitions[0].Leader == m.config.NodeID && len(topic.Partitions[0].ISR) == 3 {
						w.epochStarts[int64(len(w.orders))] = topic.Partitions[0].LeaderEpoch
						return m
					}
				}
			}
		}
		m := leader()
		delete(w.epochStarts, int64(len(w.orders)))
		w.epochStarts[0] = epochOf(m)
		disk := m.disk.Crash(vfs.DropAll, rng)
		m.node.Kill()
		m.disk, m.node = disk, nil
		time.Sleep(30 * time.Second) // another leads
		start(t, m)
		leader()
		w.load(t, p, squeezed)

		w.deletedBelow = 3
		_, err = admin.DeleteRecords(ctx, map[cluster.TopicPartition]int64{{Topic: "orders"}: w.deletedBelow})
		require.NoError(t, err)
		states, err := admin.Producers(ctx, cluster.TopicPartition{Topic: "orders"})
		require.NoError(t, err)
		require.NotEmpty(t, states)
		// Ids come in blocks, in the order in which nodes ask: of the two, the first producer is the one that has sent more.
		w.producer = slices.MaxFunc(states, func(a, b cluster.ProducerState) int { return cmp.Compare(a.LastSequence, b.LastSequence) })
		w.groups(t, client, admin)
		time.Sleep(3 * time.Minute) // checkpoints are written
		topics, err := admin.DescribeTopics(ctx, "orders", "__consumer_offsets", "pad")
		require.NoError(t, err)
		for _, topic := range topics {
			w.topics[topic.Name] = log.TopicID(topic.ID)
		}
		m = leader()
		delete(w.epochStarts, int64(len(w.orders)))
		w.clusterID = m.node.Status().ClusterID
		w.highWatermark = int64(len(w.orders))
		for _, other := range all {
			if other != m {
				w.cleanID = other.config.NodeID
				require.NoError(t, other.node.Shutdown(ctx))
				w.clean, other.node = filesOf(t, other.disk, dataDir), nil
				break
			}
		}
		disk = m.disk.Crash(vfs.KeepAll, rng)
		m.node.Kill()
		m.node = nil
		w.killed = filesOf(t, disk, dataDir)
	})
	return w
}

func epochOf(m *member) int32 {
	s := m.node.Status()
	topic, _ := s.Topic("orders")
	return topic.Partitions[0].LeaderEpoch
}

// load writes to orders: two records in one batch, a compressed one, and many that fill segments.
func (w *clusterWorld) load(t *testing.T, p, squeezed *producer.Producer) {
	t.Helper()
	now := time.Now().Truncate(time.Millisecond)
	var mu sync.Mutex
	add := func(r record.Record, c record.Codec) func(producer.Metadata, error) {
		return func(m producer.Metadata, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			w.orders = append(w.orders, written{r, m.Offset, c})
		}
	}
	for i := range 2 {
		r := record.Record{
			Topic: "orders", Key: []byte{'k', byte('0' + i)}, Value: []byte("first and second"), Timestamp: now.Add(time.Duration(7*i) * time.Millisecond),
			Headers: []record.Header{{Key: "trace", Value: []byte("4bf92f")}, {Key: "none"}},
		}
		require.NoError(t, p.Enqueue(t.Context(), &r, add(r, record.None)))
	}
	require.NoError(t, p.Flush(t.Context()))
	r := record.Record{Topic: "orders", Value: []byte(strings.Repeat("squeeze ", 40)), Timestamp: now.Add(20 * time.Millisecond)}
	m, err := squeezed.Produce(t.Context(), &r)
	add(r, record.Zstd)(m, err)
	for i := range 40 {
		r := record.Record{Topic: "orders", Key: []byte{}, Value: []byte(strings.Repeat(string(rune('a'+i%26)), 40000)), Timestamp: now.Add(time.Duration(30+i) * time.Millisecond)}
		m, err := p.Produce(t.Context(), &r)
		add(r, record.None)(m, err)
	}
}

// groups has a member of each protocol join a group, and an administrator commit offsets.
func (w *clusterWorld) groups(t *testing.T, client *transport.Client, admin *cluster.Admin) {
	t.Helper()
	for group, protocol := range map[string]consumer.Protocol{"fresh": consumer.ProtocolAuto, "classic": consumer.ProtocolClassic} {
		ctx, cancel := context.WithCancel(t.Context())
		con, err := consumer.New(consumer.Config{Client: client, Group: group, InstanceID: group + "-1", Topics: []string{"orders"}, Protocol: protocol})
		require.NoError(t, err)
		seen := 0
		for r, err := range con.Records(ctx) {
			require.NoError(t, err)
			require.NoError(t, con.MarkProcessed(r))
			if seen++; seen == 5 {
				break
			}
		}
		require.NoError(t, con.CommitMarked(ctx))
		w.members[group] = con.GroupStatus().MemberID
		cancel()
		require.NoError(t, con.Kill())
	}
	w.committed[0] = 17
	require.NoError(t, admin.SetGroupOffsets(t.Context(), "audit", map[cluster.TopicPartition]int64{{Topic: "orders"}: 17}))
}

// logWorld is one partition with what a node of today is not sent: transactions, which a log keeps as any other.
type logWorld struct {
	files   files
	topicID log.TopicID
	base    time.Time
}

// The producers of logWorld.
const (
	txnProducer, txnEpoch, txnCoordinator       = 4711, 3, 12
	openProducer, openEpoch                     = 4712, 5
	idempotentProducer, idempotentEpoch         = 815, 2
	heldProducer, heldEpoch, heldFirst, heldEnd = 4713, 1, 9, 10
)

// runLog appends, by offset: 0 plain; 1, 2 and 3 of a transaction in two batches; 4 its abort marker; 5 of a transaction that stays open; 6, 7, 8 idempotent in two batches; 9 of a transaction that is committed
// by 10, which is not replicated; then the log is closed.
func runLog(t *testing.T) *logWorld {
	t.Helper()
	w := &logWorld{topicID: log.TopicID{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}, base: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	disk := vfs.NewMem()
	d, err := log.OpenDirectory(dataDir, log.DirectoryConfig{FS: disk, NodeID: 9})
	require.NoError(t, err)
	require.NoError(t, d.SetClusterID("MkU3OEVBNTcwNTJENDM2Qg"))
	require.NoError(t, d.SetBrokerEpoch(77))
	l, err := d.OpenLog("ledger", 6, w.topicID, log.Config{})
	require.NoError(t, err)
	require.NoError(t, l.StartEpoch(4))
	offset := 0
	add := func(records int, transactional bool, id int64, epoch int16, sequence int32) {
		t.Helper()
		b := record.NewBuilder(record.BuilderConfig{Transactional: transactional})
		for range records {
			b.Append(&record.Record{Key: []byte("k"), Value: []byte("v"), Timestamp: w.base.Add(time.Duration(offset) * time.Second)})
			offset++
		}
		out, err := b.Build(nil)
		require.NoError(t, err)
		if id >= 0 {
			record.Batch(out).PutProducer(id, epoch, sequence)
		}
		_, err = l.Append(out, log.AppendOptions{LeaderEpoch: 4, Now: w.base, Origin: log.FromCoordinator})
		require.NoError(t, err)
	}
	mark := func(kind record.ControlType, id int64, epoch int16) {
		t.Helper()
		key := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(kind))
		b := record.NewBuilder(record.BuilderConfig{Transactional: true})
		b.Append(&record.Record{Key: key, Value: binary.BigEndian.AppendUint32([]byte{0, 0}, txnCoordinator), Timestamp: w.base.Add(time.Duration(offset) * time.Second)})
		offset++
		out, err := b.Build(nil)
		require.NoError(t, err)
		binary.BigEndian.PutUint16(out[21:], binary.BigEndian.Uint16(out[21:])|1<<5)
		record.Batch(out).PutProducer(id, epoch, -1)
		_, err = l.Append(out, log.AppendOptions{LeaderEpoch: 4, Now: w.base, Origin: log.FromCoordinator})
		require.NoError(t, err)
	}
	add(1, false, -1, 0, 0)
	add(1, true, txnProducer, txnEpoch, 0)
	add(2, true, txnProducer, txnEpoch, 1)
	mark(record.ControlAbort, txnProducer, txnEpoch)
	l.SetHighWatermark(5)
	add(1, true, openProducer, openEpoch, 0)
	add(1, false, idempotentProducer, idempotentEpoch, 100)
	add(2, false, idempotentProducer, idempotentEpoch, 101)
	l.SetHighWatermark(9)
	add(1, true, heldProducer, heldEpoch, 0)
	mark(record.ControlCommit, heldProducer, heldEpoch)
	runCompacted(t, d)
	require.NoError(t, d.Close(77))
	w.files = filesOf(t, disk, dataDir)
	return w
}

// metadataWorld is one controller that has written a checkpoint.
type metadataWorld struct {
	files files // of the directory of its log
	img   *controller.Image
}

func runController(t *testing.T) *metadataWorld {
	w := &metadataWorld{}
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		m := &member{disk: disk, config: cluster.Config{NodeID: 1, Dir: dataDir}}
		start(t, m)
		require.NoError(t, cluster.NewAdmin(m.node.Client()).CreateTopic(t.Context(), cluster.TopicSpec{Name: "events", Partitions: 2}))
		require.NoError(t, m.node.Close())
		dir := path.Join(dataDir, "__cluster_metadata-0")
		c, err := controller.Start(controller.Config{NodeID: 1, Voters: []int32{1}, FS: disk, Dir: dir, SnapshotBytes: 1})
		require.NoError(t, err)
		_, err = c.WaitLeader(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Second)
		w.img = c.Image()
		require.NoError(t, c.Close(false))
		w.files = filesOf(t, disk, dir)
	})
	return w
}

// runCompacted compacts a log: of two batches that are not in the active segment.
func runCompacted(t *testing.T, d *log.Directory) {
	t.Helper()
	l, err := d.OpenLog("facts", 2, log.TopicID{2}, log.Config{Compacted: true, TimestampAfterMax: 1e6 * time.Hour})
	require.NoError(t, err)
	add := func() {
		_, err := l.AppendRecords(record.Record{Key: []byte("k"), Value: []byte("v")}, record.Record{Key: []byte("k"), Value: []byte("w")})
		require.NoError(t, err)
	}
	add()
	add()
	require.NoError(t, l.Roll())
	add()
	_, err = l.Sync()
	require.NoError(t, err)
	l.SetHighWatermark(6)
	_, err = l.Compact(&log.Compactor{}, log.CompactionPolicy{}, time.Now())
	require.NoError(t, err)
	scrubbed, err := l.Scrub(log.Scrubber{})
	require.NoError(t, err)
	require.Equal(t, 1, scrubbed.Sealed)
}
