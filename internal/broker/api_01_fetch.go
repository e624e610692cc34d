package broker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/acl"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/replication"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fetch (1), versions 4-18: batches from logs, for consumers and for the followers of this node.
//
// Behaviour:
//   - A consumer sees what is below the high watermark (read_committed: the last stable offset), a follower everything. Batches come whole; the first may begin below the offset asked for.
//   - Partitions are read in turn with what is left of max_bytes; the first that has data gives one batch at least, however large.
//   - The answer goes out at once with an error, a diverging epoch, a preferred replica, min_bytes of data, max_wait 0 or no partition; else when data came or max_wait is over.
//   - A follower's fetch is recorded once, before it waits. Its parked fetch is also answered for a high watermark alone: see followerWake.
//   - Records are never null, and go out as file ranges where the connection can send them.
//   - A node that lost its controller (self-fencing) answers NOT_LEADER_OR_FOLLOWER.
//   - A consumer over its quota is told how long to wait, and its connection is not read for that long (KIP-219). A fetch gets at most what its quota gives in ten seconds.
//
// Differs from Kafka: the nearest replica is chosen (KIP-392) without replica.selector.class, whenever the consumer names its rack and a replica in the ISR is in it and the leader is not. A fetch that goes
// over a quota has its records, and waits after them; Kafka answers it without any, and it is asked again.
//
// Versions:
//   - up to 5: KAFKA_STORAGE_ERROR is NOT_LEADER_OR_FOLLOWER
//   - v7: sessions (KIP-227)
//   - v9: current leader epoch (KIP-320)
//   - v11: consumers may ask followers, and name their rack (KIP-392)
//   - v12: last fetched epoch and diverging epoch (KIP-595)
//   - v13: topic ids (KIP-516)
//   - v15: replica state with broker epoch (KIP-903)
//   - v16: current leader and its address in answers (KIP-951)
//   - v17: directory id; v18: the follower's high watermark. Both are read and not used.
func (b *Broker) fetch(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	op, _ := b.fetchOps.Get().(*fetchOp)
	if op == nil {
		op = &fetchOp{b: b}
		op.release, op.goOn, op.expire = op.recycle, op.resume, op.timeOut
	}
	op.begin(r, reply)
	if code := op.openSession(); code != 0 {
		op.refuse(code)
		return
	}
	op.ctx = ctx
	op.resume()
}

// maxFetchBytes is fetch.max.bytes.
const maxFetchBytes = 55 << 20

// noRecords is the records field of a partition without any: null would make librdkafka drop the whole answer.
var noRecords = []byte{}

// fetchOp is one fetch under way. It and everything it refers to is used again when its answer was released.
type fetchOp struct {
	b      *Broker
	req    *kmsg.FetchRequest
	conn   *transport.ConnInfo
	guest  *guest
	client string // its id
	reply  func(transport.Reply)

	follower    int32 // -1 of consumers
	brokerEpoch int64
	as          replication.Reader
	full        bool // all partitions are in the answer
	fenced      bool

	session *fetchSession // nil without
	set     *fetchSet
	own     fetchSet // set, without a session
	parts   []fetchPartition
	watched bool // parts are

	now    time.Time
	limit  int // bytes
	need   int // bytes that make an answer
	wait   time.Duration
	left   int  // bytes
	bytes  int  // found
	urgent bool // something that does not wait
	got    []fetchAnswer
	late   []*fetchPartition // there were no bytes left for them
	behind []*fetchPartition // of a follower that is not in their ISR

	resp       kmsg.FetchResponse
	topics     []kmsg.FetchResponseTopic
	partitions []kmsg.FetchResponseTopicPartition
	files      [][]transport.FileRange
	ranges     []transport.FileRange
	slices     []log.Slice // their files are being sent
	buf        *[]byte
	aborted    []log.AbortedTxn
	release    func()

	// of waiting
	ctx     context.Context // the connection's
	armed   bool
	tainted bool
	timer   *time.Timer
	unhook  func() bool
	goOn    func()   // the method resume, bound once
	expire  func()   // the method timeOut
	older   *fetchOp // in Broker.parked
	newer   *fetchOp
}

// fetchAnswer is what was found for one partition.
type fetchAnswer struct {
	p         *fetchPartition
	result    replication.ReadResult
	bytes     int
	err       error
	preferred int32
}

// turns tells whether the partition is to be looked at again for the next answer.
func (a *fetchAnswer) turns() bool {
	return a.err != nil || a.result.Diverging || a.preferred >= 0 || a.bytes > 0
}

