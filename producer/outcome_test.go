package producer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/insynclog/insync/internal/dice"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
)

// What each error code of a Produce response leads to: another attempt or not, and if there is no other in time, which outcome.
func TestCodes(t *testing.T) {
	type want struct {
		kind    resultKind
		outcome Outcome
	}
	table := map[int16]want{
		-1: {resultFatal, Unknown},
		2:  {resultRetry, NotCommitted}, 3: {resultRetry, Unknown}, 5: {resultRetry, NotCommitted}, 6: {resultRetry, Unknown}, 7: {resultRetry, Unknown},
		9: {resultRetry, Unknown}, 10: {resultSplit, NotCommitted}, 13: {resultRetry, Unknown}, 17: {resultFatal, NotCommitted}, 18: {resultSplit, NotCommitted},
		19: {resultRetry, NotCommitted}, 20: {resultRetry, Unknown}, 21: {resultFatal, NotCommitted}, 29: {resultFatal, NotCommitted}, 31: {resultFatal, NotCommitted},
		32: {resultFatal, NotCommitted}, 35: {resultFatal, NotCommitted}, 42: {resultFatal, NotCommitted}, 43: {resultFatal, NotCommitted}, 44: {resultFatal, NotCommitted},
		45: {resultOutOfOrder, NotCommitted}, 46: {resultSuccess, Committed}, 47: {resultLostID, NotCommitted}, 48: {resultFatal, NotCommitted},
		49: {resultLostID, NotCommitted}, 53: {resultFatal, NotCommitted}, 56: {resultRetry, Unknown}, 59: {resultLostID, NotCommitted},
		74: {resultRetry, NotCommitted}, 75: {resultRetry, NotCommitted}, 76: {resultFatal, NotCommitted}, 87: {resultFatal, NotCommitted},
		89: {resultRetry, NotCommitted}, 90: {resultLostID, NotCommitted}, 100: {resultRetry, NotCommitted}, 103: {resultRetry, NotCommitted},
		14: {resultRetry, Unknown}, 41: {resultRetry, Unknown}, // not of a Produce response: retriable, and nobody knows
		22: {resultFatal, Unknown}, 999: {resultFatal, Unknown},
	}
	for code, want := range table {
		r := resultOfCode(code)
		assert.Equal(t, want.kind, r.kind, "kind of code %d", code)
		got := NotCommitted
		switch {
		case r.kind == resultSuccess:
			got = Committed
		case r.maybe:
			got = Unknown
		}
		assert.Equal(t, want.outcome, got, "outcome of code %d", code)
	}
}

func TestTransportErrors(t *testing.T) {
	for _, c := range []struct {
		err   error
		kind  resultKind
		maybe bool
	}{
		{&transport.ConnError{Sent: false, Err: errors.New("refused")}, resultRetry, false},
		{&transport.ConnError{Sent: true, Err: errors.New("reset")}, resultRetry, true},
		{&transport.UnknownNodeError{Node: 3}, resultRetry, false},
		{&transport.UnsupportedVersionError{}, resultFatal, false},
		{transport.ErrClosed, resultFatal, true},
		{errors.New("surprise"), resultRetry, true},
	} {
		r := resultOfError(c.err)
		assert.Equal(t, c.kind, r.kind, "%v", c.err)
		assert.Equal(t, c.maybe, r.maybe, "%v", c.err)
		assert.Equal(t, c.maybe, r.aliased, "%v", c.err)
	}
}

