package broker

import (
	"github.com/insynclog/insync/internal/acl"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The rules of the APIs about consumer groups.

var groupDenied = kerr.GroupAuthorizationFailed.Code

// mayOffsetCommit: READ on the group and on each topic.
func mayOffsetCommit(b *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.OffsetCommitRequest)
	code := topicDenied
	may := func(t *kmsg.OffsetCommitRequestTopic) bool { return b.mayTopic(g, acl.Read, t.Topic, t.TopicID) }
	whole := !g.may(acl.Read, acl.Group, req.Group)
	if whole {
		code, may = groupDenied, func(*kmsg.OffsetCommitRequestTopic) bool { return false }
	}
	var no []kmsg.OffsetCommitRequestTopic
	req.Topics, no = sift(req.Topics, may)
	refused := func(m kmsg.Response) {
		resp := m.(*kmsg.OffsetCommitResponse)
		for i := range no {
			t := kmsg.NewOffsetCommitResponseTopic()
			t.Topic, t.TopicID = no[i].Topic, no[i].TopicID
			for j := range no[i].Partitions {
				p := kmsg.NewOffsetCommitResponseTopicPartition()
				p.Partition, p.ErrorCode = no[i].Partitions[j].Partition, code
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
	}
	switch {
	case whole:
		resp := req.ResponseKind()
		refused(resp)
		return refuse(resp)
	case no == nil:
		return verdict{}
	default:
		return verdict{amend: refused}
	}
}

// mayOffsetFetch: DESCRIBE on the group and on each topic. Of all topics, those that it may not see are not told.
func mayOffsetFetch(b *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.OffsetFetchRequest)
	switch {
	case g == nil:
		return verdict{}
	case req.Version >= 8:
		return mayOffsetFetchGroups(b, g, req)
	}
	if !g.may(acl.Describe, acl.Group, req.Group) {
		resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
		resp.ErrorCode = groupDenied
		resp.Topics = noOffsets(req.Topics, groupDenied)
		return refuse(resp)
	}
	all := req.Topics == nil
	var no []kmsg.OffsetFetchRequestTopic
	req.Topics, no = sift(req.Topics, func(t *kmsg.OffsetFetchRequestTopic) bool { return g.may(acl.Describe, acl.Topic, t.Topic) })
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.OffsetFetchResponse)
		if all {
			resp.Topics, _ = sift(resp.Topics, func(t *kmsg.OffsetFetchResponseTopic) bool { return g.may(acl.Describe, acl.Topic, t.Topic) })
		}
		resp.Topics = append(resp.Topics, noOffsets(no, topicDenied)...)
	}}
}

func noOffsets(topics []kmsg.OffsetFetchRequestTopic, code int16) (refused []kmsg.OffsetFetchResponseTopic) {
	for i := range topics {
		t := kmsg.NewOffsetFetchResponseTopic()
		t.Topic = topics[i].Topic
		for _, n := range topics[i].Partitions {
			p := kmsg.NewOffsetFetchResponseTopicPartition()
			p.Partition, p.Offset, p.ErrorCode = n, -1, code
			t.Partitions = append(t.Partitions, p)
		}
		refused = append(refused, t)
	}
	return refused
}

// mayOffsetFetchGroups is mayOffsetFetch for version 8 and up, with several groups.
func mayOffsetFetchGroups(b *Broker, g *guest, req *kmsg.OffsetFetchRequest) verdict {
	var no []kmsg.OffsetFetchRequestGroup
	req.Groups, no = sift(req.Groups, func(r *kmsg.OffsetFetchRequestGroup) bool { return g.may(acl.Describe, acl.Group, r.Group) })
	denied := map[string][]kmsg.OffsetFetchResponseGroupTopic{} // by group
	all := map[string]bool{}
	for i := range req.Groups {
		r := &req.Groups[i]
		all[r.Group] = r.Topics == nil
		var topics []kmsg.OffsetFetchRequestGroupTopic
		r.Topics, topics = sift(r.Topics, func(t *kmsg.OffsetFetchRequestGroupTopic) bool {
			return b.mayTopic(g, acl.Describe, t.Topic, t.TopicID)
		})
		for j := range topics {
			t := kmsg.NewOffsetFetchResponseGroupTopic()
			t.Topic, t.TopicID = topics[j].Topic, topics[j].TopicID
			for _, n := range topics[j].Partitions {
				p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
				p.Partition, p.Offset, p.ErrorCode = n, -1, topicDenied
				t.Partitions = append(t.Partitions, p)
			}
			denied[r.Group] = append(denied[r.Group], t)
		}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.OffsetFetchResponse)
		for i := range resp.Groups {
			r := &resp.Groups[i]
			if all[r.Group] {
				r.Topics, _ = sift(r.Topics, func(t *kmsg.OffsetFetchResponseGroupTopic) bool {
					return b.mayTopic(g, acl.Describe, t.Topic, t.TopicID)
				})
			}
			r.Topics = append(r.Topics, denied[r.Group]...)
		}
		for i := range no {
			r := kmsg.NewOffsetFetchResponseGroup()
			r.Group, r.ErrorCode = no[i].Group, groupDenied
			resp.Groups = append(resp.Groups, r)
		}
	}}
}

