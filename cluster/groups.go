package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/insynclog/insync/internal/guard"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// GroupListing is one group of a list.
type GroupListing struct {
	ID       string
	Protocol GroupProtocol
	State    string // Kafka's word: Empty, Stable, …
}

// GroupProtocol says how a group shares partitions out.
type GroupProtocol string

// The protocols.
const (
	ClassicProtocol  GroupProtocol = "classic"  // a member assigns (JoinGroup, SyncGroup)
	ConsumerProtocol GroupProtocol = "consumer" // the coordinator assigns (KIP-848)
)

// GroupStatus is a group as its coordinator knows it, with what it has still to read.
type GroupStatus struct {
	ID          string
	Protocol    GroupProtocol
	State       string // Kafka's word: Empty, PreparingRebalance, CompletingRebalance, Assigning, Reconciling, Stable, Dead
	Coordinator int32
	Epoch       int32  // of the group (KIP-848); -1 of a classic group
	Assignor    string // "" if none is chosen
	Members     []GroupMember
	Partitions  []GroupPartition // those assigned or committed, by topic and number
}

// GroupMember is one member.
type GroupMember struct {
	ID         string
	InstanceID string // "" of a dynamic member
	ClientID   string
	Host       string
	Epoch      int32 // -1 of a member of a classic group
	Assigned   []TopicPartition
	Target     []TopicPartition // what it is about to have; of a classic group the same as Assigned
}

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String is "topic-partition".
func (tp TopicPartition) String() string { return fmt.Sprintf("%s-%d", tp.Topic, tp.Partition) }

func (tp TopicPartition) compare(o TopicPartition) int {
	return cmp.Or(cmp.Compare(tp.Topic, o.Topic), cmp.Compare(tp.Partition, o.Partition))
}

// GroupPartition is a partition as a group reads it.
type GroupPartition struct {
	TopicPartition
	Member    string        // who has it; "" nobody
	Committed int64         // the next offset to be read; -1 nothing is committed
	Metadata  string        // stored with the offset
	Start     int64         // log start offset; -1 unknown
	End       int64         // high watermark; -1 unknown
	Stable    int64         // last stable offset, the end for read_committed; -1 unknown
	Lag       int64         // records from Committed to Stable, offsets that hold none included; -1 unknown
	LagTime   time.Duration // age of the first record that is not committed; 0 when there is none or it is not known
	Err       error         // why offsets are unknown
}

