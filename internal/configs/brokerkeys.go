package configs

import (
	"math"
	"strconv"
	"strings"
)

// brokerKeys is sorted by name. Keys that can change while a node runs are those that a topic inherits and those whose ReadOnly is false.
var brokerKeys = []Key{
	{
		Name: "advertised.listeners", Type: List, ReadOnly: true,
		Doc: "The addresses that clients and other nodes are told.",
	},
	{
		Name: "auto.create.topics.enable", Type: Boolean, Default: "false", ReadOnly: true,
		Doc: "Whether a topic is created when a client that allows it asks for its metadata. Differs from Kafka, where it is on: a durable node creates no topic for a typing error.",
	},
	{
		Name: "auto.leader.rebalance.enable", Type: Boolean, Default: "true", ReadOnly: true,
		Doc: "Whether leadership goes back to the preferred replica (the first in the list) when it is in sync.",
	},
	{
		Name: "broker.heartbeat.interval.ms", Type: Int, Default: "2000", ReadOnly: true, rule: atLeast(1),
		Doc: "How often a node tells the controller that it is alive.",
	},
	{
		Name: "broker.rack", Type: String, ReadOnly: true,
		Doc: "The rack, zone or host group that the node is in. Replicas of a partition are spread over racks, and consumers may read from their own.",
	},
	{
		Name: "broker.session.timeout.ms", Type: Int, Default: "9000", ReadOnly: true, rule: atLeast(1),
		Doc: "After how long without a heartbeat a node is fenced: others lead its partitions.",
	},
	{
		Name: "compression.gzip.level", Type: Int, Default: "-1", rule: must(gzipLevel),
		Doc: "The default of the topic config compression.gzip.level.",
	},
	{
		Name: "compression.lz4.level", Type: Int, Default: "9", rule: between(1, 17),
		Doc: "The default of the topic config compression.lz4.level.",
	},
	{
		Name: "compression.type", Type: String, Default: "producer", rule: oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
		Doc: "The default of the topic config compression.type.",
	},
	{
		Name: "compression.zstd.level", Type: Int, Default: "3", rule: between(-131072, 22),
		Doc: "The default of the topic config compression.zstd.level.",
	},
	{
		Name: "connections.max.idle.ms", Type: Long, Default: "600000", ReadOnly: true,
		Doc: "After how long a connection without requests is closed.",
	},
	{
		Name: "controlled.shutdown.enable", Type: Boolean, Default: "true", ReadOnly: true,
		Doc: "Whether a node that stops hands its leaderships over first.",
	},
	{
		Name: "controller.quorum.election.timeout.ms", Type: Int, Default: "1000", ReadOnly: true, rule: atLeast(1),
		Doc: "After how long without its leader a voter asks for an election, and a leader without a majority steps down.",
	},
	{
		Name: "controller.quorum.voters", Type: List, ReadOnly: true,
		Doc: "The members of the metadata quorum as id@host:port.",
	},
	{
		Name: "default.replication.factor", Type: Int, Default: "1", ReadOnly: true, rule: atLeast(1),
		Doc: "How many replicas a topic gets that is created without a number. Differs from Kafka, where it is 1: unless set it is 3, or the number of registered nodes if there are fewer.",
	},
	{
		Name: "delete.topic.enable", Type: Boolean, Default: "true", ReadOnly: true,
		Doc: "Whether topics may be deleted.",
	},
	{
		Name: "fetch.max.bytes", Type: Int, Default: "57671680", ReadOnly: true, rule: atLeast(1024),
		Doc: "How many bytes a fetch is answered with at most.",
	},
	{
		Name: "follower.replication.throttled.rate", Type: Long, Default: maxLong, rule: atLeast(0),
		Doc: "Bytes a second that this node fetches at most for those of its replicas that are in the topic config follower.replication.throttled.replicas and not in sync.",
	},
	{
		Name: "group.consumer.assignors", Type: List, Default: "uniform,range", ReadOnly: true, rule: oneOf("uniform", "range"),
		Doc: "The assignors of the consumer protocol; the first one is the default.",
	},
	{
		Name: "group.consumer.heartbeat.interval.ms", Type: Int, Default: "5000", ReadOnly: true, rule: atLeast(1),
		Doc: "How often members under the consumer protocol are told to send heartbeats.",
	},
	{
		Name: "group.consumer.max.size", Type: Int, Default: maxInt, ReadOnly: true, rule: atLeast(1),
		Doc: "How many members a group under the consumer protocol may have.",
	},
	{
		Name: "group.consumer.session.timeout.ms", Type: Int, Default: "45000", ReadOnly: true, rule: atLeast(1),
		Doc: "The session timeout of members under the consumer protocol.",
	},
	{
		Name: "group.initial.rebalance.delay.ms", Type: Int, Default: "3000", ReadOnly: true, rule: atLeast(0),
		Doc: "How long the first rebalance of an empty group waits for more members.",
	},
	{
		Name: "group.max.session.timeout.ms", Type: Int, Default: "1800000", ReadOnly: true, rule: atLeast(1),
		Doc: "The longest session timeout a group member may ask for.",
	},
	{
		Name: "group.max.size", Type: Int, Default: maxInt, ReadOnly: true, rule: atLeast(1),
		Doc: "How many members a group may have.",
	},
	{
		Name: "group.min.session.timeout.ms", Type: Int, Default: "6000", ReadOnly: true, rule: atLeast(1),
		Doc: "The shortest session timeout a group member may ask for.",
	},
	{
		Name: "initial.broker.registration.timeout.ms", Type: Int, Default: "60000", ReadOnly: true, rule: atLeast(1),
		Doc: "How long a node tries to register when it starts.",
	},
	{
		Name: "leader.imbalance.check.interval.seconds", Type: Long, Default: "300", ReadOnly: true, rule: atLeast(1),
		Doc: "How often leadership is given back to preferred replicas.",
	},
	{
		Name: "leader.replication.throttled.rate", Type: Long, Default: maxLong, rule: atLeast(0),
		Doc: "Bytes a second that this node serves at most to followers that are in the topic config leader.replication.throttled.replicas and not in sync.",
	},
	{
		Name: "listeners", Type: List, ReadOnly: true,
		Doc: "The addresses on which the node takes connections. Without one it is reached in process only.",
	},
	{
		Name: "log.cleaner.backoff.ms", Type: Long, Default: "15000", rule: atLeast(0),
		Doc: "How long the cleaner sleeps when there is nothing to compact.",
	},
	{
		Name: "log.cleaner.dedupe.buffer.size", Type: Long, Default: "134217728", rule: atLeast(0),
		Doc: "The memory for finding older records of a key while compacting.",
	},
	{
		Name: "log.cleaner.delete.retention.ms", Type: Long, Default: "86400000", rule: atLeast(0),
		Doc: "The default of the topic config delete.retention.ms.",
	},
	{
		Name: "log.cleaner.enable", Type: Boolean, Default: "true", ReadOnly: true,
		Doc: "Whether compacted topics are compacted.",
	},
	{
		Name: "log.cleaner.io.buffer.load.factor", Type: Double, Default: "0.9", rule: between(0, 1),
		Doc: "How full the table of keys may become while compacting.",
	},
	{
		Name: "log.cleaner.io.buffer.size", Type: Int, Default: "524288", rule: atLeast(0),
		Doc: "The memory for reading and writing while compacting.",
	},
	{
		Name: "log.cleaner.io.max.bytes.per.second", Type: Double, Default: "1.7976931348623157E308",
		Doc: "How many bytes per second compaction may read and write.",
	},
	{
		Name: "log.cleaner.max.compaction.lag.ms", Type: Long, Default: maxLong, rule: atLeast(1),
		Doc: "The default of the topic config max.compaction.lag.ms.",
	},
	{
		Name: "log.cleaner.min.cleanable.ratio", Type: Double, Default: "0.5", rule: between(0, 1),
		Doc: "The default of the topic config min.cleanable.dirty.ratio.",
	},
	{
		Name: "log.cleaner.min.compaction.lag.ms", Type: Long, Default: "0", rule: atLeast(0),
		Doc: "The default of the topic config min.compaction.lag.ms.",
	},
	{
		Name: "log.cleaner.threads", Type: Int, Default: "1", rule: atLeast(0),
		Doc: "How many logs are compacted at once.",
	},
	{
		Name: "log.cleanup.policy", Type: List, Default: "delete", rule: oneOf("delete", "compact"),
		Doc: "The default of the topic config cleanup.policy.",
	},
	{
		Name: "log.dirs", Type: List, ReadOnly: true,
		Doc: "The data directory.",
	},
	{
		Name: "log.flush.interval.messages", Type: Long, Default: "1", rule: atLeast(1),
		Doc: "The default of the topic config flush.messages. Differs from Kafka, where it is never: here 1, which is group commit before every acknowledgement.",
	},
	{
		Name: "log.flush.interval.ms", Type: Long, rule: atLeast(0),
		Doc: "The default of the topic config flush.ms; without it log.flush.scheduler.interval.ms counts.",
	},
	{
		Name: "log.flush.offset.checkpoint.interval.ms", Type: Int, Default: "60000", ReadOnly: true, rule: atLeast(0),
		Doc: "How often recovery points are stored. What lies past one is checked after a crash.",
	},
	{
		Name: "log.flush.scheduler.interval.ms", Type: Long, Default: maxLong, ReadOnly: true, rule: atLeast(0),
		Doc: "How often logs are looked at for unsynced data, where flush.ms is not set.",
	},
	{
		Name: "log.flush.start.offset.checkpoint.interval.ms", Type: Int, Default: "60000", ReadOnly: true, rule: atLeast(0),
		Doc: "How often log start offsets are stored.",
	},
	{
		Name: "log.index.interval.bytes", Type: Int, Default: "4096", rule: atLeast(0),
		Doc: "The default of the topic config index.interval.bytes.",
	},
	{
		Name: "log.index.size.max.bytes", Type: Int, Default: "10485760", rule: atLeast(4),
		Doc: "The default of the topic config segment.index.bytes.",
	},
	{
		Name: "log.initial.task.delay.ms", Type: Long, Default: "30000", ReadOnly: true, rule: atLeast(0),
		Doc: "How long the background work on logs waits after a start.",
	},
	{
		Name: "log.local.retention.bytes", Type: Long, Default: "-2", rule: atLeast(-2),
		Doc: "The default of the topic config local.retention.bytes.",
	},
	{
		Name: "log.local.retention.ms", Type: Long, Default: "-2", rule: atLeast(-2),
		Doc: "The default of the topic config local.retention.ms.",
	},
	{
		Name: "log.message.timestamp.after.max.ms", Type: Long, Default: "3600000", rule: atLeast(0),
		Doc: "The default of the topic config message.timestamp.after.max.ms.",
	},
	{
		Name: "log.message.timestamp.before.max.ms", Type: Long, Default: maxLong, rule: atLeast(0),
		Doc: "The default of the topic config message.timestamp.before.max.ms.",
	},
	{
		Name: "log.message.timestamp.type", Type: String, Default: "CreateTime", rule: oneOf("CreateTime", "LogAppendTime"),
		Doc: "The default of the topic config message.timestamp.type.",
	},
	{
		Name: "log.preallocate", Type: Boolean, Default: "false",
		Doc: "The default of the topic config preallocate.",
	},
	{
		Name: "log.retention.bytes", Type: Long, Default: "-1", rule: atLeast(-1),
		Doc: "The default of the topic config retention.bytes.",
	},
	{
		Name: "log.retention.check.interval.ms", Type: Long, Default: "300000", ReadOnly: true, rule: atLeast(1),
		Doc: "How often logs are looked at for segments to delete.",
	},
	{
		Name: "log.retention.hours", Type: Int, Default: "168", ReadOnly: true, rule: atLeast(-1),
		Doc: "The default of the topic config retention.ms, in hours; used if neither milliseconds nor minutes are set.",
	},
	{
		Name: "log.retention.minutes", Type: Int, ReadOnly: true, rule: atLeast(-1),
		Doc: "The default of the topic config retention.ms, in minutes; used if milliseconds are not set.",
	},
	{
		Name: "log.retention.ms", Type: Long, rule: atLeast(-1),
		Doc: "The default of the topic config retention.ms; -1 is without limit.",
	},
	{
		Name: "log.roll.hours", Type: Int, Default: "168", ReadOnly: true, rule: atLeast(1),
		Doc: "The default of the topic config segment.ms, in hours; used if milliseconds are not set.",
	},
	{
		Name: "log.roll.jitter.hours", Type: Int, Default: "0", ReadOnly: true, rule: atLeast(0),
		Doc: "The default of the topic config segment.jitter.ms, in hours; used if milliseconds are not set.",
	},
	{
		Name: "log.roll.jitter.ms", Type: Long, rule: atLeast(0),
		Doc: "The default of the topic config segment.jitter.ms.",
	},
	{
		Name: "log.roll.ms", Type: Long, rule: atLeast(1),
		Doc: "The default of the topic config segment.ms.",
	},
	{
		Name: "log.segment.bytes", Type: Int, Default: "1073741824", rule: atLeast(1 << 20),
		Doc: "The default of the topic config segment.bytes.",
	},
	{
		Name: "log.segment.delete.delay.ms", Type: Long, Default: "60000", rule: atLeast(0),
		Doc: "The default of the topic config file.delete.delay.ms.",
	},
	{
		Name: "max.connections", Type: Int, Default: "4096", ReadOnly: true, rule: atLeast(0),
		Doc: "How many connections are accepted at once.",
	},
	{
		Name: "max.connections.per.ip", Type: Int, Default: "256", ReadOnly: true, rule: atLeast(0),
		Doc: "How many connections are accepted at once from one address.",
	},
	{
		Name: "max.incremental.fetch.session.cache.slots", Type: Int, Default: "1000", ReadOnly: true, rule: atLeast(0),
		Doc: "How many fetch sessions a node remembers.",
	},
	{
		Name: "max.request.partition.size.limit", Type: Int, Default: "2000", ReadOnly: true, rule: atLeast(1),
		Doc: "How many partitions one answer to DescribeTopicPartitions holds at most.",
	},
	{
		Name: "message.max.bytes", Type: Int, Default: "1048588", rule: atLeast(0),
		Doc: "The default of the topic config max.message.bytes: the largest batch a producer may send.",
	},
	{
		Name: "metadata.log.max.record.bytes.between.snapshots", Type: Long, Default: "20971520", ReadOnly: true, rule: atLeast(1),
		Doc: "After how many bytes of metadata log a snapshot is written.",
	},
	{
		Name: "metadata.log.segment.bytes", Type: Int, Default: "67108864", ReadOnly: true, rule: atLeast(1),
		Doc: "The size of a segment of the metadata log. No change of metadata may be larger.",
	},
	{
		Name: "min.insync.replicas", Type: Int, Default: "1", rule: atLeast(1),
		Doc: "The default of the topic config min.insync.replicas. Differs from Kafka, where it is 1: unless set it is RF/2+1 from replication factor 3 on, else 1. It may be set for the whole cluster, not for one broker.",
	},
	{
		Name: "node.id", Type: Int, ReadOnly: true, rule: atLeast(0),
		Doc: "The node's number in the cluster, broker and voter in one.",
	},
	{
		Name: "num.partitions", Type: Int, Default: "1", ReadOnly: true, rule: atLeast(1),
		Doc: "How many partitions a topic gets that is created without a number.",
	},
	{
		Name: "num.recovery.threads.per.data.dir", Type: Int, Default: "2", rule: atLeast(1),
		Doc: "How many logs are recovered or closed at once.",
	},
	{
		Name: "num.replica.fetchers", Type: Int, Default: "1", rule: atLeast(1),
		Doc: "How many connections fetch from each leader.",
	},
	{
		Name: "offset.metadata.max.bytes", Type: Int, Default: "4096", ReadOnly: true, rule: atLeast(0),
		Doc: "How long the text stored with a committed offset may be.",
	},
	{
		Name: "offsets.commit.timeout.ms", Type: Int, Default: "5000", ReadOnly: true, rule: atLeast(1),
		Doc: "How long a commit of offsets waits for its replicas.",
	},
	{
		Name: "offsets.retention.check.interval.ms", Type: Long, Default: "600000", ReadOnly: true, rule: atLeast(1),
		Doc: "How often committed offsets are looked at for expiry.",
	},
	{
		Name: "offsets.retention.minutes", Type: Int, Default: "10080", ReadOnly: true, rule: atLeast(1),
		Doc: "How long committed offsets are kept after their group became empty.",
	},
	{
		Name: "offsets.topic.num.partitions", Type: Int, Default: "50", ReadOnly: true, rule: atLeast(1),
		Doc: "How many partitions the topic of committed offsets has.",
	},
	{
		Name: "offsets.topic.replication.factor", Type: Int, Default: "3", ReadOnly: true, rule: atLeast(1),
		Doc: "How many replicas the topic of committed offsets has. Differs from Kafka, where creation fails with fewer nodes: here it is 3 or the number of nodes, and grows when nodes join.",
	},
	{
		Name: "offsets.topic.segment.bytes", Type: Int, Default: "104857600", ReadOnly: true, rule: atLeast(1),
		Doc: "The segment size of the topic of committed offsets.",
	},
	{
		Name: "producer.id.expiration.ms", Type: Int, Default: "86400000", rule: atLeast(1),
		Doc: "How long a partition remembers an idempotent producer that does not write.",
	},
	{
		Name: "replica.fetch.backoff.ms", Type: Int, Default: "1000", ReadOnly: true, rule: atLeast(0),
		Doc: "How long a follower waits after a failed fetch.",
	},
	{
		Name: "replica.fetch.max.bytes", Type: Int, Default: "1048576", ReadOnly: true, rule: atLeast(0),
		Doc: "How many bytes of one partition a follower asks for at once.",
	},
	{
		Name: "replica.fetch.min.bytes", Type: Int, Default: "1", ReadOnly: true, rule: atLeast(0),
		Doc: "How many bytes a follower's fetch waits for.",
	},
	{
		Name: "replica.fetch.response.max.bytes", Type: Int, Default: "10485760", ReadOnly: true, rule: atLeast(0),
		Doc: "How many bytes a follower asks for at once in all.",
	},
	{
		Name: "replica.fetch.wait.max.ms", Type: Int, Default: "500", ReadOnly: true, rule: atLeast(0),
		Doc: "How long a follower's fetch waits for new records.",
	},
	{
		Name: "replica.high.watermark.checkpoint.interval.ms", Type: Long, Default: "5000", ReadOnly: true, rule: atLeast(0),
		Doc: "How often high watermarks are stored.",
	},
	{
		Name: "replica.lag.time.max.ms", Type: Long, Default: "30000", ReadOnly: true, rule: atLeast(1),
		Doc: "After how long without catching up a follower leaves the ISR.",
	},
	{
		Name: "replica.selector.class", Type: String, ReadOnly: true, rule: must(replicaSelector),
		Doc: "Which replica a consumer reads from: empty for the leader, org.apache.kafka.common.replica.RackAwareReplicaSelector for one in the consumer's rack.",
	},
	{
		Name: "replica.socket.timeout.ms", Type: Int, Default: "30000", ReadOnly: true, rule: atLeast(1),
		Doc: "How long a follower waits for the leader's answer.",
	},
	{
		Name: "request.timeout.ms", Type: Int, Default: "30000", ReadOnly: true, rule: atLeast(1),
		Doc: "How long a node waits for another node's answer.",
	},
	{
		Name: "socket.request.max.bytes", Type: Int, Default: "104857600", ReadOnly: true, rule: atLeast(1),
		Doc: "The largest request that is read from a connection.",
	},
	{
		Name: "transaction.abort.timed.out.transaction.cleanup.interval.ms", Type: Int, Default: "10000", ReadOnly: true, rule: atLeast(1),
		Doc: "How often transactions are looked at for timeouts.",
	},
	{
		Name: "transaction.max.timeout.ms", Type: Int, Default: "900000", ReadOnly: true, rule: atLeast(1),
		Doc: "The longest transaction timeout a producer may ask for.",
	},
	{
		Name: "transaction.partition.verification.enable", Type: Boolean, Default: "true",
		Doc: "Whether a leader asks the coordinator if a partition belongs to a transaction before the first append.",
	},
	{
		Name: "transaction.state.log.min.isr", Type: Int, Default: "2", ReadOnly: true, rule: atLeast(1),
		Doc: "The min.insync.replicas of the topic of transaction states.",
	},
	{
		Name: "transaction.state.log.num.partitions", Type: Int, Default: "50", ReadOnly: true, rule: atLeast(1),
		Doc: "How many partitions the topic of transaction states has.",
	},
	{
		Name: "transaction.state.log.replication.factor", Type: Int, Default: "3", ReadOnly: true, rule: atLeast(1),
		Doc: "How many replicas the topic of transaction states has. Differs from Kafka, where creation fails with fewer nodes: here it is 3 or the number of nodes, and grows when nodes join.",
	},
	{
		Name: "transaction.state.log.segment.bytes", Type: Int, Default: "104857600", ReadOnly: true, rule: atLeast(1),
		Doc: "The segment size of the topic of transaction states.",
	},
	{
		Name: "transactional.id.expiration.ms", Type: Int, Default: "604800000", ReadOnly: true, rule: atLeast(1),
		Doc: "How long an unused transactional id is remembered.",
	},
	{
		Name: "unclean.leader.election.enable", Type: Boolean, Default: "false",
		Doc: "The default of the topic config unclean.leader.election.enable: whether acknowledged records may be given up for availability.",
	},
}

// replicaSelector takes the names of Kafka's classes that insync knows.
func replicaSelector(v string) string {
	switch v {
	case "", "org.apache.kafka.common.replica.LeaderSelector", "org.apache.kafka.common.replica.RackAwareReplicaSelector":
		return ""
	}
	return "not a replica selector that insync knows"
}

// BrokerRate is a broker's config of bytes a second, through its own, the cluster-wide and the static configs.
func BrokerRate(name string, broker, cluster, static map[string]string) int64 {
	for _, m := range []map[string]string{broker, cluster, static} {
		if v, ok := m[name]; ok {
			if n, ok := parseLong(v); ok {
				return n
			}
		}
	}
	return math.MaxInt64
}

// BrokerNumber is a broker's config that is a number, through its own, the cluster-wide and the static configs, and its default.
func BrokerNumber(name string, broker, cluster, static map[string]string) float64 {
	k, _ := LookupBroker(name)
	for _, m := range []map[string]string{broker, cluster, static} {
		if v, ok := m[name]; ok && k.Validate(v) == nil {
			if n, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
				return n
			}
		}
	}
	n, _ := strconv.ParseFloat(k.Default, 64) // a number, as the keys' test holds
	return n
}
