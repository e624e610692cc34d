package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

// ibm is sarama, once Shopify's, now IBM's.
type ibm struct {
	config func() *sarama.Config
	seeds  []string
	cl     sarama.Client
	adm    sarama.ClusterAdmin
}

func openSarama(l login) (client, error) {
	t, err := l.tls()
	if err != nil {
		return nil, err
	}
	config := func() *sarama.Config {
		c := sarama.NewConfig()
		c.Version = sarama.MaxVersion
		c.ClientID = "goclients"
		c.Metadata.Retry.Backoff = 100 * time.Millisecond
		c.Metadata.AllowAutoTopicCreation = false
		c.Net.TLS.Enable, c.Net.TLS.Config = t != nil, t
		if l.mechanism != "" {
			c.Net.SASL.Enable, c.Net.SASL.Mechanism, c.Net.SASL.User, c.Net.SASL.Password = true, sarama.SASLMechanism(l.mechanism), l.user, l.password
			switch l.mechanism {
			case sarama.SASLTypeSCRAMSHA256:
				c.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: scram.SHA256} }
			case sarama.SASLTypeSCRAMSHA512:
				c.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: scram.SHA512} }
			}
		}
		return c
	}
	cl, err := sarama.NewClient(l.seeds, config())
	if err != nil {
		return nil, err
	}
	adm, err := sarama.NewClusterAdminFromClient(cl)
	if err != nil {
		return nil, errors.Join(err, cl.Close())
	}
	return &ibm{config: config, seeds: l.seeds, cl: cl, adm: adm}, nil
}

// scramClient is what sarama wants to be given: it brings no SCRAM of its own.
type scramClient struct {
	hash scram.HashGeneratorFcn
	*scram.ClientConversation
}

func (c *scramClient) Begin(user, password, authz string) error {
	cl, err := c.hash.NewClient(user, password, authz)
	if err == nil {
		c.ClientConversation = cl.NewConversation()
	}
	return err
}

func (c *ibm) close() { _ = c.adm.Close() }

func (c *ibm) code(err error) int16 {
	if e, ok := errors.AsType[*sarama.TopicError](err); ok {
		return int16(e.Err)
	}
	if e, ok := errors.AsType[*sarama.TopicPartitionError](err); ok {
		return int16(e.Err)
	}
	if e, ok := errors.AsType[sarama.KError](err); ok {
		return int16(e)
	}
	if errors.Is(err, sarama.ErrSASLAuthenticationFailed) { // with a message it is not in the chain that As goes along
		return int16(sarama.ErrSASLAuthenticationFailed)
	}
	return 0
}

// saramaError is nil for the code 0, which is an error for sarama.
func saramaError(e sarama.KError) error {
	if e == sarama.ErrNoError {
		return nil
	}
	return e
}

type saramaProducer struct {
	p  sarama.AsyncProducer
	wg sync.WaitGroup
}

func (c *ibm) producer(how sending) (producer, error) {
	conf := c.config()
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Return.Successes, conf.Producer.Return.Errors = true, true
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	conf.Producer.Retry.Max, conf.Producer.Retry.Backoff = 300, 100*time.Millisecond
	conf.Producer.Compression = map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}[how.codec]
	if how.idempotent {
		conf.Producer.Idempotent = true
		conf.Net.MaxOpenRequests = 1
	}
	if how.small {
		conf.Producer.Flush.MaxMessages = 50
	}
	p, err := sarama.NewAsyncProducer(c.seeds, conf)
	if err != nil {
		return nil, err
	}
	sp := &saramaProducer{p: p}
	sp.wg.Go(func() {
		for m := range p.Successes() {
			m.Metadata.(func(error))(nil)
		}
	})
	sp.wg.Go(func() {
		for e := range p.Errors() {
			e.Msg.Metadata.(func(error))(e.Err)
		}
	})
	return sp, nil
}

func (p *saramaProducer) send(r record, acked func(error)) {
	m := &sarama.ProducerMessage{Topic: r.topic, Partition: r.partition, Timestamp: r.at, Metadata: acked}
	if r.key != nil {
		m.Key = sarama.ByteEncoder(r.key)
	}
	if r.value != nil {
		m.Value = sarama.ByteEncoder(r.value)
	}
	for _, h := range r.headers {
		m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(h.key), Value: h.value})
	}
	p.p.Input() <- m
}

func (p *saramaProducer) close() error {
	p.p.AsyncClose()
	p.wg.Wait()
	return nil
}

func (c *ibm) offset(topic string, partition int32, at int64) (int64, error) {
	if at == timeGreatest {
		return 0, noCall // it would ask in a version that is older than this time
	}
	r, err := c.adm.ListOffsets(map[string]map[int32]int64{topic: {partition: at}}, nil)
	if err != nil {
		return 0, err
	}
	o := r[topic][partition]
	if o == nil {
		return 0, fmt.Errorf("no answer for %s-%d", topic, partition)
	}
	if e, ok := errors.AsType[sarama.KError](o.Err); ok {
		return o.Offset, saramaError(e)
	}
	return o.Offset, o.Err
}

