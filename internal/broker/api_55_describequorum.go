package broker

import (
	"context"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeQuorum (55), versions 0-2: the metadata quorum (KIP-595), from the active controller: any other node asks it, and says REQUEST_TIMED_OUT if there is none.
//
// Behaviour: the one partition to ask for is __cluster_metadata-0; with any other in the request all of it is UNKNOWN_TOPIC_OR_PARTITION. The quorum is etcd's raft: terms are leader epochs, entries are offsets,
// the commit index is the high watermark, a follower's answer to entries or a heartbeat is its fetch. Observers are raft's learners. Of itself the leader says that it fetched now.
//
// Versions: v1 tells when voters fetched last and were last caught up (KIP-836) · v2 directories, addresses and messages for people (KIP-853).
func (b *Broker) describeQuorum(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.DescribeQuorumRequest)
	if !asksForQuorum(req) {
		reply(transport.Reply{Message: quorumUnknown(req)})
		return
	}
	ctx, cancel := context.WithTimeout(ctx, quorumPatience)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	resp, err := b.askQuorum(ctx, req)
	if err != nil {
		resp = kmsg.NewPtrDescribeQuorumResponse()
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
	}
	resp.Version = req.Version
	reply(transport.Reply{Message: resp})
}

// quorumPatience is request.timeout.ms of Kafka's brokers, which bounds what they forward.
const quorumPatience = 30 * time.Second

// askQuorum has the active controller describe the quorum. It changes nothing, so it may be asked for again whatever went wrong.
func (b *Broker) askQuorum(ctx context.Context, req *kmsg.DescribeQuorumRequest) (*kmsg.DescribeQuorumResponse, error) {
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		resp, err := b.askQuorumOnce(ctx, req)
		if err == nil || ctx.Err() != nil || is[*transport.UnsupportedVersionError](err) || !sleep(ctx, pause) {
			return resp, err
		}
	}
}

func (b *Broker) askQuorumOnce(ctx context.Context, req *kmsg.DescribeQuorumRequest) (*kmsg.DescribeQuorumResponse, error) {
	ctl := b.ctl.Load()
	if ctl == nil {
		return nil, ErrNotStarted
	}
	node, err := ctl.WaitLeader(ctx)
	if err != nil {
		return nil, err
	}
	if node == b.c.NodeID {
		if st := ctl.Status(); st.Leader == b.c.NodeID {
			return b.quorum(&st, time.Now()), nil
		}
		return nil, kerr.NotController
	}
	newest := *req
	newest.Version = 2
	got, err := b.peers.Request(ctx, node, &newest)
	if err != nil {
		return nil, err
	}
	resp := got.(*kmsg.DescribeQuorumResponse)
	return resp, kerr.ErrorForCode(resp.ErrorCode)
}

// asksForQuorum tells whether a request names the quorum's partition and nothing else.
func asksForQuorum(req *kmsg.DescribeQuorumRequest) bool {
	return len(req.Topics) == 1 && req.Topics[0].Topic == topicClusterMetadata && len(req.Topics[0].Partitions) == 1 && req.Topics[0].Partitions[0].Partition == 0
}

func quorumUnknown(req *kmsg.DescribeQuorumRequest) *kmsg.DescribeQuorumResponse {
	resp := kmsg.NewPtrDescribeQuorumResponse()
	resp.Version = req.Version
	for i := range req.Topics {
		t := kmsg.NewDescribeQuorumResponseTopic()
		t.Topic = req.Topics[i].Topic
		for _, p := range req.Topics[i].Partitions {
			o := kmsg.NewDescribeQuorumResponseTopicPartition()
			o.Partition, o.ErrorCode, o.ErrorMessage = p.Partition, kerr.UnknownTopicOrPartition.Code, messageOf(kerr.UnknownTopicOrPartition)
			t.Partitions = append(t.Partitions, o)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

// quorum describes the quorum that this node leads.
func (b *Broker) quorum(st *controller.QuorumStatus, now time.Time) *kmsg.DescribeQuorumResponse {
	img := b.metadataImage()
	resp := kmsg.NewPtrDescribeQuorumResponse()
	p := kmsg.NewDescribeQuorumResponseTopicPartition()
	p.LeaderID, p.LeaderEpoch, p.HighWatermark = st.Leader, int32(st.Term), st.HighWatermark
	describe := func(v *controller.VoterStatus) kmsg.DescribeQuorumResponseTopicPartitionReplicaState {
		s := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
		s.ReplicaID, s.LogEndOffset, s.LastFetchTimestamp, s.LastCaughtUpTimestamp = v.ID, v.LogEndOffset, millisOrNone(v.LastFetch), millisOrNone(v.LastCaughtUp)
		if v.ID == st.Leader {
			s.LastFetchTimestamp, s.LastCaughtUpTimestamp = now.UnixMilli(), now.UnixMilli()
		}
		if n := img.Brokers[v.ID]; n != nil {
			s.ReplicaDirectoryID = n.DirectoryID
		}
		return s
	}
	for i := range st.Observers {
		p.Observers = append(p.Observers, describe(&st.Observers[i]))
	}
	for i := range st.Voters {
		v := &st.Voters[i]
		p.CurrentVoters = append(p.CurrentVoters, describe(v))
		node := kmsg.NewDescribeQuorumResponseNode()
		node.NodeID = v.ID
		addr := b.peerAddr(v.ID)
		if n := img.Brokers[v.ID]; n != nil && n.Addr != "" {
			addr = n.Addr
		}
		if addr != "" {
			l := kmsg.NewDescribeQuorumResponseNodeListener()
			host, port := hostPort(addr)
			l.Name, l.Host, l.Port = "PLAINTEXT", host, uint16(port)
			node.Listeners = append(node.Listeners, l)
		}
		resp.Nodes = append(resp.Nodes, node)
	}
	t := kmsg.NewDescribeQuorumResponseTopic()
	t.Topic, t.Partitions = topicClusterMetadata, append(t.Partitions, p)
	resp.Topics = append(resp.Topics, t)
	return resp
}

// millisOrNone is a time on the wire, -1 without one.
func millisOrNone(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return t.UnixMilli()
}
