// Confluent-go checks confluent-kafka-go, that is librdkafka, against the cluster in BOOTSTRAP. Each check prints "CHECK name result reason", separated by tabs.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

var (
	secure = os.Getenv("MODE") == "secure"
	prefix = "rdkafka-" + strconv.FormatInt(time.Now().UnixMilli(), 36) + "-"
	admin  *kafka.AdminClient
)

type skip string

func (s skip) Error() string { return string(s) }

const patience = 40 * time.Second

func main() {
	_, version := kafka.LibraryVersion()
	fmt.Printf("VERSION\t%s\n", version)
	var err error
	if admin, err = kafka.NewAdminClient(config(nil)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if len(os.Args) == 4 && os.Args[1] == "create" { // NAME PARTITIONS, for a client that makes no topics
		n, _ := strconv.Atoi(os.Args[3])
		prefix = ""
		if _, err := topic(os.Args[2], n); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		check("codec-"+codec, func() (string, error) { return codecs(codec) })
	}
	check("headers", headers)
	check("tombstones", tombstones)
	check("timestamps", timestamps)
	check("idempotent", idempotent)
	check("group-kip848", func() (string, error) { return groups("consumer") })
	check("group-classic", func() (string, error) { return groups("classic") })
	check("committed", committed)
	check("metadata-all", metadataAll)
	check("admin-topics", adminTopics)
	check("admin-partitions", adminPartitions)
	check("admin-configs", adminConfigs)
	check("admin-groups", adminGroups)
	check("admin-cluster", adminCluster)
	check("admin-records", adminRecords)
	check("admin-access", adminAccess)
	check("login-right", loginRight)
	check("login-wrong", loginWrong)
	check("leader-crash", leaderCrash)
	check("transactions", func() (string, error) { return "", skip("the broker serves no transactions yet") })
	admin.Close()
}

func check(name string, f func() (string, error)) {
	note, err := f()
	result := "pass"
	if err != nil {
		result, note = "fail", strings.Join(strings.Fields(err.Error()), " ")
		if _, ok := errors.AsType[skip](err); ok {
			result = "skipped"
		}
	}
	fmt.Printf("CHECK\t%s\t%s\t%s\n", name, result, note)
}

// config is what every client of the cluster needs, and extra.
func config(extra kafka.ConfigMap) *kafka.ConfigMap {
	m := kafka.ConfigMap{"bootstrap.servers": os.Getenv("BOOTSTRAP")}
	if secure {
		maps.Copy(m, kafka.ConfigMap{"security.protocol": "sasl_ssl", "ssl.ca.location": os.Getenv("CA"), "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": os.Getenv("SASL_USER"), "sasl.password": os.Getenv("SASL_PASSWORD")})
	}
	if d := os.Getenv("RDKAFKA_DEBUG"); d != "" {
		m["debug"] = d
	}
	maps.Copy(m, extra)
	return &m
}

func soon() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	time.AfterFunc(patience+time.Second, cancel)
	return ctx
}

// await polls until ok, or fails with what was waited for.
func await(what string, ok func() (bool, error)) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		done, err := ok()
		if done {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%v waiting for: %s (%v)", patience, what, err)
		}
	}
}

func topic(name string, partitions int) (string, error) {
	name = prefix + name
	res, err := admin.CreateTopics(soon(), []kafka.TopicSpecification{{Topic: name, NumPartitions: partitions, ReplicationFactor: 3}})
	if err == nil && res[0].Error.Code() != kafka.ErrNoError {
		err = res[0].Error
	}
	return name, err
}

