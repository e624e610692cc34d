package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteGroup deletes a group without members, and what it has committed. errors.Is(err, kerr.NonEmptyGroup) while it has members, kerr.GroupIDNotFound if there is none.
func (a *Admin) DeleteGroup(ctx context.Context, id string) error {
	err := a.atCoordinator(ctx, id, func(node int32) error {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{id}
		resp, err := ask[*kmsg.DeleteGroupsResponse](ctx, a, node, req)
		if err != nil {
			return err
		}
		if len(resp.Groups) != 1 {
			return errors.New("the answer is not about the group")
		}
		return kerr.ErrorForCode(resp.Groups[0].ErrorCode)
	})
	if err != nil {
		return &AdminError{Op: "delete group", Name: id, Err: err}
	}
	return nil
}

// SetGroupOffsets commits offsets on behalf of a group without members: its members begin there when they come. errors.Is(err, kerr.UnknownMemberID) while it has some.
func (a *Admin) SetGroupOffsets(ctx context.Context, id string, offsets map[TopicPartition]int64) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = id, -1
	for _, tp := range slices.SortedFunc(maps.Keys(offsets), TopicPartition.compare) {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != tp.Topic {
			t, err := a.client.Topic(ctx, tp.Topic, false)
			if err != nil {
				return &AdminError{Op: "set offsets of group", Name: id, Err: err}
			}
			rt := kmsg.NewOffsetCommitRequestTopic()
			rt.Topic, rt.TopicID = tp.Topic, t.ID
			req.Topics = append(req.Topics, rt)
		}
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset, rp.LeaderEpoch = tp.Partition, offsets[tp], -1
		rt := &req.Topics[len(req.Topics)-1]
		rt.Partitions = append(rt.Partitions, rp)
	}
	err := a.atCoordinator(ctx, id, func(node int32) error {
		resp, err := ask[*kmsg.OffsetCommitResponse](ctx, a, node, req)
		if err != nil {
			return err
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return &AdminError{Op: "set offsets of group", Name: id, Err: err}
	}
	return nil
}

// DeleteGroupOffsets forgets what a group has committed for partitions of topics that none of its members subscribes to (errors.Is(err, kerr.GroupSubscribedToTopic) otherwise).
func (a *Admin) DeleteGroupOffsets(ctx context.Context, id string, partitions ...TopicPartition) error {
	err := a.atCoordinator(ctx, id, func(node int32) error {
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = id
		for _, tp := range slices.SortedFunc(slices.Values(partitions), TopicPartition.compare) {
			if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != tp.Topic {
				rt := kmsg.NewOffsetDeleteRequestTopic()
				rt.Topic = tp.Topic
				req.Topics = append(req.Topics, rt)
			}
			rp := kmsg.NewOffsetDeleteRequestTopicPartition()
			rp.Partition = tp.Partition
			rt := &req.Topics[len(req.Topics)-1]
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp, err := ask[*kmsg.OffsetDeleteResponse](ctx, a, node, req)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return err
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return &AdminError{Op: "delete offsets of group", Name: id, Err: err}
	}
	return nil
}

// RemoveMembers takes members out of a group: static ones by instance id, dynamic ones by member id. It is for members that are known to be dead; a live one joins again. Members of consumer groups (KIP-848)
// can be removed by their instance ids only.
func (a *Admin) RemoveMembers(ctx context.Context, id string, members ...GroupMember) error {
	err := a.atCoordinator(ctx, id, func(node int32) error {
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group = id
		for _, m := range members {
			rm := kmsg.NewLeaveGroupRequestMember()
			rm.MemberID = m.ID
			if m.InstanceID != "" {
				rm.MemberID, rm.InstanceID = "", &m.InstanceID
			}
			req.Members = append(req.Members, rm)
		}
		resp, err := ask[*kmsg.LeaveGroupResponse](ctx, a, node, req)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return err
		}
		for _, m := range resp.Members {
			if err := kerr.ErrorForCode(m.ErrorCode); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return &AdminError{Op: "remove members of group", Name: id, Err: err}
	}
	return nil
}
