package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// segment is segmentio/kafka-go: its Client and Writer over a Transport, its readers over a Dialer.
type segment struct {
	seeds     []string
	addr      net.Addr
	transport *kafka.Transport
	dialer    *kafka.Dialer
	cl        *kafka.Client
}

func openKafkaGo(l login) (client, error) {
	t, err := l.tls()
	if err != nil {
		return nil, err
	}
	var m sasl.Mechanism
	switch l.mechanism {
	case "":
	case "PLAIN":
		m = plain.Mechanism{Username: l.user, Password: l.password}
	case "SCRAM-SHA-256":
		m, err = scram.Mechanism(scram.SHA256, l.user, l.password)
	case "SCRAM-SHA-512":
		m, err = scram.Mechanism(scram.SHA512, l.user, l.password)
	}
	if err != nil {
		return nil, err
	}
	const id = "kafka-go" // it does not name itself in ApiVersions
	c := &segment{
		seeds:     l.seeds,
		addr:      kafka.TCP(l.seeds...),
		transport: &kafka.Transport{TLS: t, SASL: m, ClientID: id, MetadataTTL: 200 * time.Millisecond},
		dialer:    &kafka.Dialer{TLS: t, SASLMechanism: m, ClientID: id, Timeout: 5 * time.Second},
	}
	c.cl = &kafka.Client{Addr: c.addr, Timeout: patience, Transport: c.transport}
	return c, nil
}

func (c *segment) close() { c.transport.CloseIdleConnections() }

func (c *segment) code(err error) int16 {
	if e, ok := errors.AsType[kafka.Error](err); ok {
		return int16(e)
	}
	return 0
}

// chosen is the balancer of who has chosen the partition.
var chosen = kafka.BalancerFunc(func(m kafka.Message, _ ...int) int { return m.WriterData.(queued).partition })

// queued goes with a message through the Writer.
type queued struct {
	partition int
	acked     func(error)
}

type segmentProducer struct{ w *kafka.Writer }

func (c *segment) producer(how sending) (producer, error) {
	if how.idempotent {
		return nil, skip("the client has no idempotent producer")
	}
	w := &kafka.Writer{
		Addr: c.addr, Transport: c.transport, Balancer: chosen, RequiredAcks: kafka.RequireAll, Async: true, MaxAttempts: 100, BatchTimeout: 5 * time.Millisecond,
		Completion: func(ms []kafka.Message, err error) {
			for _, m := range ms {
				m.WriterData.(queued).acked(err)
			}
		},
		Compression: map[string]kafka.Compression{"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}[how.codec],
	}
	if how.small {
		w.BatchSize = 50
	}
	return segmentProducer{w}, nil
}

func (p segmentProducer) send(r record, acked func(error)) {
	m := kafka.Message{Topic: r.topic, Key: r.key, Value: r.value, Time: r.at, WriterData: queued{int(r.partition), acked}}
	for _, h := range r.headers {
		m.Headers = append(m.Headers, kafka.Header{Key: h.key, Value: h.value})
	}
	// Async: an error is one before the message is queued.
	if _, err := within(func(ctx context.Context) (any, error) { return nil, p.w.WriteMessages(ctx, m) }); err != nil {
		acked(err)
	}
}

func (p segmentProducer) close() error { return p.w.Close() }

func (c *segment) offset(topic string, partition int32, at int64) (int64, error) {
	if at == timeGreatest {
		return 0, noCall
	}
	r, err := within(func(ctx context.Context) (*kafka.ListOffsetsResponse, error) {
		return c.cl.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: {{Partition: int(partition), Timestamp: at}}}})
	})
	if err != nil {
		return 0, err
	}
	if len(r.Topics[topic]) != 1 {
		return 0, fmt.Errorf("no answer for %s-%d", topic, partition)
	}
	o := r.Topics[topic][0]
	switch {
	case at == timeEarliest:
		return o.FirstOffset, o.Error
	case at == timeLatest:
		return o.LastOffset, o.Error
	}
	for offset := range o.Offsets { // one at most
		return offset, o.Error
	}
	return -1, o.Error
}

func ofSegment(m kafka.Message) record {
	r := record{topic: m.Topic, partition: int32(m.Partition), offset: m.Offset, key: m.Key, value: m.Value, at: m.Time}
	for _, h := range m.Headers {
		r.headers = append(r.headers, header{h.Key, h.Value})
	}
	return r
}

