package cluster

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// peek fetches one batch of a partition: it sets the partition's offsets and returns the time of the first record at or after from, zero without one.
func (a *Admin) peek(ctx context.Context, t *transport.Topic, p *GroupPartition, from int64) (first time.Time, err error) {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.SessionEpoch, req.MaxBytes, req.MinBytes = -1, -1, 1, 0
	req.IsolationLevel = 1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = t.Name, t.ID
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = p.Partition, from, 1
	rp.CurrentLeaderEpoch, rp.LastFetchedEpoch, rp.LogStartOffset = -1, -1, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := ask[*kmsg.FetchResponse](ctx, a, t.Partitions[p.Partition].Leader, req)
	if err != nil {
		return first, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return first, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return first, errors.New("the answer is not about the partition")
	}
	out := &resp.Topics[0].Partitions[0]
	if out.LogStartOffset >= 0 {
		p.Start = out.LogStartOffset
	}
	if err := kerr.ErrorForCode(out.ErrorCode); err != nil {
		return first, errors.Join(err, a.ends(ctx, t, p))
	}
	p.End, p.Stable = out.HighWatermark, out.LastStableOffset
	if p.Stable < 0 {
		p.Stable = p.End
	}
	b, _, err := record.Split(out.RecordBatches)
	if err != nil || len(out.RecordBatches) == 0 {
		return first, nil // nothing there
	}
	return firstTime(b, from), nil
}

// firstTime is the time of the first record of a batch at or after an offset.
func firstTime(b record.Batch, from int64) time.Time {
	var r record.Reader
	if b.CheckCRC() == nil && r.Reset(b, 0) == nil {
		for r.Next() {
			if rec := r.Record(); rec.Offset >= from {
				return rec.Timestamp
			}
		}
	}
	return time.Time{}
}

// ends asks where a partition begins and ends, where a fetch did not tell.
func (a *Admin) ends(ctx context.Context, t *transport.Topic, p *GroupPartition) error {
	for _, q := range []struct {
		at        *int64
		timestamp int64
		isolation int8
	}{{&p.Start, -2, 0}, {&p.End, -1, 0}, {&p.Stable, -1, 1}} {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID, req.IsolationLevel = -1, q.isolation
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = t.Name
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch = p.Partition, q.timestamp, -1
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		resp, err := ask[*kmsg.ListOffsetsResponse](ctx, a, t.Partitions[p.Partition].Leader, req)
		if err != nil {
			return err
		}
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			return errors.New("the answer is not about the partition")
		}
		out := &resp.Topics[0].Partitions[0]
		if err := kerr.ErrorForCode(out.ErrorCode); err != nil {
			return err
		}
		*q.at = out.Offset
	}
	return nil
}

// ask sends a request to one node and asserts the response's type.
func ask[R kmsg.Response](ctx context.Context, a *Admin, node int32, req kmsg.Request) (R, error) {
	var none R
	resp, err := a.client.Request(ctx, node, req)
	if err != nil {
		return none, err
	}
	r, ok := resp.(R)
	if !ok {
		return none, errors.New("the answer is of another kind")
	}
	return r, nil
}

func joinHostPort(host string, port int32) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
