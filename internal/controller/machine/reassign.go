package machine

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A reassignment (KIP-455) is a list of replicas that is two lists at once, and nothing else: any controller that finds it in the image goes on with it.
//
//	                replicas      adding   removing
//	before          1 2 3
//	target 3 4 5    3 4 5 1 2     4 5      1 2         4 and 5 fetch
//	4, 5 in sync    3 4 5                              with the in-sync set that has all of 3 4 5, in the same record
//
// The leader may be any replica in sync throughout; if it is among those that go another one is elected with that record, and as replicas went the leader epoch rises whoever leads. Who sees that it went
// deletes its log.
//
// A new target during a reassignment takes the place of the old one, but what there was before is not forgotten: a cancellation always goes back to it. A replica that the old target brought
// and the new one does not want may be the only one that is in sync, so it stays until the new target is complete, and is in both lists. Differs from Kafka, where a cancellation
// goes back to all replicas that there were before the last target, and where a target that adds or removes nobody leaves the list of those who are added or removed as it was.

// alterReassignments answers AlterPartitionReassignments.
func (b *Batch) alterReassignments(req *kmsg.AlterPartitionAssignmentsRequest) kmsg.Response {
	count := 0
	for i := range req.Topics {
		count += len(req.Topics[i].Partitions)
	}
	if count > maxUserRecords {
		return Refuse(req, kerr.PolicyViolation)
	}
	resp := req.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
	resp.AllowReplicationFactorChange = req.AllowReplicationFactorChange
	for i := range req.Topics {
		rt := &req.Topics[i]
		out := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		out.Topic = rt.Topic
		for j := range rt.Partitions {
			p := b.alterReassignment(rt.Topic, &rt.Partitions[j], req.Version < 1 || req.AllowReplicationFactorChange)
			op := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			op.Partition, op.ErrorCode, op.ErrorMessage = rt.Partitions[j].Partition, p.code, p.text()
			out.Partitions = append(out.Partitions, op)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (b *Batch) alterReassignment(topic string, rp *kmsg.AlterPartitionAssignmentsRequestTopicPartition, anyFactor bool) problem {
	t := b.d.img.Topics[topic]
	p := t.partition(rp.Partition)
	switch {
	case t == nil:
		return refuse(kerr.UnknownTopicOrPartition, "Unable to find a topic named %s.", topic)
	case p == nil:
		return refuse(kerr.UnknownTopicOrPartition, "Unable to find partition %s:%d.", topic, rp.Partition)
	case rp.Replicas == nil:
		return b.cancelReassignment(t, rp.Partition)
	}
	if p := b.checkAssignment(rp.Replicas); p.code != 0 {
		return p
	}
	if size := len(p.Replicas) - len(p.Removing); !anyFactor && size != len(rp.Replicas) {
		return refuse(kerr.InvalidReplicationFactor, "The replication factor is changed from %d to %d", size, len(rp.Replicas))
	}
	if h := b.m.handOvers[logKey{t.ID, rp.Partition}]; h != nil {
		h.back = false
	}
	b.reassign(t, rp.Partition, rp.Replicas)
	return problem{}
}

// reassign gives a partition another target. A target that is in sync already is complete with the same record.
func (b *Batch) reassign(t *Topic, n int32, target []int32) {
	c := b.change(t, n, b.active)
	original := without(c.p.Replicas, c.p.Adding...)
	c.removing = without(c.p.Replicas, target...)
	slices.Sort(c.removing)
	c.replicas = slices.Concat(target, c.removing)
	c.adding = without(c.replicas, original...)
	slices.Sort(c.adding)
	b.decide(c)
}

// cancelReassignment goes back to the replicas that there were. Where only such are in sync that came since, that would lose records: it takes an unclean election, which the topic has to allow.
//
// Where so few of those that there were hold what is committed that min.insync.replicas would not be kept, going back is a reassignment of its own: the newcomers stay until the others are in sync. Differs from Kafka,
// which goes back at once: records that were acknowledged by two could then be lost with one. So is it where the leader came since: it hands over, or steps down, first. Not all that there were need be in sync for that; but a controller
// that takes over meanwhile does not know, and waits for all.
func (b *Batch) cancelReassignment(t *Topic, n int32) problem {
	c := b.change(t, n, b.active)
	if !c.p.Reassigning() {
		return refuse(kerr.NoReassignmentInProgress, "No partition reassignment is in progress.")
	}
	c.replicas, c.isr = without(c.p.Replicas, c.adding...), without(c.p.ISR, c.adding...)
	if len(c.isr) == 0 && c.election != unclean {
		return refuse(kerr.InvalidReplicaAssignment, "Unable to revert partition assignment for %s:%d because it would require an unclean leader election.", t.Name, n)
	}
	few := c.tooFew(c.replicas, c.adding) && c.election != unclean
	drains := slices.Contains(c.adding, c.p.Leader) && c.alive(c.p.Leader) && (subset(c.replicas, c.isr) || len(c.isr) > 0 && b.takesWord(c.p.Leader))
	if drains && !few {
		b.goBack(t, n)
	}
	if few || drains {
		b.reassign(t, n, c.replicas)
		return problem{}
	}
	c.adding, c.removing, c.heir = nil, nil, NoLeader
	b.decide(c)
	return problem{}
}

// goBack notes that a partition goes back as soon as its leader makes way.
func (b *Batch) goBack(t *Topic, n int32) {
	key, epoch := logKey{t.ID, n}, t.Partitions[n].LeaderEpoch
	h := b.m.handOvers[key]
	if h == nil || h.leaderEpoch != epoch {
		h = &handOver{leaderEpoch: epoch, paused: true, until: b.now}
		b.m.handOvers[key] = h
	}
	h.back = true
}

// tooFew tells whether without those who go so few would be left of those who hold what is committed that min.insync.replicas would not be kept.
func (c *change) tooFew(replicas, going []int32) bool {
	held := slices.Concat(c.p.ISR, c.p.ELR)
	return len(without(held, going...)) < min(len(held), c.minOf(&Partition{Replicas: replicas}))
}

// complete ends a reassignment whose target is in sync, or which is cancelled and goes back to those who are.
func (c *change) complete() {
	if len(c.adding)+len(c.removing) == 0 {
		return
	}
	replicas := without(c.replicas, c.removing...)
	if !subset(replicas, c.isr) && (!c.back || len(without(c.isr, c.removing...)) == 0 || c.tooFew(replicas, c.removing)) || c.drainsFirst(replicas) {
		return
	}
	c.replicas, c.isr = replicas, without(c.isr, c.removing...)
	c.adding, c.removing = nil, nil
}

// reassign writes the replica lists where they change. When a replica goes the leader epoch rises: what it still sends in its own is from another time.
func (c *change) reassign(r *PartitionChange) {
	if !slices.Equal(c.replicas, c.p.Replicas) {
		r.Has, r.Replicas = r.Has|HasReplicas, slices.Clone(c.replicas)
	}
	if !slices.Equal(c.adding, c.p.Adding) {
		r.Has, r.Adding = r.Has|HasAdding, slices.Clone(c.adding)
	}
	if !slices.Equal(c.removing, c.p.Removing) {
		r.Has, r.Removing = r.Has|HasRemoving, slices.Clone(c.removing)
	}
	if r.Has&HasLeader == 0 && !subset(c.p.Replicas, c.replicas) {
		r.Has, r.Leader = r.Has|HasLeader, c.p.Leader
	}
}

// listReassignments answers ListPartitionReassignments: of all topics, or of the partitions named as far as they are being reassigned.
func (b *Batch) listReassignments(req *kmsg.ListPartitionReassignmentsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
	list := func(t *Topic, numbers func(yield func(int32) bool)) {
		out := kmsg.NewListPartitionReassignmentsResponseTopic()
		for n := range numbers {
			if p := t.partition(n); p != nil && p.Reassigning() {
				op := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
				op.Partition = n
				op.Replicas, op.AddingReplicas, op.RemovingReplicas = slices.Clone(p.Replicas), slices.Clone(p.Adding), slices.Clone(p.Removing)
				out.Partitions = append(out.Partitions, op)
			}
		}
		if len(out.Partitions) > 0 {
			out.Topic = t.Name
			resp.Topics = append(resp.Topics, out)
		}
	}
	if req.Topics == nil {
		for _, name := range b.d.img.TopicNames() {
			t := b.d.img.Topics[name]
			list(t, func(yield func(int32) bool) {
				for n := range t.Partitions {
					if !yield(int32(n)) {
						return
					}
				}
			})
		}
		return resp
	}
	for i := range req.Topics {
		list(b.d.img.Topics[req.Topics[i].Topic], slices.Values(req.Topics[i].Partitions))
	}
	return resp
}
