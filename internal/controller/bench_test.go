package controller

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func startAlone(b testing.TB, fs vfs.FS, dir string) *Controller {
	b.Helper()
	c, err := Start(Config{NodeID: 1, Voters: []int32{1}, FS: fs, Dir: dir + "/__cluster_metadata-0", DirectoryID: dirID(1)})
	require.NoError(b, err)
	return c
}

func send[R kmsg.Response](b testing.TB, c *Controller, req kmsg.Request) R {
	b.Helper()
	resp, err := c.Handle(context.Background(), req)
	require.NoError(b, err)
	return resp.(R)
}

func joinAlone(b testing.TB, c *Controller) int64 {
	b.Helper()
	r := send[*kmsg.BrokerRegistrationResponse](b, c, register(c, 1, 1, -1))
	require.Zero(b, r.ErrorCode)
	h := send[*kmsg.BrokerHeartbeatResponse](b, c, heartbeat(1, r.BrokerEpoch, c.Image().Offset))
	require.False(b, h.IsFenced)
	return r.BrokerEpoch
}

// A new node up to its first topic: elected, founded, registered, unfenced, topic created.
func BenchmarkStart(b *testing.B) {
	for _, disk := range []string{"memory", "real"} {
		b.Run("disk="+disk, func(b *testing.B) {
			var fs vfs.FS = vfs.OS()
			i := 0
			base := b.TempDir()
			for b.Loop() {
				dir := fmt.Sprintf("%s/%d", base, i)
				i++
				if disk == "memory" {
					fs, dir = vfs.NewMem(), "/data"
				}
				require.NoError(b, fs.MkdirAll(dir))
				c := startAlone(b, fs, dir)
				joinAlone(b, c)
				r := send[*kmsg.CreateTopicsResponse](b, c, createTopic("orders", 6, 1))
				require.Zero(b, r.Topics[0].ErrorCode)
				b.StopTimer()
				require.NoError(b, c.Close(false))
				b.StartTimer()
			}
		})
	}
}

// One waiting client: a request, a record, a sync, an answer.
func BenchmarkCommit(b *testing.B) {
	for _, disk := range []string{"memory", "real"} {
		for _, clients := range []int{1, 16} {
			b.Run(fmt.Sprintf("disk=%s/clients=%d", disk, clients), func(b *testing.B) {
				var fs vfs.FS = vfs.OS()
				dir := b.TempDir()
				if disk == "memory" {
					fs, dir = vfs.NewMem(), "/data"
				}
				c := startAlone(b, fs, dir)
				epoch := joinAlone(b, c)
				b.ReportAllocs()
				b.SetParallelism(max(1, clients/2))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						req := kmsg.NewPtrAllocateProducerIDsRequest()
						req.BrokerID, req.BrokerEpoch = 1, epoch
						if r := send[*kmsg.AllocateProducerIDsResponse](b, c, req); r.ErrorCode != 0 {
							b.Error(r.ErrorCode)
						}
					}
				})
				require.NoError(b, c.Close(false))
			})
		}
	}
}

// 10,000 partitions: creation, one ISR change among them, restart from the log.
func BenchmarkManyPartitions(b *testing.B) {
	for _, topics := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("topics=%d/create", topics), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				dir := b.TempDir()
				c := startAlone(b, vfs.OS(), dir)
				joinAlone(b, c)
				b.StartTimer()
				createMany(b, c, topics)
				b.StopTimer()
				require.NoError(b, c.Close(false))
				b.StartTimer()
			}
		})
		b.Run(fmt.Sprintf("topics=%d/alter", topics), func(b *testing.B) {
			c := startAlone(b, vfs.OS(), b.TempDir())
			joinAlone(b, c)
			createMany(b, c, topics)
			tp := c.Image().Topics["topic-0"]
			for b.Loop() {
				req := kmsg.NewPtrIncrementalAlterConfigsRequest()
				rr := kmsg.NewIncrementalAlterConfigsRequestResource()
				rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceTypeTopic, tp.Name
				v := fmt.Sprint(c.Image().Offset)
				rc := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
				rc.Name, rc.Value = "retention.ms", &v
				rr.Configs = append(rr.Configs, rc)
				req.Resources = append(req.Resources, rr)
				r := send[*kmsg.IncrementalAlterConfigsResponse](b, c, req)
				require.Zero(b, r.Resources[0].ErrorCode)
			}
			require.NoError(b, c.Close(false))
		})
		b.Run(fmt.Sprintf("topics=%d/restart", topics), func(b *testing.B) {
			dir := b.TempDir()
			c := startAlone(b, vfs.OS(), dir)
			joinAlone(b, c)
			createMany(b, c, topics)
			require.NoError(b, c.Close(false))
			for b.Loop() {
				c := startAlone(b, vfs.OS(), dir)
				require.Len(b, c.Image().Topics, topics)
				b.StopTimer()
				require.NoError(b, c.Close(false))
				b.StartTimer()
			}
		})
	}
}

func createMany(b testing.TB, c *Controller, topics int) {
	b.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 4, 60_000
	for i := range topics {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = fmt.Sprintf("topic-%d", i), int32(10_000/topics), 1
		req.Topics = append(req.Topics, t)
	}
	r := send[*kmsg.CreateTopicsResponse](b, c, req)
	for _, t := range r.Topics {
		require.Zero(b, t.ErrorCode, "%v", t.ErrorMessage)
	}
}

// Three new voters until all of them know that the cluster is founded.
func BenchmarkStartThree(b *testing.B) {
	base := b.TempDir()
	for i := 0; b.Loop(); i++ {
		var nodes [4]atomic.Pointer[Controller]
		for id := int32(1); id <= 3; id++ {
			dir := fmt.Sprintf("%s/%d-%d", base, i, id)
			require.NoError(b, vfs.OS().MkdirAll(dir))
			c, err := Start(Config{
				NodeID: id, Voters: []int32{1, 2, 3}, FS: vfs.OS(), Dir: dir + "/__cluster_metadata-0", DirectoryID: dirID(id),
				Send: func(to int32, msgs [][]byte) {
					if n := nodes[to].Load(); n != nil {
						n.Step(log.TopicID{}, msgs)
					}
				},
			})
			require.NoError(b, err)
			nodes[id].Store(c)
		}
		for id := 1; id <= 3; id++ {
			_, err := nodes[id].Load().WaitOffset(context.Background(), 1)
			require.NoError(b, err)
		}
		b.StopTimer()
		for id := 1; id <= 3; id++ {
			require.NoError(b, nodes[id].Load().Close(false))
		}
		b.StartTimer()
	}
}
