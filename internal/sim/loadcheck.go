package sim

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/history"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
)

// list asks for ends all the time.
func (l *load) list(host string, rng *rand.Rand) {
	client := l.w.Client(host, limits(rng))
	defer client.Close()
	for !l.w.Over() {
		time.Sleep(l.w.pace(time.Duration(rng.ExpFloat64() * float64(50*time.Millisecond))))
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, _ = l.endOf(ctx, client, host, &l.topic, int32(rng.IntN(len(l.topic.Partitions))), false)
		cancel()
	}
}

// endOf lists the end of a partition, and notes it.
func (l *load) endOf(ctx context.Context, client *transport.Client, process string, t *cluster.TopicStatus, part int32, final bool) (end int64, err error) {
	op := history.Op{Process: process, Kind: history.List, Place: place(t, part), Final: final}
	id := l.rec.Begin(op)
	end, err = listEnd(ctx, client, t.Name, part)
	op.Offset = end
	if err != nil {
		op.Outcome, op.Err = history.Info, err.Error()
	}
	l.rec.End(id, op)
	return end, err
}

func listEnd(ctx context.Context, client *transport.Client, name string, part int32) (int64, error) {
	t, err := client.Topic(ctx, name, false)
	if err != nil {
		return 0, err
	}
	if int(part) >= len(t.Partitions) {
		return 0, kerr.UnknownTopicOrPartition
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = name
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch = part, -1, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := client.Request(ctx, t.Partitions[part].Leader, req)
	if err == nil {
		r := resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
		if err = kerr.ErrorForCode(r.ErrorCode); err == nil {
			return r.Offset, nil
		}
	}
	select {
	case <-client.Refresh(name):
	case <-ctx.Done():
	}
	return 0, err
}

// check reads everything, when all is well, and has the history judged.
func (l *load) check(g *group, k *keyed, o *ones, members *sync.WaitGroup) {
	w := l.w
	l.mu.Lock()
	for _, v := range slices.Sorted(maps.Keys(l.open)) {
		w.problem("%s was sent, and nobody was told what became of it", v)
	}
	l.mu.Unlock()
	w.strays.Wait() // what was refused at first, for its timestamp by a clock that was wrong, may be taken the second time
	client := w.Client("final", transport.ClientConfig{})
	defer client.Close()
	ends := l.readFinally(client, &l.topic)
	if g != nil {
		g.finish(client, ends, members)
	}
	if k != nil {
		k.check(client)
	}
	judge := history.Options{Dense: true, Limit: 10, AllowLoss: w.plan.sync != SyncAlways}
	if o != nil {
		o.check(client)
		judge.Plain = o.producers
	}
	w.judged = w.withLosses(l.rec.History())
	w.suffixOnly(w.judged)
	r := history.Check(w.judged, judge)
	for _, a := range r.Anomalies {
		w.problem("%v", a)
	}
	for _, u := range r.Unreached {
		w.problem("unknown: %s", u)
	}
	w.event("history: %d values were acknowledged, %d refused, %d unknown", r.Sent[history.OK], r.Sent[history.Fail], r.Sent[history.Info])
}

// readFinally writes one more value to each partition, which must succeed, and reads up to the ends, twice.
func (l *load) readFinally(client *transport.Client, t *cluster.TopicStatus) (ends map[int32]int64) {
	w := l.w
	ctx, cancel := context.WithTimeout(context.Background(), w.settle())
	defer cancel()
	p, err := producer.New(producer.Config{Client: client, Partitioner: numbered})
	if err != nil {
		w.problem("producer: %v", err)
		return nil
	}
	s := &session{load: l, Producer: p, client: client, name: "last-" + t.Name, broken: map[int32]bool{}}
	defer s.close()
	for i := range t.Partitions {
		s.send(t, int32(i), 0)
	}
	if err := s.Flush(ctx); err != nil {
		w.problem("flush of the last values: %v", err)
		return nil
	}
	for _, name := range []string{"final", "again"} {
		left := len(t.Partitions)
		ends = map[int32]int64{}
		for i := range t.Partitions {
			w.await(fmt.Sprintf("end of %s-%d", t.Name, i), w.settle(), func() (ok bool) {
				end, err := l.endOf(ctx, client, name, t, int32(i), true)
				ends[int32(i)] = end
				return err == nil
			})
		}
		l.read(ctx, client, name, t, habits{final: true}, func(part int32, offset int64) bool {
			if offset == ends[part]-1 {
				left--
			}
			return left == 0
		})
	}
	return ends
}
