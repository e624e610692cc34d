package controller

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// acked is what a quorum of one has confirmed: topics that have to be there, and topics that must not.
type acked struct{ there, gone map[string]bool }

// life is a node's life with checkpoints, compaction, a clean stop and a start, until the disk fails. It returns what was acknowledged.
func life(disk *vfs.Mem) (a acked, err error) {
	a = acked{map[string]bool{}, map[string]bool{}}
	for round := range 2 {
		var c *Controller
		c, err = Start(Config{
			NodeID: 1, Voters: []int32{1}, FS: disk, Dir: "/data/__cluster_metadata-0", SnapshotBytes: 700, SegmentBytes: 1000, Rand: rand.New(rand.NewPCG(1, 1)),
		})
		if err != nil {
			return a, err
		}
		if err = a.live(c, round); err != nil {
			_ = c.Close(true)
			return a, err
		}
		if err = c.Close(false); err != nil {
			return a, err
		}
	}
	return a, nil
}

func (a acked) live(c *Controller, round int) error {
	ctx := context.Background()
	resp, err := c.Handle(ctx, register(c, 1, byte(round), -1))
	if err != nil {
		return err
	}
	epoch := resp.(*kmsg.BrokerRegistrationResponse).BrokerEpoch
	if _, err = c.Handle(ctx, heartbeat(1, epoch, c.Image().Offset)); err != nil {
		return err
	}
	for i := range 6 {
		name := fmt.Sprintf("topic-%d-%d", round, i)
		resp, err := c.Handle(ctx, createTopic(name, 2, 1))
		if err != nil {
			return err
		}
		if code := resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode; code != 0 {
			return fmt.Errorf("create %s: code %d", name, code)
		}
		a.there[name] = true
		if i%3 == 2 {
			req := kmsg.NewPtrDeleteTopicsRequest()
			req.TopicNames = []string{name}
			delete(a.there, name) // from here on it may be gone
			if _, err := c.Handle(ctx, req); err != nil {
				return err
			}
			a.gone[name] = true
		}
	}
	return nil
}

// check starts the node again: it must come up by itself, with everything that was acknowledged.
func (a acked) check(t *testing.T, disk *vfs.Mem, what string) {
	t.Helper()
	c, err := Start(Config{NodeID: 1, Voters: []int32{1}, FS: disk, Dir: "/data/__cluster_metadata-0"})
	require.NoError(t, err, what)
	img := c.Image()
	for name := range a.there {
		require.Contains(t, img.Topics, name, what)
	}
	for name := range a.gone {
		require.NotContains(t, img.Topics, name, what)
	}
	require.NoError(t, c.Close(false), what)
}

func newDisk(t *testing.T) *vfs.Mem {
	t.Helper()
	disk := vfs.NewMem()
	require.NoError(t, disk.MkdirAll("/data"))
	require.NoError(t, disk.SyncDir("/"))
	return disk
}

func countOps(t *testing.T) int64 {
	t.Helper()
	disk := newDisk(t)
	before := disk.Ops()
	a, err := life(disk)
	require.NoError(t, err)
	require.Len(t, a.there, 8)
	names, err := listCheckpoints(disk, "/data/__cluster_metadata-0")
	require.NoError(t, err)
	require.NotEmpty(t, names, "the workload reaches checkpoints")
	return disk.Ops() - before
}

// F03, F05, F06, F35: power fails at every operation of a node's life.
func TestFault_F03_PowerLossAnywhere(t *testing.T) {
	n := countOps(t)
	for _, mode := range []vfs.CrashMode{vfs.DropAll, vfs.KeepRandom, vfs.KeepAll} {
		for i := range n {
			disk := newDisk(t)
			at := disk.Ops() + i + 1
			var left *vfs.Mem
			disk.SetFault(func(op vfs.Op) error {
				if op.Kind.Changes() && op.Seq == at {
					left = disk.Crash(mode, rand.New(rand.NewPCG(uint64(i), 3)))
				}
				return nil
			})
			a, err := life(disk)
			if left == nil { // goroutines may spare an operation
				require.NoError(t, err)
				continue
			}
			a.check(t, left, fmt.Sprintf("mode %v, operation %d of %d", mode, i, n))
		}
	}
}

