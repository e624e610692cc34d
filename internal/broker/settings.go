package broker

import (
	"github.com/insynclog/insync/internal/configs"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/replication"
)

// brokerConfigs are the layers below a topic's own configs, as they hold on this node.
func (b *Broker) brokerConfigs(img *controller.Image) (broker, cluster, static map[string]string) {
	return img.BrokerConfigs[b.c.NodeID], img.BrokerConfigs[clusterConfigs], b.c.Static
}

// clusterConfigs is the key of the cluster-wide defaults among the brokers' configs.
const clusterConfigs int32 = -1

// effective is a topic's configuration on this node.
func (b *Broker) effective(img *controller.Image, t *controller.Topic) configs.Topic {
	broker, cluster, static := b.brokerConfigs(img)
	return configs.Effective(t.Configs, broker, cluster, static)
}

// logConfig is what a topic's configuration means for its logs.
func (b *Broker) logConfig(t configs.Topic) log.Config {
	c := log.Config{
		SegmentBytes: t.SegmentBytes, SegmentAge: t.SegmentAge, SegmentJitter: t.SegmentJitter, IndexIntervalBytes: t.IndexIntervalBytes, SegmentIndexBytes: t.SegmentIndexBytes,
		MaxBatchBytes: int(t.MaxMessageBytes), TimestampBeforeMax: t.TimestampBeforeMax, TimestampAfterMax: t.TimestampAfterMax,
		Compression: compression(t), Compacted: t.CleanupCompact, FileDeleteDelay: t.FileDeleteDelay, KeepDamaged: true, Logger: b.c.Logger, Wall: b.c.Wall,
	}
	if t.CleanupCompact {
		c.SegmentAge = min(c.SegmentAge, t.MaxCompactionLag) // what is in the active segment cannot be compacted
	}
	if t.LogAppendTime {
		c.TimestampType = log.LogAppendTime
	}
	return c
}

func compression(t configs.Topic) log.Compression {
	c := log.Compression{Recode: true, Level: t.CompressionLevel}
	switch t.CompressionType {
	case "uncompressed":
		c.Codec = record.None
	case "gzip":
		c.Codec = record.Gzip
	case "snappy":
		c.Codec = record.Snappy
	case "lz4":
		c.Codec = record.LZ4
	case "zstd":
		c.Codec = record.Zstd
	default:
		return log.Compression{}
	}
	return c
}

// replicaSettings is what it means for a replica of a partition with so many replicas. Before a replica may confirm what is not synced the directory has to know: if that fails it may not.
func (b *Broker) replicaSettings(t configs.Topic, replicas int) replication.Settings {
	if t.FlushMessages > 1 {
		if err := b.c.Directory.NoteRelaxed(); err != nil {
			b.logger.Error("flush.messages is taken as 1", "node", b.c.NodeID, "error", err)
			t.FlushMessages = 1
		}
	}
	return replication.Settings{
		MinInSyncReplicas: t.MinISR(replicas), FlushMessages: t.FlushMessages, FlushInterval: t.FlushInterval, LagTime: b.c.LagTime,
		HandOverTime: controller.HandOverTime(b.c.SessionTimeout),
	}
}
