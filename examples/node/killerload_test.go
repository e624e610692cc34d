//go:build unix

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/internal/history"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// load is clients in this process that use a site over TCP meanwhile, and note what they did and saw.
type load struct {
	s          *site
	topic      string
	partitions int
	rec        *history.Recorder

	stop    chan struct{}   // producers end
	quiet   context.Context // followers end
	silence func()          //
	wg      sync.WaitGroup  // producers
	readers sync.WaitGroup  // followers
	acked   atomic.Int64    // records
	last    atomic.Int64    // when one was acknowledged, in nanoseconds of the epoch
	longest atomic.Int64    // time without any
	fatal   chan error      // what a client must never meet
	seen    [2]atomic.Int64 // records that each follower was given
}

const killerPause = 3 * time.Millisecond // between two sends of a producer

// startLoad starts two producers of this library, one of franz-go, and two consumers.
func startLoad(s *site, topic string, partitions int) *load {
	l := &load{s: s, topic: topic, partitions: partitions, rec: history.NewRecorder(), stop: make(chan struct{}), fatal: make(chan error, 10)}
	l.quiet, l.silence = context.WithCancel(context.Background())
	l.last.Store(time.Now().UnixNano())
	for i, timeout := range []time.Duration{2 * time.Minute, 3 * time.Second} { // one keeps on, the other gives up soon
		l.wg.Go(func() { l.produce(fmt.Sprintf("p%d", i), timeout) })
	}
	l.wg.Go(func() { l.produceFranz("franz") })
	for i := range l.seen {
		l.readers.Go(func() { l.follow(i) })
	}
	return l
}

func (l *load) failed(format string, args ...any) {
	select {
	case l.fatal <- fmt.Errorf(format, args...):
	default: // there are enough of them
	}
}

// wait waits between two sends, and says whether there is to be another.
func (l *load) wait() bool {
	select {
	case <-l.stop:
		return false
	case <-time.After(killerPause):
		return true
	}
}

// begin notes a send before it is done.
func (l *load) begin(name string, sequence int64) (value []byte, partition int32, settled func(partition int32, offset int64, outcome history.Outcome, err error)) {
	p := history.Place{Topic: l.topic, Partition: int32(rand.IntN(l.partitions))}
	v := history.Value{Producer: name, Sequence: sequence, Place: p}
	b, _ := history.Encode(v, nil, rand.IntN(300))
	op := history.Op{Process: name, Kind: history.Send, Items: []history.Item{{Place: p, Offset: -1, Value: v}}}
	id := l.rec.Begin(op)
	return b, p.Partition, func(partition int32, offset int64, outcome history.Outcome, err error) {
		op := op
		op.Items = []history.Item{{Place: history.Place{Topic: l.topic, Partition: partition}, Offset: offset, Value: v}}
		if op.Outcome = outcome; err != nil {
			op.Items[0].Place, op.Items[0].Offset, op.Err = p, -1, err.Error()
		} else {
			l.acked.Add(1)
			now := time.Now().UnixNano()
			if gap := now - l.last.Swap(now); gap > l.longest.Load() {
				l.longest.Store(gap)
			}
		}
		l.rec.End(id, op)
	}
}

