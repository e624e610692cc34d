package cluster

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// AllRecords is the offset for DeleteRecords that stands for the high watermark: every record that is committed.
const AllRecords int64 = -1

// deletePatience is how long a leader waits for its followers: less than a client waits for it.
const deletePatience = 20 * time.Second

// DeleteRecords has each partition begin at an offset: records below are deleted, and stay so. It returns when all live replicas have deleted them, with the low watermark of each partition that succeeded: the lowest
// offset at which one of its replicas begins. A leader that moves meanwhile is looked for again, for half a minute at most.
//
// One refused partition does not keep the others from theirs; the error joins an *AdminError for each: kerr.OffsetOutOfRange above the high watermark, kerr.PolicyViolation for a topic that is only compacted,
// kerr.InvalidTopicException for the cluster's own, kerr.UnknownTopicOrPartition, kerr.RequestTimedOut when a live replica does not follow (the records are gone for readers of the leader then).
func (a *Admin) DeleteRecords(ctx context.Context, before map[TopicPartition]int64) (map[TopicPartition]int64, error) {
	low := make(map[TopicPartition]int64, len(before))
	err := a.atLeaders(ctx, "delete records of", slices.SortedFunc(maps.Keys(before), TopicPartition.compare), func(leader int32, tps []TopicPartition) (map[TopicPartition]error, error) {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.TimeoutMillis = min(timeoutMillis(ctx), int32(deletePatience.Milliseconds()))
		for _, tp := range tps {
			if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != tp.Topic {
				rt := kmsg.NewDeleteRecordsRequestTopic()
				rt.Topic = tp.Topic
				req.Topics = append(req.Topics, rt)
			}
			rp := kmsg.NewDeleteRecordsRequestTopicPartition()
			rp.Partition, rp.Offset = tp.Partition, before[tp]
			t := &req.Topics[len(req.Topics)-1]
			t.Partitions = append(t.Partitions, rp)
		}
		resp, err := ask[*kmsg.DeleteRecordsResponse](ctx, a, leader, req)
		if err != nil {
			return nil, err
		}
		answers := map[TopicPartition]error{}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				tp := TopicPartition{t.Topic, p.Partition}
				if answers[tp] = kerr.ErrorForCode(p.ErrorCode); answers[tp] == nil {
					low[tp] = p.LowWatermark
				}
			}
		}
		return answers, nil
	})
	return low, err
}

// ProducerState is what a partition remembers of an idempotent or transactional producer.
type ProducerState struct {
	ProducerID       int64
	ProducerEpoch    int16
	LastSequence     int32 // of its last record; -1 none in this epoch
	LastTimestamp    time.Time
	CoordinatorEpoch int32 // -1: no transaction has ended
	TxnStartOffset   int64 // -1 without an open transaction
}

// Producers lists the producers that a partition's leader remembers: those that have appended within producer.id.expiration.ms, or have a transaction open (KIP-664).
func (a *Admin) Producers(ctx context.Context, tp TopicPartition) ([]ProducerState, error) {
	var producers []ProducerState
	err := a.atLeaders(ctx, "describe producers of", []TopicPartition{tp}, func(leader int32, _ []TopicPartition) (map[TopicPartition]error, error) {
		req := kmsg.NewPtrDescribeProducersRequest()
		rt := kmsg.NewDescribeProducersRequestTopic()
		rt.Topic, rt.Partitions = tp.Topic, []int32{tp.Partition}
		req.Topics = append(req.Topics, rt)
		resp, err := ask[*kmsg.DescribeProducersResponse](ctx, a, leader, req)
		if err != nil {
			return nil, err
		}
		answers := map[TopicPartition]error{}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				answers[TopicPartition{t.Topic, p.Partition}] = kerr.ErrorForCode(p.ErrorCode)
				for _, s := range p.ActiveProducers {
					producers = append(producers, ProducerState{
						ProducerID: s.ProducerID, ProducerEpoch: int16(s.ProducerEpoch), LastSequence: s.LastSequence, LastTimestamp: time.UnixMilli(s.LastTimestamp),
						CoordinatorEpoch: s.CoordinatorEpoch, TxnStartOffset: s.CurrentTxnStartOffset,
					})
				}
			}
		}
		return answers, nil
	})
	slices.SortFunc(producers, func(x, y ProducerState) int { return cmp.Compare(x.ProducerID, y.ProducerID) })
	return producers, err
}

// atLeaders asks the leaders of partitions, each for its own, until all have answered, ctx ends, or half a minute is over: a leader that moved, or cannot be reached, is looked for again. f's answers are nil where it
// succeeded; its error is that of all it was asked for. The error joins an *AdminError for each partition that failed.
func (a *Admin) atLeaders(ctx context.Context, op string, open []TopicPartition, f func(leader int32, tps []TopicPartition) (map[TopicPartition]error, error)) error {
	ctx, cancel := context.WithTimeout(ctx, adminPatience)
	defer cancel()
	failed := map[TopicPartition]error{}
	all := open
	for wait := 50 * time.Millisecond; len(open) > 0; wait = min(2*wait, time.Second) {
		leaders := map[int32][]TopicPartition{}
		for _, tp := range open {
			leader, err := a.leaderOf(ctx, tp)
			if failed[tp] = err; err == nil {
				leaders[leader] = append(leaders[leader], tp)
			}
		}
		for _, leader := range slices.Sorted(maps.Keys(leaders)) {
			answers, err := f(leader, leaders[leader])
			for _, tp := range leaders[leader] {
				answer, ok := answers[tp]
				if !ok && err == nil {
					answer = errors.New("the answer is not about the partition")
				}
				failed[tp] = cmp.Or(err, answer)
			}
		}
		open = slices.DeleteFunc(slices.Clone(open), func(tp TopicPartition) bool { return !looksElsewhere(failed[tp]) })
		if len(open) == 0 || !a.lookAgain(ctx, open, wait) {
			break
		}
	}
	var errs []error
	for _, tp := range all {
		if err := failed[tp]; err != nil {
			errs = append(errs, &AdminError{Op: op, Name: tp.String(), Err: err})
		}
	}
	return errors.Join(errs...)
}

// adminPatience is how long a leader is looked for.
const adminPatience = 30 * time.Second

// leaderOf finds a partition's leader.
func (a *Admin) leaderOf(ctx context.Context, tp TopicPartition) (int32, error) {
	t, err := a.client.Topic(ctx, tp.Topic, false)
	switch {
	case err != nil:
		return -1, err
	case tp.Partition < 0 || int(tp.Partition) >= len(t.Partitions):
		return -1, kerr.UnknownTopicOrPartition
	case t.Partitions[tp.Partition].Leader < 0:
		return -1, kerr.LeaderNotAvailable
	}
	return t.Partitions[tp.Partition].Leader, nil
}

// looksElsewhere tells whether another node may lead by now.
func looksElsewhere(err error) bool {
	if _, ok := errors.AsType[*transport.ConnError](err); ok {
		return true
	}
	for _, e := range []error{kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.ReplicaNotAvailable, kerr.KafkaStorageError, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// lookAgain waits a while and has the client ask who leads; false when ctx ends.
func (a *Admin) lookAgain(ctx context.Context, tps []TopicPartition, wait time.Duration) bool {
	var topics []string
	for _, tp := range tps {
		topics = append(topics, tp.Topic)
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return false
	}
	select {
	case <-a.client.Refresh(slices.Compact(topics)...):
		return true
	case <-ctx.Done():
		return false
	}
}
