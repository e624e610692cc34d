package configs

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTablesAreSoundAndSorted(t *testing.T) {
	for name, keys := range map[string][]Key{"topic": TopicKeys(), "broker": BrokerKeys()} {
		require.True(t, slices.IsSortedFunc(keys, func(a, b Key) int { return strings.Compare(a.Name, b.Name) }), name)
		for i, k := range keys {
			require.False(t, i > 0 && keys[i-1].Name == k.Name, "%s twice", k.Name)
			assert.NotZero(t, k.Type, k.Name)
			assert.True(t, strings.HasSuffix(k.Doc, "."), "%s: %s", k.Name, k.Doc)
			if k.Default != "" {
				assert.NoError(t, k.Validate(k.Default), k.Name)
			}
		}
	}
	for _, k := range TopicKeys() {
		for _, s := range k.synonyms() {
			b, ok := LookupBroker(s.name)
			require.True(t, ok, "%s: no broker key %s", k.Name, s.name)
			if s.unit == 1 && s.name == k.BrokerSynonym {
				assert.Equal(t, k.Type, b.Type, s.name)
				assert.False(t, b.ReadOnly, s.name)
				if b.Default != "" {
					assert.Equal(t, k.Default, b.Default, s.name)
				}
			}
		}
	}
}

func TestTablesCannotBeChangedByCallers(t *testing.T) {
	TopicKeys()[0].Name = "x"
	assert.Equal(t, "cleanup.policy", TopicKeys()[0].Name)
}

// The default of every topic key is Kafka's (configuration reference, topic section), except those that insync documents as different.
func TestDefaultsAreKafkas(t *testing.T) {
	want := map[string]string{
		"cleanup.policy": "delete", "compression.type": "producer", "compression.gzip.level": "-1", "compression.lz4.level": "9", "compression.zstd.level": "3",
		"delete.retention.ms": "86400000", "file.delete.delay.ms": "60000", "flush.messages": "9223372036854775807", "flush.ms": "9223372036854775807",
		"index.interval.bytes": "4096", "max.compaction.lag.ms": "9223372036854775807", "min.compaction.lag.ms": "0", "max.message.bytes": "1048588",
		"message.timestamp.type": "CreateTime", "message.timestamp.before.max.ms": "9223372036854775807", "message.timestamp.after.max.ms": "3600000",
		"min.cleanable.dirty.ratio": "0.5", "min.insync.replicas": "1", "preallocate": "false", "retention.bytes": "-1", "retention.ms": "604800000",
		"segment.bytes": "1073741824", "segment.index.bytes": "10485760", "segment.ms": "604800000", "segment.jitter.ms": "0",
		"unclean.leader.election.enable": "false", "leader.replication.throttled.replicas": "", "follower.replication.throttled.replicas": "",
		"remote.storage.enable": "false", "local.retention.ms": "-2", "local.retention.bytes": "-2", "internal.segment.bytes": "",
	}
	differs := []string{"flush.messages"}
	for _, k := range TopicKeys() {
		def, ok := want[k.Name]
		require.True(t, ok, k.Name)
		if slices.Contains(differs, k.Name) {
			assert.NotEqual(t, def, k.Default)
			assert.Contains(t, k.Doc, "Differs from Kafka")
			continue
		}
		assert.Equal(t, def, k.Default, k.Name)
	}
	assert.Len(t, TopicKeys(), len(want))
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct{ key, value, reason string }{
		{"retention.ms", "-1", ""},
		{"retention.ms", "-2", "value must be at least -1"},
		{"retention.ms", "soon", "not a number of type LONG"},
		{"retention.ms", "9223372036854775808", "not a number of type LONG"},
		{"segment.bytes", "1048575", "value must be at least 1048576"},
		{"segment.bytes", "2147483648", "not a number of type INT"},
		{"internal.segment.bytes", "100", ""},
		{"cleanup.policy", "delete,compact", ""},
		{"cleanup.policy", " compact , delete ", ""},
		{"cleanup.policy", "", ""},
		{"cleanup.policy", "delete,delete", "a value is given twice"},
		{"cleanup.policy", "shred", "must be one of: delete, compact"},
		{"compression.type", "brotli", "must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"},
		{"compression.gzip.level", "0", "must be -1 or between 1 and 9"},
		{"compression.gzip.level", "9", ""},
		{"compression.lz4.level", "18", "value must be no more than 17"},
		{"min.insync.replicas", "0", "value must be at least 1"},
		{"min.cleanable.dirty.ratio", "1.01", "value must be no more than 1"},
		{"min.cleanable.dirty.ratio", "NaN", "not a number of type DOUBLE"},
		{"preallocate", "TRUE", ""},
		{"preallocate", "1", "expected true or false"},
		{"message.timestamp.type", "createtime", "must be one of: CreateTime, LogAppendTime"},
		{"remote.storage.enable", "true", "tiered storage is not supported"},
		{"leader.replication.throttled.replicas", "0:1,12:34", ""},
		{"leader.replication.throttled.replicas", "*", ""},
		{"leader.replication.throttled.replicas", "0:", "must be *, none, or a list of partition:broker"},
		{"leader.replication.throttled.replicas", "0:1:2", "must be *, none, or a list of partition:broker"},
		{"max.compaction.lag.ms", "0", "value must be at least 1"},
	} {
		err := ValidateTopic(map[string]string{tc.key: tc.value})
		if tc.reason == "" {
			assert.NoError(t, err, "%s=%s", tc.key, tc.value)
			continue
		}
		assert.Equal(t, &Error{tc.key, tc.value, tc.reason}, err)
	}
}