func (l *load) produce(name string, timeout time.Duration) {
	p, err := producer.New(producer.Config{Bootstrap: l.s.addrs, Partitioner: producer.Manual{}, DeliveryTimeout: timeout, RequestTimeout: 2 * time.Second})
	if err != nil {
		l.failed("%s: %w", name, err)
		return
	}
	for sequence := int64(0); l.wait(); sequence++ {
		value, partition, settled := l.begin(name, sequence)
		done := func(md producer.Metadata, err error) {
			outcome := history.OK
			switch producer.OutcomeOf(err) {
			case producer.Committed:
			case producer.NotCommitted:
				outcome = history.Fail
			default:
				outcome = history.Info
			}
			settled(md.Partition, md.Offset, outcome, err)
		}
		if err := p.Enqueue(context.Background(), &record.Record{Topic: l.topic, Partition: partition, Value: value}, done); err != nil {
			done(producer.Metadata{}, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.Flush(ctx); err != nil {
		l.failed("%s: flush: %w", name, err)
	}
	p.Close()
}

// produceFranz is produce with franz-go, whose errors do not tell what is certain.
func (l *load) produceFranz(name string) {
	c, err := kgo.NewClient(kgo.SeedBrokers(l.s.addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProduceRequestTimeout(2*time.Second), kgo.RecordDeliveryTimeout(2*time.Minute),
		kgo.ProducerBatchCompression(kgo.SnappyCompression()), kgo.ProducerLinger(0))
	if err != nil {
		l.failed("%s: %w", name, err)
		return
	}
	defer c.Close()
	for sequence := int64(0); l.wait(); sequence++ {
		value, partition, settled := l.begin(name, sequence)
		c.Produce(context.Background(), &kgo.Record{Topic: l.topic, Partition: partition, Value: value}, func(r *kgo.Record, err error) {
			outcome := history.OK
			if err != nil {
				outcome = history.Info
			}
			settled(r.Partition, r.Offset, outcome, err)
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Flush(ctx); err != nil {
		l.failed("%s: flush: %w", name, err)
	}
}

// follow reads everything from the beginning, once, whatever happens to the nodes.
func (l *load) follow(i int) {
	c, err := consumer.New(consumer.Config{Bootstrap: l.s.addrs, Topics: []string{l.topic}, Isolation: consumer.Isolation(i)})
	if err != nil {
		l.failed("consumer: %w", err)
		return
	}
	defer c.Close()
	for r, err := range c.Records(l.quiet) {
		if err != nil {
			l.failed("consumer: %w", err)
			return
		}
		l.seen[i].Add(1)
		l.note(fmt.Sprintf("c%d", i), r, false)
	}
}

func (l *load) note(name string, r *record.Record, final bool) {
	p := history.Place{Topic: r.Topic, Partition: r.Partition}
	l.rec.Note(history.Op{Process: name, Kind: history.Poll, Items: []history.Item{history.ItemOf(p, r.Offset, nil, r.Value, nil)}, Final: final})
}

// judge waits until all that was sent is settled, has the followers come to the end, reads everything again, and judges. Every replica must be back in sync.
func (l *load) judge() {
	t := l.s.t
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	healed := l.s.whole(l.topic, time.Minute)
	ends, total := l.ends()
	limit := time.Now().Add(time.Minute)
	for i := range l.seen {
		for l.seen[i].Load() < total {
			require.Truef(t, time.Now().Before(limit), "consumer %d was given %d of %d records", i, l.seen[i].Load(), total)
			if len(l.fatal) > 0 {
				require.NoError(t, <-l.fatal)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	l.silence()
	l.readers.Wait()
	l.readAll(total)
	for p, end := range ends {
		l.rec.Note(history.Op{Process: "final", Kind: history.Poll, Place: history.Place{Topic: l.topic, Partition: int32(p)}, To: end, Final: true})
	}
	for len(l.fatal) > 0 {
		t.Error(<-l.fatal)
	}
	r := history.Check(l.rec.History(), history.Options{Dense: true})
	t.Logf("%d records acknowledged, %d in the log, longest time without an acknowledgement %v, in sync again after %v; %v", l.acked.Load(), total,
		time.Duration(l.longest.Load()).Round(time.Millisecond), healed.Round(time.Millisecond), r)
	if r.Verdict != history.Good {
		t.Errorf("history: %v", r)
	}
	require.Positive(t, l.acked.Load())
}

// ends are where the partitions end, and their sum, which is the number of records: nothing else was written.
func (l *load) ends() (ends []int64, total int64) {
	for p := range l.partitions {
		place := history.Place{Topic: l.topic, Partition: int32(p)}
		op := history.Op{Process: "final", Kind: history.List, Place: place, Final: true}
		id := l.rec.Begin(op)
		end, err := endOf(l.s.client, place)
		for limit := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(limit); end, err = endOf(l.s.client, place) {
			time.Sleep(50 * time.Millisecond) // it was told of an older leader
		}
		require.NoError(l.s.t, err)
		op.Offset = end
		l.rec.End(id, op)
		ends = append(ends, end)
		total += end
	}
	return ends, total
}

func endOf(client *transport.Client, p history.Place) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	<-client.Refresh(p.Topic)
	t, err := client.Topic(ctx, p.Topic, false)
	if err != nil {
		return 0, err
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = p.Topic
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch = p.Partition, -1, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := client.Request(ctx, t.Partitions[p.Partition].Leader, req)
	if err != nil {
		return 0, err
	}
	answer := resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	return answer.Offset, kerr.ErrorForCode(answer.ErrorCode)
}

// readAll reads the topic with a fresh consumer.
func (l *load) readAll(total int64) {
	t := l.s.t
	t.Helper()
	c, err := consumer.New(consumer.Config{Bootstrap: l.s.addrs, Topics: []string{l.topic}})
	require.NoError(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	n := int64(0)
	for r, err := range c.Records(ctx) {
		require.NoError(t, err)
		l.note("final", r, true)
		if n++; n == total {
			return
		}
	}
	t.Errorf("the final reader was given %d of %d records", n, total)
}