// send produces messages and waits for all of them; it returns those that were delivered.
func send(extra kafka.ConfigMap, msgs []*kafka.Message, during func(i int, delivered *atomic.Int64) error) ([]*kafka.Message, error) {
	c := config(kafka.ConfigMap{"acks": "all", "linger.ms": 5})
	maps.Copy(*c, extra)
	p, err := kafka.NewProducer(c)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	reports := make(chan kafka.Event, len(msgs))
	var delivered atomic.Int64
	var all []*kafka.Message
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range msgs {
			m := (<-reports).(*kafka.Message)
			if m.TopicPartition.Error != nil {
				failed = m.TopicPartition.Error
				continue
			}
			delivered.Add(1)
			all = append(all, m)
		}
	}()
	for i, m := range msgs {
		for {
			err := p.Produce(m, reports)
			if e, ok := errors.AsType[kafka.Error](err); ok && e.Code() == kafka.ErrQueueFull {
				time.Sleep(time.Millisecond)
				continue
			}
			if err != nil {
				return nil, err
			}
			break
		}
		if during != nil {
			if err := during(i, &delivered); err != nil {
				return nil, err
			}
		}
	}
	select {
	case <-done:
	case <-time.After(90 * time.Second):
		return nil, fmt.Errorf("%d of %d delivered after 90 s", delivered.Load(), len(msgs))
	}
	return all, failed
}

func message(topic string, partition int32, key, value string) *kafka.Message {
	return &kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: partition}, Key: []byte(key), Value: []byte(value)}
}

func numbered(topic string, partitions, from, n int) (msgs []*kafka.Message) {
	for i := from; i < from+n; i++ {
		msgs = append(msgs, message(topic, int32(i%partitions), "k"+strconv.Itoa(i), strconv.Itoa(i)))
	}
	return msgs
}

// readAll reads a topic from its beginning to its end.
func readAll(topic string, partitions int) (all []*kafka.Message, err error) {
	c, err := kafka.NewConsumer(config(kafka.ConfigMap{"group.id": "unused", "enable.auto.commit": false, "enable.partition.eof": true, "auto.offset.reset": "earliest"}))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var tps []kafka.TopicPartition
	for i := range partitions {
		tps = append(tps, kafka.TopicPartition{Topic: &topic, Partition: int32(i), Offset: kafka.OffsetBeginning})
	}
	if err := c.Assign(tps); err != nil {
		return nil, err
	}
	left := partitions
	for deadline := time.Now().Add(patience); left > 0; {
		switch e := c.Poll(200).(type) {
		case *kafka.Message:
			all = append(all, e)
		case kafka.PartitionEOF:
			left--
		case kafka.Error:
			if e.IsFatal() {
				return nil, e
			}
			fmt.Fprintln(os.Stderr, e)
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%d messages after %v", len(all), patience)
		}
	}
	return all, nil
}

func codecs(codec string) (string, error) {
	t, err := topic("codec-"+codec, 3)
	if err != nil {
		return "", err
	}
	const n = 2000
	want := map[string]string{}
	var msgs []*kafka.Message
	for i := range n {
		k, v := "k"+strconv.Itoa(i), "value "+strings.Repeat("abc", i%50)
		want[k] = v
		msgs = append(msgs, message(t, kafka.PartitionAny, k, v))
	}
	if _, err := send(kafka.ConfigMap{"compression.type": codec}, msgs, nil); err != nil {
		return "", err
	}
	all, err := readAll(t, 3)
	if err != nil {
		return "", err
	}
	got := map[string]string{}
	for _, m := range all {
		got[string(m.Key)] = string(m.Value)
	}
	if len(all) != n || !maps.Equal(got, want) {
		return "", fmt.Errorf("%d of %d messages, or other values", len(all), n)
	}
	return fmt.Sprint(n, " records"), nil
}

func headers() (string, error) {
	t, err := topic("headers", 1)
	if err != nil {
		return "", err
	}
	m := message(t, 0, "k", "v")
	m.Headers = []kafka.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "null"}, {Key: "empty", Value: []byte{}}}
	if _, err := send(nil, []*kafka.Message{m}, nil); err != nil {
		return "", err
	}
	all, err := readAll(t, 1)
	if err != nil {
		return "", err
	}
	h := all[0].Headers
	if len(h) != 4 || h[0].Key != "a" || string(h[0].Value) != "1" || string(h[1].Value) != "2" || h[2].Value != nil || len(h[3].Value) != 0 {
		return "", fmt.Errorf("headers %v", h)
	}
	return "", nil
}

