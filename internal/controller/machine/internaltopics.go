package machine

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// The brokers' own topics that the controller looks after.
const (
	offsetsTopic      = "__consumer_offsets"
	transactionsTopic = "__transaction_state"
)

// replicationKey is the broker config with an internal topic's replication factor; ok is false for topics of users. A topic of these names is internal whoever created it, as in Kafka.
func replicationKey(topic string) (key string, ok bool) {
	switch topic {
	case offsetsTopic:
		return "offsets.topic.replication.factor", true
	case transactionsTopic:
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

// maxRaised is how many partitions get another replica in one round: their logs have to be made, and their records copied.
const maxRaised = 50

// raiseInternal gives partitions of internal topics another replica while there are fewer than there should be with the brokers that are active now: a cluster that began with one node becomes as durable
// as one that began with three. It is asked for with every heartbeat: that is when brokers come, and when they tell how far they are.
//
// It is a reassignment that only adds, one replica at a time, and only where the ISR holds all that are there. min.insync.replicas, as long as nobody set it, follows the number of replicas
// (1, 1, 2, 2, 3, …), but counts a newcomer only when it is in sync: so it never comes to be above the ISR, and no append is refused because a newcomer has not caught up yet.
//
// A newcomer that dies before it has caught up stays in the list of replicas, and the partition does not go on growing until it is back; it stays as available as it was.
//
// Nothing is ever taken away: that is for whoever asks for a reassignment.
func (b *Batch) raiseInternal() {
	active := 0
	for _, br := range b.d.img.Brokers {
		if br.Active() {
			active++
		}
	}
	raised := 0
	for _, name := range []string{offsetsTopic, transactionsTopic} {
		t := b.d.img.Topics[name]
		if t == nil {
			continue
		}
		want, _ := b.internalReplication(name, active)
		var counts map[int32]int // replicas of the topic by broker
		for n, p := range t.Partitions {
			if raised == maxRaised {
				return
			}
			if len(p.Replicas) >= want || p.Reassigning() || len(p.ISR) < len(p.Replicas) {
				continue
			}
			if counts == nil {
				counts = replicaCounts(t)
			}
			id, ok := b.anotherReplica(p, counts)
			if !ok {
				continue
			}
			counts[id]++
			raised++
			b.reassign(b.d.img.Topics[name], int32(n), append(slices.Clone(p.Replicas), id))
		}
	}
}

func replicaCounts(t *Topic) map[int32]int {
	counts := map[int32]int{}
	for _, p := range t.Partitions {
		for _, id := range p.Replicas {
			counts[id]++
		}
	}
	return counts
}

// anotherReplica is the active broker without this partition that suits it best: one in a rack that has no replica yet, then the one with the fewest replicas of the topic.
func (b *Batch) anotherReplica(p *Partition, counts map[int32]int) (best int32, found bool) {
	racks := map[string]bool{}
	for _, id := range p.Replicas {
		if br := b.d.img.Brokers[id]; br != nil {
			racks[br.Rack] = true
		}
	}
	taken := func(id int32) int {
		if racks[b.d.img.Brokers[id].Rack] {
			return 1
		}
		return 0
	}
	for _, id := range b.d.img.BrokerIDs() {
		if !b.active(id) || slices.Contains(p.Replicas, id) {
			continue
		}
		if !found || cmp.Or(cmp.Compare(taken(id), taken(best)), cmp.Compare(counts[id], counts[best])) < 0 {
			best, found = id, true
		}
	}
	return best, found
}
