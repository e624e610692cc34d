package broker

import (
	"errors"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// How a fetchOp answers; api_01_fetch.go says how it looks.

// refuse answers an error of the whole request.
func (op *fetchOp) refuse(code int16) {
	resp := kmsg.NewPtrFetchResponse()
	resp.Version, resp.ErrorCode = op.req.Version, code
	reply := op.reply
	op.recycle()
	reply(transport.Reply{Message: resp})
}

// answer builds the response from what was found, gives the session back, and sends it.
func (op *fetchOp) answer() {
	op.disarm()
	op.resp = kmsg.FetchResponse{Version: op.req.Version}
	files := op.conn != nil && op.conn.SendFile
	op.build(files)
	if op.follower < 0 {
		if q := op.b.quotasFor(op.conn); q != nil {
			wait := q.spend(controller.ConsumerByteRate, op.conn, op.client, op.bytes, time.Now())
			op.resp.ThrottleMillis = int32(wait.Milliseconds())
			mute(op.conn, wait)
		}
	}
	for i := range op.got {
		a := &op.got[i]
		a.p.found = false
		if a.err != nil {
			a.p.sentHW, a.p.sentStart = -1, -1 // to be said again when it heals
		} else {
			a.p.sentHW, a.p.sentStart = a.result.Offsets.HighWatermark, a.result.Offsets.LogStartOffset
		}
		if a.turns() {
			op.set.push(a.p)
		}
	}
	for _, p := range op.behind {
		p.listed = true
		op.set.push(p)
	}
	if op.session != nil {
		op.resp.SessionID = op.session.id
		op.b.endSession(op.session)
	} else {
		op.dropAlone()
	}
	out := transport.Reply{Message: &op.resp, Release: op.release}
	if files {
		out.Files = op.files
	}
	reply := op.reply
	op.reply = nil
	reply(out)
}

// dropAlone ends the watching of a fetch without a session.
func (op *fetchOp) dropAlone() {
	for i := range op.parts {
		op.parts[i].unwatch()
	}
	op.own.mu.Lock()
	for i := range op.parts {
		op.own.unlinkLocked(&op.parts[i])
		op.parts[i].active = false
	}
	op.own.mu.Unlock()
}

// recycle is called when the answer is no longer needed.
func (op *fetchOp) recycle() {
	for i := range op.slices {
		op.slices[i].Release()
	}
	clear(op.slices)
	if op.buf != nil {
		op.b.buffers.put(op.buf)
	}
	clear(op.got)
	clear(op.behind)
	op.behind = op.behind[:0]
	clear(op.topics)
	clear(op.partitions)
	clear(op.files)
	clear(op.ranges)
	op.slices, op.got, op.topics, op.partitions, op.files, op.ranges = op.slices[:0], op.got[:0], op.topics[:0], op.partitions[:0], op.files[:0], op.ranges[:0]
	op.resp = kmsg.FetchResponse{}
	if op.tainted {
		return
	}
	op.ctx = nil
	op.req, op.conn, op.reply, op.session, op.set, op.buf, op.watched = nil, nil, nil, nil, nil, nil, false
	op.b.fetchOps.Put(op)
}

// build fills the response. The order of the answers is kept; neighbours of one topic share an entry.
func (op *fetchOp) build(files bool) {
	img := op.b.metadataImage()
	if cap(op.partitions) < len(op.got) {
		op.partitions = make([]kmsg.FetchResponseTopicPartition, 0, len(op.got))
		op.files = make([][]transport.FileRange, 0, len(op.got))
		op.ranges = make([]transport.FileRange, 0, len(op.got))
	}
	if !files && op.bytes > 0 {
		op.buf = op.b.buffers.get(op.bytes)
	}
	first := 0
	for i := range op.got {
		a := &op.got[i]
		p := kmsg.FetchResponseTopicPartition{
			Partition: a.p.key.partition, LastStableOffset: -1, LogStartOffset: -1, HighWatermark: -1, PreferredReadReplica: -1, RecordBatches: noRecords,
		}
		p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = -1, -1
		p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = -1, -1
		p.SnapshotID.EndOffset, p.SnapshotID.Epoch = -1, -1
		var ranges []transport.FileRange
		if a.err == nil {
			ranges = op.fill(&p, a, files)
		}
		if a.err != nil {
			op.fail(&p, a, topicOf(img, a.p.key))
		}
		op.partitions = append(op.partitions, p)
		op.files = append(op.files, ranges)
		if i > 0 && (op.got[i-1].p.key.topic != a.p.key.topic || op.got[i-1].p.key.id != a.p.key.id) {
			op.addTopic(op.got[first].p.key, first, i)
			first = i
		}
	}
	if len(op.got) > 0 {
		op.addTopic(op.got[first].p.key, first, len(op.got))
	}
	op.resp.Topics = op.topics
}

func (op *fetchOp) addTopic(key fetchKey, from, to int) {
	op.topics = append(op.topics, kmsg.FetchResponseTopic{Topic: key.topic, TopicID: key.id, Partitions: op.partitions[from:to:to]})
}

// fill sets what a partition without an error says. On a disk error it sets a.err.
func (op *fetchOp) fill(p *kmsg.FetchResponseTopicPartition, a *fetchAnswer, files bool) (ranges []transport.FileRange) {
	o := &a.result.Offsets
	p.HighWatermark, p.LastStableOffset, p.LogStartOffset, p.PreferredReadReplica = o.HighWatermark, o.LastStableOffset, o.LogStartOffset, a.preferred
	if a.result.Diverging {
		p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = a.result.DivergingEpoch, a.result.DivergingEnd
		return nil
	}
	if op.as == replication.ReadCommitted {
		if a.err = op.addAborted(p, a); a.err != nil {
			a.result.Slice.Release()
			return nil
		}
	}
	if a.bytes == 0 {
		return nil
	}
	if files {
		if f, pos, ok := a.result.Slice.File(); ok {
			at := len(op.ranges)
			op.ranges = append(op.ranges, transport.FileRange{File: f, Pos: pos, Len: a.bytes})
			op.slices = append(op.slices, a.result.Slice)
			return op.ranges[at : at+1 : at+1]
		}
		if op.buf == nil {
			op.buf = op.b.buffers.get(op.bytes)
		}
	}
	from := len(*op.buf)
	var whole []byte
	if whole, a.err = a.result.Slice.Append(*op.buf); a.err == nil {
		if a.err = a.result.Slice.Check(whole[from:]); a.err != nil {
			op.suspect(a)
		}
	}
	a.result.Slice.Release()
	if errors.Is(a.err, log.ErrTruncated) {
		a.err = nil // cut off since it was found: nothing for now, and another look for the next answer
		return nil
	}
	if a.err != nil {
		return nil
	}
	*op.buf = whole
	p.RecordBatches = whole[from:len(whole):len(whole)]
	return nil
}

// suspect has a log looked at that turned out to be damaged.
func (op *fetchOp) suspect(a *fetchAnswer) {
	if part := a.p.watched; part != nil {
		op.b.scrubber.suspect(part, a.p.want.offset)
	} else if part, err := op.find(a.p.key); err == nil {
		op.b.scrubber.suspect(part, a.p.want.offset)
	}
}

// addAborted lists the aborted transactions that a read_committed consumer needs to know; more than it needs does no harm.
func (op *fetchOp) addAborted(p *kmsg.FetchResponseTopicPartition, a *fetchAnswer) error {
	p.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
	if a.bytes == 0 {
		return nil
	}
	part := a.p.watched
	if part == nil {
		if part, _ = op.find(a.p.key); part == nil {
			return replication.ErrNotLeader
		}
	}
	var err error
	if op.aborted, err = part.replica.Log().AbortedTxns(op.aborted[:0], a.p.want.offset, a.result.Bound); err != nil {
		return err
	}
	for _, t := range op.aborted {
		p.AbortedTransactions = append(p.AbortedTransactions, kmsg.FetchResponseTopicPartitionAbortedTransaction{ProducerID: t.ProducerID, FirstOffset: t.FirstOffset})
	}
	return nil
}

// fail sets what a partition with an error says.
func (op *fetchOp) fail(p *kmsg.FetchResponseTopicPartition, a *fetchAnswer, topic string) {
	p.ErrorCode = codeOf(a.err)
	p.HighWatermark, p.LastStableOffset, p.LogStartOffset, p.PreferredReadReplica = -1, -1, -1, -1
	if op.req.Version <= 5 && p.ErrorCode == kerr.KafkaStorageError.Code {
		p.ErrorCode = kerr.NotLeaderForPartition.Code
	}
	if op.req.Version >= 16 && (p.ErrorCode == kerr.NotLeaderForPartition.Code || p.ErrorCode == kerr.FencedLeaderEpoch.Code) {
		op.hint(p, topic)
	}
}

// hint names the leader and where it is (KIP-951).
func (op *fetchOp) hint(p *kmsg.FetchResponseTopicPartition, topic string) {
	img := op.b.metadataImage()
	leader, epoch, ok := leaderHint(img, topic, p.Partition)
	if !ok {
		return
	}
	p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = leader, epoch
	n, ok := alive(img, leader)
	if !ok {
		return
	}
	for i := range op.resp.Brokers {
		if op.resp.Brokers[i].NodeID == leader {
			return
		}
	}
	host, port := hostPort(n.Addr)
	op.resp.Brokers = append(op.resp.Brokers, kmsg.FetchResponseBroker{NodeID: leader, Host: host, Port: port, Rack: optional(n.Rack)})
}
