package configs

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Topic is the effective configuration of one topic.
type Topic struct {
	CleanupDelete, CleanupCompact bool
	CompressionType               string // producer, uncompressed, gzip, snappy, lz4, zstd
	CompressionLevel              int    // of that codec; 0 for a codec without levels
	DeleteRetention               time.Duration
	FileDeleteDelay               time.Duration
	FlushMessages                 int64
	FlushInterval                 time.Duration // 0 = never
	IndexIntervalBytes            int32
	MaxMessageBytes               int32
	LogAppendTime                 bool
	// TimestampBeforeMax and TimestampAfterMax: a limit of zero milliseconds is one nanosecond, because 0 means something else to log.Config.
	TimestampBeforeMax time.Duration // 0 = unlimited
	TimestampAfterMax  time.Duration
	// MinInSyncReplicas is as set on topic or broker; 0 = not set anywhere (then: RF/2+1 from RF 3 on, else 1; see MinISR).
	MinInSyncReplicas     int
	RetentionBytes        int64         // -1 unlimited
	RetentionAge          time.Duration // negative = unlimited
	SegmentBytes          int32
	SegmentIndexBytes     int32
	SegmentAge            time.Duration
	SegmentJitter         time.Duration
	UncleanLeaderElection bool

	MinCleanableDirtyRatio float64
	MinCompactionLag       time.Duration
	MaxCompactionLag       time.Duration

	LeaderThrottled   Throttled // replicas that are served slowly
	FollowerThrottled Throttled // replicas that fetch slowly
}

// MinISR is the effective min.insync.replicas for a partition with that many replicas: min(set or default, replicas).
func (t Topic) MinISR(replicas int) int {
	if t.MinInSyncReplicas > 0 {
		return min(t.MinInSyncReplicas, replicas)
	}
	if replicas >= 3 {
		return replicas/2 + 1
	}
	return min(1, replicas)
}

// Effective resolves a topic's configuration: topic overrides, then dynamic broker configs, then dynamic cluster-wide defaults, then static broker configs, then the defaults.
// A value that does not obey its key's rule (stored by another version) counts as not set.
func Effective(topic, broker, cluster, static map[string]string) Topic {
	e := effective{layers{topic: topic, broker: broker, cluster: cluster, static: static}}
	policy := SplitList(e.get("cleanup.policy"))
	t := Topic{
		CleanupDelete:         slices.Contains(policy, "delete"),
		CleanupCompact:        slices.Contains(policy, "compact"),
		CompressionType:       e.get("compression.type"),
		DeleteRetention:       e.duration("delete.retention.ms"),
		FileDeleteDelay:       e.duration("file.delete.delay.ms"),
		FlushMessages:         e.long("flush.messages"),
		FlushInterval:         e.limit("flush.ms"),
		IndexIntervalBytes:    int32(e.long("index.interval.bytes")),
		MaxMessageBytes:       int32(e.long("max.message.bytes")),
		LogAppendTime:         e.get("message.timestamp.type") == "LogAppendTime",
		TimestampBeforeMax:    e.limit("message.timestamp.before.max.ms"),
		TimestampAfterMax:     max(1, e.duration("message.timestamp.after.max.ms")),
		MinInSyncReplicas:     MinInSyncReplicas(topic, broker, cluster, static),
		RetentionBytes:        e.long("retention.bytes"),
		RetentionAge:          e.duration("retention.ms"),
		SegmentBytes:          int32(e.long("segment.bytes")),
		SegmentIndexBytes:     int32(e.long("segment.index.bytes")),
		SegmentAge:            e.duration("segment.ms"),
		SegmentJitter:         e.duration("segment.jitter.ms"),
		UncleanLeaderElection: UncleanLeaderElection(topic, broker, cluster, static),
		MinCompactionLag:      e.duration("min.compaction.lag.ms"),
		MaxCompactionLag:      e.duration("max.compaction.lag.ms"),
		LeaderThrottled:       Throttled(e.get("leader.replication.throttled.replicas")),
		FollowerThrottled:     Throttled(e.get("follower.replication.throttled.replicas")),
	}
	switch t.CompressionType {
	case "gzip", "lz4", "zstd":
		t.CompressionLevel = int(e.long("compression." + t.CompressionType + ".level"))
	}
	if n := e.long("internal.segment.bytes"); n > 0 {
		t.SegmentBytes = int32(n)
	}
	t.MinCleanableDirtyRatio, _ = strconv.ParseFloat(e.get("min.cleanable.dirty.ratio"), 64)
	return t
}

// MinInSyncReplicas is min.insync.replicas as set in one of the layers of Effective, 0 if it is set in none. It is Effective for one key, without the cost of all.
func MinInSyncReplicas(topic, broker, cluster, static map[string]string) int {
	if len(topic)+len(broker)+len(cluster)+len(static) == 0 {
		return 0
	}
	k, _ := LookupTopic("min.insync.replicas")
	s := layers{topic: topic, broker: broker, cluster: cluster, static: static}.resolve(k)
	if s.Source == FromDefault {
		return 0
	}
	n, _ := parseLong(s.Value)
	return int(n)
}

// UncleanLeaderElection is unclean.leader.election.enable through the layers of Effective.
func UncleanLeaderElection(topic, broker, cluster, static map[string]string) bool {
	if len(topic)+len(broker)+len(cluster)+len(static) == 0 {
		return false
	}
	k, _ := LookupTopic("unclean.leader.election.enable")
	return parseBool(layers{topic: topic, broker: broker, cluster: cluster, static: static}.resolve(k).Value)
}

type effective struct{ l layers }

func (e effective) get(name string) string {
	k, _ := LookupTopic(name)
	return strings.TrimSpace(e.l.resolve(k).Value)
}

func (e effective) long(name string) int64 {
	n, _ := parseLong(e.get(name))
	return n
}

// duration turns milliseconds into a duration, as long as one can be at most.
func (e effective) duration(name string) time.Duration {
	ms := e.long(name)
	if ms > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(ms) * time.Millisecond
}

// limit is a duration where 0 stands for "unlimited" and a limit of zero is one nanosecond.
func (e effective) limit(name string) time.Duration {
	switch d := e.duration(name); d {
	case math.MaxInt64:
		return 0
	case 0:
		return 1
	default:
		return d
	}
}

func parseBool(v string) bool { return strings.EqualFold(strings.TrimSpace(v), "true") }