// The delivery timeout ends everything, at its time, with the outcome that the attempts leave.
func TestDeliveryTimeout(t *testing.T) {
	for name, c := range map[string]struct {
		script func(f *fake) func(*arrival) fault
		setup  func(f *fake)
		want   Outcome
		err    error
	}{
		"refused every time": {
			script: func(*fake) func(*arrival) fault {
				return func(*arrival) fault { return fault{code: kerr.NotEnoughReplicas.Code} }
			},
			want: NotCommitted, err: kerr.NotEnoughReplicas,
		},
		"timed out at the leader every time": {
			script: func(*fake) func(*arrival) fault {
				return func(*arrival) fault { return fault{code: kerr.RequestTimedOut.Code, append: true} }
			},
			want: Unknown, err: kerr.RequestTimedOut,
		},
		"doubtful once, then refused": {
			script: func(*fake) func(*arrival) fault {
				var n atomic.Int64
				return func(*arrival) fault {
					if n.Add(1) == 1 {
						return fault{drop: true}
					}
					return fault{code: kerr.NotEnoughReplicas.Code}
				}
			},
			want: Unknown, err: kerr.NotEnoughReplicas,
		},
		"no leader": {
			setup: func(f *fake) { f.lead("a", 0, -1) },
			want:  NotCommitted,
		},
		"no answer": {
			script: func(*fake) func(*arrival) fault {
				return func(*arrival) fault { return fault{delay: time.Hour} }
			},
			want: Unknown,
		},
		"nobody listens": {
			setup: func(f *fake) { f.lead("a", 0, 3) },
			script: func(f *fake) func(*arrival) fault {
				return nil
			},
			want: NotCommitted,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, 2).topic("a", 1)
				if c.script != nil {
					f.script = c.script(f)
				}
				if c.setup != nil {
					c.setup(f)
				}
				p := f.producer(f.serve(), Config{DeliveryTimeout: 20 * time.Second, RequestTimeout: 15 * time.Second, Linger: time.Millisecond})
				at := clock()
				_, err := p.Produce(context.Background(), rec("a", 0, "x"))
				require.ErrorIs(t, err, ErrDeliveryTimeout)
				assert.Equal(t, 20*time.Second, at())
				assert.Equal(t, c.want, OutcomeOf(err), "%v", err)
				assert.Equal(t, c.want == Unknown, errors.Is(err, ErrUnknownOutcome))
				if c.err != nil {
					assert.ErrorIs(t, err, c.err)
				}
				e, ok := errors.AsType[*Error](err)
				require.True(t, ok)
				assert.Equal(t, "a", e.Topic)
				assert.Zero(t, e.Partition)

				// The next record is not hindered by what happened to this one.
				f.mu.Lock()
				f.script = nil
				f.mu.Unlock()
				f.lead("a", 0, 1)
				_, err = p.Produce(context.Background(), rec("a", 0, "y"))
				require.NoError(t, err)
				vs := f.values("a", 0)
				assert.Equal(t, "y", vs[len(vs)-1])
			})
		})
	}
}

// Each record has its own deadline, also behind others whose time is up.
func TestDeliveryTimeout_OneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 2)
		f.script = func(*arrival) fault { return fault{delay: 24 * time.Hour} }
		p := f.producer(f.local(), Config{Partitioner: Manual{}, DeliveryTimeout: 20 * time.Second, BatchBytes: 100})
		at := clock()
		var ended []string
		for i := range 6 {
			require.NoError(t, p.Enqueue(context.Background(), rec("a", int32(i%2), strings.Repeat("x", 100)), func(_ Metadata, err error) {
				ended = append(ended, fmt.Sprintf("%d after %v: %v", i, at(), OutcomeOf(err)))
			}))
			time.Sleep(time.Second)
		}
		require.NoError(t, p.Flush(context.Background()))
		assert.Equal(t, []string{
			// When the first of a partition ends, the next goes, in a new epoch: and gets no answer either.
			"0 after 20s: unknown", "1 after 21s: unknown", "2 after 22s: unknown", "3 after 23s: unknown", "4 after 24s: unknown",
			"5 after 25s: not committed", // five requests without an answer are as many as may be
		}, ended)
		f.mu.Lock()
		f.script = nil
		f.mu.Unlock()
		_, err := p.Produce(context.Background(), rec("a", 0, "y"))
		require.NoError(t, err, "the client gives up what is not answered at last")
	})
}

func TestDuplicateSequence_IsSuccess(t *testing.T) {
	f := newFake(t, 1).topic("a", 1)
	f.script = func(*arrival) fault { return fault{code: kerr.DuplicateSequenceNumber.Code, append: true} }
	p := f.producer(f.local(), Config{})
	md, err := p.Produce(t.Context(), rec("a", 0, "x"))
	require.NoError(t, err)
	assert.Equal(t, int64(-1), md.Offset)
}

