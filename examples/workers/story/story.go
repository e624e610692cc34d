// Package story is what the examples in examples/workers tell: a group of workers that share jobs while some are added, one is stopped and one is killed.
package story

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
)

// Options say what is told.
type Options struct {
	Workers int
	Records int
	Out     io.Writer
	Store   Store // nil: jobs are counted in memory, at least once
}

// Store keeps results and offsets together, so that every job counts once.
type Store interface {
	// LoadOffsets is consumer.Config.LoadOffsets.
	LoadOffsets(ctx context.Context, claim consumer.Claim) (map[consumer.TopicPartition]int64, error)
	// Apply stores the results of a batch and its end in one transaction. It fails, and stores nothing, if the batch's partition is another worker's by now.
	Apply(ctx context.Context, b consumer.Batch) error
	// Applied is how many jobs were applied so far.
	Applied() int
	// Totals counts what is stored, and how many different jobs that are.
	Totals(ctx context.Context) (applied, distinct int, err error)
}

// ErrCount says that the counts do not add up.
var ErrCount = errors.New("jobs are missing or were applied twice")

const (
	topic      = "jobs"
	group      = "workers"
	partitions = 12

	// sessionTimeout is after how long the group takes a worker's partitions away that is not heard of. The default is 45 s; nobody wants to watch that.
	sessionTimeout = 2 * time.Second
)

// Run tells the story.
func Run(ctx context.Context, o Options) error {
	if o.Workers < 3 || o.Records < 100 {
		return errors.New("at least 3 workers and 100 records are needed")
	}
	dir, err := os.MkdirTemp("", "insync-workers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	nodes, err := startNodes(ctx, dir)
	if err != nil {
		return err
	}
	defer nodes.close()
	s := &story{Options: o, nodes: nodes, admin: cluster.NewAdmin(nodes[0].Client()), ledger: newLedger(o.Records)}
	defer s.closeAll()
	s.say("3 nodes ready in %v", time.Since(began).Round(time.Millisecond))
	if err := s.admin.CreateTopic(ctx, cluster.TopicSpec{Name: topic, Partitions: partitions, ReplicationFactor: 3}); err != nil {
		return err
	}
	return s.run(ctx)
}

// story is a story under way.
type story struct {
	Options
	nodes    nodes
	admin    *cluster.Admin
	ledger   *ledger
	workers  []*worker
	hired    int
	produced int
	killed   *worker
	open     int64        // jobs that the killed worker had done and not committed
	lost     atomic.Int64 // partitions that live workers lost because they were not heard of in time
}

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.Out, format+"\n", args...) }

// run is the plot.
func (s *story) run(ctx context.Context) error {
	quarter := s.Records / 4
	steps := []struct {
		what   string
		do     func(ctx context.Context) error
		upTo   int // jobs produced before the next step
		during bool
	}{
		{"the first workers come", func(ctx context.Context) error { return s.hire(s.Workers - 2) }, quarter, false},
		{"two more come", func(ctx context.Context) error { return s.hire(2) }, 2 * quarter, false},
		{"one stops in good order", func(ctx context.Context) error { return s.workers[0].leave(s) }, 3 * quarter, false},
		{"one is killed at work, without a word", s.kill, s.Records, true},
	}
	for _, step := range steps {
		if step.during { // while there is something to do
			if err := s.produce(ctx, s.produced+quarter/2); err != nil {
				return err
			}
		}
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return err
		}
		g, err := s.settle(ctx)
		if err != nil {
			return err
		}
		s.table(step.what, time.Since(began), &g)
		if err := s.produce(ctx, step.upTo); err != nil {
			return err
		}
	}
	if err := s.await(ctx, s.finished); err != nil {
		return err
	}
	for len(s.workers) > 0 {
		if err := s.workers[0].leave(s); err != nil {
			return err
		}
	}
	return s.conclude(ctx)
}

// produce adds jobs up to a number, with acks=all.
func (s *story) produce(ctx context.Context, upTo int) error {
	p, err := producer.New(producer.Config{Client: s.nodes[0].Client(), Linger: time.Millisecond})
	if err != nil {
		return err
	}
	defer p.Close()
	failed := make(chan error, 1)
	for ; s.produced < upTo; s.produced++ {
		id := strconv.AppendInt(nil, int64(s.produced), 10)
		err := p.Enqueue(ctx, &record.Record{Topic: topic, Key: id, Value: id}, func(_ producer.Metadata, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
		if err != nil {
			return err
		}
	}
	if err := p.Flush(ctx); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// kill ends a worker as the end of its process would, while it has jobs that are done and not committed.
func (s *story) kill(ctx context.Context) error {
	w := s.workers[0]
	before := w.done.Load()
	if err := s.await(ctx, func() bool { return w.done.Load() > before || s.finished() }); err != nil {
		return err
	}
	s.killed = w
	return w.kill(s)
}

// finished tells whether everything that was produced has been processed.
func (s *story) finished() bool {
	if s.Store != nil {
		return s.Store.Applied() >= s.produced
	}
	return s.ledger.distinct() >= s.produced
}

func (s *story) await(ctx context.Context, cond func() bool) error {
	for !cond() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
		for _, w := range s.workers {
			if err := w.failure(); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	return nil
}

// conclude counts. The last line is for scripts.
func (s *story) conclude(ctx context.Context) error {
	if s.Store != nil {
		applied, distinct, err := s.Store.Totals(ctx)
		if err != nil {
			return err
		}
		s.say("produced=%d applied=%d missing=%d repeated=%d", s.produced, applied, s.produced-distinct, applied-distinct)
		if applied != s.produced || distinct != s.produced {
			return ErrCount
		}
		return nil
	}
	distinct := s.ledger.distinct()
	repeated := s.ledger.total() - distinct
	s.say("processed %d jobs, of them %d twice: %s had done %d that it had not committed when it was killed", s.ledger.total(), repeated, s.killed.name, s.open)
	lost := s.lost.Load()
	if lost > 0 {
		s.say("%d partitions were taken from live workers that were not heard of for %v; what they had not committed was done twice, too", lost, sessionTimeout)
	}
	s.say("produced=%d processed>=%d missing=%d repeated=%d", s.produced, distinct, s.produced-distinct, repeated)
	if distinct != s.produced || lost == 0 && int64(repeated) > s.open {
		return ErrCount
	}
	return nil
}
