package broker

import (
	"context"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ElectLeaders (43), versions 0-2: forwarded to the active controller, which elects and answers; see there (KIP-183, KIP-460).
//
// Behaviour: preferred elections have the leader hand over to the first replica; one that did not get everything from the leader in time is PREFERRED_LEADER_NOT_AVAILABLE, too. Unclean ones take any live replica where there is no leader, whatever unclean.leader.election.enable says. A null list asks for all
// partitions, and the answer leaves out those that need no election. Each partition is on its own.
//
// Versions: v0 has preferred elections only, and no error for the whole · v1 unclean elections.
func (b *Broker) electLeaders(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := *r.Message.(*kmsg.ElectLeadersRequest)
	version := req.Version
	req.Version = 2
	before := b.metadataImage()
	var resp *kmsg.ElectLeadersResponse
	got, err := b.forward(ctx, &req, millis(req.TimeoutMillis))
	if err == nil {
		resp = got.(*kmsg.ElectLeadersResponse)
		var moved []changedPartition
		for i := range resp.Topics {
			for _, p := range resp.Topics[i].Partitions {
				if p.ErrorCode == 0 {
					moved = append(moved, changedPartition{resp.Topics[i].Topic, p.Partition})
				}
			}
		}
		if req.ElectionType == 0 {
			b.awaitHandOvers(ctx, before, moved, resp)
		} else {
			b.awaitChange(ctx, before, moved)
		}
	} else {
		resp = kmsg.NewPtrElectLeadersResponse()
		resp.ErrorCode = codeOf(err)
		for i := range req.Topics {
			t := kmsg.NewElectLeadersResponseTopic()
			t.Topic = req.Topics[i].Topic
			for _, n := range req.Topics[i].Partitions {
				p := kmsg.NewElectLeadersResponseTopicPartition()
				p.Partition, p.ErrorCode, p.ErrorMessage = n, codeOf(err), messageOf(err)
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
	}
	resp.Version = version
	reply(transport.Reply{Message: resp})
}

// changedPartition is a partition that a request has changed.
type changedPartition struct {
	topic string
	index int32
}

// awaitChange waits until this node has partitions as they are after a request that was sent when metadata was before.
func (b *Broker) awaitChange(ctx context.Context, before *controller.Image, changed []changedPartition) {
	b.awaitMetadata(ctx, func(img *controller.Image) bool {
		for _, c := range changed {
			if was, is := partitionOf(before, c.topic, c.index), partitionOf(img, c.topic, c.index); was != nil && is != nil && was.PartitionEpoch == is.PartitionEpoch {
				return false
			}
		}
		return true
	})
}

// awaitHandOvers waits until this node has heard how preferred elections ended that a request began when metadata was before, and says in the answer where the leader has stayed.
func (b *Broker) awaitHandOvers(ctx context.Context, before *controller.Image, begun []changedPartition, resp *kmsg.ElectLeadersResponse) {
	marked := make(map[changedPartition]bool)
	var last *controller.Image
	stayed := func(c changedPartition) bool {
		p := partitionOf(last, c.topic, c.index)
		return p != nil && p.Leader != p.Replicas[0] && len(p.HandOver) == 0 && marked[c]
	}
	b.awaitMetadata(ctx, func(img *controller.Image) bool {
		last = img
		ended := true
		for _, c := range begun {
			was, p := partitionOf(before, c.topic, c.index), partitionOf(img, c.topic, c.index)
			switch {
			case p == nil: // deleted
			case len(p.HandOver) > 0:
				marked[c], ended = true, false
			case was != nil && was.PartitionEpoch == p.PartitionEpoch, p.Leader != p.Replicas[0] && !marked[c]:
				ended = false // not heard of yet
			}
		}
		return ended
	})
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			if p := &resp.Topics[i].Partitions[j]; p.ErrorCode == 0 && last != nil && stayed(changedPartition{resp.Topics[i].Topic, p.Partition}) {
				p.ErrorCode, p.ErrorMessage = kerr.PreferredLeaderNotAvailable.Code, kmsg.StringPtr("The preferred leader did not have all records in time.")
			}
		}
	}
}