// A refusal for good: the records fail at once, others go on, in a new epoch: a copy of the refused that comes late must not be taken for them.
func TestRefusal(t *testing.T) {
	for _, code := range []*kerr.Error{kerr.InvalidRecord, kerr.TopicAuthorizationFailed, kerr.InvalidTimestamp} {
		f := newFake(t, 1).topic("a", 1)
		f.script = func(a *arrival) fault {
			for r := range a.batch.All() {
				if string(r.Value) == "bad" {
					return fault{code: code.Code}
				}
			}
			return fault{}
		}
		p := f.producer(f.local(), Config{})
		for _, v := range []string{"1", "bad", "2", "bad", "3"} {
			_, err := p.Produce(t.Context(), rec("a", 0, v))
			if v == "bad" {
				require.ErrorIs(t, err, code)
				assert.Equal(t, NotCommitted, OutcomeOf(err))
			} else {
				require.NoError(t, err)
			}
		}
		assert.Equal(t, []string{"1", "2", "3"}, f.values("a", 0))
		assert.Equal(t, []string{"1001/0/0+1", "1001/1/0+1", "1001/2/0+1"}, f.log("a", 0))
	}
}

// KIP-467: the leader names the records that it refuses; the others of the batch learn that it was not their fault.
func TestRefusal_ByRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 1)
		f.script = func(*arrival) fault {
			return fault{code: kerr.InvalidRecord.Code, msg: "one of them", recs: []kmsg.ProduceResponseTopicPartitionErrorRecord{
				{RelativeOffset: 1, ErrorMessage: kmsg.StringPtr("no key")}, {RelativeOffset: 7}, {RelativeOffset: -1},
			}}
		}
		p := f.producer(f.serve(), Config{Linger: time.Millisecond})
		var errs []error
		for range 3 {
			require.NoError(t, p.Enqueue(context.Background(), rec("a", 0, "x"), func(_ Metadata, err error) { errs = append(errs, err) }))
		}
		require.NoError(t, p.Flush(context.Background()))
		require.Len(t, errs, 3)
		for i, err := range errs {
			r, ok := errors.AsType[*RejectedError](err)
			require.True(t, ok)
			require.ErrorIs(t, err, kerr.InvalidRecord)
			assert.Equal(t, i != 1, r.Innocent)
		}
		assert.ErrorContains(t, errs[0], "other records of the batch were refused: one of them")
		assert.ErrorContains(t, errs[1], "no key")
	})
}

// Batches that are too large are split until they fit; their records keep their order and are there once.
func TestSplit(t *testing.T) {
	for _, codec := range []record.Codec{record.None, record.LZ4} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t, 1).topic("a", 1)
			f.maxBatch = 700
			p := f.producer(f.serve(), Config{Codec: codec, Linger: time.Millisecond})
			l := newLedger(t, 1)
			for range 300 {
				l.enqueue(context.Background(), p, "a", 0, 40)
			}
			// Meanwhile somebody waits for all of it.
			require.NoError(t, p.Flush(context.Background()))
			assert.Equal(t, 300, l.check(f, "a", true)[Committed])
			assert.Equal(t, int64(32<<20), p.memory.free.Load())

			// It has learnt to make smaller ones.
			if codec == record.None {
				assert.LessOrEqual(t, (*p.topics.Load())["a"].batchBytes.Load(), int64(1<<10))
			}
		})
	}
}

func TestSplit_OneRecord(t *testing.T) {
	f := newFake(t, 1).topic("a", 1)
	f.maxBatch = 700
	p := f.producer(f.local(), Config{})
	_, err := p.Produce(t.Context(), rec("a", 0, strings.Repeat("x", 1000)))
	require.ErrorIs(t, err, kerr.MessageTooLarge)
	assert.Equal(t, NotCommitted, OutcomeOf(err))
	_, err = p.Produce(t.Context(), rec("a", 0, "x"))
	require.NoError(t, err)
}

