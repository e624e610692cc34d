package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/internal/history"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
)

// load is the built-in workload. What its clients do and see becomes a history.
type load struct {
	w      *World
	topic  cluster.TopicStatus
	pruned *cluster.TopicStatus // nil: nobody deletes records
	rec    *history.Recorder

	mu   sync.Mutex
	open map[string]bool // sends that have not come to an end
}

// Cast is who takes part in a load, beside producers and consumers of a topic and somebody who lists its ends.
type Cast struct {
	Group    bool // a consumer group whose members come, leave and die
	Operator bool // moves replicas and leaders
	Churn    bool // makes and deletes a topic again and again
	Pruner   bool // deletes the records of a topic that he writes and reads
	Keys     bool // writes to a compacted topic
	Ones     bool // writes with acks=1
}

// Load is the story of a cast that the seed draws.
func Load(w *World) {
	rng := w.Rand()
	c := Cast{Operator: rng.IntN(2) == 0, Churn: rng.IntN(3) == 0, Group: rng.IntN(2) == 0}
	c.Group = c.Group && !w.plan.relaxed
	others := rand.New(rand.NewPCG(w.seed, 0xca57)) // the rest of the story is what it was before there were these
	c.Pruner, c.Keys, c.Ones = others.IntN(4) == 0, others.IntN(4) == 0, others.IntN(6) == 0
	c.Load(w)
}

// Load is the story of those who are cast. They write down what they did and saw, and package history tells in the end whether a log could have behaved so.
func (c Cast) Load(w *World) {
	rng := w.Rand()
	if c.Group { // its members would have to take back what they have done with records that are lost
		w.plan.sync = SyncAlways
	}
	l := &load{w: w, rec: w.history, open: map[string]bool{}}
	l.topic = w.CreateTopic(cluster.TopicSpec{Name: "t", Partitions: int32(1 + rng.IntN(3)), ReplicationFactor: 3, Configs: w.plan.configs()})
	var k *keyed
	if c.Pruner {
		t := w.CreateTopic(cluster.TopicSpec{Name: "v", Partitions: 2, ReplicationFactor: 3, Configs: rolls})
		l.pruned = &t
	}
	if c.Keys {
		// Tombstones stay for longer than the run: a replica that was away while one went, after the value that it deletes, keeps that value, as in Kafka.
		compacted := map[string]string{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "7200000"}
		maps.Copy(compacted, rolls)
		k = &keyed{load: l, counts: map[string]*count{}, topic: w.CreateTopic(cluster.TopicSpec{Name: keyedTopic, Partitions: 1, ReplicationFactor: 3, Configs: compacted})}
	}
	var o *ones
	if c.Ones {
		o = &ones{load: l, topics: [2]cluster.TopicStatus{
			w.CreateTopic(cluster.TopicSpec{Name: onesTopic, Partitions: 2, ReplicationFactor: 3, Configs: map[string]string{"min.insync.replicas": "2"}}),
			w.CreateTopic(cluster.TopicSpec{Name: soleTopic, Partitions: 2, ReplicationFactor: 1}),
		}}
	}
	w.strict()
	var workers sync.WaitGroup
	start := func(host string, do func(host string, rng *rand.Rand)) {
		rng := rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
		workers.Go(func() {
			time.Sleep(w.unique(host))
			do(host, rng)
		})
	}
	for i := range 1 + rng.IntN(3) {
		start(fmt.Sprintf("p%d", i), l.produce)
	}
	for i := range 1 + rng.IntN(2) {
		start(fmt.Sprintf("c%d", i), l.consume)
	}
	start("lister", l.list)
	if c.Operator {
		start("operator", l.operate)
	}
	if c.Churn {
		start("churn", l.churn)
	}
	if c.Pruner {
		start("pruner", l.prune)
	}
	if c.Keys {
		start("writer", k.write)
	}
	var g *group
	var members sync.WaitGroup
	if c.Group {
		g = l.newGroup()
		start("watcher", g.watch)
		for i := range 1 + rng.IntN(3) {
			host, rng := fmt.Sprintf("g%d", i), rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
			members.Go(func() {
				time.Sleep(w.unique(host))
				g.join(host, rng)
			})
		}
	}
	if c.Ones {
		start("one", o.write)
	}
	time.Sleep(10 * time.Millisecond) // all hosts are named
	w.Begin()
	workers.Wait()
	l.check(g, k, o, &members)
}

