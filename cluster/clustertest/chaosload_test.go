package clustertest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (x *chaos) stopped() bool {
	select {
	case <-x.stopping:
		return true
	default:
		return false
	}
}

// pause sleeps, but not beyond the end of the run.
func (x *chaos) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-x.stopping:
	}
}

// numbered sends records to the partition that they name.
var numbered = producer.PartitionerFunc(func(r *record.Record, _ int) int { return int(r.Partition) })

// produce runs one producer after the other.
func (x *chaos) produce(id int, rng *rand.Rand) {
	sequence := 0
	for life := 0; !x.stopped(); life++ {
		client, release := x.client(rng)
		c := producer.Config{Client: client, Partitioner: numbered, Linger: time.Duration(rng.IntN(4)) * 3 * time.Millisecond, BatchBytes: x.plan.padding*2 + 200<<rng.IntN(5)}
		c.RequestTimeout = 500 * time.Millisecond << rng.IntN(6)
		c.DeliveryTimeout = c.RequestTimeout + c.Linger + time.Second<<rng.IntN(6)
		if rng.IntN(3) == 0 {
			c.MaxInFlight = 1 + rng.IntN(5)
		}
		p, err := producer.New(c)
		if err != nil {
			x.problem("producer: %v", err)
			return
		}
		name := fmt.Sprintf("p%d.%d", id, life)
		x.event("%s starts", name)
		interval := time.Duration(1+rng.IntN(40)) * x.plan.gap / 100
		for n := 20 + rng.IntN(300); n > 0 && !x.stopped(); {
			places := x.places()
			for range 1 + rng.IntN(8) {
				x.send(p, name, sequence, places[rng.IntN(len(places))], rng)
				sequence++
				n--
			}
			x.pause(time.Duration(rng.ExpFloat64() * float64(interval)))
		}
		if rng.IntN(3) > 0 || x.stopped() {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
			if err := p.Flush(ctx); err != nil && !errors.Is(err, producer.ErrClosed) {
				x.problem("%s: flush: %v", name, err)
			}
			cancel()
		}
		x.within("close "+name, 5*time.Second, func() { p.Close() })
		release()
	}
}

func (x *chaos) send(p *producer.Producer, name string, sequence int, at place, rng *rand.Rand) {
	v := x.l.sent(name, sequence, at, rng.IntN(x.plan.padding))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := p.Enqueue(ctx, &record.Record{Topic: at.topic, Partition: at.partition, Value: []byte(v)}, func(md producer.Metadata, err error) { x.l.settled(v, md, err) })
	if err != nil {
		x.l.settled(v, producer.Metadata{}, err)
	}
}

// follower reads everything from the beginning, again and again.
type follower struct {
	x    *chaos
	name string
	rng  *rand.Rand

	mu     sync.Mutex
	r      *reader
	cons   *consumer.Consumer
	client *transport.Client
}

// String tells where it is.
func (f *follower) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cons == nil {
		return f.r.name + " does not consume"
	}
	s := fmt.Sprintf("%s %v: %+v\n", f.r.name, f.r.topics, f.cons.Status())
	for _, t := range f.r.topics {
		s += fmt.Sprintf("cached %+v\n", f.client.CachedTopic(t))
	}
	return s
}

func (f *follower) consumes(c *consumer.Consumer, client *transport.Client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cons, f.client = c, client
}

func (f *follower) run() {
	for life := 0; ; life++ {
		select {
		case <-f.x.quiet:
			return
		default:
		}
		name := fmt.Sprintf("%s.%d", f.name, life)
		r := f.x.l.reader(name)
		f.mu.Lock()
		f.r = r
		f.mu.Unlock()
		ctx, cancel := context.WithCancel(context.Background())
		if !f.x.stopped() {
			ctx, cancel = context.WithTimeout(ctx, time.Duration((1+f.rng.ExpFloat64()*20)*float64(f.x.plan.gap)))
		}
		done := make(chan struct{})
		go func() {
			select {
			case <-f.x.quiet:
				cancel()
			case <-done:
			}
		}()
		f.x.read(ctx, r, f.rng, f.consumes, func() bool { return false })
		f.consumes(nil, nil)
		close(done)
		cancel()
		f.x.pause(time.Duration(f.rng.IntN(100)) * time.Millisecond)
	}
}

// reached says whether the follower has read up to the ends.
func (f *follower) reached(ends map[place]int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.r.reached(ends)
}

func (r *reader) subscribe(topics []string) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.topics = topics
}

func (r *reader) reached(ends map[place]int64) bool {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	for p, end := range ends {
		if slices.Contains(r.topics, p.topic) && r.next[p] < end {
			return false
		}
	}
	return true
}

// read reads all topics from their beginning until ctx ends, the client's node goes, or enough says so.
func (x *chaos) read(ctx context.Context, r *reader, rng *rand.Rand, tell func(*consumer.Consumer, *transport.Client), enough func() bool) {
	client, release := x.client(rng)
	defer release()
	x.mu.Lock()
	topics := slices.Sorted(maps.Keys(x.mu.topics))
	x.mu.Unlock()
	r.subscribe(topics)
	c := consumer.Config{Client: client, Topics: topics, Isolation: consumer.Isolation(rng.IntN(2))}
	if rng.IntN(2) == 0 {
		c.PartitionMaxBytes, c.MaxBytes = x.plan.padding+200<<rng.IntN(6), x.plan.padding+1000<<rng.IntN(6)
	}
	cons, err := consumer.New(c)
	if err != nil {
		x.problem("consumer: %v", err)
		return
	}
	tell(cons, client)
	defer x.within("close "+r.name, 5*time.Second, func() { cons.Close() })
	for rec, err := range cons.Records(ctx) {
		if errors.Is(err, consumer.ErrClosed) || errors.Is(err, transport.ErrClosed) {
			x.pause(time.Second) // its node has gone
			return
		}
		if err != nil {
			x.problem("%s: %v", r.name, err)
			return
		}
		r.read(place{rec.Topic, rec.Partition}, rec.Offset, string(rec.Value))
		if enough() {
			return
		}
	}
}