func (c *segment) reader(topic string, partition int, from int64) (*kafka.Reader, error) {
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: c.seeds, Dialer: c.dialer, Topic: topic, Partition: partition, MaxWait: 250 * time.Millisecond, ReadBackoffMax: 250 * time.Millisecond})
	if err := r.SetOffset(from); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (c *segment) read(topic string, partition int32, from, to int64) (all []record, err error) {
	r, err := c.reader(topic, int(partition), from)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return within(func(ctx context.Context) ([]record, error) {
		for {
			m, err := r.ReadMessage(ctx)
			if err != nil {
				return all, err
			}
			if m.Offset < to {
				all = append(all, ofSegment(m))
			}
			if m.Offset >= to-1 {
				return all, nil
			}
		}
	})
}

// A segmentMember is made of generations, as kafka-go's own Reader is: that does not tell what it is assigned.
type segmentMember struct {
	g    *kafka.ConsumerGroup
	n    atomic.Int32
	stop context.CancelFunc
	wg   sync.WaitGroup
}

func (c *segment) join(group, protocol, topic string, got func(record)) (member, error) {
	if protocol == kip848 {
		return nil, skip("the client has only the classic protocol")
	}
	g, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: group, Brokers: c.seeds, Dialer: c.dialer, Topics: []string{topic}, HeartbeatInterval: 500 * time.Millisecond, JoinGroupBackoff: 200 * time.Millisecond, Timeout: 10 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &segmentMember{g: g, stop: stop}
	m.wg.Go(func() {
		for {
			gen, err := g.Next(ctx)
			if ctx.Err() != nil || errors.Is(err, kafka.ErrGroupClosed) {
				return
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, group, err)
				continue
			}
			m.n.Store(int32(len(gen.Assignments[topic])))
			for _, a := range gen.Assignments[topic] {
				gen.Start(func(ctx context.Context) {
					if err := c.claim(ctx, gen, topic, a, got); err != nil {
						fmt.Fprintln(os.Stderr, group, a.ID, err)
					}
				})
			}
		}
	})
	return m, nil
}

// claim reads one partition for one generation, and commits when there is nothing to read, and at the end.
func (c *segment) claim(ctx context.Context, gen *kafka.Generation, topic string, a kafka.PartitionAssignment, got func(record)) error {
	r, err := c.reader(topic, a.ID, a.Offset)
	if err != nil {
		return err
	}
	defer r.Close()
	next := int64(-1) // an offset to commit
	for ctx.Err() == nil {
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		m, err := r.ReadMessage(short)
		cancel()
		if err == nil {
			got(ofSegment(m))
			next = m.Offset + 1
			continue
		}
		if next >= 0 { // the generation's connection is closed when its functions have returned
			if err := gen.CommitOffsets(map[string]map[int]int64{topic: {a.ID: next}}); err != nil {
				return err
			}
			next = -1
		}
		if !errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (m *segmentMember) assigned() int { return int(m.n.Load()) }

func (m *segmentMember) leave() error {
	m.stop()
	err := m.g.Close()
	m.wg.Wait()
	return err
}

func (c *segment) groups() (all []string, err error) {
	r, err := within(func(ctx context.Context) (*kafka.ListGroupsResponse, error) {
		return c.cl.ListGroups(ctx, &kafka.ListGroupsRequest{})
	})
	if err != nil {
		return nil, err
	}
	for _, g := range r.Groups {
		all = append(all, g.GroupID)
	}
	return all, r.Error
}

func (c *segment) members(group, _ string) (int, error) {
	r, err := within(func(ctx context.Context) (*kafka.DescribeGroupsResponse, error) {
		return c.cl.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	})
	if err != nil || len(r.Groups) != 1 {
		return 0, errors.Join(err, errors.New("no such group"))
	}
	return len(r.Groups[0].Members), r.Groups[0].Error
}

func (c *segment) committed(group, topic string, partitions int) ([]int64, error) {
	var ps []int
	all := make([]int64, partitions)
	for p := range partitions {
		ps = append(ps, p)
		all[p] = -1
	}
	r, err := within(func(ctx context.Context) (*kafka.OffsetFetchResponse, error) {
		return c.cl.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: ps}})
	})
	if err != nil {
		return nil, err
	}
	for _, p := range r.Topics[topic] {
		all[p.Partition] = p.CommittedOffset
		err = errors.Join(err, p.Error)
	}
	return all, errors.Join(err, r.Error)
}

func (c *segment) commit(group, topic string, partition int32, offset int64) error {
	r, err := within(func(ctx context.Context) (*kafka.OffsetCommitResponse, error) {
		return c.cl.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: int(partition), Offset: offset}}}})
	})
	if err != nil {
		return err
	}
	for _, p := range r.Topics[topic] {
		err = errors.Join(err, p.Error)
	}
	return err
}

func (c *segment) deleteGroup(group string) error {
	r, err := within(func(ctx context.Context) (*kafka.DeleteGroupsResponse, error) {
		return c.cl.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})
	})
	if err != nil {
		return err
	}
	return r.Errors[group]
}
