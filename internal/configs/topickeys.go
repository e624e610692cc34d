package configs

import "strconv"

const (
	maxLong = "9223372036854775807"
	maxInt  = "2147483647"
)

// topicKeys is sorted by name.
var topicKeys = []Key{
	{
		Name: "cleanup.policy", Type: List, Default: "delete", BrokerSynonym: "log.cleanup.policy", rule: oneOf("delete", "compact"),
		Doc: "What happens to old segments: delete removes them by age and size, compact keeps the newest record of each key. Both may be given; an empty list keeps everything.",
	},
	{
		Name: "compression.gzip.level", Type: Int, Default: "-1", BrokerSynonym: "compression.gzip.level", rule: must(gzipLevel),
		Doc: "The level used when the broker itself compresses with gzip: 1 to 9, or -1 for the codec's default.",
	},
	{
		Name: "compression.lz4.level", Type: Int, Default: "9", BrokerSynonym: "compression.lz4.level", rule: between(1, 17),
		Doc: "The level used when the broker itself compresses with lz4: 1 to 17.",
	},
	{
		Name: "compression.type", Type: String, Default: "producer", BrokerSynonym: "compression.type", rule: oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
		Doc: "The codec of stored batches. producer keeps what each producer chose, which costs nothing; any other value makes the leader recompress batches that differ.",
	},
	{
		Name: "compression.zstd.level", Type: Int, Default: "3", BrokerSynonym: "compression.zstd.level", rule: between(-131072, 22),
		Doc: "The level used when the broker itself compresses with zstd: -131072 to 22.",
	},
	{
		Name: "delete.retention.ms", Type: Long, Default: "86400000", BrokerSynonym: "log.cleaner.delete.retention.ms", rule: atLeast(0),
		Doc: "How long a compacted topic keeps tombstones and transaction markers after they have done their work. A consumer that reads from the start has this long to see every deletion.",
	},
	{
		Name: "file.delete.delay.ms", Type: Long, Default: "60000", BrokerSynonym: "log.segment.delete.delay.ms", rule: atLeast(0),
		Doc: "How long a segment that is no longer part of the log stays on disk, so that reads under way can end.",
	},
	{
		Name: "flush.messages", Type: Long, Default: "1", BrokerSynonym: "log.flush.interval.messages", rule: atLeast(1),
		Doc: "After how many messages a log is synced to stable storage. Differs from Kafka, where it is never: here 1 means that every acknowledged record is on stable storage, with one sync for all that wait (group commit). 9223372036854775807 is Kafka's behaviour.",
	},
	{
		Name: "flush.ms", Type: Long, Default: maxLong, BrokerSynonym: "log.flush.interval.ms", below: []scaled{{"log.flush.scheduler.interval.ms", 1}}, rule: atLeast(0),
		Doc: "After how long at most unsynced messages are synced to stable storage. It only matters when flush.messages is above 1.",
	},
	{
		Name: "follower.replication.throttled.replicas", Type: List, rule: must(throttledReplicas),
		Doc: "Replicas that fetch at follower.replication.throttled.rate while they are not in sync, as partition:broker pairs or *.",
	},
	{
		Name: "index.interval.bytes", Type: Int, Default: "4096", BrokerSynonym: "log.index.interval.bytes", rule: atLeast(0),
		Doc: "How many bytes of log lie between two index entries. Smaller finds offsets with less reading and makes larger indexes.",
	},
	{
		Name: "internal.segment.bytes", Type: Int, Internal: true, rule: atLeast(1),
		Doc: "Overrides segment.bytes without its lower limit; for tests.",
	},
	{
		Name: "leader.replication.throttled.replicas", Type: List, rule: must(throttledReplicas),
		Doc: "Replicas that are served at leader.replication.throttled.rate while they are not in sync, as partition:broker pairs or *.",
	},
	{
		Name: "local.retention.bytes", Type: Long, Default: "-2", BrokerSynonym: "log.local.retention.bytes", rule: atLeast(-2),
		Doc: "Retention by size of the local part of a tiered log; -2 means retention.bytes. Without tiered storage it has no effect.",
	},
	{
		Name: "local.retention.ms", Type: Long, Default: "-2", BrokerSynonym: "log.local.retention.ms", rule: atLeast(-2),
		Doc: "Retention by age of the local part of a tiered log; -2 means retention.ms. Without tiered storage it has no effect.",
	},
	{
		Name: "max.compaction.lag.ms", Type: Long, Default: maxLong, BrokerSynonym: "log.cleaner.max.compaction.lag.ms", rule: atLeast(1),
		Doc: "How long at most a message may stay uncompacted in a compacted log.",
	},
	{
		Name: "max.message.bytes", Type: Int, Default: "1048588", BrokerSynonym: "message.max.bytes", rule: atLeast(0),
		Doc: "The largest batch a producer may send, in bytes after compression, header included.",
	},
	{
		Name: "message.timestamp.after.max.ms", Type: Long, Default: "3600000", BrokerSynonym: "log.message.timestamp.after.max.ms", rule: atLeast(0),
		Doc: "How far a record's timestamp may lie ahead of the broker's clock. Only with message.timestamp.type=CreateTime.",
	},
	{
		Name: "message.timestamp.before.max.ms", Type: Long, Default: maxLong, BrokerSynonym: "log.message.timestamp.before.max.ms", rule: atLeast(0),
		Doc: "How far a record's timestamp may lie behind the broker's clock. Only with message.timestamp.type=CreateTime.",
	},
	{
		Name: "message.timestamp.type", Type: String, Default: "CreateTime", BrokerSynonym: "log.message.timestamp.type", rule: oneOf("CreateTime", "LogAppendTime"),
		Doc: "Whether a record's timestamp is the producer's (CreateTime) or the time of the append (LogAppendTime).",
	},
	{
		Name: "min.cleanable.dirty.ratio", Type: Double, Default: "0.5", BrokerSynonym: "log.cleaner.min.cleanable.ratio", rule: between(0, 1),
		Doc: "How much of a compacted log must be uncompacted before the cleaner takes it up. Lower wastes less space and cleans more often.",
	},
	{
		Name: "min.compaction.lag.ms", Type: Long, Default: "0", BrokerSynonym: "log.cleaner.min.compaction.lag.ms", rule: atLeast(0),
		Doc: "How long at least a message stays uncompacted in a compacted log.",
	},
	{
		Name: "min.insync.replicas", Type: Int, Default: "1", BrokerSynonym: "min.insync.replicas", rule: atLeast(1),
		Doc: "How many replicas must hold a record before acks=all is answered; with fewer in sync the write is refused. Differs from Kafka, where it is 1: unless set on topic or broker it is RF/2+1 from replication factor 3 on (3 gives 2, 5 gives 3), else 1.",
	},
	{
		Name: "preallocate", Type: Boolean, Default: "false", BrokerSynonym: "log.preallocate",
		Doc: "Whether a new segment's file is reserved on disk at its full size. insync writes blocks ahead by itself where that makes syncs cheaper.",
	},
	{
		Name: "remote.storage.enable", Type: Boolean, Default: "false", rule: must(noTieredStorage),
		Doc: "Tiered storage, which insync does not have: only false is accepted.",
	},
	{
		Name: "retention.bytes", Type: Long, Default: "-1", BrokerSynonym: "log.retention.bytes", rule: atLeast(-1),
		Doc: "How large a partition may grow before its oldest segments go, with cleanup.policy=delete. -1 is without limit.",
	},
	{
		Name: "retention.ms", Type: Long, Default: "604800000", BrokerSynonym: "log.retention.ms",
		below: []scaled{{"log.retention.minutes", 60_000}, {"log.retention.hours", 3_600_000}}, rule: atLeast(-1),
		Doc: "How old a segment may become before it goes, with cleanup.policy=delete. -1 is without limit.",
	},
	{
		Name: "segment.bytes", Type: Int, Default: "1073741824", BrokerSynonym: "log.segment.bytes", rule: atLeast(1 << 20),
		Doc: "The size of a segment file. Retention and compaction work on whole segments that are no longer written to.",
	},
	{
		Name: "segment.index.bytes", Type: Int, Default: "10485760", BrokerSynonym: "log.index.size.max.bytes", rule: atLeast(4),
		Doc: "The largest size of a segment's index files. A full index ends the segment.",
	},
	{
		Name: "segment.jitter.ms", Type: Long, Default: "0", BrokerSynonym: "log.roll.jitter.ms", below: []scaled{{"log.roll.jitter.hours", 3_600_000}}, rule: atLeast(0),
		Doc: "The most that is taken at random from segment.ms, so that many segments do not end at the same time.",
	},
	{
		Name: "segment.ms", Type: Long, Default: "604800000", BrokerSynonym: "log.roll.ms", below: []scaled{{"log.roll.hours", 3_600_000}}, rule: atLeast(1),
		Doc: "After how long a segment ends even if it is not full, so that retention and compaction can work on it.",
	},
	{
		Name: "unclean.leader.election.enable", Type: Boolean, Default: "false", BrokerSynonym: "unclean.leader.election.enable",
		Doc: "Whether a replica that is not in sync may become leader when no other is left. It trades acknowledged records for availability.",
	},
}