func (op *fetchOp) begin(r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*kmsg.FetchRequest)
	op.req, op.conn, op.guest, op.client, op.reply = req, r.Conn, op.b.guestOf(r), r.ClientID, reply
	op.follower, op.brokerEpoch = req.ReplicaID, -1
	if req.Version >= 15 {
		op.follower, op.brokerEpoch = req.ReplicaState.ID, req.ReplicaState.Epoch
	}
	switch {
	case op.follower >= 0:
		op.as = replication.ReadAsReplica
	case req.IsolationLevel == 1:
		op.as = replication.ReadCommitted
	default:
		op.as = replication.ReadUncommitted
	}
	op.limit = int(min(max(req.MaxBytes, 0), maxFetchBytes))
	if op.follower < 0 {
		op.limit = min(op.limit, op.b.mostFetched(op.conn, op.client))
	}
	op.need = min(int(req.MinBytes), op.limit)
	op.wait = time.Duration(req.MaxWaitMillis) * time.Millisecond
	op.now = time.Now()
	op.fenced = op.b.selfFenced(op.now)
}

// openSession finds out which partitions the fetch is about.
func (op *fetchOp) openSession() int16 {
	req := op.req
	sr := sessionRequest{id: req.SessionID, epoch: req.SessionEpoch, topicIDs: req.Version >= 13, follower: op.follower >= 0, now: op.now}
	if req.Version < 7 {
		sr.id, sr.epoch = 0, -1
	}
	for i := range req.Topics {
		sr.partitions += len(req.Topics[i].Partitions)
	}
	g := op.b.beginSession(sr)
	if g.err != sessionOK {
		return g.err.code()
	}
	op.session, op.full = g.session, !g.incremental
	if g.session == nil {
		op.listAlone(sr.partitions)
		return 0
	}
	op.set = &g.session.set
	op.set.init(op.b)
	op.listInSession()
	return 0
}

// code is Kafka's.
func (e sessionError) code() int16 {
	switch e {
	case sessionNotFound:
		return kerr.FetchSessionIDNotFound.Code
	case sessionInvalidEpoch:
		return kerr.InvalidFetchSessionEpoch.Code
	case sessionTopicIDs:
		return kerr.FetchSessionTopicIDError.Code
	}
	return 0
}

func keyOf(req *kmsg.FetchRequest, topic string, id [16]byte, partition int32) fetchKey {
	if req.Version >= 13 {
		return fetchKey{id: id, partition: partition}
	}
	return fetchKey{topic: topic, partition: partition}
}

// listAlone takes the partitions of a request without a session.
func (op *fetchOp) listAlone(n int) {
	op.set = &op.own
	op.set.init(op.b)
	if cap(op.parts) < n {
		op.parts = make([]fetchPartition, n)
		for i := range op.parts {
			op.parts[i].set = op.set // once: a late Wake reads it without a lock
		}
	}
	op.parts = op.parts[:n]
	i := 0
	for t := range op.req.Topics {
		topic := &op.req.Topics[t]
		for j := range topic.Partitions {
			p := &op.parts[i]
			i++
			p.key, p.want = keyOf(op.req, topic.Topic, topic.TopicID, topic.Partitions[j].Partition), wantOf(&topic.Partitions[j])
			p.listed, p.found, p.sentHW, p.sentStart, p.watched = true, false, -1, -1, nil
			op.set.mu.Lock()
			p.active = true
			op.set.pushLocked(p)
			op.set.mu.Unlock()
		}
	}
}

// listInSession brings the session up to date with the request.
func (op *fetchOp) listInSession() {
	for t := range op.req.Topics {
		topic := &op.req.Topics[t]
		for j := range topic.Partitions {
			key := keyOf(op.req, topic.Topic, topic.TopicID, topic.Partitions[j].Partition)
			p := op.set.byKey[key]
			if p == nil {
				p = op.set.add(key)
			}
			p.want, p.listed = wantOf(&topic.Partitions[j]), true
			op.set.push(p)
		}
	}
	for t := range op.req.ForgottenTopics {
		topic := &op.req.ForgottenTopics[t]
		for _, i := range topic.Partitions {
			if p := op.set.byKey[keyOf(op.req, topic.Topic, topic.TopicID, i)]; p != nil {
				op.set.remove(p)
			}
		}
	}
	if op.follower >= 0 {
		op.recordAll()
	}
}