func tombstones() (string, error) {
	t, err := topic("tombstones", 1)
	if err != nil {
		return "", err
	}
	null := message(t, 0, "k", "")
	null.Value = nil
	keyless := message(t, 0, "", "v")
	keyless.Key = nil
	if _, err := send(nil, []*kafka.Message{null, keyless}, nil); err != nil {
		return "", err
	}
	all, err := readAll(t, 1)
	if err != nil {
		return "", err
	}
	if len(all) != 2 || all[0].Value != nil || string(all[0].Key) != "k" || all[1].Key != nil || string(all[1].Value) != "v" {
		return "", fmt.Errorf("got %v", all)
	}
	return "", nil
}

func timestamps() (string, error) {
	t, err := topic("timestamps", 1)
	if err != nil {
		return "", err
	}
	start := time.UnixMilli(time.Now().UnixMilli()).Add(-time.Hour) // younger than retention
	msgs := numbered(t, 1, 0, 500)
	for i, m := range msgs {
		m.Timestamp = start.Add(time.Duration(i) * time.Second)
	}
	if _, err := send(kafka.ConfigMap{"batch.size": 1000}, msgs, nil); err != nil {
		return "", err
	}
	all, err := readAll(t, 1)
	if err != nil {
		return "", err
	}
	for i, m := range all {
		if !m.Timestamp.Equal(msgs[i].Timestamp) || m.TimestampType != kafka.TimestampCreateTime {
			return "", fmt.Errorf("record %d has %v, want %v", i, m.Timestamp, msgs[i].Timestamp)
		}
	}
	c, err := kafka.NewConsumer(config(kafka.ConfigMap{"group.id": "unused"}))
	if err != nil {
		return "", err
	}
	defer c.Close()
	for _, i := range []int{0, 1, 250, 499, 500} {
		at := start.Add(time.Duration(i)*time.Second - 500*time.Millisecond).UnixMilli()
		got, err := c.OffsetsForTimes([]kafka.TopicPartition{{Topic: &t, Partition: 0, Offset: kafka.Offset(at)}}, 10000)
		if err != nil {
			return "", err
		}
		want := kafka.Offset(i)
		if i == 500 {
			want = kafka.OffsetEnd
		}
		if got[0].Offset != want {
			return "", fmt.Errorf("time of record %d: offset %v", i, got[0].Offset)
		}
	}
	low, high, err := c.QueryWatermarkOffsets(t, 0, 10000)
	if err != nil || low != 0 || high != 500 {
		return "", fmt.Errorf("watermarks %d %d: %w", low, high, err)
	}
	max, err := admin.ListOffsets(soon(), map[kafka.TopicPartition]kafka.OffsetSpec{{Topic: &t, Partition: 0}: kafka.MaxTimestampOffsetSpec})
	if err != nil {
		return "", err
	}
	for _, r := range max.ResultInfos {
		if r.Offset != 499 {
			return "", fmt.Errorf("max timestamp at %v", r)
		}
	}
	return "", nil
}

func idempotent() (string, error) {
	t, err := topic("idempotent", 1)
	if err != nil {
		return "", err
	}
	const n = 20000
	if _, err := send(kafka.ConfigMap{"enable.idempotence": true, "batch.num.messages": 50, "linger.ms": 0}, numbered(t, 1, 0, n), nil); err != nil {
		return "", err
	}
	all, err := readAll(t, 1)
	if err != nil {
		return "", err
	}
	if len(all) != n {
		return "", fmt.Errorf("%d of %d", len(all), n)
	}
	for i, m := range all {
		if string(m.Value) != strconv.Itoa(i) {
			return "", fmt.Errorf("offset %d has %s", i, m.Value)
		}
	}
	return fmt.Sprint(n, " records in order"), nil
}

