package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// QuorumStatus is the metadata quorum as its leader, the active controller, knows it.
type QuorumStatus struct {
	Leader        int32
	Term          int32 // Kafka: leader epoch
	HighWatermark int64 // of the metadata log: what lies below is committed
	Voters        []QuorumMember
	Observers     []QuorumMember // follow without a vote
}

// QuorumMember is a node that follows the metadata log, or leads it.
type QuorumMember struct {
	ID           int32
	DirectoryID  log.TopicID // of its data directory; zero unknown
	Addr         string      // "" unknown
	LogEndOffset int64       // -1 unknown
	LastFetch    time.Time   // when the leader last heard of it, zero if it has not; of the leader the time of the answer, as with LastCaughtUp
	LastCaughtUp time.Time   // when it last had all that the leader had
}

// Quorum describes the metadata quorum (KIP-595, KIP-836).
func (a *Admin) Quorum(ctx context.Context) (QuorumStatus, error) {
	const topic = "__cluster_metadata"
	req := kmsg.NewPtrDescribeQuorumRequest()
	rt := kmsg.NewDescribeQuorumRequestTopic()
	rt.Topic, rt.Partitions = topic, []kmsg.DescribeQuorumRequestTopicPartition{{Partition: 0}}
	req.Topics = append(req.Topics, rt)
	fail := func(err error, text *string) (QuorumStatus, error) {
		return QuorumStatus{}, &AdminError{Op: "describe quorum of", Name: topic, Err: err, Text: deref(text)}
	}
	resp, err := request[*kmsg.DescribeQuorumResponse](ctx, a, req)
	if err != nil {
		return fail(err, nil)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return fail(err, resp.ErrorMessage)
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return fail(errors.New("the answer is not about the quorum"), nil)
	}
	p := &resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
		return fail(err, p.ErrorMessage)
	}
	addrs := map[int32]string{}
	for _, n := range resp.Nodes {
		if len(n.Listeners) > 0 {
			addrs[n.NodeID] = joinHostPort(n.Listeners[0].Host, int32(n.Listeners[0].Port))
		}
	}
	members := func(list []kmsg.DescribeQuorumResponseTopicPartitionReplicaState) (out []QuorumMember) {
		for _, s := range list {
			out = append(out, QuorumMember{
				ID: s.ReplicaID, DirectoryID: s.ReplicaDirectoryID, Addr: addrs[s.ReplicaID], LogEndOffset: s.LogEndOffset,
				LastFetch: timeOrZero(s.LastFetchTimestamp), LastCaughtUp: timeOrZero(s.LastCaughtUpTimestamp),
			})
		}
		return out
	}
	return QuorumStatus{Leader: p.LeaderID, Term: p.LeaderEpoch, HighWatermark: p.HighWatermark, Voters: members(p.CurrentVoters), Observers: members(p.Observers)}, nil
}

// timeOrZero is a time of the wire, where -1 is none.
func timeOrZero(ms int64) time.Time {
	if ms < 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
