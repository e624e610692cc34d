package interop

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Franz-go in its ways: the classic protocol with its two families of assignors, KIP-848 with the coordinator's; committing after each poll, and on its own every now and then.
var (
	franzCooperative = franzKind("franz-go classic cooperative-sticky", false, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	franzRange       = franzKind("franz-go classic range", false, kgo.Balancers(kgo.RangeBalancer()))
	franzRangeAuto   = franzKind("franz-go classic range, autocommit", true, kgo.Balancers(kgo.RangeBalancer()))
	franzNext        = franzKind("franz-go KIP-848 uniform", false, kgo.Balancers(kgo.StickyBalancer()), kgo.ServerSideBalancer())
	franzNextRange   = franzKind("franz-go KIP-848 range", false, kgo.Balancers(kgo.RangeBalancer()), kgo.ServerSideBalancer())
	franzNextAuto    = franzKind("franz-go KIP-848 uniform, autocommit", true, kgo.Balancers(kgo.StickyBalancer()), kgo.ServerSideBalancer())
	saramaRange      = saramaKind("sarama classic range", sarama.MaxVersion, sarama.NewBalanceStrategyRange)
	saramaSticky     = saramaKind("sarama classic sticky", sarama.MaxVersion, sarama.NewBalanceStrategySticky)
	kafkaGo          = kind{name: "kafka-go classic range", start: startKafkaGo}
)

// saramaOld commits without leader epochs. Later versions commit the epoch of the offset at which they have begun, whatever epoch the records are of: after a change of leaders franz-go, which takes the partition
// over, finds that an offset of that epoch can not be, and goes back to where it ended.
var saramaOld = saramaKind("sarama classic range, as of Kafka 2.0", sarama.V2_0_0_0, sarama.NewBalanceStrategyRange)

func franzKind(name string, auto bool, opts ...kgo.Opt) kind {
	return kind{name: name, start: func(m *member) { startFranz(m, auto, opts) }}
}

// startFranz starts a member that processes between a poll and the next, with rebalances held off meanwhile, and commits what it loses, as kgo recommends.
func startFranz(m *member, auto bool, opts []kgo.Opt) {
	session := m.site.session()
	life, die := context.WithCancel(context.Background())
	note := func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			m.ledger.note("%v: commit: %v", m, err)
		}
	}
	all := append([]kgo.Opt{
		kgo.SeedBrokers(m.site.seeds()...), kgo.Dialer(m.phone.dialNetwork), kgo.WithContext(life), kgo.ConsumeTopics(m.topic), kgo.ConsumerGroup(m.group), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(session), kgo.HeartbeatInterval(session / 15), kgo.RebalanceTimeout(60 * time.Second), kgo.FetchMaxWait(time.Second),
	}, slices.Concat(m.site.pace(), opts)...)
	commit := func(ctx context.Context, cl *kgo.Client, _ map[string][]int32) {
		cl.CommitOffsetsSync(ctx, cl.UncommittedOffsets(), note)
	}
	if auto {
		// kgo sends one commit at a time, in the epoch in which it was due, and does not heartbeat while the last one before a rebalance waits in the queue: on a busy machine a short interval ends sessions.
		all = append(all, kgo.AutoCommitInterval(max(session/10, time.Second)), kgo.AutoCommitCallback(note))
	} else {
		all = append(all, kgo.DisableAutoCommit(), kgo.OnPartitionsRevoked(commit))
	}
	if m.instance != "" {
		all = append(all, kgo.InstanceID(m.instance))
	}
	client, err := kgo.NewClient(all...)
	if err != nil {
		die()
		m.t.Error(err)
		return
	}
	polling, stop := context.WithCancel(life)
	var wg sync.WaitGroup
	wg.Go(func() {
		for polls := 1; ; polls++ {
			short, cancel := context.WithTimeout(polling, session/9)
			fetches := client.PollRecords(short, 50)
			cancel()
			fetches.EachError(func(topic string, p int32, err error) {
				if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
					m.ledger.note("%v: fetch partition %d: %v", m, p, err)
				}
			})
			for r := range fetches.RecordsAll() {
				if !m.process(r.Partition, r.Offset, r.Value) {
					return
				}
			}
			if polling.Err() != nil {
				return // not before what has been polled is processed: kgo takes it for that when it commits
			}
			if !auto && (polls%5 == 0 || fetches.Empty()) { // not each time, so that something is not committed when the member is killed
				commit(life, client, nil)
			}
			client.AllowRebalance()
		}
	})
	m.leave = func() {
		stop()
		wg.Wait()
		client.CloseAllowingRebalance()
		die()
	}
	m.drop = func() {
		die()
		wg.Wait()
		client.CloseAllowingRebalance()
	}
}

func saramaKind(name string, version sarama.KafkaVersion, strategy func() sarama.BalanceStrategy) kind {
	return kind{name: name, start: func(m *member) { startSarama(m, version, strategy()) }}
}