// mayFindCoordinator: DESCRIBE on the group or the transactional id.
func mayFindCoordinator(_ *Broker, g *guest, m kmsg.Request) verdict {
	if g == nil {
		return verdict{}
	}
	req := m.(*kmsg.FindCoordinatorRequest)
	kind, code := acl.Group, groupDenied
	if req.Version >= 1 && req.CoordinatorType == 1 {
		kind, code = acl.TransactionalID, kerr.TransactionalIDAuthorizationFailed.Code
	}
	resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	if req.Version < 4 {
		if g.may(acl.Describe, kind, req.CoordinatorKey) {
			return verdict{}
		}
		resp.ErrorCode, resp.NodeID, resp.Port = code, -1, -1
		return refuse(resp)
	}
	var no []string
	req.CoordinatorKeys, no = sift(req.CoordinatorKeys, func(key *string) bool { return g.may(acl.Describe, kind, *key) })
	if no == nil {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.FindCoordinatorResponse)
		for _, key := range no {
			c := kmsg.NewFindCoordinatorResponseCoordinator()
			c.Key, c.NodeID, c.Port, c.ErrorCode = key, -1, -1, code
			resp.Coordinators = append(resp.Coordinators, c)
		}
	}}
}

// mayMember: READ on the group, for what members send.
func mayMember(_ *Broker, g *guest, m kmsg.Request) verdict {
	resp := m.ResponseKind()
	group := ""
	var code *int16
	switch m := m.(type) {
	case *kmsg.JoinGroupRequest:
		group, code = m.Group, &resp.(*kmsg.JoinGroupResponse).ErrorCode
		resp.(*kmsg.JoinGroupResponse).Generation = -1
	case *kmsg.SyncGroupRequest:
		group, code = m.Group, &resp.(*kmsg.SyncGroupResponse).ErrorCode
	case *kmsg.HeartbeatRequest:
		group, code = m.Group, &resp.(*kmsg.HeartbeatResponse).ErrorCode
	case *kmsg.LeaveGroupRequest:
		group, code = m.Group, &resp.(*kmsg.LeaveGroupResponse).ErrorCode
	}
	if g.may(acl.Read, acl.Group, group) {
		return verdict{}
	}
	*code = groupDenied
	return refuse(resp)
}

// mayConsumerGroupHeartbeat: READ on the group, DESCRIBE on each topic named. What a pattern matches is not looked at: a member may be given a topic that it cannot read.
func mayConsumerGroupHeartbeat(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.ConsumerGroupHeartbeatRequest)
	code := int16(0)
	if !g.may(acl.Read, acl.Group, req.Group) {
		code = groupDenied
	}
	for _, name := range req.SubscribedTopicNames {
		if code == 0 && !g.may(acl.Describe, acl.Topic, name) {
			code = topicDenied
		}
	}
	if code == 0 {
		return verdict{}
	}
	resp := req.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
	resp.ErrorCode = code
	return refuse(resp)
}

// mayDescribeGroups: DESCRIBE on each group.
func mayDescribeGroups(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.DescribeGroupsRequest)
	var no []string
	req.Groups, no = sift(req.Groups, func(name *string) bool { return g.may(acl.Describe, acl.Group, *name) })
	if no == nil && !req.IncludeAuthorizedOperations {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.DescribeGroupsResponse)
		for i := range resp.Groups {
			if r := &resp.Groups[i]; r.ErrorCode == 0 && req.IncludeAuthorizedOperations {
				r.AuthorizedOperations = g.operations(acl.Group, r.Group)
			}
		}
		for _, name := range no {
			r := kmsg.NewDescribeGroupsResponseGroup()
			r.Group, r.ErrorCode = name, groupDenied
			resp.Groups = append(resp.Groups, r)
		}
	}}
}

