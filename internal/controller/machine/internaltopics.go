package machine

import (
	"strconv"
	"strings"
)

// replicationKey is the broker config with an internal topic's replication factor; ok is false for topics of users. A topic of these names is internal whoever created it, as in Kafka.
func replicationKey(topic string) (key string, ok bool) {
	switch topic {
	case "__consumer_offsets":
		return "offsets.topic.replication.factor", true
	case "__transaction_state":
		return "transaction.state.log.replication.factor", true
	}
	return "", false
}

// internalReplication is how many replicas an internal topic has with so many brokers; ok is false for topics of users. default.replication.factor does not count for these topics.
//
// Differs from Kafka, where the creation fails with fewer brokers than the configured factor: a cluster of one node has groups, too.
func (b *Batch) internalReplication(topic string, brokers int) (n int, ok bool) {
	key, ok := replicationKey(topic)
	if !ok {
		return 0, false
	}
	n = 3
	if v, given := b.m.c.Static[key]; given {
		n, _ = strconv.Atoi(strings.TrimSpace(v)) // checked when the node started
	}
	return max(1, min(n, brokers)), true
}
