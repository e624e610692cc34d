package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// franz is franz-go: kgo and kadm.
type franz struct {
	opts []kgo.Opt
	cl   *kgo.Client
	adm  *kadm.Client
}

func openFranz(l login) (client, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(l.seeds...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(50 * time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	t, err := l.tls()
	if err != nil {
		return nil, err
	}
	if t != nil {
		opts = append(opts, kgo.DialTLSConfig(t))
	}
	var m sasl.Mechanism
	switch l.mechanism {
	case "":
	case "PLAIN":
		m = plain.Auth{User: l.user, Pass: l.password}.AsMechanism()
	case "SCRAM-SHA-256":
		m = scram.Auth{User: l.user, Pass: l.password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		m = scram.Auth{User: l.user, Pass: l.password}.AsSha512Mechanism()
	}
	if m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	return &franz{opts: opts, cl: cl, adm: kadm.NewClient(cl)}, nil
}

func (c *franz) close() { c.cl.Close() }

func (c *franz) code(err error) int16 {
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		return e.Code
	}
	return 0
}

// with makes a client of its own.
func (c *franz) with(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(c.opts[:len(c.opts):len(c.opts)], opts...)...)
}

type franzProducer struct{ cl *kgo.Client }

func (c *franz) producer(how sending) (producer, error) {
	opts := []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(5 * time.Millisecond)} // idempotent by default
	if codec, ok := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[how.codec]; ok {
		opts = append(opts, kgo.ProducerBatchCompression(codec))
	}
	if how.small {
		opts = append(opts, kgo.ProducerBatchMaxBytes(1000), kgo.ProducerLinger(0))
	}
	cl, err := c.with(opts...)
	return franzProducer{cl}, err
}

func (p franzProducer) send(r record, acked func(error)) {
	rec := &kgo.Record{Topic: r.topic, Partition: r.partition, Key: r.key, Value: r.value, Timestamp: r.at}
	for _, h := range r.headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.key, Value: h.value})
	}
	p.cl.Produce(context.Background(), rec, func(_ *kgo.Record, err error) { acked(err) })
}

func (p franzProducer) close() error {
	p.cl.Close()
	return nil
}

func (c *franz) offset(topic string, partition int32, at int64) (int64, error) {
	list := func(ctx context.Context) (kadm.ListedOffsets, error) {
		return c.adm.ListOffsetsAfterMilli(ctx, at, topic)
	}
	switch at {
	case timeEarliest:
		list = func(ctx context.Context) (kadm.ListedOffsets, error) { return c.adm.ListStartOffsets(ctx, topic) }
	case timeLatest:
		list = func(ctx context.Context) (kadm.ListedOffsets, error) { return c.adm.ListEndOffsets(ctx, topic) }
	case timeGreatest:
		list = func(ctx context.Context) (kadm.ListedOffsets, error) {
			return c.adm.ListMaxTimestampOffsets(ctx, topic)
		}
	}
	all, err := within(list)
	if err == nil {
		err = all.Error()
	}
	o, ok := all.Lookup(topic, partition)
	if err == nil && !ok {
		err = fmt.Errorf("no answer for %s-%d", topic, partition)
	}
	return o.Offset, err
}

func ofFranz(r *kgo.Record) record {
	rec := record{topic: r.Topic, partition: r.Partition, offset: r.Offset, key: r.Key, value: r.Value, at: r.Timestamp}
	for _, h := range r.Headers {
		rec.headers = append(rec.headers, header{h.Key, h.Value})
	}
	return rec
}

func (c *franz) read(topic string, partition int32, from, to int64) (all []record, err error) {
	cl, err := c.with(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(from)}}))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	return within(func(ctx context.Context) ([]record, error) {
		for {
			fetches := cl.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				return all, err
			}
			for r := range fetches.RecordsAll() {
				if r.Offset < to {
					all = append(all, ofFranz(r))
				}
				if r.Offset >= to-1 {
					return all, nil
				}
			}
		}
	})
}

type franzMember struct {
	cl   *kgo.Client
	n    atomic.Int32
	stop context.CancelFunc
	wg   sync.WaitGroup
	err  error
}

func (c *franz) join(group, protocol, topic string, got func(record)) (member, error) {
	m := &franzMember{}
	opts := []kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.HeartbeatInterval(500 * time.Millisecond), kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { m.n.Add(int32(len(ps[topic]))) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { m.n.Add(-int32(len(ps[topic]))) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { m.n.Add(-int32(len(ps[topic]))) }),
	}
	if protocol == kip848 {
		opts = append(opts, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	}
	cl, err := c.with(opts...)
	if err != nil {
		return nil, err
	}
	m.cl = cl
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	m.wg.Go(func() {
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			fetches.EachError(func(t string, p int32, err error) {
				if !errors.Is(err, context.Canceled) {
					fmt.Fprintf(os.Stderr, "fetch %s-%d: %v\n", t, p, err)
				}
			})
			for r := range fetches.RecordsAll() {
				got(ofFranz(r))
			}
			if !fetches.Empty() {
				if err := cl.CommitUncommittedOffsets(context.Background()); err != nil {
					m.err = err
				}
			}
			cl.AllowRebalance()
		}
	})
	return m, nil
}

func (m *franzMember) assigned() int { return int(m.n.Load()) }

func (m *franzMember) leave() error {
	m.stop()
	m.wg.Wait()
	m.cl.CloseAllowingRebalance()
	return m.err
}

func (c *franz) groups() ([]string, error) {
	l, err := within(func(ctx context.Context) (kadm.ListedGroups, error) { return c.adm.ListGroups(ctx) })
	return l.Groups(), err
}

func (c *franz) members(group, protocol string) (int, error) {
	if protocol == kip848 {
		d, err := within(func(ctx context.Context) (kadm.DescribedConsumerGroups, error) {
			return c.adm.DescribeConsumerGroups(ctx, group)
		})
		return len(d[group].Members), errors.Join(err, d[group].Err)
	}
	d, err := within(func(ctx context.Context) (kadm.DescribedGroups, error) { return c.adm.DescribeGroups(ctx, group) })
	return len(d[group].Members), errors.Join(err, d[group].Err)
}

func (c *franz) committed(group, topic string, partitions int) (all []int64, err error) {
	o, err := within(func(ctx context.Context) (kadm.OffsetResponses, error) {
		return c.adm.FetchOffsetsForTopics(ctx, group, topic)
	})
	if err == nil {
		err = o.Error()
	}
	for p := range int32(partitions) {
		at := int64(-1)
		if x, ok := o.Lookup(topic, p); ok {
			at = x.At
		}
		all = append(all, at)
	}
	return all, err
}

func (c *franz) commit(group, topic string, partition int32, offset int64) error {
	var o kadm.Offsets
	o.AddOffset(topic, partition, offset, -1)
	_, err := within(func(ctx context.Context) (any, error) { return nil, c.adm.CommitAllOffsets(ctx, group, o) })
	return err
}

func (c *franz) deleteGroup(group string) error {
	_, err := within(func(ctx context.Context) (kadm.DeleteGroupResponse, error) { return c.adm.DeleteGroup(ctx, group) })
	return err
}
