package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
)

// keyed is what was written to a compacted topic. A key has one writer, who counts: what is there of it at the end is the last count that was acknowledged, or a later one.
type keyed struct {
	*load
	topic  cluster.TopicStatus
	counts map[string]*count // guarded by load.mu
}

// count is a key's values: 1, 2, 3 ... of which every fifth is a tombstone.
type count struct{ sent, acknowledged int }

// keyedTopic is the compacted topic: its replicas are not equal byte for byte.
const keyedTopic = "k"

func tombstone(n int) bool { return n%5 == 0 }

// write counts with keys of its own again and again: each life of the producer has others.
func (k *keyed) write(host string, rng *rand.Rand) {
	w := k.w
	client := w.Client(host, limits(rng))
	defer client.Close()
	for life := 0; !w.Over(); life++ {
		p, err := producer.New(producer.Config{Client: client, Partitioner: numbered, BatchBytes: 300, RequestTimeout: time.Second, DeliveryTimeout: 5 * time.Second})
		if err != nil {
			w.problem("producer: %v", err)
			return
		}
		keys := 1 + rng.IntN(4)
		for n := rng.IntN(100); n > 0 && !w.Over(); n-- {
			k.send(p, fmt.Sprintf("%s.%d.%d", host, life, rng.IntN(keys)))
			time.Sleep(w.pace(time.Duration(rng.ExpFloat64() * float64(20*time.Millisecond))))
		}
		if w.Over() {
			k.send(p, host+".last")
		}
		w.within("close of "+host, 5*time.Second, func() { p.Close() })
	}
}

func (k *keyed) send(p *producer.Producer, key string) {
	k.mu.Lock()
	c := k.counts[key]
	if c == nil {
		c = &count{}
		k.counts[key] = c
	}
	c.sent++
	n := c.sent
	k.mu.Unlock()
	r := &record.Record{Topic: k.topic.Name, Key: []byte(key), Headers: []record.Header{{Key: "n", Value: []byte(strconv.Itoa(n))}}}
	if !tombstone(n) {
		r.Value = []byte(strconv.Itoa(n))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_ = p.Enqueue(ctx, r, func(_ producer.Metadata, err error) { // an error leaves it open whether it is there
		if err == nil {
			k.mu.Lock()
			defer k.mu.Unlock()
			c.acknowledged = max(c.acknowledged, n)
		}
	})
}

// check reads the topic from its beginning to its end: every record is one that was sent, each key rises, and the last of each is what it must be.
func (k *keyed) check(client *transport.Client) {
	w := k.w
	ctx, cancel := context.WithTimeout(context.Background(), w.settle())
	defer cancel()
	var end int64
	w.await("end of "+k.topic.Name, w.settle(), func() bool {
		var err error
		end, err = listEnd(ctx, client, k.topic.Name, 0)
		return err == nil
	})
	view := map[string]int{}
	records := 0
	if end > 0 {
		records = k.view(ctx, client, end, view)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	kept := 0
	for key, c := range k.counts {
		n, there := view[key]
		gone := false // a tombstone may have gone, too
		for later := max(c.acknowledged, 1); later <= c.sent; later++ {
			gone = gone || tombstone(later)
		}
		switch {
		case there && n < c.acknowledged:
			w.problem("%s of key %s: the last is %d, though %d was acknowledged", k.topic.Name, key, n, c.acknowledged)
		case !there && c.acknowledged > 0 && !gone:
			w.problem("%s of key %s: nothing is there, though %d was acknowledged", k.topic.Name, key, c.acknowledged)
		}
		kept += min(n, 1)
	}
	w.event("%s: %d of %d keys are there, in %d records of %d", k.topic.Name, kept, len(k.counts), records, end)
}

// view reads up to end, and tells how many records there are.
func (k *keyed) view(ctx context.Context, client *transport.Client, end int64, view map[string]int) (records int) {
	c, err := consumer.New(consumer.Config{Client: client, Topics: []string{k.topic.Name}})
	if err != nil {
		k.w.problem("consumer: %v", err)
		return 0
	}
	defer c.Close()
	// The last offsets may be of records that are gone, but the last one of a log is never compacted.
	for r, err := range c.Records(ctx) {
		if err != nil {
			if !errors.Is(err, consumer.ErrClosed) {
				k.w.problem("%s: %v", k.topic.Name, err)
			}
			return records
		}
		records++
		key := string(r.Key)
		k.mu.Lock()
		sent := k.counts[key]
		k.mu.Unlock()
		n := 0
		if len(r.Headers) == 1 {
			n, _ = strconv.Atoi(string(r.Headers[0].Value))
		}
		switch {
		case n == 0, sent == nil, n > sent.sent, !tombstone(n) && string(r.Value) != strconv.Itoa(n), tombstone(n) && r.Value != nil:
			k.w.problem("%s: nobody sent %q = %q, at %d", k.topic.Name, key, r.Value, r.Offset)
		case n <= view[key]:
			k.w.problem("%s: %q is %d at %d, behind %d", k.topic.Name, key, n, r.Offset, view[key])
		}
		view[key] = max(view[key], n)
		if r.Offset >= end-1 {
			return records
		}
	}
	k.w.problem("%s: its end %d was not reached", k.topic.Name, end)
	return records
}