func limits(rng *rand.Rand) transport.ClientConfig {
	return transport.ClientConfig{RequestTimeout: time.Second << rng.IntN(5), DialTimeout: time.Second << rng.IntN(4)}
}

var numbered = producer.PartitionerFunc(func(r *record.Record, _ int) int { return int(r.Partition) })

// place is a partition of this incarnation of a topic.
func place(t *cluster.TopicStatus, part int32) history.Place {
	return history.Place{Topic: t.Name, ID: t.ID, Partition: part}
}

// session is what one producer does. A value of it is named by the session and its number.
type session struct {
	*load
	*producer.Producer
	client *transport.Client
	name   string
	sent   int64
	strays atomic.Bool    // something went to a topic of the same name
	broken map[int32]bool // partitions of which a value may be missing in front of later ones: guarded by load.mu
}

// newSession makes a producer of some temper, for at most one goroutine.
func (l *load) newSession(name string, client *transport.Client, rng *rand.Rand) *session {
	c := producer.Config{Client: client, Partitioner: numbered, Linger: time.Duration(rng.IntN(4)) * 3 * time.Millisecond, BatchBytes: 400 << rng.IntN(5)}
	c.RequestTimeout = 500 * time.Millisecond << rng.IntN(6)
	c.DeliveryTimeout = c.RequestTimeout + c.Linger + time.Second<<rng.IntN(6)
	p, err := producer.New(c)
	if err != nil {
		l.w.problem("producer: %v", err)
		return nil
	}
	return &session{load: l, Producer: p, client: client, name: name, broken: map[int32]bool{}}
}

// refused makes it a problem if a leader did not know what the session had sent to a partition, although it was told of all of it in order: what is there already is to be answered as what it is.
func (s *session) refused(part int32, v history.Value, err error) {
	if err == nil || s.strays.Load() || s.w.plan.sync != SyncAlways && v.Place.Topic == s.topic.Name { // what is lost is not there
		return
	}
	s.mu.Lock()
	first := !s.broken[part]
	s.broken[part] = true
	s.mu.Unlock()
	for _, code := range []error{kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch, kerr.ProducerFenced} {
		if first && errors.Is(err, code) {
			s.w.problem("%v was sent in its turn: %v", v, err)
		}
	}
}

func (s *session) close() {
	s.w.within("close of "+s.name, 5*time.Second, func() { s.Close() })
}

