package cluster

import (
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Election says which replicas may become leader.
type Election int8

// The elections of KIP-460.
const (
	// PreferredElection moves leadership to the first replica of the list, if it is in sync.
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