func ofSarama(m *sarama.ConsumerMessage) record {
	r := record{topic: m.Topic, partition: m.Partition, offset: m.Offset, key: m.Key, value: m.Value, at: m.Timestamp}
	for _, h := range m.Headers {
		r.headers = append(r.headers, header{string(h.Key), h.Value})
	}
	return r
}

func (c *ibm) read(topic string, partition int32, from, to int64) (all []record, err error) {
	consumer, err := sarama.NewConsumerFromClient(c.cl)
	if err != nil {
		return nil, err
	}
	pc, err := consumer.ConsumePartition(topic, partition, from)
	if err != nil {
		return nil, err
	}
	defer pc.Close()
	late := time.After(patience)
	for {
		select {
		case m, ok := <-pc.Messages():
			switch {
			case !ok:
				return all, errors.New("the client has ended it")
			case m.Offset < to:
				all = append(all, ofSarama(m))
			}
			if m.Offset >= to-1 {
				return all, nil
			}
		case <-late:
			return all, fmt.Errorf("%d records after %v", len(all), patience)
		}
	}
}

type saramaMember struct {
	g     sarama.ConsumerGroup
	topic string
	got   func(record)
	n     atomic.Int32
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

func (c *ibm) join(group, protocol, topic string, got func(record)) (member, error) {
	if protocol == kip848 {
		return nil, skip("the client has only the classic protocol")
	}
	conf := c.config()
	conf.Consumer.Offsets.Initial = sarama.OffsetOldest
	conf.Consumer.Offsets.AutoCommit.Interval = 200 * time.Millisecond
	conf.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	conf.Consumer.MaxWaitTime = 250 * time.Millisecond
	conf.Consumer.Return.Errors = true
	g, err := sarama.NewConsumerGroup(c.seeds, group, conf)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &saramaMember{g: g, topic: topic, got: got, stop: stop}
	m.wg.Go(func() {
		for err := range g.Errors() {
			fmt.Fprintln(os.Stderr, group, err)
		}
	})
	m.wg.Go(func() {
		for ctx.Err() == nil {
			if err := g.Consume(ctx, []string{topic}, m); err != nil {
				fmt.Fprintln(os.Stderr, group, err)
			}
		}
	})
	return m, nil
}

func (m *saramaMember) Setup(s sarama.ConsumerGroupSession) error {
	m.n.Store(int32(len(s.Claims()[m.topic])))
	return nil
}

func (m *saramaMember) Cleanup(sarama.ConsumerGroupSession) error {
	m.n.Store(0)
	return nil
}

func (m *saramaMember) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for r := range c.Messages() {
		m.got(ofSarama(r))
		s.MarkMessage(r, "")
	}
	return nil
}

func (m *saramaMember) assigned() int { return int(m.n.Load()) }

func (m *saramaMember) leave() error {
	m.stop()
	err := m.g.Close()
	m.wg.Wait()
	return err
}

func (c *ibm) groups() ([]string, error) {
	all, err := c.adm.ListConsumerGroups()
	return slices.Collect(maps.Keys(all)), err
}

func (c *ibm) members(group, _ string) (int, error) {
	d, err := c.adm.DescribeConsumerGroups([]string{group})
	if err != nil || len(d) != 1 {
		return 0, fmt.Errorf("%d groups: %w", len(d), orNothing(err))
	}
	return len(d[0].Members), saramaError(d[0].Err)
}

func (c *ibm) committed(group, topic string, partitions int) (all []int64, err error) {
	var ps []int32
	for p := range int32(partitions) {
		ps = append(ps, p)
	}
	r, err := c.adm.ListConsumerGroupOffsets(group, map[string][]int32{topic: ps})
	if err != nil {
		return nil, err
	}
	for _, p := range ps {
		b := r.GetBlock(topic, p)
		if b == nil {
			return nil, fmt.Errorf("no answer for %s-%d", topic, p)
		}
		all = append(all, b.Offset)
		err = errors.Join(err, saramaError(b.Err))
	}
	return all, errors.Join(err, saramaError(r.Err))
}

func (c *ibm) commit(group, topic string, partition int32, offset int64) error {
	r, err := c.adm.AlterConsumerGroupOffsets(group, map[string]map[int32]sarama.OffsetAndMetadata{topic: {partition: {Offset: offset, LeaderEpoch: -1}}}, nil)
	if err != nil {
		return err
	}
	return saramaError(r.Errors[topic][partition])
}

func (c *ibm) deleteGroup(group string) error { return c.adm.DeleteConsumerGroup(group) }
