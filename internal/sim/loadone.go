package sim

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/history"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
)

// ones is what was written with acks=1, to partitions of three replicas and to those of one, which has no other leader. For the history nobody knows whether it is there, for what only the leader has goes with it; but it does not go while
// the same node leads, unless that tells of a loss.
type ones struct {
	*load
	topics    [2]cluster.TopicStatus // of three replicas, and of one
	producers []string
	told      []one // guarded by load.mu
}

// one is a value that a leader has acknowledged.
type one struct {
	history.Value
	sent time.Duration // since the run began
}

// The topics of ones.
const (
	onesTopic = "o"
	soleTopic = "s"
)

// write sends with acks=1, without idempotence, as Kafka has it.
func (o *ones) write(host string, rng *rand.Rand) {
	w := o.w
	client := w.Client(host, limits(rng))
	defer client.Close()
	for life := 0; !w.Over(); life++ {
		name := fmt.Sprintf("%s.%d", host, life)
		c := producer.Config{Client: client, Partitioner: numbered, Acks: producer.AcksLeader, DisableIdempotence: true, BatchBytes: 300 << rng.IntN(4)}
		c.RequestTimeout = 500 * time.Millisecond << rng.IntN(4)
		c.DeliveryTimeout = c.RequestTimeout + time.Second<<rng.IntN(4)
		p, err := producer.New(c)
		if err != nil {
			w.problem("producer: %v", err)
			return
		}
		o.producers = append(o.producers, name)
		for n := int64(0); n < 400 && !w.Over(); n++ {
			o.send(p, history.Value{Producer: name, Sequence: n, Place: place(&o.topics[rng.IntN(2)], int32(rng.IntN(2)))})
			time.Sleep(w.pace(time.Duration(rng.ExpFloat64() * float64(4*time.Millisecond))))
		}
		w.within("close of "+name, 5*time.Second, func() { p.Close() })
	}
}

func (o *ones) send(p *producer.Producer, v history.Value) {
	b, _ := history.Encode(v, nil, 0)
	op := history.Op{Process: v.Producer, Kind: history.Send, Items: []history.Item{{Place: v.Place, Offset: -1, Value: v}}}
	id, sent := o.rec.Begin(op), time.Since(o.w.begun)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	settled := func(_ producer.Metadata, err error) {
		op.Outcome, op.Err = history.Info, "acks=1"
		switch {
		case err == nil:
			o.mu.Lock()
			o.told = append(o.told, one{v, sent})
			o.mu.Unlock()
		case producer.OutcomeOf(err) == producer.NotCommitted && !o.w.plan.has(Double):
			op.Outcome, op.Err = history.Fail, err.Error()
		default:
			op.Err = err.Error()
		}
		o.rec.End(id, op)
	}
	if err := p.Enqueue(ctx, &record.Record{Topic: v.Place.Topic, Partition: v.Place.Partition, Value: b}, settled); err != nil {
		settled(producer.Metadata{}, err)
	}
}

// check reads everything, and holds what is not there against who has led since. A node that does not know yet that it leads no more acknowledges for up to a session.
func (o *ones) check(client *transport.Client) {
	w := o.w
	for i := range o.topics {
		if o.readFinally(client, &o.topics[i]) == nil {
			return
		}
	}
	there := map[history.Value]bool{}
	for _, op := range o.rec.History() {
		if op.Kind != history.Poll || !op.Final {
			continue
		}
		for _, item := range op.Items {
			there[item.Value] = true
		}
	}
	session := cmp.Or(w.nodes[0].config.SessionTimeout, 9*time.Second)
	lost := 0
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, v := range o.told {
		if there[v.Value] {
			continue
		}
		lost++
		if at := (partition{v.Place.ID, v.Place.Partition}); !w.god.moved(at, v.sent-session) && w.god.era(at) == 0 {
			w.problem("%v was acknowledged by the leader, is lost, and the same node has led since", v.Value)
		}
	}
	w.event("%d of %d values are lost that the leader had acknowledged", lost, len(o.told))
}
