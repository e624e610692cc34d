package story

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/consumer"
)

// worker is one member of the group.
type worker struct {
	*consumer.Consumer
	name  string
	done  atomic.Int64 // jobs
	stop  context.CancelFunc
	ended chan struct{}
	err   error // set before ended is closed
}

// hire has more workers come.
func (s *story) hire(n int) error {
	for range n {
		s.hired++
		w := &worker{name: fmt.Sprintf("worker-%d", s.hired), ended: make(chan struct{})}
		cfg := consumer.Config{
			Client: s.nodes[s.hired%len(s.nodes)].Client(), Group: group, Topics: []string{topic},
			SessionTimeout: sessionTimeout, CommitInterval: 100 * time.Millisecond,
			// On a machine that is busy enough even a live worker may not be heard of in time.
			OnLost: func(_ context.Context, lost []consumer.TopicPartition) { s.lost.Add(int64(len(lost))) },
		}
		if s.Store != nil {
			cfg.Commit, cfg.LoadOffsets = consumer.External, s.Store.LoadOffsets
		}
		var err error
		if w.Consumer, err = consumer.New(cfg); err != nil {
			return err
		}
		var ctx context.Context
		ctx, w.stop = context.WithCancel(context.Background())
		go func() { // leave and kill wait for it
			defer close(w.ended)
			if s.Store != nil {
				w.err = w.apply(ctx, s)
			} else {
				w.err = w.process(ctx, s)
			}
		}()
		s.workers = append(s.workers, w)
	}
	return nil
}

// process does jobs one by one, and says of each that it is done.
func (w *worker) process(ctx context.Context, s *story) error {
	for r, err := range w.Records(ctx) {
		if err != nil {
			return err
		}
		id, err := strconv.Atoi(string(r.Value))
		if err != nil {
			return err
		}
		s.ledger.count(id)
		w.done.Add(1)
		_ = w.MarkProcessed(r) // if the partition is another's by now, the job comes again there
	}
	return nil
}

// apply stores the results of whole batches, each together with its end.
func (w *worker) apply(ctx context.Context, s *story) error {
	return w.Process(ctx, func(ctx context.Context, b consumer.Batch) error {
		if err := s.Store.Apply(ctx, b); err != nil {
			return err
		}
		w.done.Add(int64(len(b.Records)))
		return nil
	})
}

// leave is the orderly end: the job at hand is finished, what is done is committed, and others go on at once.
func (w *worker) leave(s *story) error {
	w.stop()
	<-w.ended
	return w.gone(s, w.Close())
}

// kill is the other one.
func (w *worker) kill(s *story) error {
	err := w.Kill()
	for _, p := range w.Status() {
		if p.Position >= 0 && p.Committed < p.Position {
			s.open += p.Position - max(p.Committed, 0)
		}
	}
	return w.gone(s, err)
}

func (w *worker) gone(s *story, err error) error {
	w.stop()
	<-w.ended
	s.workers = slices.DeleteFunc(s.workers, func(o *worker) bool { return o == w })
	return err
}

// failure is why a worker has ended by itself.
func (w *worker) failure() error {
	select {
	case <-w.ended:
		return w.err
	default:
		return nil
	}
}

func (s *story) closeAll() {
	for len(s.workers) > 0 {
		_ = s.workers[0].leave(s)
	}
}

// ledger counts how often each job was done.
type ledger struct{ jobs []atomic.Int32 }

func newLedger(n int) *ledger { return &ledger{jobs: make([]atomic.Int32, n)} }

func (l *ledger) count(id int) { l.jobs[id].Add(1) }

func (l *ledger) distinct() (n int) {
	for i := range l.jobs {
		if l.jobs[i].Load() > 0 {
			n++
		}
	}
	return n
}

func (l *ledger) total() (n int) {
	for i := range l.jobs {
		n += int(l.jobs[i].Load())
	}
	return n
}
