package broker

import (
	"syscall"
	"testing"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (n *testNode) logDirs(version int16, topics ...kmsg.DescribeLogDirsRequestTopic) kmsg.DescribeLogDirsResponseDir {
	n.h.t.Helper()
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.Version, req.Topics = version, topics
	resp := call[*kmsg.DescribeLogDirsResponse](n, req)
	require.Equal(n.h.t, version, resp.Version)
	require.Zero(n.h.t, resp.ErrorCode)
	require.Len(n.h.t, resp.Dirs, 1)
	return resp.Dirs[0]
}

func TestDescribeLogDirs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 1, nil)
		n := h.nodes[1]
		n.disk.SetCapacity(1 << 30)
		h.create(1, "b", 1, 1)
		h.create(1, "a", 2, 1)
		n.mustProduce("a", 1, "some records", "and more")
		for v := int16(1); v <= 4; v++ {
			d := n.logDirs(v)
			assert.Equal(t, "data", d.Dir)
			assert.Zero(t, d.ErrorCode)
			require.Len(t, d.Topics, 2)
			assert.Equal(t, []string{"a", "b"}, []string{d.Topics[0].Topic, d.Topics[1].Topic})
			require.Len(t, d.Topics[0].Partitions, 2)
			p := d.Topics[0].Partitions[1]
			r, _ := n.Replica("a", 1)
			assert.Equal(t, []int64{1, r.Log().SizeBytes(), 0}, []int64{int64(p.Partition), p.Size, p.OffsetLag})
			assert.Greater(t, p.Size, int64(61))
			assert.Zero(t, d.Topics[0].Partitions[0].Size)
			assert.False(t, p.IsFuture)
			assert.Equal(t, int64(1<<30), d.TotalBytes)
			assert.Positive(t, d.UsableBytes)
			assert.Less(t, d.UsableBytes, d.TotalBytes)
		}
		d := n.logDirs(4, kmsg.DescribeLogDirsRequestTopic{Topic: "a", Partitions: []int32{1, 7}}, kmsg.DescribeLogDirsRequestTopic{Topic: "none", Partitions: []int32{0}})
		require.Len(t, d.Topics, 1, "what is not here is left out")
		require.Len(t, d.Topics[0].Partitions, 1)
		assert.Equal(t, int32(1), d.Topics[0].Partitions[0].Partition)
		req := kmsg.NewPtrDescribeLogDirsRequest()
		req.Version, req.Topics = 4, []kmsg.DescribeLogDirsRequestTopic{}
		assert.Empty(t, call[*kmsg.DescribeLogDirsResponse](n, req).Dirs[0].Topics, "an empty list asks for nothing")

		n.disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync {
				return syscall.EIO
			}
			return nil
		})
		n.produce("b", 0, 1, batch(t, "x"))
		h.await(func() bool { return n.diskFailed.Load() })
		n.disk.SetFault(nil)
		d = n.logDirs(4)
		assert.Equal(t, kerr.KafkaStorageError.Code, d.ErrorCode)
		assert.Empty(t, d.Topics)
		assert.Equal(t, []int64{-1, -1}, []int64{d.TotalBytes, d.UsableBytes})
		n.stop(false)
		h.start(1)
	})
}
