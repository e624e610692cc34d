package broker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Produce (0), versions 3-13, advertised as 0-13: librdkafka takes a missing version 0 for a broker without compression. Requests of versions 0 to 2 close the connection, as with Kafka 4.
//
// Behaviour:
//   - The batches of a request are appended in its order before the next request of the connection is looked at, so an idempotent producer may pipeline; the answers follow when all partitions are
//     done, or at the request's timeout with REQUEST_TIMED_OUT for those that are not (their data stays in the log).
//   - One batch of magic 2 per partition, else INVALID_RECORD. The checks are made in Kafka's order; those on the batch's content are the log's, those on replicas the replica's.
//   - acks=0 is not answered; if a partition failed the connection is closed.
//   - Transactional batches: without a transactional id TRANSACTIONAL_ID_AUTHORIZATION_FAILED; with one INVALID_TXN_STATE, because this node has no transaction coordinator that could have
//     enrolled the partition (KIP-890).
//   - A node that lost its controller (self-fencing) answers NOT_LEADER_OR_FOLLOWER.
//   - Whoever is over its quota is told how long to wait, and its connection is not read for that long (KIP-219).
//
// Versions:
//   - v7: zstd (else UNSUPPORTED_COMPRESSION_TYPE) · v5: log start offset · v8: error message and the records at fault (KIP-467)
//   - v10: current leader and its address (KIP-951) · v13: topic ids (KIP-516)
func (b *Broker) produce(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.ProduceRequest)
	if req.Version < 3 {
		reply(transport.Reply{Close: true})
		return
	}
	op, _ := b.produceOps.Get().(*produceOp)
	if op == nil {
		op = &produceOp{b: b}
		op.release, op.expire = op.recycle, op.timeOut
	}
	op.begin(req, reply)
	if q := b.quotasFor(r.Conn); q != nil {
		wait := q.spend(controller.ProducerByteRate, r.Conn, r.ClientID, recordBytes(req), op.now)
		op.resp.ThrottleMillis = int32(wait.Milliseconds())
		mute(r.Conn, wait)
	}
	refused := op.refuseAll(r)
	n := 0
	for t := range req.Topics {
		topic := &req.Topics[t]
		for i := range topic.Partitions {
			s := &op.slots[n]
			n++
			if refused != nil {
				s.fail(refused)
				continue
			}
			op.append(s, r, topic, &topic.Partitions[i])
		}
	}
	op.submitted()
}

// produceOp is one produce request under way. It is used again when its answer was released.
type produceOp struct {
	b     *Broker
	req   *kmsg.ProduceRequest
	reply func(transport.Reply)
	now   time.Time

	slots   []produceSlot
	waiting atomic.Int32 // slots not done, and one for Serve itself: whoever takes the last answers
	failed  atomic.Bool
	timer   *time.Timer
	timed   bool // the timer was set
	acks    int16
	version int16

	resp       kmsg.ProduceResponse
	topics     []kmsg.ProduceResponseTopic
	partitions []kmsg.ProduceResponseTopicPartition
	release    func()
	expire     func()
}

// produceSlot is one partition of a produce request.
type produceSlot struct {
	op      *produceOp
	out     *kmsg.ProduceResponseTopicPartition
	topic   string
	pending *replication.Pending
	done    func(replication.AppendResult) // the method complete, bound once
}

func (op *produceOp) begin(req *kmsg.ProduceRequest, reply func(transport.Reply)) {
	n := 0
	for i := range req.Topics {
		n += len(req.Topics[i].Partitions)
	}
	op.req, op.reply, op.now, op.acks, op.version = req, reply, time.Now(), req.Acks, req.Version
	op.failed.Store(false)
	op.waiting.Store(int32(n) + 1)
	op.size(n, len(req.Topics))
	i := 0
	for t := range req.Topics {
		topic, from := &req.Topics[t], i
		for p := range topic.Partitions {
			out := &op.partitions[i]
			*out = kmsg.ProduceResponseTopicPartition{Partition: topic.Partitions[p].Partition, BaseOffset: -1, LogAppendTime: -1, LogStartOffset: -1}
			out.CurrentLeader.LeaderID, out.CurrentLeader.LeaderEpoch = -1, -1
			s := &op.slots[i]
			s.out, s.topic, s.pending = out, topic.Topic, nil
			i++
		}
		op.topics[t] = kmsg.ProduceResponseTopic{Topic: topic.Topic, TopicID: topic.TopicID, Partitions: op.partitions[from:i:i]}
	}
	op.resp = kmsg.ProduceResponse{Version: req.Version, Topics: op.topics}
}