// mayConsumerGroupDescribe: DESCRIBE on each group, and on each topic that its members have.
func mayConsumerGroupDescribe(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.ConsumerGroupDescribeRequest)
	var no []string
	req.Groups, no = sift(req.Groups, func(name *string) bool { return g.may(acl.Describe, acl.Group, *name) })
	if g == nil && !req.IncludeAuthorizedOperations {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.ConsumerGroupDescribeResponse)
		for i := range resp.Groups {
			r := &resp.Groups[i]
			if !mayTopicsOf(g, r) {
				text := "the group has topics that this client may not describe"
				*r = kmsg.ConsumerGroupDescribeResponseGroup{Group: r.Group, ErrorCode: topicDenied, ErrorMessage: &text, AuthorizedOperations: -1 << 31}
				continue
			}
			if r.ErrorCode == 0 && req.IncludeAuthorizedOperations {
				r.AuthorizedOperations = g.operations(acl.Group, r.Group)
			}
		}
		for _, name := range no {
			r := kmsg.NewConsumerGroupDescribeResponseGroup()
			r.Group, r.ErrorCode = name, groupDenied
			resp.Groups = append(resp.Groups, r)
		}
	}}
}

func mayTopicsOf(g *guest, r *kmsg.ConsumerGroupDescribeResponseGroup) bool {
	for i := range r.Members {
		m := &r.Members[i]
		for _, name := range m.SubscribedTopics {
			if !g.may(acl.Describe, acl.Topic, name) {
				return false
			}
		}
		for _, a := range [][]kmsg.AssignmentTopicPartition{m.Assignment.TopicPartitions, m.TargetAssignment.TopicPartitions} {
			for j := range a {
				if !g.may(acl.Describe, acl.Topic, a[j].Topic) {
					return false
				}
			}
		}
	}
	return true
}

// mayListGroups: DESCRIBE on the cluster for all of them, else only those with DESCRIBE on the group are told.
func mayListGroups(_ *Broker, g *guest, _ kmsg.Request) verdict {
	if g.mayCluster(acl.Describe) {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.ListGroupsResponse)
		resp.Groups, _ = sift(resp.Groups, func(r *kmsg.ListGroupsResponseGroup) bool { return g.may(acl.Describe, acl.Group, r.Group) })
	}}
}

// mayDeleteGroups: DELETE on each group.
func mayDeleteGroups(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.DeleteGroupsRequest)
	var no []string
	if req.Groups, no = sift(req.Groups, func(name *string) bool { return g.may(acl.Delete, acl.Group, *name) }); no == nil {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.DeleteGroupsResponse)
		for _, name := range no {
			r := kmsg.NewDeleteGroupsResponseGroup()
			r.Group, r.ErrorCode = name, groupDenied
			resp.Groups = append(resp.Groups, r)
		}
	}}
}

// mayOffsetDelete: DELETE on the group, READ on each topic.
func mayOffsetDelete(_ *Broker, g *guest, m kmsg.Request) verdict {
	req := m.(*kmsg.OffsetDeleteRequest)
	if !g.may(acl.Delete, acl.Group, req.Group) {
		resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
		resp.ErrorCode = groupDenied
		return refuse(resp)
	}
	var no []kmsg.OffsetDeleteRequestTopic
	if req.Topics, no = sift(req.Topics, func(t *kmsg.OffsetDeleteRequestTopic) bool { return g.may(acl.Read, acl.Topic, t.Topic) }); no == nil {
		return verdict{}
	}
	return verdict{amend: func(m kmsg.Response) {
		resp := m.(*kmsg.OffsetDeleteResponse)
		if resp.ErrorCode != 0 {
			return
		}
		for i := range no {
			t := kmsg.NewOffsetDeleteResponseTopic()
			t.Topic = no[i].Topic
			for j := range no[i].Partitions {
				p := kmsg.NewOffsetDeleteResponseTopicPartition()
				p.Partition, p.ErrorCode = no[i].Partitions[j].Partition, topicDenied
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
	}}
}