// recordAll has all partitions of a follower's session recorded from time to time, although only some are in the request and have news: for a leader whose partition was quiet, this is how it knows
// that the follower was there until now, and not only since the last record.
func (op *fetchOp) recordAll() {
	s := op.set
	if !s.lastFull.IsZero() && op.now.Sub(s.lastFull) < op.b.c.LagTime/8 {
		return
	}
	s.lastFull = op.now
	for p := s.oldest; p != nil; p = p.newer {
		p.listed = true
		s.push(p)
	}
}

// resume goes on with a fetch: it is answered, or parked until there is news. Nobody has a goroutine waiting for that, and the connection may go on to its next request; answers keep their order.
func (op *fetchOp) resume() {
	if op.step() {
		op.answer()
	}
}

// step looks for data until there is something to answer. False: the fetch is parked, and may be in other hands already.
func (op *fetchOp) step() bool {
	for {
		ended, due := op.set.state()
		op.collect()
		switch {
		case ended, op.urgent, op.bytes >= op.need, op.wait <= 0, op.empty(), due && len(op.got) > 0:
			return true
		case op.session == nil && !op.watched:
			op.watchAlone()
			continue
		}
		if !op.armed {
			op.arm()
		}
		if op.set.park(op, due, op.follower >= 0 && len(op.got) > 0) {
			return false
		}
	}
}

func (op *fetchOp) empty() bool {
	if op.session == nil {
		return len(op.parts) == 0
	}
	return op.set.oldest == nil
}

// maxUnhooked is the longest wait that is not cut short when its connection ends: it costs nothing, and the hook does.
const maxUnhooked = time.Second

// arm sees to it that the wait ends: in time, with its connection, and with the broker.
func (op *fetchOp) arm() {
	op.armed = true
	if op.timer == nil {
		op.timer = time.AfterFunc(op.wait, op.expire)
	} else {
		op.timer.Reset(op.wait)
	}
	if op.wait > maxUnhooked {
		op.unhook = context.AfterFunc(op.ctx, op.expire)
	}
	op.b.parked.add(op)
	if op.b.ctx.Err() != nil {
		op.set.end()
	}
}

// disarm undoes arm. An op whose timer or hook has run is not used again: they may still run.
func (op *fetchOp) disarm() {
	if !op.armed {
		return
	}
	op.armed = false
	op.b.parked.remove(op)
	stopped := op.timer.Stop()
	if op.unhook != nil && !op.unhook() || !stopped {
		op.tainted = true
	}
	op.unhook = nil
	op.set.calm()
}

// timeOut is the function of timer and hook.
func (op *fetchOp) timeOut() { op.set.end() }

// watchAlone has the partitions of a fetch without a session watched while it waits.
func (op *fetchOp) watchAlone() {
	op.watched = true
	for i := range op.parts {
		part, _ := op.find(op.parts[i].key)
		op.parts[i].watch(part, op.as)
	}
}

// collect looks at the partitions in the queue, anew at those that were found before.
func (op *fetchOp) collect() {
	for i := len(op.got) - 1; i >= 0; i-- {
		op.got[i].result.Slice.Release()
		op.got[i].p.found = false
		op.set.pushFront(op.got[i].p)
		op.got[i] = fetchAnswer{}
	}
	op.got, op.late = op.got[:0], op.late[:0]
	op.left, op.bytes, op.urgent = op.limit, 0, false
	for p := op.set.pop(); p != nil; p = op.set.pop() {
		if p.found || op.left <= 0 && !op.full && !p.listed { // woken since it was looked at: once in an answer
			op.late = append(op.late, p)
			continue
		}
		op.look(p)
	}
	for i := len(op.late) - 1; i >= 0; i-- {
		op.set.pushFront(op.late[i])
	}
}

// look reads one partition and keeps what it found if that is news.
func (op *fetchOp) look(p *fetchPartition) {
	a := fetchAnswer{p: p, preferred: -1}
	part, err := op.find(p.key)
	if op.session != nil {
		p.watch(part, op.as)
	}
	if err == nil {
		a.preferred = op.nearest(p, part)
		if a.result = op.read(p, part, a.preferred >= 0); errors.Is(a.result.Err, log.ErrTruncated) {
			p.listed = false
			a.result = op.read(p, part, a.preferred >= 0)
		}
		err = a.result.Err
	}
	if op.follower >= 0 && op.session != nil && p.listed && err == nil && !op.inSync(part) {
		op.behind = append(op.behind, p)
	}
	p.listed = p.listed && err != nil // what was refused is not recorded: the follower does not name it again in the session, and means it still
	a.err = err
	a.bytes = a.result.Slice.Len()
	op.bytes += a.bytes
	op.left -= a.bytes
	op.urgent = op.urgent || err != nil && !errors.Is(err, replication.ErrHandedOver) || a.result.Diverging || a.preferred >= 0
	o := &a.result.Offsets
	if op.full || a.turns() || o.HighWatermark != p.sentHW || o.LogStartOffset != p.sentStart {
		op.got = append(op.got, a)
		p.found = true
		return
	}
	a.result.Slice.Release()
}