// send hands a value over to the producer, and has the history told what became of it.
func (s *session) send(t *cluster.TopicStatus, part int32, padding int) {
	at := place(t, part)
	v := history.Value{Producer: s.name, Sequence: s.sent, Place: at}
	s.sent++
	b, _ := history.Encode(v, nil, padding)
	era := s.w.god.era(partition{t.ID, part})
	op := history.Op{Process: s.name, Kind: history.Send, Items: []history.Item{{Place: at, Offset: -1, Value: v}}}
	id := s.rec.Begin(op)
	key := v.String()
	s.mu.Lock()
	s.open[key] = true
	s.mu.Unlock()
	settled := func(md producer.Metadata, err error) {
		op := op
		op.Items = []history.Item{{Place: at, Offset: -1, Value: v}}
		if known := s.client.CachedTopic(t.Name); known != nil && known.ID != t.ID {
			s.strays.Store(true) // nodes that are cut off still serve the one that is deleted, and told the producer of it
		}
		outcome := producer.OutcomeOf(err)
		if s.strays.Load() {
			outcome = producer.Unknown
		}
		switch outcome {
		case producer.Committed:
			op.Items[0].Place.Topic, op.Items[0].Place.Partition, op.Items[0].Offset = md.Topic, md.Partition, md.Offset
			s.w.god.acknowledged(partition{t.ID, part}, md.Offset, era)
		case producer.NotCommitted:
			op.Outcome, op.Err = history.Fail, err.Error()
			if s.w.plan.has(Double) { // it may arrive once more, when it is not refused
				op.Outcome = history.Info
			}
		default:
			op.Outcome, op.Err = history.Info, fmt.Sprint(err)
		}
		s.rec.End(id, op)
		s.refused(part, v, err)
		s.mu.Lock()
		delete(s.open, key)
		s.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Enqueue(ctx, &record.Record{Topic: t.Name, Partition: part, Value: b}, settled); err != nil {
		settled(producer.Metadata{}, err)
	}
}

func (l *load) produce(host string, rng *rand.Rand) {
	w := l.w
	client := w.Client(host, limits(rng))
	defer client.Close()
	for life := 0; !w.Over(); life++ {
		s := l.newSession(fmt.Sprintf("%s.%d", host, life), client, rng)
		if s == nil {
			return
		}
		for n := 20 + rng.IntN(300); n > 0 && !w.Over(); n-- {
			s.send(&l.topic, int32(rng.IntN(len(l.topic.Partitions))), rng.IntN(20))
			time.Sleep(l.w.pace(time.Duration(rng.ExpFloat64() * float64(20*time.Millisecond))))
		}
		if w.Over() {
			ctx, cancel := context.WithTimeout(context.Background(), w.settle())
			if err := s.Flush(ctx); err != nil {
				w.problem("after the faults: flush: %v", err)
			}
			cancel()
		}
		s.close()
	}
}

func (l *load) consume(host string, rng *rand.Rand) {
	w := l.w
	client := w.Client(host, limits(rng))
	defer client.Close()
	for life := 0; !w.Over(); life++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(float64(l.w.pace(5*time.Second))*(1+rng.ExpFloat64())))
		l.read(ctx, client, fmt.Sprintf("%s.%d", host, life), &l.topic, l.someHabits(rng), func(int32, int64) bool { return w.Over() })
		cancel()
		time.Sleep(l.w.pace(time.Duration(rng.ExpFloat64() * float64(100*time.Millisecond))))
	}
}

// habits are how somebody reads.
type habits struct {
	final bool       // to the end, after all is over
	rack  string     // from the replica that is there, if it has what is asked for
	seeks *rand.Rand // goes back now and then; nil: never
}

func (l *load) someHabits(rng *rand.Rand) (h habits) {
	if rng.IntN(2) == 0 {
		h.rack = l.w.nodes[rng.IntN(len(l.w.nodes))].host()
	}
	if rng.IntN(3) == 0 {
		h.seeks = rng
	}
	return h
}

// read reads a topic from its beginning until ctx ends, or until enough, which is given each partition and offset, says so.
func (l *load) read(ctx context.Context, client *transport.Client, name string, t *cluster.TopicStatus, h habits, enough func(part int32, offset int64) bool) {
	cons, err := consumer.New(consumer.Config{Client: client, Topics: []string{t.Name}, Rack: h.rack})
	if err != nil {
		l.w.problem("consumer: %v", err)
		return
	}
	defer cons.Close()
	for i := range t.Partitions {
		l.rec.Note(history.Op{Process: name, Kind: history.Assign, Place: place(t, int32(i))})
	}
	for r, err := range cons.Records(ctx) {
		if err != nil {
			if !errors.Is(err, consumer.ErrClosed) {
				l.w.event("%s: %v", name, err)
			}
			return
		}
		at := place(t, r.Partition)
		l.rec.Note(history.Op{Process: name, Kind: history.Poll, Final: h.final, Items: []history.Item{history.ItemOf(at, r.Offset, nil, r.Value, nil)}})
		if enough(r.Partition, r.Offset) {
			return
		}
		if h.seeks != nil && h.seeks.IntN(100) == 0 {
			to := max(0, r.Offset-h.seeks.Int64N(200))
			l.rec.Note(history.Op{Process: name, Kind: history.Seek, Place: at, Offset: to})
			if err := cons.Seek(t.Name, r.Partition, consumer.AtOffset(to)); err != nil {
				l.w.problem("%s: seek: %v", name, err)
			}
		}
	}
}
