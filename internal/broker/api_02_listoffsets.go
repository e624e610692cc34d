package broker

import (
	"context"
	"errors"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The timestamps of ListOffsets that are not times.
const (
	timestampLatest          int64 = -1
	timestampEarliest        int64 = -2
	timestampMax             int64 = -3 // v7, KIP-734
	timestampEarliestLocal   int64 = -4 // v8, KIP-405
	timestampLatestTiered    int64 = -5 // v9, KIP-1005
	timestampEarliestPending int64 = -6 // v11, KIP-1023
)

// debugReplica is the replica id that may ask any replica.
const debugReplica int32 = -2

// ListOffsets (2), versions 1-11: offsets by time, and the ends of logs.
//
// Behaviour:
//   - latest (-1) is the high watermark, with read_committed the last stable offset, for replicas the log end. earliest (-2) is the log start. max timestamp (-3) is the first record with the largest
//     timestamp. A time finds the first record that is not earlier. Nothing found is offset -1, timestamp -1, no error.
//   - Only the leader answers, except the debugging replica id -2.
//   - While a new leader's high watermark is below the start of its epoch, latest and look-ups that reach it are OFFSET_NOT_AVAILABLE (KIP-207).
//   - While another may lead already, because this leader has handed over and has not heard how that ended, everything is OFFSET_NOT_AVAILABLE.
//   - Nothing is tiered: earliest local is the log start, the last tiered and the earliest pending upload are -1.
//   - A partition that is named twice is INVALID_REQUEST; a special time that the version does not have is UNSUPPORTED_VERSION.
//
// Versions: v2 isolation level · v4 leader epochs · up to v4 LEADER_NOT_AVAILABLE stands for OFFSET_NOT_AVAILABLE · v10 timeout, not needed.
func (b *Broker) listOffsets(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.ListOffsetsRequest)
	resp := kmsg.NewPtrListOffsetsResponse()
	resp.Version = req.Version
	fenced := b.selfFenced(time.Now())
	count := make(map[fetchKey]int)
	for t := range req.Topics {
		for i := range req.Topics[t].Partitions {
			count[fetchKey{topic: req.Topics[t].Topic, partition: req.Topics[t].Partitions[i].Partition}]++
		}
	}
	for t := range req.Topics {
		topic := &req.Topics[t]
		out := kmsg.NewListOffsetsResponseTopic()
		out.Topic = topic.Topic
		for i := range topic.Partitions {
			p := &topic.Partitions[i]
			o := kmsg.NewListOffsetsResponseTopicPartition()
			o.Partition = p.Partition
			var err error
			var found log.TimestampOffset
			switch {
			case count[fetchKey{topic: topic.Topic, partition: p.Partition}] > 1:
				err = kerr.InvalidRequest
			case fenced:
				err = b.silence()
			default:
				if found, err = b.listOffset(req, topic.Topic, p); errors.Is(err, log.ErrTruncated) {
					found, err = b.listOffset(req, topic.Topic, p)
				}
			}
			if err != nil {
				found = log.TimestampOffset{Timestamp: -1, Offset: -1, LeaderEpoch: -1}
				o.ErrorCode = codeOf(err)
				if o.ErrorCode == kerr.OffsetNotAvailable.Code && req.Version < 5 {
					o.ErrorCode = kerr.LeaderNotAvailable.Code
				}
			}
			o.Timestamp, o.Offset, o.LeaderEpoch = found.Timestamp, found.Offset, found.LeaderEpoch
			out.Partitions = append(out.Partitions, o)
		}
		resp.Topics = append(resp.Topics, out)
	}
	reply(transport.Reply{Message: resp})
}

// specialSince is the version that brought a special timestamp.
func specialSince(timestamp int64) (version int16, ok bool) {
	switch timestamp {
	case timestampLatest, timestampEarliest:
		return 1, true
	case timestampMax:
		return 7, true
	case timestampEarliestLocal:
		return 8, true
	case timestampLatestTiered:
		return 9, true
	case timestampEarliestPending:
		return 11, true
	}
	return 0, timestamp >= 0
}

// listOffset answers for one partition.
func (b *Broker) listOffset(req *kmsg.ListOffsetsRequest, topic string, p *kmsg.ListOffsetsRequestTopicPartition) (log.TimestampOffset, error) {
	none := log.TimestampOffset{Timestamp: -1, Offset: -1, LeaderEpoch: -1}
	if since, ok := specialSince(p.Timestamp); !ok || req.Version < since {
		return none, kerr.UnsupportedVersion
	}
	part, err := b.local(topic, p.Partition)
	if err != nil {
		return none, err
	}
	as := replication.ReadUncommitted
	switch {
	case req.ReplicaID >= 0:
		as = replication.ReadAsReplica
	case req.IsolationLevel == 1:
		as = replication.ReadCommitted
	}
	end, err := part.visible(as, p.CurrentLeaderEpoch, req.ReplicaID == debugReplica)
	unsure := errors.Is(err, replication.ErrOffsetNotAvailable)
	if err != nil && (!unsure || part.replica.HandedOver()) {
		return none, err
	}
	l := part.replica.Log()
	switch p.Timestamp {
	case timestampLatest:
		if unsure {
			return none, err
		}
		return at(l, end, true), nil
	case timestampEarliest, timestampEarliestLocal:
		return at(l, l.Offsets().LogStartOffset, false), nil
	case timestampLatestTiered, timestampEarliestPending:
		return none, nil
	}
	if unsure {
		end = l.Offsets().HighWatermark
	}
	found, ok, lookup := none, false, error(nil)
	if p.Timestamp == timestampMax {
		found, ok, lookup = l.MaxTimestamp(end)
	} else {
		found, ok, lookup = l.OffsetForTime(p.Timestamp, end)
	}
	switch {
	case lookup != nil:
		return none, lookup
	case ok:
		return found, nil
	case unsure:
		return none, err // what is sought may be above the high watermark that is still to be known
	}
	return none, nil
}

// visible is the end of what the asker may see.
func (p *partition) visible(as replication.Reader, epoch int32, debug bool) (int64, error) {
	end, err := p.replica.LatestVisible(as, epoch)
	if debug && errors.Is(err, replication.ErrNotLeader) {
		return p.replica.Log().Offsets().HighWatermark, nil
	}
	return end, err
}

// at is an offset with its leader epoch; the end of a log has that of the last record.
func at(l *log.Log, offset int64, end bool) log.TimestampOffset {
	t := log.TimestampOffset{Timestamp: -1, Offset: offset, LeaderEpoch: -1}
	if e, ok := l.EpochAt(offset); ok {
		t.LeaderEpoch = e
	} else if e, ok := l.LatestEpoch(); ok && end {
		t.LeaderEpoch = e
	}
	return t
}
