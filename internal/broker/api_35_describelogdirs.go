package broker

import (
	"context"
	"slices"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeLogDirs (35), versions 1-4: this node's data directory (KIP-113).
//
// Behaviour: a null list asks for all partitions, those that are not on this node are left out. Sizes are those of the files with records. A directory whose disk has failed is KAFKA_STORAGE_ERROR, with nothing in it;
// a partition whose log could not be opened is left out. There is one directory, so no replica is on its way from one to another, and none lags behind itself.
//
// Versions: v3 has an error for the whole, for those who may not ask · v4 tells how much room the disk has and how much is left (KIP-827); what the system does not say is -1.
func (b *Broker) describeLogDirs(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.DescribeLogDirsRequest)
	resp := kmsg.NewPtrDescribeLogDirsResponse()
	resp.Version = req.Version
	d := kmsg.NewDescribeLogDirsResponseDir()
	d.Dir, d.TotalBytes, d.UsableBytes = b.c.Directory.Path(), -1, -1
	if b.diskFailed.Load() {
		d.ErrorCode = kerr.KafkaStorageError.Code
	} else {
		if total, free, err := b.c.Directory.Space(); err == nil {
			d.TotalBytes, d.UsableBytes = total, free
		}
		d.Topics = b.sizes(req)
	}
	resp.Dirs = append(resp.Dirs, d)
	reply(transport.Reply{Message: resp})
}

// sizes lists the partitions of the directory that a request asks for.
func (b *Broker) sizes(req *kmsg.DescribeLogDirsRequest) (topics []kmsg.DescribeLogDirsResponseDirTopic) {
	for _, p := range b.replicas.all() {
		wanted := req.Topics == nil || slices.ContainsFunc(req.Topics, func(t kmsg.DescribeLogDirsRequestTopic) bool {
			return t.Topic == p.topic && slices.Contains(t.Partitions, p.index)
		})
		if !wanted || p.replica == nil {
			continue
		}
		if n := len(topics); n == 0 || topics[n-1].Topic != p.topic {
			t := kmsg.NewDescribeLogDirsResponseDirTopic()
			t.Topic = p.topic
			topics = append(topics, t)
		}
		t := &topics[len(topics)-1]
		o := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		o.Partition, o.Size = p.index, p.replica.Log().SizeBytes()
		t.Partitions = append(t.Partitions, o)
	}
	return topics
}