// Groups lists the groups of all coordinators, by id.
func (a *Admin) Groups(ctx context.Context) ([]GroupListing, error) {
	nodes, err := a.nodes(ctx)
	if err != nil {
		return nil, &AdminError{Op: "list groups", Err: err}
	}
	var all []GroupListing
	for _, node := range nodes {
		resp, err := ask[*kmsg.ListGroupsResponse](ctx, a, node, kmsg.NewPtrListGroupsRequest())
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err != nil {
			return nil, &AdminError{Op: "list groups", Err: fmt.Errorf("node %d: %w", node, err)}
		}
		for _, g := range resp.Groups {
			l := GroupListing{ID: g.Group, Protocol: GroupProtocol(strings.ToLower(g.GroupType)), State: g.GroupState}
			if l.Protocol == "" {
				l.Protocol = ClassicProtocol // the node is older than the other one
			}
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(x, y GroupListing) int { return cmp.Compare(x.ID, y.ID) })
	return slices.CompactFunc(all, func(x, y GroupListing) bool { return x.ID == y.ID }), nil
}

// nodes lists the nodes of the cluster.
func (a *Admin) nodes(ctx context.Context) ([]int32, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	resp, err := ask[*kmsg.MetadataResponse](ctx, a, transport.AnyNode, req)
	if err != nil {
		return nil, err
	}
	var ids []int32
	for _, b := range resp.Brokers {
		a.client.SetNode(transport.Node{ID: b.NodeID, Addr: joinHostPort(b.Host, b.Port), Rack: deref(b.Rack)})
		ids = append(ids, b.NodeID)
	}
	return ids, nil
}

// Group describes a group: its members, what is assigned to whom, what was committed and what there is still to read. A group that does not exist is Dead, without an error, as in Kafka.
func (a *Admin) Group(ctx context.Context, id string) (GroupStatus, error) {
	g := GroupStatus{ID: id, Epoch: -1}
	err := a.atCoordinator(ctx, id, func(node int32) error {
		g = GroupStatus{ID: id, Epoch: -1, Coordinator: node}
		return a.describeGroup(ctx, &g)
	})
	if err == nil {
		err = a.groupOffsets(ctx, &g)
	}
	if err != nil {
		return GroupStatus{}, &AdminError{Op: "describe group", Name: id, Err: err}
	}
	return g, nil
}

// atCoordinator calls f with the group's coordinator, again with the next one when it has moved.
func (a *Admin) atCoordinator(ctx context.Context, group string, f func(node int32) error) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		node, err := a.client.Coordinator(ctx, transport.GroupCoordinator, group)
		if err != nil {
			return err
		}
		err = f(node)
		var conn *transport.ConnError
		switch {
		case errors.Is(err, kerr.CoordinatorLoadInProgress):
		case errors.Is(err, kerr.NotCoordinator), errors.Is(err, kerr.CoordinatorNotAvailable), errors.As(err, &conn):
			a.client.ForgetCoordinator(transport.GroupCoordinator, group, node)
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}

// describeGroup asks by the newer request first: it says so if the group is not of its kind.
func (a *Admin) describeGroup(ctx context.Context, g *GroupStatus) error {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = []string{g.ID}
	resp, err := ask[*kmsg.ConsumerGroupDescribeResponse](ctx, a, g.Coordinator, req)
	var unsupported *transport.UnsupportedVersionError
	if errors.As(err, &unsupported) {
		return a.describeClassic(ctx, g)
	}
	if err != nil {
		return err
	}
	if len(resp.Groups) != 1 {
		return errors.New("the answer is not about the group")
	}
	d := &resp.Groups[0]
	switch err := kerr.ErrorForCode(d.ErrorCode); {
	case errors.Is(err, kerr.GroupIDNotFound):
		return a.describeClassic(ctx, g)
	case err != nil:
		return err
	}
	g.Protocol, g.State, g.Epoch, g.Assignor = ConsumerProtocol, d.State, d.Epoch, d.AssignorName
	for i := range d.Members {
		m := &d.Members[i]
		gm := GroupMember{ID: m.MemberID, InstanceID: deref(m.InstanceID), ClientID: m.ClientID, Host: m.ClientHost, Epoch: m.MemberEpoch}
		gm.Assigned, gm.Target = assigned(m.Assignment), assigned(m.TargetAssignment)
		g.Members = append(g.Members, gm)
	}
	return nil
}

func assigned(a kmsg.Assignment) []TopicPartition {
	var tps []TopicPartition
	for _, t := range a.TopicPartitions {
		for _, p := range t.Partitions {
			tps = append(tps, TopicPartition{t.Topic, p})
		}
	}
	slices.SortFunc(tps, TopicPartition.compare)
	return tps
}

func (a *Admin) describeClassic(ctx context.Context, g *GroupStatus) error {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{g.ID}
	resp, err := ask[*kmsg.DescribeGroupsResponse](ctx, a, g.Coordinator, req)
	if err != nil {
		return err
	}
	if len(resp.Groups) != 1 {
		return errors.New("the answer is not about the group")
	}
	d := &resp.Groups[0]
	g.Protocol, g.State, g.Assignor = ClassicProtocol, d.State, d.Protocol
	switch err := kerr.ErrorForCode(d.ErrorCode); {
	case errors.Is(err, kerr.GroupIDNotFound): // version 6 and later
		g.State = "Dead"
		return nil
	case err != nil:
		return err
	}
	for i := range d.Members {
		m := &d.Members[i]
		gm := GroupMember{ID: m.MemberID, InstanceID: deref(m.InstanceID), ClientID: m.ClientID, Host: m.ClientHost, Epoch: -1}
		var ma kmsg.ConsumerMemberAssignment
		if d.ProtocolType == "consumer" && len(m.MemberAssignment) > 0 &&
			guard.ConsumerMemberAssignment(m.MemberAssignment, guard.Budget(len(m.MemberAssignment))) == nil && ma.ReadFrom(m.MemberAssignment) == nil {
			for _, t := range ma.Topics {
				for _, p := range t.Partitions {
					gm.Assigned = append(gm.Assigned, TopicPartition{t.Topic, p})
				}
			}
			slices.SortFunc(gm.Assigned, TopicPartition.compare)
			gm.Target = gm.Assigned
		}
		g.Members = append(g.Members, gm)
	}
	return nil
}

// groupOffsets finds what was committed, where the partitions end, and how old the first record is that is not committed.
func (a *Admin) groupOffsets(ctx context.Context, g *GroupStatus) error {
	partitions := map[TopicPartition]*GroupPartition{}
	at := func(tp TopicPartition) *GroupPartition {
		p := partitions[tp]
		if p == nil {
			p = &GroupPartition{TopicPartition: tp, Committed: -1, Start: -1, End: -1, Stable: -1, Lag: -1}
			partitions[tp] = p
		}
		return p
	}
	for _, m := range g.Members {
		for _, tp := range m.Assigned {
			at(tp).Member = m.ID
		}
	}
	err := a.atCoordinator(ctx, g.ID, func(node int32) error {
		req := kmsg.NewPtrOffsetFetchRequest()
		rg := kmsg.NewOffsetFetchRequestGroup()
		rg.Group, req.Group = g.ID, g.ID
		req.Groups = append(req.Groups, rg)
		return a.committed(ctx, node, req, func(tp TopicPartition, offset int64, metadata string) {
			p := at(tp)
			p.Committed, p.Metadata = offset, metadata
		})
	})
	if err != nil {
		return err
	}
	for _, tp := range slices.SortedFunc(maps.Keys(partitions), TopicPartition.compare) {
		p := partitions[tp]
		a.measure(ctx, p)
		g.Partitions = append(g.Partitions, *p)
	}
	return nil
}

// committed asks for all offsets of a group.
func (a *Admin) committed(ctx context.Context, node int32, req *kmsg.OffsetFetchRequest, take func(tp TopicPartition, offset int64, metadata string)) error {
	resp, err := ask[*kmsg.OffsetFetchResponse](ctx, a, node, req)
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	for _, t := range resp.Topics { // before version 8
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 && p.Offset >= 0 {
				take(TopicPartition{t.Topic, p.Partition}, p.Offset, deref(p.Metadata))
			}
		}
	}
	for _, group := range resp.Groups {
		if err := kerr.ErrorForCode(group.ErrorCode); err != nil {
			return err
		}
		for _, t := range group.Topics {
			name := t.Topic
			if name == "" {
				if name, err = a.topicName(ctx, t.TopicID); err != nil {
					return err
				}
			}
			for _, p := range t.Partitions {
				if p.ErrorCode == 0 && p.Offset >= 0 {
					take(TopicPartition{name, p.Partition}, p.Offset, deref(p.Metadata))
				}
			}
		}
	}
	return nil
}