// member is a consumer of a group in a goroutine of its own.
type member struct {
	c        *kafka.Consumer
	assigned atomic.Int64
	stop     atomic.Bool
	done     chan struct{}
	err      error
}

type seen struct {
	sync.Mutex
	m map[string]bool
}

func (s *seen) len() int {
	s.Lock()
	defer s.Unlock()
	return len(s.m)
}

func join(group, protocol, topic string, s *seen) (*member, error) {
	c, err := kafka.NewConsumer(config(kafka.ConfigMap{"group.id": group, "group.protocol": protocol, "auto.offset.reset": "earliest", "enable.auto.commit": false, "topic.metadata.refresh.interval.ms": 1000}))
	if err != nil {
		return nil, err
	}
	m := &member{c: c, done: make(chan struct{})}
	if err := c.Subscribe(topic, nil); err != nil {
		return nil, err
	}
	go func() {
		defer close(m.done)
		for !m.stop.Load() {
			switch e := c.Poll(100).(type) {
			case *kafka.Message:
				s.Lock()
				s.m[fmt.Sprintf("%d/%v", e.TopicPartition.Partition, e.TopicPartition.Offset)] = true
				s.Unlock()
				if _, err := c.CommitMessage(e); err != nil {
					m.err = err
				}
			case kafka.Error:
				m.err = e
			}
			a, _ := c.Assignment()
			m.assigned.Store(int64(len(a)))
		}
		if err := c.Close(); err != nil {
			m.err = err
		}
	}()
	return m, nil
}

func (m *member) leave() error {
	m.stop.Store(true)
	<-m.done
	return m.err
}

var lastGroup, lastTopic string

func groups(protocol string) (string, error) {
	t, err := topic("group-"+protocol, 4)
	if err != nil {
		return "", err
	}
	g := t + "-g"
	s := &seen{m: map[string]bool{}}
	if _, err := send(nil, numbered(t, 4, 0, 200), nil); err != nil {
		return "", err
	}
	a, err := join(g, protocol, t, s)
	if err != nil {
		return "", err
	}
	defer a.leave()
	has := func(what string, a, b *member, na, nb int64) error {
		return await(what, func() (bool, error) {
			return a.assigned.Load() == na && (b == nil || b.assigned.Load() == nb), a.err
		})
	}
	if err := has("one member has all four", a, nil, 4, 0); err != nil {
		return "", err
	}
	b, err := join(g, protocol, t, s)
	if err != nil {
		return "", err
	}
	defer b.leave()
	if err := has("two members have two each", a, b, 2, 2); err != nil {
		return "", err
	}
	d, err := admin.DescribeConsumerGroups(soon(), []string{g})
	if err != nil {
		return "", err
	}
	if len(d.ConsumerGroupDescriptions[0].Members) != 2 {
		return "", fmt.Errorf("described as %+v", d.ConsumerGroupDescriptions[0])
	}
	if _, err := send(nil, numbered(t, 4, 200, 200), nil); err != nil {
		return "", err
	}
	if err := await("400 records", func() (bool, error) { return s.len() == 400, nil }); err != nil {
		return "", err
	}
	if err := b.leave(); err != nil {
		return "", err
	}
	if err := has("the one left has all four", a, nil, 4, 0); err != nil {
		return "", err
	}
	if _, err := send(nil, numbered(t, 4, 400, 200), nil); err != nil {
		return "", err
	}
	if err := await("600 records", func() (bool, error) { return s.len() == 600, nil }); err != nil {
		return "", err
	}
	lastGroup, lastTopic = g, t
	return "", a.leave()
}

