package machine

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Values of the election type in ElectLeaders (KIP-460).
const (
	electPreferred int8 = 0
	electUnclean   int8 = 1
)

// electLeaders answers ElectLeaders (KIP-183, KIP-460). Without a list it looks at all partitions, and leaves those out that need no election.
func (b *Batch) electLeaders(req *kmsg.ElectLeadersRequest) kmsg.Response {
	if req.ElectionType != electPreferred && req.ElectionType != electUnclean {
		return Refuse(req, kerr.InvalidRequest)
	}
	resp := req.ResponseKind().(*kmsg.ElectLeadersResponse)
	if req.Topics == nil {
		for _, name := range b.d.img.TopicNames() {
			out := kmsg.NewElectLeadersResponseTopic()
			out.Topic = name
			for n := range b.d.img.Topics[name].Partitions {
				if p := b.electOne(name, int32(n), req.ElectionType); p.code != kerr.ElectionNotNeeded.Code {
					out.Partitions = append(out.Partitions, electionResult(int32(n), p))
				}
			}
			if len(out.Partitions) > 0 {
				resp.Topics = append(resp.Topics, out)
			}
		}
		return resp
	}
	for i := range req.Topics {
		out := kmsg.NewElectLeadersResponseTopic()
		out.Topic = req.Topics[i].Topic
		for _, n := range req.Topics[i].Partitions {
			out.Partitions = append(out.Partitions, electionResult(n, b.electOne(out.Topic, n, req.ElectionType)))
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func electionResult(n int32, p problem) kmsg.ElectLeadersResponseTopicPartition {
	out := kmsg.NewElectLeadersResponseTopicPartition()
	out.Partition, out.ErrorCode, out.ErrorMessage = n, p.code, p.text()
	return out
}

// electOne elects the preferred replica, or any live one where there is no leader. Without anything to change nobody was there to elect.
func (b *Batch) electOne(topic string, n int32, kind int8) problem {
	t := b.d.img.Topics[topic]
	p := t.partition(n)
	switch {
	case t == nil:
		return refuse(kerr.UnknownTopicOrPartition, "No such topic as %s", topic)
	case p == nil:
		return refuse(kerr.UnknownTopicOrPartition, "No such partition as %s-%d", topic, n)
	case kind == electPreferred && p.Leader == p.Replicas[0], kind == electUnclean && p.Leader != NoLeader:
		return refuse(kerr.ElectionNotNeeded, "Leader election not needed for topic partition.")
	}
	if kind == electPreferred && p.heir() == p.Replicas[0] {
		return problem{} // it is under way
	}
	c := b.change(t, n, b.active)
	c.election = preferred
	if kind == electUnclean {
		c.election = unclean
	}
	if b.decide(c) {
		return problem{}
	}
	if kind == electPreferred {
		return refuse(kerr.PreferredLeaderNotAvailable, "The preferred leader was not available.")
	}
	return refuse(kerr.EligibleLeadersNotAvailable, "Eligible topic partition leaders are not available.")
}