func (a *Admin) topicName(ctx context.Context, id [16]byte) (string, error) {
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.TopicID = id
	req.Topics = append(req.Topics, rt)
	resp, err := ask[*kmsg.MetadataResponse](ctx, a, transport.AnyNode, req)
	if err != nil {
		return "", err
	}
	if len(resp.Topics) != 1 || resp.Topics[0].Topic == nil {
		return "", kerr.UnknownTopicID
	}
	return *resp.Topics[0].Topic, nil
}

// measure finds where a partition begins and ends, by one fetch at the committed offset, which also brings the first record that is not committed. If the leader is not where it was, it looks once more.
func (a *Admin) measure(ctx context.Context, p *GroupPartition) {
	if p.Err = a.measureOnce(ctx, p); p.Err == nil || errors.Is(p.Err, kerr.UnknownTopicOrPartition) || errors.Is(p.Err, kerr.OffsetOutOfRange) {
		return
	}
	select {
	case <-a.client.Refresh(p.Topic):
		p.Err = a.measureOnce(ctx, p)
	case <-ctx.Done():
	}
}

func (a *Admin) measureOnce(ctx context.Context, p *GroupPartition) error {
	t, err := a.client.Topic(ctx, p.Topic, false)
	switch {
	case err != nil:
		return err
	case t.Err != nil:
		return t.Err
	case int(p.Partition) >= len(t.Partitions):
		return kerr.UnknownTopicOrPartition
	case t.Partitions[p.Partition].Leader < 0:
		return kerr.LeaderNotAvailable
	}
	first, err := a.peek(ctx, t, p, max(p.Committed, 0))
	if errors.Is(err, kerr.OffsetOutOfRange) && p.Committed < 0 {
		first, err = a.peek(ctx, t, p, max(p.Start, 0)) // the answer to the first one said where the log begins
	}
	if p.Stable >= 0 {
		from := p.Committed
		if from < 0 {
			from = p.Start
		}
		p.Lag = max(p.Stable-from, 0)
		if p.Lag > 0 && !first.IsZero() {
			p.LagTime = max(time.Since(first), 0)
		}
	}
	return err
}
