package clustertest

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/insynclog/insync/internal/history"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
)

// History notes what a test's own producers and consumers did, and tells in the end whether a log could have behaved so: nothing acknowledged is lost, nothing is there twice, at another offset,
// out of order or damaged, nothing refused is there, no consumer skips or goes back. Nodes may crash and networks break meanwhile.
//
//	h := clustertest.NewHistory(c)
//	p, err := producer.New(producer.Config{Client: c.Client()})
//	...
//	for range 100 {
//		r, settled := h.Record("p", "orders", 0)
//		settled(p.Produce(ctx, r))
//	}
//	...
//	for r, err := range consumer.Records(ctx) {
//		...
//		h.Consumed("c", r)
//	}
//	...
//	h.Check()
//
// Its topics are for its records only, and keep them all: no retention, no compaction. Producers have idempotence. It is safe for concurrent use.
type History struct {
	c   *Cluster
	rec *history.Recorder

	mu       sync.Mutex
	sequence map[string]int64 // of each producer
	places   []history.Place
	checks   int
}

// NewHistory begins a history of records in c.
func NewHistory(c *Cluster) *History {
	return &History{c: c, rec: history.NewRecorder(), sequence: map[string]int64{}}
}

// Record returns a record for a partition, and what to call once with the result of producing it, in whatever goroutine; a record that is never settled may be there or not. To be called right
// before the record is handed to the producer, in the order in which it is handed over: name is of one producer.Producer, of letters, digits, '.', '_' and '-'. Where the topic has more than one
// partition, the producer needs a partitioner that obeys Record.Partition. The caller may set key, headers and timestamp.
func (h *History) Record(name, topic string, partition int32) (r *record.Record, settled func(producer.Metadata, error)) {
	h.c.tb.Helper()
	p := history.Place{Topic: topic, Partition: partition}
	h.mu.Lock()
	defer h.mu.Unlock()
	v := history.Value{Producer: name, Sequence: h.sequence[name], Place: p}
	h.sequence[name]++
	h.knows(p)
	b, _ := history.Encode(v, nil, 0)
	if got, err := history.Decode(nil, b, nil); err != nil || got != v {
		h.c.tb.Fatalf("clustertest: history of producer %q, topic %q: a name may have letters, digits, '.', '_' and '-'", name, topic)
	}
	op := history.Op{Process: name, Kind: history.Send, Items: []history.Item{{Place: p, Offset: -1, Value: v}}}
	id := h.rec.Begin(op)
	return &record.Record{Topic: topic, Partition: partition, Value: b}, func(md producer.Metadata, err error) {
		op := op
		op.Items = []history.Item{{Place: p, Offset: -1, Value: v}}
		switch producer.OutcomeOf(err) {
		case producer.Committed:
			op.Items[0].Place, op.Items[0].Offset = history.Place{Topic: md.Topic, Partition: md.Partition}, md.Offset
		case producer.NotCommitted:
			op.Outcome, op.Err = history.Fail, err.Error()
		default:
			op.Outcome, op.Err = history.Info, err.Error()
		}
		h.rec.End(id, op)
	}
}

func (h *History) knows(p history.Place) {
	if !slices.Contains(h.places, p) {
		h.places = append(h.places, p)
	}
}

// Consumed notes that a consumer was given a record, in the order in which it was.
func (h *History) Consumed(name string, r *record.Record) {
	p := history.Place{Topic: r.Topic, Partition: r.Partition}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.knows(p)
	h.rec.Note(history.Op{Process: name, Kind: history.Poll, Items: []history.Item{history.ItemOf(p, r.Offset, nil, r.Value, nil)}})
}

// Moved notes that a consumer goes on elsewhere than behind the last record it was given, and may: it was made anew, had a rebalance, or was told to seek.
func (h *History) Moved(name string) {
	h.rec.Note(history.Op{Process: name, Kind: history.Crash})
}

// Check reads all topics of the history to their ends and fails the test if the history cannot be that of a log: with the rule that is broken, and the operations that prove it, one a line. To be
// called at the end, when all producers are closed and the cluster has leaders again.
func (h *History) Check() {
	h.c.tb.Helper()
	if r := h.judge(); r.Verdict != history.Good {
		h.c.tb.Errorf("clustertest: history: %v", r)
	}
}

func (h *History) judge() history.Report {
	h.c.tb.Helper()
	h.mu.Lock()
	places := slices.Clone(h.places)
	h.checks++
	name := fmt.Sprintf("final%d", h.checks)
	h.mu.Unlock()
	ctx, cancel := h.c.timeout()
	defer cancel()
	var topics []string
	for _, p := range places {
		op := history.Op{Process: name, Kind: history.List, Place: p, Final: true}
		id := h.rec.Begin(op)
		op.Offset = h.c.end(ctx, p.Topic, p.Partition)
		h.rec.End(id, op)
		// ReadAll comes as far as this, at least, or fails the test.
		h.rec.Note(history.Op{Process: name, Kind: history.Poll, Place: p, To: op.Offset, Final: true})
		if !slices.Contains(topics, p.Topic) {
			topics = append(topics, p.Topic)
		}
	}
	for _, topic := range topics {
		for _, r := range h.c.ReadAll(topic) {
			p := history.Place{Topic: r.Topic, Partition: r.Partition}
			h.rec.Note(history.Op{Process: name, Kind: history.Poll, Items: []history.Item{history.ItemOf(p, r.Offset, nil, r.Value, nil)}, Final: true})
		}
	}
	return history.Check(h.rec.History(), history.Options{})
}

// String is the history so far, one line per operation.
func (h *History) String() string {
	var b strings.Builder
	if err := history.Write(&b, h.rec.History()); err != nil {
		return fmt.Sprintf("history: %v", err)
	}
	return b.String()
}