// size makes room for n partitions of so many topics.
func (op *produceOp) size(n, topics int) {
	if cap(op.topics) < topics {
		op.topics = make([]kmsg.ProduceResponseTopic, topics)
	}
	op.topics = op.topics[:topics]
	if cap(op.slots) < n {
		op.slots = make([]produceSlot, n)
		op.partitions = make([]kmsg.ProduceResponseTopicPartition, n)
		for i := range op.slots {
			s := &op.slots[i]
			s.op, s.done = op, s.complete
		}
	}
	op.slots, op.partitions = op.slots[:n], op.partitions[:n]
}

// refuseAll makes the checks that concern the request as a whole.
func (op *produceOp) refuseAll(r *transport.Request) error {
	if op.req.TransactionID != nil {
		return nil
	}
	for t := range op.req.Topics {
		for p := range op.req.Topics[t].Partitions {
			if b := op.req.Topics[t].Partitions[p].Records; len(b) >= record.HeaderSize && record.Batch(b).Transactional() {
				return kerr.TransactionalIDAuthorizationFailed
			}
		}
	}
	return nil
}

var (
	errBatchCount = &record.InvalidError{Index: -1, Reason: "a partition takes exactly one batch per request"}
	errBatchMagic = &record.InvalidError{Index: -1, Reason: "only batches of magic 2 are accepted"}
)

// soleBatch returns the one batch that records must be.
func soleBatch(records []byte) (record.Batch, error) {
	const magicAt = 16
	if len(records) > magicAt && records[magicAt] != 2 {
		return nil, errBatchMagic
	}
	batch, rest, err := record.Split(records)
	switch {
	case errors.Is(err, record.ErrPartial):
		return nil, errBatchCount // there is none that is whole
	case err != nil:
		return nil, err
	case len(rest) > 0:
		return nil, errBatchCount
	}
	return batch, nil
}

// append makes the checks of one partition that are not the replica's, in Kafka's order, and appends.
func (op *produceOp) append(s *produceSlot, r *transport.Request, topic *kmsg.ProduceRequestTopic, p *kmsg.ProduceRequestTopicPartition) {
	part, lookup := op.find(s, topic, p.Partition)
	if errors.Is(lookup, errUnknownTopicID) || errors.Is(lookup, replication.ErrUnknownTopic) {
		s.fail(lookup)
		return
	}
	batch, err := soleBatch(p.Records)
	switch {
	case err != nil:
	case batch.Codec() == record.Zstd && op.version < 7:
		err = &record.UnsupportedCodecError{Codec: record.Zstd}
	case op.acks < -1 || op.acks > 1:
		err = kerr.InvalidRequiredAcks
	case batch.Transactional():
		err = log.ErrInvalidTxnState
	case isInternal(s.topic) && r.ClientID != "__admin_client":
		err = errInvalidTopic
	case op.b.selfFenced(op.now):
		err = op.b.silence()
	case lookup != nil:
		err = lookup
	default:
		err = op.b.space.admit(op.now, int64(len(batch)))
	}
	if err != nil {
		s.fail(err)
		return
	}
	op.b.noteChange()
	s.pending = part.replica.Append(batch, replication.AppendOptions{
		Acks: replication.Acks(op.acks), Now: op.now, Origin: log.FromClient, RequiredLeaderEpoch: -1, Until: op.b.servesUntil(),
	}, s.done)
}

func (op *produceOp) find(s *produceSlot, topic *kmsg.ProduceRequestTopic, index int32) (*partition, error) {
	if op.version < 13 {
		return op.b.local(topic.Topic, index)
	}
	part, err := op.b.localByID(topic.TopicID, index)
	if part != nil {
		s.topic = part.topic
	} else {
		s.topic = topicName(op.b.metadataImage(), topic.TopicID)
	}
	return part, err
}