// F08, F09, F11: every operation fails once; the error has a type, the node stops, and a restart on a good disk has everything.
func TestFault_F08_ErrorAnywhere(t *testing.T) {
	n := countOps(t)
	for i := range n {
		disk := newDisk(t)
		at := disk.Ops() + i + 1
		hit := vfs.Op{}
		disk.SetFault(func(op vfs.Op) error {
			if op.Kind.Changes() && op.Seq == at {
				hit = op
				return syscall.EIO
			}
			return nil
		})
		a, err := life(disk)
		what := fmt.Sprintf("operation %d of %d: %v", i, n, hit)
		if err != nil {
			var se *log.StorageError
			require.True(t, errors.As(err, &se), "%s: untyped error %v", what, err)
		}
		disk.SetFault(nil)
		a.check(t, disk.Crash(vfs.KeepAll, nil), what)
	}
}

// F15, F16: a flipped bit anywhere in log or checkpoint is noticed, or harmless: never a wrong image.
func TestFault_F15_BitFlips(t *testing.T) {
	base := newDisk(t)
	c, err := Start(Config{NodeID: 1, Voters: []int32{1}, FS: base, Dir: "/data/__cluster_metadata-0", SnapshotBytes: 700})
	require.NoError(t, err)
	a := acked{map[string]bool{}, map[string]bool{}}
	require.NoError(t, a.live(c, 0))
	want := c.Image()
	require.NoError(t, c.Close(false))
	entries, err := base.ReadDir("/data/__cluster_metadata-0")
	require.NoError(t, err)
	refused, accepted := 0, 0
	for _, e := range entries {
		name := "/data/__cluster_metadata-0/" + e.Name()
		info, err := base.Stat(name)
		require.NoError(t, err)
		step := max(1, info.Size()/40)
		for off := int64(0); off < info.Size(); off += step {
			disk := base.Clone()
			require.NoError(t, disk.Corrupt(name, off, 1<<(off%8)))
			c, err := Start(Config{NodeID: 1, Voters: []int32{1}, FS: disk, Dir: "/data/__cluster_metadata-0"})
			if err != nil {
				refused++
				continue
			}
			accepted++
			require.True(t, sameMetadata(want, c.Image()), "%s at %d", name, off)
			require.NoError(t, c.Close(true))
		}
	}
	require.Greater(t, refused, 40)
	t.Logf("refused %d, harmless %d", refused, accepted)
}

// F02, F35: one of three voters loses power at every operation of its disk, while the others go on.
func TestFault_F02_VoterPowerLossAnywhere(t *testing.T) {
	for i := int64(1); i < 400; i += 7 {
		inBubble(t, 3, func(c *Config) { c.SnapshotBytes = 1500 }, func(t *testing.T, q *quorum) {
			victim := int32(i%3) + 1
			disk := q.disks[victim]
			at := disk.Ops() + i
			var left atomic.Pointer[vfs.Mem]
			disk.SetFault(func(op vfs.Op) error {
				if op.Kind.Changes() && op.Seq == at {
					left.Store(disk.Crash([]vfs.CrashMode{vfs.DropAll, vfs.KeepRandom}[i%2], rand.New(rand.NewPCG(uint64(i), 3))))
				}
				return nil
			})
			for _, id := range q.voters {
				if err := q.tryStart(id); err != nil {
					require.Equal(t, victim, id, "%v", err)
				}
			}
			acked := map[string]bool{}
			for j := range 12 {
				n := q.leader()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				_, _ = n.WaitOffset(ctx, 1)
				_, _ = n.Handle(ctx, register(n, 1, 1, -1))
				if b := n.Image().Brokers[1]; b != nil {
					_, _ = n.Handle(ctx, heartbeat(1, b.Epoch, n.Image().Offset))
				}
				name := fmt.Sprintf("topic-%d", j)
				resp, err := n.Handle(ctx, createTopic(name, 1, 1))
				cancel()
				if err == nil && resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode == 0 {
					acked[name] = true
				}
				if v := q.nodes[victim]; left.Load() != nil && (v == nil || v.Err() != nil) {
					q.drop(victim)
					q.disks[victim] = left.Swap(nil)
					require.NoError(t, q.tryStart(victim))
				}
			}
			disk.SetFault(nil)
			n := q.leader()
			q.handle(n, kmsg.NewPtrDeleteTopicsRequest())
			if v := q.nodes[victim]; v != nil && left.Load() == nil && v.Err() == nil {
				q.converge(n)
			}
			require.GreaterOrEqual(t, len(acked), 8, "operation %d", i)
			for name := range acked {
				require.Contains(t, n.Image().Topics, name, "operation %d", i)
			}
			if v := q.nodes[victim]; v != nil && (left.Load() != nil || v.Err() != nil) { // in the last round
				q.drop(victim)
			}
		})
	}
}