func TestTooLargeHere(t *testing.T) {
	f := newFake(t, 1).topic("a", 1)
	p := f.producer(f.local(), Config{MaxRequestBytes: 2000})
	_, err := p.Produce(t.Context(), rec("a", 0, strings.Repeat("x", 2000)))
	e, ok := errors.AsType[*record.TooLargeError](err)
	require.True(t, ok)
	assert.Equal(t, 2000, e.Limit)
	assert.Equal(t, NotCommitted, OutcomeOf(err))
	_, err = p.Produce(t.Context(), &record.Record{Topic: "a", Headers: make([]record.Header, 1025)})
	require.Error(t, err)
	assert.Equal(t, int64(32<<20), p.memory.free.Load())
	assert.Zero(t, f.requests(1))
}

// KIP-951: the refusal names the new leader, so the record goes there at once.
func TestLeaderHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 2).topic("a", 1)
		f.hints = true
		p := f.producer(f.serve(), Config{})
		_, err := p.Produce(context.Background(), rec("a", 0, "1"))
		require.NoError(t, err)
		f.lead("a", 0, 2)
		at := clock()
		_, err = p.Produce(context.Background(), rec("a", 0, "2"))
		require.NoError(t, err)
		assert.Zero(t, at())
	})
}

// Without a hint the producer asks for metadata, and goes on as soon as that names another leader.
func TestLeaderMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 2).topic("a", 1)
		p := f.producer(f.serve(), Config{})
		_, err := p.Produce(context.Background(), rec("a", 0, "1"))
		require.NoError(t, err)
		f.lead("a", 0, 2)
		at := clock()
		_, err = p.Produce(context.Background(), rec("a", 0, "2"))
		require.NoError(t, err)
		assert.LessOrEqual(t, at(), 120*time.Millisecond)
		f.lead("a", 0, -1)
		time.AfterFunc(5*time.Second, func() { f.lead("a", 0, 1) })
		at = clock()
		require.NoError(t, p.Enqueue(context.Background(), rec("a", 0, "3"), nil))
		_, err = p.Produce(context.Background(), rec("a", 0, "4"))
		require.NoError(t, err)
		assert.InDelta(t, 5.5, at().Seconds(), 1)
		assert.Equal(t, []string{"1", "2", "3", "4"}, f.values("a", 0))
	})
}

func TestBackOff(t *testing.T) {
	p := &Producer{dice: dice.New()}
	for n, want := range map[int]time.Duration{1: 100, 2: 200, 3: 400, 4: 800, 5: 1000, 6: 1000, 1000: 1000} {
		for range 100 {
			assert.InDelta(t, float64(want*time.Millisecond), float64(p.backOff(n, 0)), float64(want*time.Millisecond)/5+1)
		}
	}
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 1)
		f.throttle = 3 * time.Second
		p := f.producer(f.serve(), Config{})
		at := clock()
		for range 3 {
			_, err := p.Produce(context.Background(), rec("a", 0, "x"))
			require.NoError(t, err)
		}
		assert.Equal(t, 6*time.Second, at())
	})
}

func TestProducerID_Retried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 1)
		var n atomic.Int64
		f.onInit = func() int16 {
			if n.Add(1) < 4 {
				return kerr.CoordinatorLoadInProgress.Code
			}
			return 0
		}
		p := f.producer(f.local(), Config{})
		_, err := p.Produce(context.Background(), rec("a", 0, "x"))
		require.NoError(t, err)
		assert.Equal(t, int64(4), n.Load())
	})
}

func TestProducerID_Refused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 1)
		var ok atomic.Bool
		f.onInit = func() int16 {
			if !ok.Load() {
				return kerr.ClusterAuthorizationFailed.Code
			}
			return 0
		}
		p := f.producer(f.serve(), Config{})
		for range 2 {
			_, err := p.Produce(context.Background(), rec("a", 0, "x"))
			require.ErrorIs(t, err, kerr.ClusterAuthorizationFailed)
			assert.Equal(t, NotCommitted, OutcomeOf(err))
		}
		ok.Store(true) // somebody gave the right
		_, err := p.Produce(context.Background(), rec("a", 0, "x"))
		require.NoError(t, err)
	})
}

// Another producer with the same id and a later epoch: a new id is asked for, and the record is in the log once.
func TestFenced(t *testing.T) {
	f := newFake(t, 1).topic("a", 1)
	p := f.producer(f.local(), Config{})
	_, err := p.Produce(t.Context(), rec("a", 0, "1"))
	require.NoError(t, err)
	f.mu.Lock()
	f.topics["a"].parts[0].producers[1001].epoch = 5
	f.mu.Unlock()
	_, err = p.Produce(t.Context(), rec("a", 0, "2"))
	require.NoError(t, err)
	assert.Equal(t, []string{"1001/0/0+1", "1002/0/0+1"}, f.log("a", 0))
}

