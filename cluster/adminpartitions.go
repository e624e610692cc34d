package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Election says which replicas may become leader.
type Election int8

// The elections of KIP-460.
const (
	// PreferredElection moves leadership to the first replica of the list, if it is in sync and gets all that the leader has in time.
	PreferredElection Election = 0
	// UncleanElection takes any live replica where a partition has no leader: acknowledged records may be lost.
	UncleanElection Election = 1
)

// ElectLeaders has leaders elected for the partitions named, or for all without any. What needs no election is no error. One refused partition does not keep the others from theirs; the error joins an
// *AdminError for each: kerr.PreferredLeaderNotAvailable, kerr.EligibleLeadersNotAvailable, kerr.UnknownTopicOrPartition.
func (a *Admin) ElectLeaders(ctx context.Context, kind Election, partitions ...TopicPartition) error {
	const op = "elect leader of"
	req := kmsg.NewPtrElectLeadersRequest()
	req.ElectionType, req.TimeoutMillis = int8(kind), timeoutMillis(ctx)
	for _, p := range partitions {
		i := slices.IndexFunc(req.Topics, func(t kmsg.ElectLeadersRequestTopic) bool { return t.Topic == p.Topic })
		if i < 0 {
			i = len(req.Topics)
			rt := kmsg.NewElectLeadersRequestTopic()
			rt.Topic = p.Topic
			req.Topics = append(req.Topics, rt)
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p.Partition)
	}
	resp, err := request[*kmsg.ElectLeadersResponse](ctx, a, req)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return &AdminError{Op: op, Name: "partitions", Err: err}
	}
	var errs []error
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil && !errors.Is(err, kerr.ElectionNotNeeded) {
				errs = append(errs, &AdminError{Op: op, Name: TopicPartition{t.Topic, p.Partition}.String(), Err: err, Text: deref(p.ErrorMessage)})
			}
		}
	}
	return errors.Join(errs...)
}

// Reassign gives partitions other replicas: the lists of node ids that they shall have, the preferred leader first; nil goes back to where a reassignment under way began. It returns when the controller has taken the
// targets; replicas move after that, and Reassignments tells which still do. One refused partition does not keep the others from theirs; the error joins an *AdminError for each: kerr.InvalidReplicaAssignment,
// kerr.NoReassignmentInProgress, kerr.UnknownTopicOrPartition.
func (a *Admin) Reassign(ctx context.Context, replicas map[TopicPartition][]int32) error {
	const op = "reassign"
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.TimeoutMillis, req.AllowReplicationFactorChange = timeoutMillis(ctx), true
	for _, tp := range slices.SortedFunc(maps.Keys(replicas), TopicPartition.compare) {
		i := slices.IndexFunc(req.Topics, func(t kmsg.AlterPartitionAssignmentsRequestTopic) bool { return t.Topic == tp.Topic })
		if i < 0 {
			i = len(req.Topics)
			rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
			rt.Topic = tp.Topic
			req.Topics = append(req.Topics, rt)
		}
		rp := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		rp.Partition, rp.Replicas = tp.Partition, slices.Clone(replicas[tp])
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, rp)
	}
	resp, err := request[*kmsg.AlterPartitionAssignmentsResponse](ctx, a, req)
	if err != nil {
		return &AdminError{Op: op, Name: "partitions", Err: err}
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return &AdminError{Op: op, Name: "partitions", Err: err, Text: deref(resp.ErrorMessage)}
	}
	var errs []error
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				errs = append(errs, &AdminError{Op: op, Name: TopicPartition{t.Topic, p.Partition}.String(), Err: err, Text: deref(p.ErrorMessage)})
			}
		}
	}
	return errors.Join(errs...)
}

// Reassignment is a partition whose replicas are on the move.
type Reassignment struct {
	TopicPartition
	Replicas []int32 // all that there are now, those to stay first
	Adding   []int32 // of Replicas: they came, and fetch
	Removing []int32 // of Replicas: they go when the others are in sync
}

// Reassignments lists the partitions whose replicas are on the move.
func (a *Admin) Reassignments(ctx context.Context) ([]Reassignment, error) {
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	req.TimeoutMillis = timeoutMillis(ctx)
	resp, err := request[*kmsg.ListPartitionReassignmentsResponse](ctx, a, req)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return nil, &AdminError{Op: "list reassignments", Err: err}
	}
	var list []Reassignment
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			list = append(list, Reassignment{TopicPartition{t.Topic, p.Partition}, p.Replicas, p.AddingReplicas, p.RemovingReplicas})
		}
	}
	return list, nil
}

// UnregisterBroker forgets a node that is gone for good; its replicas should have been reassigned. One that comes back is a new one, whose replicas fetch what they lack. errors.Is(err,
// kerr.BrokerIDNotRegistered) if there is none.
func (a *Admin) UnregisterBroker(ctx context.Context, id int32) error {
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = id
	resp, err := request[*kmsg.UnregisterBrokerResponse](ctx, a, req)
	text := ""
	if err == nil {
		err, text = kerr.ErrorForCode(resp.ErrorCode), deref(resp.ErrorMessage)
	}
	if err != nil {
		return &AdminError{Op: "unregister broker", Name: strconv.Itoa(int(id)), Err: err, Text: text}
	}
	return nil
}