// inSync tells whether the follower is in the partition's ISR. While it is not, each of its fetches is recorded, listed or not: any of them may be the one with which it can join.
func (op *fetchOp) inSync(part *partition) bool {
	p := partitionOf(op.b.metadataImage(), part.topic, part.index)
	return p != nil && slices.Contains(p.ISR, op.follower)
}

// find finds the partition here.
func (op *fetchOp) find(key fetchKey) (*partition, error) {
	if !op.b.mayTopic(op.guest, acl.Read, key.topic, key.id) {
		return nil, kerr.TopicAuthorizationFailed
	}
	switch {
	case op.fenced:
		return nil, op.b.silence()
	case op.req.Version >= 13:
		return op.b.localByID(key.id, key.partition)
	default:
		return op.b.local(key.topic, key.partition)
	}
}

func (op *fetchOp) read(p *fetchPartition, part *partition, nothing bool) replication.ReadResult {
	size, atLeastOne := min(int(p.want.maxBytes), op.left), op.bytes == 0
	catchesUp := op.catchesUp(part)
	if catchesUp {
		share := op.b.serving.available(op.now)
		size, nothing = min(size, share), nothing || share <= 0
		atLeastOne = true // the share may be smaller than a batch
	}
	if nothing || op.left <= 0 {
		size, atLeastOne = 0, false
	}
	size = max(size, 0)
	if op.follower < 0 {
		return part.replica.Read(replication.ReadOptions{
			Offset: p.want.offset, MaxBytes: size, AtLeastOne: atLeastOne, As: op.as,
			CurrentLeaderEpoch: p.want.currentLeaderEpoch, LeaderOnly: op.req.Version < 11,
		})
	}
	f := replication.FollowerFetch{
		Follower: op.follower, BrokerEpoch: op.brokerEpoch, FetchOffset: p.want.offset, LogStartOffset: p.want.logStart,
		LastFetchedEpoch: p.want.lastFetchedEpoch, CurrentLeaderEpoch: p.want.currentLeaderEpoch, MaxBytes: size, AtLeastOne: atLeastOne, Now: op.now,
	}
	var r replication.ReadResult
	if p.listed {
		r = part.replica.ReadFollower(f)
	} else {
		r = part.replica.Reread(f)
	}
	if catchesUp {
		op.b.serving.take(r.Slice.Len(), op.now)
	}
	return r
}

// catchesUp tells whether this is a follower that is served slowly while it is not in sync.
func (op *fetchOp) catchesUp(part *partition) bool {
	if op.follower < 0 {
		return false
	}
	t := part.throttled.Load()
	return t != nil && op.b.serving.limited.Load() && t.followers.Has(part.index, op.follower) && !op.inSync(part)
}

// nearest chooses the replica that a consumer had better ask (KIP-392), -1 for this one: with the leader elsewhere, the in-sync follower in the consumer's rack that is furthest.
func (op *fetchOp) nearest(p *fetchPartition, part *partition) int32 {
	rack := op.req.Rack
	if op.follower >= 0 || op.req.Version < 11 || rack == "" || rack == op.b.c.Rack {
		return -1
	}
	img := op.b.metadataImage()
	meta := partitionOf(img, part.topic, part.index)
	if meta == nil || meta.Leader != op.b.c.NodeID {
		return -1
	}
	candidate := false
	for _, id := range meta.ISR {
		n, ok := alive(img, id)
		candidate = candidate || ok && n.Rack == rack
	}
	if !candidate {
		return -1
	}
	st := part.replica.Status()
	if st.Role != replication.Leader {
		return -1
	}
	best, furthest := int32(-1), int64(-1)
	for _, f := range st.Followers {
		n, ok := alive(img, f.ID)
		if ok && n.Rack == rack && f.InSync && f.FetchOffset >= p.want.offset && f.LogStartOffset <= p.want.offset && f.FetchOffset > furthest {
			best, furthest = f.ID, f.FetchOffset
		}
	}
	return best
}
