package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"sync/atomic"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// KeyRange is the private API key under which a replica asks another for the bytes of a range, or tells it that its bytes are damaged.
const KeyRange int16 = 32103

// Range (32103), version 0, between nodes only. Body of the request:
//
//	16 bytes topic id, int32 partition, int64 offset, int64 end, int32 bytes, int8 kind: 0 batches, 1 complaint, 2 hash
//
// and of the response:
//
//	int16 error code, then whole batches: from the one that holds offset on, or the first behind it

// RangeRequest asks a replica for its batches of the offsets [Offset, End), about Bytes of them. It reads what is committed, and a leader what it has. With Complaint it asks for nothing: what the replica sent
// of Offset was damaged, and it should have a look at it. With Hash it asks for the xxhash64 of the batches alone, 8 bytes, or none if no batch begins or ends at the borders;
// a node works on one such request at a time, at the rate at which it scrubs, and for a session timeout at most.
//
// Answers: THROTTLING_QUOTA_EXCEEDED: of Hash, it works on another one, ask again; REQUEST_TIMED_OUT: of Hash, ask for less; KAFKA_STORAGE_ERROR: it is damaged there, too; NOT_LEADER_OR_FOLLOWER; UNKNOWN_TOPIC_ID; OFFSET_OUT_OF_RANGE.
type RangeRequest struct {
	TopicID     log.TopicID
	Partition   int32
	Offset, End int64
	Bytes       int32
	Complaint   bool
	Hash        bool
}

// RangeResponse answers a RangeRequest.
type RangeResponse struct {
	ErrorCode int16
	Batches   []byte
}

var (
	_ kmsg.Request  = (*RangeRequest)(nil)
	_ kmsg.Response = (*RangeResponse)(nil)
)

var errMalformedRange = errors.New("broker: malformed range")

const rangeRequestBytes = 16 + 4 + 8 + 8 + 4 + 1

// Key and the methods after it implement kmsg.Request.
func (*RangeRequest) Key() int16                  { return KeyRange }
func (*RangeRequest) MaxVersion() int16           { return 0 } // MaxVersion is 0.
func (*RangeRequest) SetVersion(int16)            {}           // SetVersion does nothing.
func (*RangeRequest) GetVersion() int16           { return 0 } // GetVersion is 0.
func (*RangeRequest) IsFlexible() bool            { return false }
func (*RangeRequest) ResponseKind() kmsg.Response { return &RangeResponse{} } // ResponseKind is a *RangeResponse.

// AppendTo appends the encoded request.
func (r *RangeRequest) AppendTo(dst []byte) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(append(dst, r.TopicID[:]...), uint32(r.Partition))
	dst = be.AppendUint64(be.AppendUint64(dst, uint64(r.Offset)), uint64(r.End))
	dst = be.AppendUint32(dst, uint32(r.Bytes))
	switch {
	case r.Complaint:
		return append(dst, 1)
	case r.Hash:
		return append(dst, 2)
	}
	return append(dst, 0)
}

// ReadFrom decodes a request.
func (r *RangeRequest) ReadFrom(src []byte) error {
	if len(src) != rangeRequestBytes || src[rangeRequestBytes-1] > 2 {
		return errMalformedRange
	}
	be := binary.BigEndian
	copy(r.TopicID[:], src)
	r.Partition, r.Offset, r.End = int32(be.Uint32(src[16:])), int64(be.Uint64(src[20:])), int64(be.Uint64(src[28:]))
	r.Bytes, r.Complaint, r.Hash = int32(be.Uint32(src[36:])), src[40] == 1, src[40] == 2
	return nil
}

// Key and the methods after it implement kmsg.Response.
func (*RangeResponse) Key() int16                { return KeyRange }
func (*RangeResponse) MaxVersion() int16         { return 0 } // MaxVersion is 0.
func (*RangeResponse) SetVersion(int16)          {}           // SetVersion does nothing.
func (*RangeResponse) GetVersion() int16         { return 0 } // GetVersion is 0.
func (*RangeResponse) IsFlexible() bool          { return false }
func (*RangeResponse) RequestKind() kmsg.Request { return &RangeRequest{} } // RequestKind is a *RangeRequest.

// AppendTo appends the encoded response.
func (r *RangeResponse) AppendTo(dst []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(r.ErrorCode)), r.Batches...)
}

// ReadFrom decodes a response. The batches share src's memory.
func (r *RangeResponse) ReadFrom(src []byte) error {
	if len(src) < 2 {
		return errMalformedRange
	}
	r.ErrorCode, r.Batches = int16(binary.BigEndian.Uint16(src)), src[2:]
	return nil
}

// hasher reads for the comparisons of others.
type hasher struct {
	b    *Broker
	busy atomic.Bool
	pace pacer // of whoever is busy
}

// of is the hash of a range as it is sent.
func (h *hasher) of(l *log.Log, r log.Range) ([]byte, error) {
	if !h.busy.CompareAndSwap(false, true) {
		return nil, kerr.ThrottlingQuotaExceeded // rather than have it wait here, with all that come after it
	}
	defer h.busy.Store(false)
	ctx, cancel := context.WithTimeout(h.b.ctx, h.b.c.SessionTimeout) // for longer nobody waits
	defer cancel()
	hash, ok, err := l.HashRange(r, log.Scrubber{Pace: func(bytes int) error { return h.pace.take(ctx, bytes) }})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, kerr.RequestTimedOut
	case err != nil || !ok:
		return nil, err
	}
	return binary.BigEndian.AppendUint64(nil, hash), nil
}

// rangeBytes bounds an answer but for a batch that is larger.
const rangeBytes = 4 << 20

// readRange answers a RangeRequest.
func (b *Broker) readRange(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*RangeRequest)
	serve := func() { // a disk is read
		data, err := b.batchesOf(req)
		reply(transport.Reply{Message: &RangeResponse{ErrorCode: codeOf(err), Batches: data}})
	}
	if !b.spawn(serve) {
		reply(transport.Reply{Close: true})
	}
}

func (b *Broker) batchesOf(req *RangeRequest) ([]byte, error) {
	p, err := b.localByID(req.TopicID, req.Partition)
	if err != nil {
		return nil, err
	}
	l := p.replica.Log()
	if req.Complaint {
		b.scrubber.suspect(p, req.Offset)
		return nil, nil
	}
	if req.Bytes < 0 || req.Offset < 0 || req.End < req.Offset {
		return nil, kerr.InvalidRequest
	}
	o := l.Offsets()
	bound := o.HighWatermark
	if p.replica.CheckLeader(-1) == nil {
		bound = o.LogEndOffset
	}
	if req.Offset >= bound {
		return nil, replication.ErrOffsetNotAvailable
	}
	if req.Hash {
		if req.End > bound {
			return nil, replication.ErrOffsetNotAvailable
		}
		return b.hashes.of(l, log.Range{From: req.Offset, To: req.End})
	}
	sl, err := l.Read(req.Offset, min(req.End, bound), int(min(req.Bytes, rangeBytes)), true)
	if err != nil {
		return nil, err
	}
	defer sl.Release()
	data, err := sl.Append(nil)
	if err == nil {
		err = sl.Check(data)
	}
	if err != nil {
		b.scrubber.suspect(p, req.Offset)
		return nil, err
	}
	return data, nil
}
