package interop

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// kafkaGoReader is kafka-go's Reader with a GroupID. Its requests to commit wait in a queue for whatever generation comes next, and go out under that generation's number also for a partition that is
// now another member's: no coordinator can tell them from good ones, Kafka's neither. So what is committed may go back to where the partition was handed over, and only what this costs is checked: nothing is
// missing, nothing is committed that nobody has processed, and in the end all is.
var kafkaGoReader = kind{name: "kafka-go Reader", start: startKafkaGoReader, loose: true}

// startKafkaGoReader starts a member as most programs with kafka-go are written: fetch, process, commit in the background.
func startKafkaGoReader(m *member) {
	session := m.site.session()
	failed := func(format string, args ...any) { m.ledger.note("%v: "+format, append([]any{m}, args...)...) }
	r := kafka.NewReader(kafka.ReaderConfig{
		Brokers: m.site.seeds(), GroupID: m.group, Topic: m.topic, StartOffset: kafka.FirstOffset,
		Dialer:         &kafka.Dialer{DialFunc: m.phone.dialNetwork, Timeout: 5 * time.Second, ClientID: "kafka-go"},
		GroupBalancers: []kafka.GroupBalancer{kafka.RoundRobinGroupBalancer{}}, // the other crew has range
		CommitInterval: session / 15, HeartbeatInterval: session / 10, SessionTimeout: session, RebalanceTimeout: 3 * session, JoinGroupBackoff: 200 * time.Millisecond,
		MaxWait: 250 * time.Millisecond, ReadBackoffMax: 250 * time.Millisecond, ErrorLogger: kafka.LoggerFunc(failed),
	})
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			rec, err := r.FetchMessage(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				failed("fetch: %v", err)
				continue
			case !m.process(int32(rec.Partition), rec.Offset, rec.Value):
				return
			}
			if err := r.CommitMessages(ctx, rec); err != nil && !errors.Is(err, context.Canceled) {
				failed("commit partition %d at %d: %v", rec.Partition, rec.Offset+1, err)
			}
		}
	})
	m.leave = func() {
		stop()
		wg.Wait()
		if err := r.Close(); err != nil {
			failed("close: %v", err)
		}
	}
	m.drop = m.leave
}