func committed() (string, error) {
	if lastGroup == "" {
		return "", errors.New("no group before")
	}
	var tps []kafka.TopicPartition
	for i := range 4 {
		tps = append(tps, kafka.TopicPartition{Topic: &lastTopic, Partition: int32(i)})
	}
	sum := func() (n int64, err error) {
		r, err := admin.ListConsumerGroupOffsets(soon(), []kafka.ConsumerGroupTopicPartitions{{Group: lastGroup, Partitions: tps}})
		if err != nil {
			return 0, err
		}
		for _, p := range r.ConsumerGroupsTopicPartitions[0].Partitions {
			n += int64(p.Offset)
		}
		return n, nil
	}
	if n, err := sum(); err != nil || n != 600 {
		return "", fmt.Errorf("committed offsets add up to %d: %w", n, err)
	}
	if _, err := send(nil, numbered(lastTopic, 4, 600, 8), nil); err != nil {
		return "", err
	}
	s := &seen{m: map[string]bool{}}
	m, err := join(lastGroup, "classic", lastTopic, s)
	if err != nil {
		return "", err
	}
	err = await("the 8 new records", func() (bool, error) { return s.len() >= 8, m.err })
	if err := errors.Join(err, m.leave()); err != nil {
		return "", err
	}
	if s.len() != 8 {
		return "", fmt.Errorf("%d records, want the 8 new ones", s.len())
	}
	if n, err := sum(); err != nil || n != 608 {
		return "", fmt.Errorf("committed offsets add up to %d: %w", n, err)
	}
	return "", nil
}

func leaderCrash() (string, error) {
	t, err := topic("crash", 1)
	if err != nil {
		return "", err
	}
	leader, _, err := leaderAndISR(t)
	if err != nil {
		return "", err
	}
	const n = 20000
	delivered, err := send(kafka.ConfigMap{"batch.num.messages": 50, "enable.idempotence": true, "delivery.timeout.ms": 60000, "request.timeout.ms": 10000}, numbered(t, 1, 0, n), func(i int, delivered *atomic.Int64) error {
		if i != n/3 {
			return nil
		}
		for delivered.Load() < n/10 {
			time.Sleep(time.Millisecond)
		}
		return ctl("kill", leader)
	})
	if err != nil {
		return "", errors.Join(err, ctl("start", leader))
	}
	all, err := readAll(t, 1)
	if err := errors.Join(err, ctl("start", leader)); err != nil {
		return "", err
	}
	if err := await("the restarted node is in sync", func() (bool, error) {
		_, isr, err := leaderAndISR(t)
		return isr == 3, err
	}); err != nil {
		return "", err
	}
	previous := -1
	got := map[string]bool{}
	for _, m := range all {
		v, _ := strconv.Atoi(string(m.Value))
		if v <= previous {
			return "", fmt.Errorf("%d after %d at offset %v", v, previous, m.TopicPartition.Offset)
		}
		previous, got[string(m.Value)] = v, true
	}
	if i := slices.IndexFunc(delivered, func(m *kafka.Message) bool { return !got[string(m.Value)] }); i >= 0 || len(delivered) != n || len(all) != n {
		return "", fmt.Errorf("%d delivered, %d read, first missing at index %d", len(delivered), len(all), i)
	}
	return fmt.Sprint(n, " acknowledged, none missing, none twice, in order"), nil
}

func leaderAndISR(topic string) (leader, isr int, err error) {
	d, err := admin.DescribeTopics(soon(), kafka.NewTopicCollectionOfTopicNames([]string{topic}))
	if err != nil {
		return 0, 0, err
	}
	p := d.TopicDescriptions[0].Partitions
	if len(p) == 0 || p[0].Leader == nil {
		return 0, 0, fmt.Errorf("no leader: %v", d.TopicDescriptions[0].Error)
	}
	return p[0].Leader.ID, len(p[0].Isr), nil
}

func ctl(what string, node int) error {
	out, err := exec.Command(os.Getenv("CTL"), what, strconv.Itoa(node)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %d: %w: %s", what, node, err, out)
	}
	return nil
}
