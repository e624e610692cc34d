package machine

import (
	"slices"

	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Values of LeaderRecoveryState.
const (
	recovered  int8 = 0
	recovering int8 = 1
)

// alterPartition answers AlterPartition: a leader proposes an in-sync set (KIP-497, KIP-903).
func (b *Batch) alterPartition(req *kmsg.AlterPartitionRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.AlterPartitionResponse)
	if br := b.d.img.Brokers[req.BrokerID]; br == nil || br.Epoch != req.BrokerEpoch {
		resp.ErrorCode = kerr.StaleBrokerEpoch.Code
		return resp
	}
	for i := range req.Topics {
		rt := &req.Topics[i]
		out := kmsg.NewAlterPartitionResponseTopic()
		out.Topic, out.TopidID = rt.Topic, rt.TopicID
		for j := range rt.Partitions {
			out.Partitions = append(out.Partitions, b.alterOne(req, rt, &rt.Partitions[j]))
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (b *Batch) alterOne(req *kmsg.AlterPartitionRequest, rt *kmsg.AlterPartitionRequestTopic, rp *kmsg.AlterPartitionRequestTopicPartition) kmsg.AlterPartitionResponseTopicPartition {
	out := kmsg.NewAlterPartitionResponseTopicPartition()
	out.Partition = rp.Partition
	t, unknown := b.d.img.TopicIDs[rt.TopicID], kerr.UnknownTopicID
	if rt.TopicID == (log.TopicID{}) {
		t, unknown = b.d.img.Topics[rt.Topic], kerr.UnknownTopicOrPartition
	}
	if t == nil {
		out.ErrorCode = unknown.Code
		return out
	}
	p := t.partition(rp.Partition)
	if p == nil {
		out.ErrorCode = kerr.UnknownTopicOrPartition.Code
		return out
	}
	isr, epochs := proposedISR(rp)
	if e := b.checkAlter(req.BrokerID, p, rp, isr, epochs); e != nil {
		out.ErrorCode = e.Code
		if e == kerr.IneligibleReplica && req.Version < 2 {
			out.ErrorCode = kerr.OperationNotAttempted.Code
		}
		return out
	}
	if b.keptOut(t, p, isr) {
		out.ErrorCode = kerr.IneligibleReplica.Code
		return out
	}
	c := b.change(t, rp.Partition, b.active)
	c.isr, c.recovering = isr, rp.LeaderRecoveryState == recovering
	if to, ok := drainedTo(rp); ok {
		if to != p.heir() || !b.stays(to) || !slices.Contains(isr, to) {
			out.ErrorCode = kerr.OperationNotAttempted.Code
			return out
		}
		c.handedOver = true
	}
	minISR := c.minOf(p)
	b.decide(c)

	p = b.d.img.TopicIDs[t.ID].Partitions[rp.Partition]
	if p.Leader != req.BrokerID || c.minOf(p) != minISR {
		// The in-sync set completed a reassignment. The leader is another one, or it learns with the metadata, and not from this answer, which minimum goes with the set from now on: one that already had
		// the set and still the old minimum could commit what the controller counts as not committed.
		out.ErrorCode = kerr.NewLeaderElected.Code
		if req.Version < 2 {
			out.ErrorCode = kerr.FencedLeaderEpoch.Code
		}
		return out
	}
	out.LeaderID, out.LeaderEpoch, out.PartitionEpoch = p.Leader, p.LeaderEpoch, p.PartitionEpoch
	out.ISR = slices.Clone(p.ISR)
	if p.Recovering {
		out.LeaderRecoveryState = recovering
	}
	return out
}

func proposedISR(rp *kmsg.AlterPartitionRequestTopicPartition) (isr []int32, epochs map[int32]int64) {
	if len(rp.NewEpochISR) == 0 {
		return slices.Clone(rp.NewISR), nil
	}
	epochs = make(map[int32]int64, len(rp.NewEpochISR))
	for _, m := range rp.NewEpochISR {
		isr = append(isr, m.BrokerID)
		epochs[m.BrokerID] = m.BrokerEpoch
	}
	return isr, epochs
}

// checkAlter is Kafka's order of checks: a leader acts on the answer by its class (stale controller, stale leader, bad request, member that may not join).
func (b *Batch) checkAlter(sender int32, p *Partition, rp *kmsg.AlterPartitionRequestTopicPartition, isr []int32, epochs map[int32]int64) *kerr.Error {
	switch {
	case rp.LeaderEpoch > p.LeaderEpoch || rp.PartitionEpoch > p.PartitionEpoch:
		return kerr.NotController
	case rp.LeaderEpoch < p.LeaderEpoch:
		return kerr.FencedLeaderEpoch
	case sender != p.Leader:
		return kerr.InvalidRequest
	case rp.PartitionEpoch < p.PartitionEpoch:
		return kerr.InvalidUpdateVersion
	case hasDuplicates(isr) || !subset(isr, p.Replicas) || !slices.Contains(isr, sender):
		return kerr.InvalidRequest
	case rp.LeaderRecoveryState != recovered && rp.LeaderRecoveryState != recovering:
		return kerr.InvalidRequest
	case rp.LeaderRecoveryState == recovering && (len(isr) > 1 || !p.Recovering):
		return kerr.InvalidRequest
	}
	for _, id := range isr {
		br := b.d.img.Brokers[id]
		epoch, known := epochs[id]
		if !br.Active() || known && epoch != -1 && epoch != br.Epoch {
			return kerr.IneligibleReplica
		}
	}
	return nil
}