// readAgain reads everything with a fresh consumer.
func (x *chaos) readAgain(name string, ends map[place]int64) {
	ctx, cancel := context.WithTimeout(context.Background(), x.plan.settle)
	defer cancel()
	r := x.l.finalReader(name)
	x.read(ctx, r, x.rng, func(*consumer.Consumer, *transport.Client) {}, func() bool { return r.reached(ends) })
	if !r.reached(ends) {
		x.problem("the %s reader came to %v only, not to %v", name, r.next, ends)
	}
}

// listEnds asks for the ends of partitions all the time.
func (x *chaos) listEnds(rng *rand.Rand) {
	client, err := transport.NewClient(transport.ClientConfig{Bootstrap: x.c.Addrs(), Network: x.c.Network().Host("client"), RequestTimeout: 3 * time.Second, DialTimeout: time.Second})
	if err != nil {
		x.problem("client: %v", err)
		return
	}
	defer client.Close()
	for !x.stopped() {
		x.pause(time.Duration(rng.ExpFloat64() * float64(x.plan.gap) / 4))
		places := x.places()
		p := places[rng.IntN(len(places))]
		listed := x.l.listing("lister", p)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		listed(endOf(ctx, client, p))
		cancel()
	}
}

func endOf(ctx context.Context, client *transport.Client, p place) (int64, error) {
	t, err := client.Topic(ctx, p.topic, false)
	if err != nil {
		return 0, err
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = p.topic
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch = p.partition, -1, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := client.Request(ctx, t.Partitions[p.partition].Leader, req)
	if err == nil {
		r := resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
		if err = kerr.ErrorForCode(r.ErrorCode); err == nil {
			return r.Offset, nil
		}
	}
	select {
	case <-client.Refresh(p.topic):
	case <-ctx.Done():
	}
	return 0, err
}

// finalEnds writes one more value to each partition, which must be acknowledged, and returns where the partitions end then.
func (x *chaos) finalEnds() map[place]int64 {
	client := x.c.Client()
	ctx, cancel := context.WithTimeout(context.Background(), x.plan.settle)
	defer cancel()
	p, err := producer.New(producer.Config{Client: client, Partitioner: numbered})
	if err != nil {
		x.problem("producer: %v", err)
		return nil
	}
	defer p.Close()
	for i, at := range x.places() {
		v := x.l.sent("last", i, at, 0)
		md, err := p.Produce(ctx, &record.Record{Topic: at.topic, Partition: at.partition, Value: []byte(v)})
		x.l.settled(v, md, err)
		if err != nil {
			x.problem("after everything was healed, %v: %v", at, err)
		}
	}
	found := map[place]int64{}
	for _, at := range x.places() {
		x.await("end of "+at.String(), x.plan.settle, func() bool {
			listed := x.l.listing("last", at)
			end, err := endOf(ctx, client, at)
			listed(end, err)
			found[at] = end
			return err == nil
		})
	}
	x.event("ends %v", found)
	return found
}

// sideTopics are created, written to and deleted all the time.
type sideTopics struct {
	x      *chaos
	wanted map[string]bool // whether a topic is there, for those whose last change was answered
}

func (s *sideTopics) run(rng *rand.Rand) {
	x := s.x
	for !x.stopped() {
		x.pause(time.Duration(rng.ExpFloat64() * float64(x.plan.gap) * 2))
		nodes := x.nodesUp()
		if len(nodes) == 0 {
			continue
		}
		name := fmt.Sprintf("side%d", rng.IntN(2))
		client := nodes[rng.IntN(len(nodes))].Client()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		var err, other error
		switch rng.IntN(3) {
		case 0:
			err, other = cluster.NewAdmin(client).CreateTopic(ctx, cluster.TopicSpec{Name: name, Partitions: 2, ReplicationFactor: 3}), kerr.TopicAlreadyExists
			s.note(name, true, err, other)
		case 1:
			err, other = cluster.NewAdmin(client).DeleteTopic(ctx, name), kerr.UnknownTopicOrPartition
			s.note(name, false, err, other)
		default:
			s.write(ctx, client, name)
		}
		cancel()
	}
}

// note notes an answer. An error that says that there was nothing to do is as good as success.
func (s *sideTopics) note(name string, there bool, err, nothingToDo error) {
	s.x.event("side topic %s, to be there %v: %v", name, there, err)
	if err == nil {
		s.wanted[name] = there
	} else if !errors.Is(err, nothingToDo) {
		delete(s.wanted, name) // nobody knows
	}
}

func (s *sideTopics) write(ctx context.Context, client *transport.Client, name string) {
	p, err := producer.New(producer.Config{Client: client})
	if err != nil {
		s.x.problem("producer: %v", err)
		return
	}
	defer p.Close()
	for range 3 {
		_, _ = p.Produce(ctx, &record.Record{Topic: name, Value: []byte("side")})
	}
}

// check looks whether the topics are there as they were said to be.
func (s *sideTopics) check() {
	for name, there := range s.wanted {
		for _, n := range s.x.nodesUp() {
			status := n.Status()
			if _, ok := status.Topic(name); ok != there {
				s.x.problem("topic %s is there on node %d: %v, want %v", name, n.ID(), ok, there)
			}
		}
	}
}