func TestValidateSets(t *testing.T) {
	assert.NoError(t, ValidateTopic(nil))
	assert.EqualError(t, ValidateTopic(map[string]string{"no.such": "1"}), "config no.such: unknown topic config name")
	assert.EqualError(t, ValidateTopic(map[string]string{"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "9"}),
		"invalid value 9 for config max.compaction.lag.ms: must be no less than min.compaction.lag.ms, which is 10")
	assert.NoError(t, ValidateBroker(map[string]string{"log.retention.ms": "5", "min.insync.replicas": "2"}))
	assert.EqualError(t, ValidateBroker(map[string]string{"num.partitions": "5"}), "config num.partitions: cannot be changed while the node runs")
	assert.EqualError(t, ValidateBroker(map[string]string{"retention.ms": "5"}), "config retention.ms: unknown broker config name")
	assert.NoError(t, ValidateStatic(map[string]string{"num.partitions": "5"}))
	err := ValidateTopic(map[string]string{"compression.type": strings.Repeat("x", 40000)})
	assert.EqualError(t, err, "config compression.type: the value has 40000 bytes, more than 32767")
}

func TestEffectiveDefaults(t *testing.T) {
	got := Effective(nil, nil, nil, nil)
	day := 24 * time.Hour
	assert.Equal(t, Topic{
		CleanupDelete: true, CompressionType: "producer", DeleteRetention: day, FileDeleteDelay: time.Minute, FlushMessages: 1, IndexIntervalBytes: 4096,
		MaxMessageBytes: 1<<20 + 12, TimestampAfterMax: time.Hour, RetentionBytes: -1, RetentionAge: 7 * day, SegmentBytes: 1 << 30, SegmentIndexBytes: 10 << 20,
		SegmentAge: 7 * day, MinCleanableDirtyRatio: 0.5, MaxCompactionLag: math.MaxInt64,
	}, got)
}

func TestEffectiveLayers(t *testing.T) {
	static := map[string]string{"log.retention.hours": "1", "min.insync.replicas": "3", "log.flush.interval.messages": "7"}
	cluster := map[string]string{"log.retention.minutes": "2", "min.insync.replicas": "2"}
	broker := map[string]string{"log.retention.ms": "3000"}
	topic := map[string]string{"retention.ms": "-1", "compression.type": "zstd", "compression.zstd.level": "7", "cleanup.policy": "compact"}
	assert.Equal(t, time.Hour, Effective(nil, nil, nil, static).RetentionAge)
	assert.Equal(t, 2*time.Minute, Effective(nil, nil, cluster, static).RetentionAge)
	assert.Equal(t, 3*time.Second, Effective(nil, broker, cluster, static).RetentionAge)
	got := Effective(topic, broker, cluster, static)
	assert.Negative(t, got.RetentionAge)
	assert.Equal(t, 2, got.MinInSyncReplicas)
	assert.Equal(t, int64(7), got.FlushMessages)
	assert.Equal(t, 7, got.CompressionLevel)
	assert.True(t, got.CleanupCompact)
	assert.False(t, got.CleanupDelete)
	// minutes over hours within one layer, and a stored value against the rules counts as not set
	assert.Equal(t, time.Minute, Effective(nil, nil, nil, map[string]string{"log.retention.hours": "1", "log.retention.minutes": "1"}).RetentionAge)
	assert.Equal(t, int32(1<<30), Effective(map[string]string{"segment.bytes": "12"}, nil, nil, nil).SegmentBytes)
	assert.Equal(t, int32(12), Effective(map[string]string{"internal.segment.bytes": "12"}, nil, nil, nil).SegmentBytes)
}

func TestEffectiveExtremes(t *testing.T) {
	got := Effective(map[string]string{
		"flush.ms": "0", "message.timestamp.before.max.ms": "0", "message.timestamp.after.max.ms": "0", "segment.ms": "9223372036854775807",
	}, nil, nil, map[string]string{"log.roll.jitter.hours": "2147483647"})
	assert.Equal(t, time.Duration(1), got.FlushInterval)
	assert.Equal(t, time.Duration(1), got.TimestampBeforeMax)
	assert.Equal(t, time.Duration(1), got.TimestampAfterMax)
	assert.Equal(t, time.Duration(math.MaxInt64), got.SegmentAge)
	assert.Equal(t, time.Duration(math.MaxInt64), got.SegmentJitter)
}

func TestMinISR(t *testing.T) {
	for replicas, want := range []int{0, 1, 1, 2, 3, 3, 4} {
		assert.Equal(t, want, Topic{}.MinISR(replicas), "%d replicas", replicas)
	}
	assert.Equal(t, 2, Topic{MinInSyncReplicas: 5}.MinISR(2))
	assert.Equal(t, 1, Topic{MinInSyncReplicas: 1}.MinISR(3))
	assert.Equal(t, 1, MinInSyncReplicas(map[string]string{"min.insync.replicas": "1"}, nil, nil, nil), "set to the table's default is set")
}

func TestDescribe(t *testing.T) {
	entries := DescribeTopic(map[string]string{"retention.ms": "1"}, nil, map[string]string{"log.retention.ms": "2"}, map[string]string{"log.retention.hours": "3"})
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Key.Name == "retention.ms" })
	assert.Equal(t, "1", entries[i].Value)
	assert.Equal(t, FromTopic, entries[i].Source)
	assert.Equal(t, []Synonym{
		{"retention.ms", "1", FromTopic},
		{"log.retention.ms", "2", FromClusterDefault},
		{"log.retention.hours", "10800000", FromStatic},
		{"log.retention.hours", "604800000", FromDefault},
	}, entries[i].Synonyms)
	assert.True(t, slices.IsSortedFunc(entries, func(a, b Entry) int { return strings.Compare(a.Key.Name, b.Key.Name) }))
	assert.False(t, slices.ContainsFunc(entries, func(e Entry) bool { return e.Key.Internal }))

	i = slices.IndexFunc(entries, func(e Entry) bool { return e.Key.Name == "min.insync.replicas" })
	assert.Equal(t, "2", entries[i].ForReplicas(3).Value)
	assert.Equal(t, "1", entries[i].Value)

	brokers := DescribeBroker(map[string]string{"log.retention.ms": "5"}, nil, map[string]string{"node.id": "4"})
	i = slices.IndexFunc(brokers, func(e Entry) bool { return e.Key.Name == "node.id" })
	assert.Equal(t, FromStatic, brokers[i].Source)
	assert.True(t, brokers[i].Key.ReadOnly)
	i = slices.IndexFunc(brokers, func(e Entry) bool { return e.Key.Name == "log.retention.ms" })
	assert.Equal(t, Entry{Key: brokers[i].Key, Value: "5", Source: FromBroker, Synonyms: []Synonym{{"log.retention.ms", "5", FromBroker}, {"log.retention.ms", "", FromDefault}}}, brokers[i])
}

func BenchmarkEffective(b *testing.B) {
	topic := map[string]string{"retention.ms": "1", "min.insync.replicas": "2"}
	b.ReportAllocs()
	for b.Loop() {
		Effective(topic, nil, nil, nil)
	}
}