// submitted ends the part that runs in the caller's order.
func (op *produceOp) submitted() {
	if op.waiting.Load() > 1 {
		op.timed = true
		wait := time.Duration(max(op.req.TimeoutMillis, 0)) * time.Millisecond
		if op.timer == nil {
			op.timer = time.AfterFunc(wait, op.expire)
		} else {
			op.timer.Reset(wait)
		}
	}
	op.finishOne()
}

// timeOut is the timer's function. While it runs the op is not used again: recycle sees that the timer could not be stopped.
func (op *produceOp) timeOut() {
	for i := range op.slots {
		if p := op.slots[i].pending; p != nil {
			p.Fail(replication.ErrTimedOut)
		}
	}
}

// complete takes the replica's answer for one partition.
func (s *produceSlot) complete(res replication.AppendResult) {
	if res.Err != nil {
		s.op.b.space.met(s.op.now, res.Err)
		s.fail(res.Err)
		return
	}
	s.out.BaseOffset, s.out.LogAppendTime, s.out.LogStartOffset = res.BaseOffset, res.LogAppendTime, res.LogStartOffset
	s.op.finishOne()
}

// fail answers one partition with an error.
func (s *produceSlot) fail(err error) {
	op, out := s.op, s.out
	op.failed.Store(true)
	out.ErrorCode = codeOf(err)
	if op.version >= 8 {
		out.ErrorMessage = messageOf(err)
		out.ErrorRecords = recordsAtFault(err)
	}
	if op.version >= 10 && out.ErrorCode == kerr.NotLeaderForPartition.Code {
		if leader, epoch, ok := leaderHint(op.b.metadataImage(), s.topic, out.Partition); ok {
			out.CurrentLeader.LeaderID, out.CurrentLeader.LeaderEpoch = leader, epoch
		}
	}
	op.finishOne()
}

// recordsAtFault names the record that made a batch invalid (KIP-467).
func recordsAtFault(err error) []kmsg.ProduceResponseTopicPartitionErrorRecord {
	index := -1
	if e, ok := errors.AsType[*record.InvalidError](err); ok {
		index = e.Index
	} else if e, ok := errors.AsType[*record.TimestampError](err); ok {
		index = e.Index
	}
	if index < 0 {
		return nil
	}
	return []kmsg.ProduceResponseTopicPartitionErrorRecord{{RelativeOffset: int32(index), ErrorMessage: messageOf(err)}}
}

// finishOne counts down; the last one answers.
func (op *produceOp) finishOne() {
	if op.waiting.Add(-1) > 0 {
		return
	}
	reply := op.reply
	op.reply = nil
	if op.acks == 0 {
		failed := op.failed.Load()
		op.recycle()
		reply(transport.Reply{Close: failed})
		return
	}
	op.addNodes()
	reply(transport.Reply{Message: &op.resp, Release: op.release})
}

// addNodes tells where the leaders are that the partitions name (KIP-951).
func (op *produceOp) addNodes() {
	if op.version < 10 || !op.failed.Load() {
		return
	}
	img := op.b.metadataImage()
	for i := range op.partitions {
		leader := op.partitions[i].CurrentLeader.LeaderID
		n, ok := alive(img, leader)
		if leader < 0 || !ok || hasNode(op.resp.Brokers, leader) {
			continue
		}
		host, port := hostPort(n.Addr)
		op.resp.Brokers = append(op.resp.Brokers, kmsg.ProduceResponseBroker{NodeID: leader, Host: host, Port: port, Rack: optional(n.Rack)})
	}
}

func hasNode(nodes []kmsg.ProduceResponseBroker, id int32) bool {
	for i := range nodes {
		if nodes[i].NodeID == id {
			return true
		}
	}
	return false
}

// recycle is called when the answer is no longer needed.
func (op *produceOp) recycle() {
	if op.timed && !op.timer.Stop() {
		return // its function runs or ran, perhaps below us
	}
	for i := range op.slots {
		op.slots[i].pending, op.slots[i].out, op.slots[i].topic = nil, nil, ""
	}
	clear(op.topics)
	op.req, op.reply, op.timed = nil, nil, false
	op.resp = kmsg.ProduceResponse{}
	op.b.produceOps.Put(op)
}

// recordBytes is the size of what a request wants to append.
func recordBytes(req *kmsg.ProduceRequest) (n int) {
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			n += len(req.Topics[i].Partitions[j].Records)
		}
	}
	return n
}