// What a start and a request cost in syncs, the only thing that takes time: one per request, and few to be there.
func TestSyncsAreFew(t *testing.T) {
	disk := newDisk(t)
	var syncs atomic.Int64
	disk.SetFault(func(op vfs.Op) error {
		if op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncDir {
			syncs.Add(1)
		}
		return nil
	})
	counted := func(f func()) int64 {
		before := syncs.Load()
		f()
		return syncs.Load() - before
	}
	start := func() (c *Controller) {
		c, err := Start(Config{NodeID: 1, Voters: []int32{1}, FS: disk, Dir: "/data/__cluster_metadata-0"})
		require.NoError(t, err)
		return c
	}
	var c *Controller
	require.LessOrEqual(t, counted(func() { c = start() }), int64(5), "directory, the one above it, lock, first entries, names of new files")
	require.Equal(t, int64(2), counted(func() { joinAlone(t, c) }), "registration, unfencing")
	require.Equal(t, int64(1), counted(func() { send[*kmsg.CreateTopicsResponse](t, c, createTopic("a", 100, 1)) }))
	b := c.Image().Brokers[1]
	require.Zero(t, counted(func() { send[*kmsg.BrokerHeartbeatResponse](t, c, heartbeat(1, b.Epoch, c.Image().Offset)) }), "a heartbeat writes nothing")
	require.NoError(t, c.Close(true))
	require.LessOrEqual(t, counted(func() { c = start() }), int64(11), "after a crash the log is recovered, too")
	require.NoError(t, c.Close(false))
}

// The metadata log does not grow for ever: segments go that lie below the checkpoint before the last, and a start finds all that was acknowledged.
func TestMetadataLogIsGivenUp(t *testing.T) {
	disk := newDisk(t)
	const dir = "/data/__cluster_metadata-0"
	start := func() (c *Controller) {
		c, err := Start(Config{NodeID: 1, Voters: []int32{1}, FS: disk, Dir: dir, SnapshotBytes: 2000, SegmentBytes: 4000})
		require.NoError(t, err)
		return c
	}
	c := start()
	joinAlone(t, c)
	most := 0
	for i := range 300 {
		send[*kmsg.CreateTopicsResponse](t, c, createTopic(fmt.Sprint("topic-", i), 1, 1))
		names, err := disk.ReadDir(dir)
		require.NoError(t, err)
		segments := 0
		for _, name := range names {
			if strings.HasSuffix(name.Name(), ".log") {
				segments++
			}
		}
		most = max(most, segments)
	}
	require.Greater(t, c.d.store.log.Offsets().LogEndOffset, int64(300))
	require.LessOrEqual(t, most, 4)
	for _, kill := range []bool{true, false} {
		require.NoError(t, c.Close(kill))
		if kill {
			disk = disk.Crash(vfs.DropAll, nil)
		}
		c = start()
		require.Len(t, c.Image().Topics, 300)
	}
	require.NoError(t, c.Close(false))
}
