package cluster

import (
	"fmt"
	"time"
)

// GroupSettings say how consumer groups behave. All nodes of a cluster must have the same.
type GroupSettings struct {
	// InitialRebalanceDelay is how long the first rebalance of an empty classic group waits for more members (Kafka: group.initial.rebalance.delay.ms). 0 means 3 s, negative not at all. Groups of KIP-848,
	// which insync's own consumers form, need no delay.
	InitialRebalanceDelay time.Duration
	// MinSessionTimeout is the shortest session that a member of a classic group may ask for (Kafka: group.min.session.timeout.ms). 0 means 6 s.
	MinSessionTimeout time.Duration
	// SessionTimeout is after how long without a heartbeat a member of a KIP-848 group has lost its partitions (Kafka: group.consumer.session.timeout.ms). 0 means 45 s. Consumers have to know it: see
	// consumer.Config.SessionTimeout.
	SessionTimeout time.Duration
	// HeartbeatInterval is how often such a member is heard (Kafka: group.consumer.heartbeat.interval.ms). 0 means 5 s.
	HeartbeatInterval time.Duration
	// OffsetsRetention is how long offsets are kept that no group member uses (Kafka: offsets.retention.minutes). 0 means 7 days.
	OffsetsRetention time.Duration
	// OffsetsPartitions is over how many partitions the groups of a new cluster are spread (Kafka: offsets.topic.num.partitions). 0 means 50. It counts when the topic is made.
	OffsetsPartitions int32
}

// static adds the settings under Kafka's names.
func (g *GroupSettings) static(set func(key string, v int64), m map[string]string) {
	if g.InitialRebalanceDelay < 0 {
		m["group.initial.rebalance.delay.ms"] = "0"
	} else {
		set("group.initial.rebalance.delay.ms", g.InitialRebalanceDelay.Milliseconds())
	}
	set("group.min.session.timeout.ms", g.MinSessionTimeout.Milliseconds())
	set("group.consumer.session.timeout.ms", g.SessionTimeout.Milliseconds())
	set("group.consumer.heartbeat.interval.ms", g.HeartbeatInterval.Milliseconds())
	set("offsets.retention.minutes", int64(g.OffsetsRetention/time.Minute))
	set("offsets.topic.num.partitions", int64(g.OffsetsPartitions))
}

func (g *GroupSettings) validate() (errs []error) {
	for _, d := range []struct {
		name string
		v    time.Duration
		min  time.Duration
	}{
		{"MinSessionTimeout", g.MinSessionTimeout, time.Millisecond},
		{"SessionTimeout", g.SessionTimeout, time.Millisecond},
		{"HeartbeatInterval", g.HeartbeatInterval, time.Millisecond},
		{"OffsetsRetention", g.OffsetsRetention, time.Minute},
	} {
		if d.v != 0 && d.v < d.min {
			errs = append(errs, fmt.Errorf("cluster config: Groups.%s %v is below %v", d.name, d.v, d.min))
		}
	}
	session, heartbeat := g.SessionTimeout, g.HeartbeatInterval
	if session == 0 {
		session = 45 * time.Second
	}
	if heartbeat == 0 {
		heartbeat = 5 * time.Second
	}
	if heartbeat >= session {
		errs = append(errs, fmt.Errorf("cluster config: Groups.HeartbeatInterval %v is not below SessionTimeout %v", heartbeat, session))
	}
	if g.OffsetsPartitions < 0 {
		errs = append(errs, fmt.Errorf("cluster config: Groups.OffsetsPartitions %d is negative", g.OffsetsPartitions))
	}
	return errs
}