// startSarama starts a member that marks what it has processed; sarama commits it every now and then, and before a rebalance.
func startSarama(m *member, version sarama.KafkaVersion, strategy sarama.BalanceStrategy) {
	session := m.site.session()
	c := sarama.NewConfig()
	c.Version = version
	c.Net.Proxy.Enable, c.Net.Proxy.Dialer = true, m.phone
	c.Metadata.Retry.Backoff = 100 * time.Millisecond
	c.Consumer.Group.Session.Timeout, c.Consumer.Group.Heartbeat.Interval, c.Consumer.Group.Rebalance.Timeout = session, session/10, 3*session
	c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy}
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Interval = 200 * time.Millisecond
	c.Consumer.Offsets.Retry.Max = 10
	c.Consumer.MaxWaitTime = 250 * time.Millisecond
	c.Consumer.Return.Errors = true
	c.Consumer.Group.InstanceId = m.instance
	client, err := sarama.NewConsumerGroup(m.site.seeds(), m.group, c)
	if err != nil {
		m.t.Error(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg, drain sync.WaitGroup
	drain.Go(func() {
		for err := range client.Errors() {
			m.ledger.note("%v: %v", m, err)
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := client.Consume(ctx, []string{m.topic}, saramaHandler{m}); err != nil {
				m.ledger.note("%v: consume: %v", m, err)
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		}
	})
	m.leave = func() {
		stop()
		wg.Wait()
		if err := client.Close(); err != nil {
			m.ledger.note("%v: close: %v", m, err)
		}
		drain.Wait()
	}
	m.drop = m.leave
}

type saramaHandler struct{ m *member }

func (h saramaHandler) Setup(s sarama.ConsumerGroupSession) error {
	h.m.ledger.note("%v is in generation %d with %v", h.m, s.GenerationID(), s.Claims())
	return nil
}

func (h saramaHandler) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (h saramaHandler) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for {
		select {
		case r, ok := <-c.Messages():
			if !ok || !h.m.process(r.Partition, r.Offset, r.Value) {
				return nil
			}
			s.MarkMessage(r, "")
		case <-s.Context().Done():
			return nil
		}
	}
}

// startKafkaGo starts a member of kafka-go. Its Reader commits in whatever generation it is when it comes to it, also a partition that it has lost, which the coordinator can not see.
// So members of this kind are generations, from which kafka-go's Reader is made.
func startKafkaGo(m *member) {
	session := m.site.session()
	dialer := &kafka.Dialer{DialFunc: m.phone.dialNetwork, Timeout: 5 * time.Second, ClientID: "kafka-go"}
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: m.group, Brokers: m.site.seeds(), Dialer: dialer, Topics: []string{m.topic}, StartOffset: kafka.FirstOffset,
		GroupBalancers:    []kafka.GroupBalancer{kafka.RangeGroupBalancer{}},
		HeartbeatInterval: session / 10, SessionTimeout: session, RebalanceTimeout: 3 * session, JoinGroupBackoff: 200 * time.Millisecond, Timeout: 3 * session,
	})
	if err != nil {
		m.t.Error(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			gen, err := group.Next(ctx)
			if ctx.Err() != nil || errors.Is(err, kafka.ErrGroupClosed) {
				return
			}
			if err != nil {
				m.ledger.note("%v: %v", m, err)
				continue
			}
			m.ledger.note("%v is in generation %d with %v", m, gen.ID, gen.Assignments[m.topic])
			for _, a := range gen.Assignments[m.topic] {
				gen.Start(func(ctx context.Context) { m.kafkaGoPartition(ctx, gen, dialer, a) })
			}
		}
	})
	m.leave = func() {
		stop()
		if err := group.Close(); err != nil {
			m.ledger.note("%v: close: %v", m, err)
		}
		wg.Wait()
	}
	m.drop = m.leave
}

// kafkaGoPartition reads one partition for one generation.
func (m *member) kafkaGoPartition(ctx context.Context, gen *kafka.Generation, dialer *kafka.Dialer, a kafka.PartitionAssignment) {
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: m.site.seeds(), Dialer: dialer, Topic: m.topic, Partition: a.ID, MaxWait: 250 * time.Millisecond, ReadBackoffMax: 250 * time.Millisecond})
	defer r.Close()
	if err := r.SetOffset(a.Offset); err != nil {
		m.ledger.note("%v: partition %d: %v", m, a.ID, err)
		return
	}
	held := int64(-1) // an offset to commit
	commit := func() {
		if held < 0 {
			return
		}
		if err := gen.CommitOffsets(map[string]map[int]int64{m.topic: {a.ID: held}}); err != nil {
			m.ledger.note("%v: commit partition %d: %v", m, a.ID, err)
			return
		}
		held = -1
	}
	defer commit() // the generation's connection is closed when its functions have returned
	for {
		short, cancel := context.WithTimeout(ctx, m.site.session()/9)
		rec, err := r.ReadMessage(short)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, context.DeadlineExceeded):
			commit()
			continue
		case err != nil:
			m.ledger.note("%v: partition %d: %v", m, a.ID, err)
			continue
		case !m.process(int32(rec.Partition), rec.Offset, rec.Value):
			return
		}
		held = rec.Offset + 1
		if held%20 == 0 { // not each time, so that something is not committed when the member is killed
			commit()
		}
	}
}