func gzipLevel(v string) string {
	if n, _ := parseLong(v); n == -1 || n >= 1 && n <= 9 {
		return ""
	}
	return "must be -1 or between 1 and 9"
}

func noTieredStorage(v string) string {
	if parseBool(v) {
		return "tiered storage is not supported"
	}
	return ""
}

// throttledReplicas takes "*", "none" or partition:broker pairs.
func throttledReplicas(v string) string {
	list := SplitList(v)
	if len(list) == 1 && (list[0] == "*" || list[0] == "none") {
		return ""
	}
	for _, pair := range list {
		if !isPair(pair) {
			return "must be *, none, or a list of partition:broker"
		}
	}
	return ""
}

// Throttled is a list of throttled replicas.
type Throttled string

// Has tells whether a broker's replica of a partition is in the list.
func (t Throttled) Has(partition, broker int32) bool {
	for _, pair := range SplitList(string(t)) {
		if pair == "*" || pair == strconv.Itoa(int(partition))+":"+strconv.Itoa(int(broker)) {
			return true
		}
	}
	return false
}

func isPair(s string) bool {
	digits, colons := 0, 0
	for _, c := range s {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c == ':' && digits > 0 && colons == 0:
			colons, digits = 1, 0
		default:
			return false
		}
	}
	return colons == 1 && digits > 0
}