// The leader forgot the producer (its records are gone), and its sequence is out of order: a new epoch begins.
func TestForgotten(t *testing.T) {
	f := newFake(t, 1).topic("a", 1)
	p := f.producer(f.local(), Config{})
	for range 3 {
		_, err := p.Produce(t.Context(), rec("a", 0, "x"))
		require.NoError(t, err)
	}
	f.mu.Lock()
	f.topics["a"].parts[0].producers[1001].recent = []fakeBatch{{first: 70, last: 77}}
	f.mu.Unlock()
	_, err := p.Produce(t.Context(), rec("a", 0, "x"))
	require.NoError(t, err)
	assert.Equal(t, "1001/1/0+1", f.log("a", 0)[3])
}

func TestUnknownTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		p := f.producer(f.local(), Config{})
		at := clock()
		_, err := p.Produce(context.Background(), rec("nope", 0, "x"))
		require.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
		assert.Equal(t, NotCommitted, OutcomeOf(err))
		assert.InDelta(t, 1.5, at().Seconds(), 0.5)

		// A topic that appears in the meantime is found.
		time.AfterFunc(500*time.Millisecond, func() { f.topic("late", 1) })
		_, err = p.Produce(context.Background(), rec("late", 0, "x"))
		require.NoError(t, err)

		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		err = p.Enqueue(ctx, rec("nope", 0, "x"), nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestNobodyThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := transport.NewMem()
		p, err := New(Config{Bootstrap: []string{"n1:1"}, Network: mem.Host("c"), DeliveryTimeout: 10 * time.Second})
		require.NoError(t, err)
		at := clock()
		_, err = p.Produce(context.Background(), rec("a", 0, "x"))
		require.ErrorIs(t, err, ErrDeliveryTimeout)
		assert.Equal(t, NotCommitted, OutcomeOf(err))
		assert.Equal(t, 10*time.Second, at())
		closed := make(chan error)
		go func() {
			_, err := p.Produce(context.Background(), rec("a", 0, "x"))
			closed <- err
		}()
		synctest.Wait()
		require.NoError(t, p.Close())
		require.ErrorIs(t, <-closed, ErrClosed)
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 1)
		p := f.producer(f.serve(), Config{BatchBytes: 100, MaxInFlight: 2})
		ctx := context.Background()
		_, err := p.Produce(ctx, rec("a", 0, "first"))
		require.NoError(t, err)
		f.script = func(*arrival) fault { return fault{delay: time.Minute} }
		var outcomes []Outcome
		for range 5 {
			require.NoError(t, p.Enqueue(ctx, rec("a", 0, strings.Repeat("x", 60)), func(_ Metadata, err error) {
				assert.ErrorIs(t, err, ErrClosed)
				outcomes = append(outcomes, OutcomeOf(err))
			}))
			synctest.Wait()
		}
		at := clock()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				assert.NoError(t, p.Close())
				assert.Len(t, outcomes, 5, "Close waits for the callbacks")
			})
		}
		wg.Wait()
		assert.Zero(t, at())
		assert.Equal(t, []Outcome{Unknown, Unknown, NotCommitted, NotCommitted, NotCommitted}, outcomes)
	})
}

func TestErrorText(t *testing.T) {
	e := &Error{Topic: "a", Partition: 3, Outcome: Unknown, Err: fmt.Errorf("%w after 2m0s", ErrDeliveryTimeout)}
	assert.EqualError(t, e, "produce to a-3 (unknown): producer: delivery timed out after 2m0s")
	e.Partition, e.Outcome, e.Err = -1, NotCommitted, ErrClosed
	assert.EqualError(t, e, `produce to "a" (not committed): producer: closed`)
	assert.Equal(t, Committed, OutcomeOf(nil))
	assert.Equal(t, Unknown, OutcomeOf(errors.New("x")))
	assert.NotErrorIs(t, e, ErrUnknownOutcome)
}
