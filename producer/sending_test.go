package producer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/log/record"
)

// clock tells how long a test has been running, in virtual time.
func clock() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// sent records what arrives at the fake and when.
type sent struct {
	mu       sync.Mutex
	arrivals []string
}

func (s *sent) note(at time.Duration, a *arrival) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivals = append(s.arrivals, fmt.Sprintf("%v %s-%d %d", at, a.topic, a.partition, a.batch.RecordCount()))
}

func (s *sent) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.arrivals)
}

func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 2)
		var s sent
		at := clock()
		f.script = func(a *arrival) fault { s.note(at(), a); return fault{} }
		p := f.producer(f.local(), Config{Linger: 10 * time.Millisecond, BatchBytes: 1000, Partitioner: Manual{}})
		ctx := context.Background()
		require.NoError(t, p.Enqueue(ctx, rec("a", 0, "x"), nil))
		time.Sleep(4 * time.Millisecond)
		require.NoError(t, p.Enqueue(ctx, rec("a", 0, "y"), nil))
		require.NoError(t, p.Enqueue(ctx, rec("a", 1, "z"), nil)) // travels with the others: no, its own time counts
		time.Sleep(16 * time.Millisecond)
		// A full batch does not wait.
		for range 20 {
			require.NoError(t, p.Enqueue(ctx, rec("a", 0, strings.Repeat("x", 64)), nil))
		}
		time.Sleep(5 * time.Millisecond)
		require.NoError(t, p.Flush(ctx)) // nor does what is flushed
		assert.Equal(t, []string{"10ms a-0 2", "14ms a-1 1", "20ms a-0 12", "25ms a-0 8"}, s.all())
	})
}

// With no linger a record leaves at once if its leader is idle, else with all others that came before the answer.
func TestNoLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 2)
		var s sent
		at := clock()
		f.script = func(a *arrival) fault { s.note(at(), a); return fault{delay: 10 * time.Millisecond} }
		p := f.producer(f.local(), Config{Partitioner: Manual{}})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				_, err := p.Produce(context.Background(), rec("a", int32(i%2), "x"))
				assert.NoError(t, err)
				assert.Equal(t, []time.Duration{10, 20, 20, 20}[i]*time.Millisecond, at())
			})
		}
		wg.Wait()
		got := s.all()
		slices.Sort(got)
		assert.Equal(t, []string{"0s a-0 1", "10ms a-0 1", "10ms a-1 2"}, got)
	})
}

// A batch that is full does not take those of other partitions along, which still gather records.
func TestNoLinger_FullBatchGoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 2)
		var s sent
		at := clock()
		f.script = func(a *arrival) fault { s.note(at(), a); return fault{delay: 10 * time.Millisecond} }
		p := f.producer(f.local(), Config{Partitioner: Manual{}, BatchBytes: 500})
		ctx := context.Background()
		_, err := p.Produce(ctx, rec("a", 0, "first"))
		require.NoError(t, err)
		require.NoError(t, p.Enqueue(ctx, rec("a", 0, "x"), nil))
		synctest.Wait()
		require.NoError(t, p.Enqueue(ctx, rec("a", 1, "y"), nil))
		require.NoError(t, p.Enqueue(ctx, rec("a", 0, strings.Repeat("x", 600)), nil))
		synctest.Wait()
		require.NoError(t, p.Enqueue(ctx, rec("a", 1, "y"), nil))
		time.Sleep(time.Second)
		assert.Equal(t, []string{"0s a-0 1", "10ms a-0 1", "10ms a-0 1", "20ms a-1 2"}, s.all())
	})
}

// What piles up behind full requests travels in larger batches, unless the size was chosen.
func TestBatchesGrowBehindFullRequests(t *testing.T) {
	for _, chosen := range []int{0, defaultBatchBytes} {
		t.Run(fmt.Sprint(chosen), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, 1).topic("a", 1)
				var mu sync.Mutex
				var sizes []int
				f.script = func(a *arrival) fault {
					mu.Lock()
					defer mu.Unlock()
					sizes = append(sizes, len(a.batch))
					return fault{delay: 10 * time.Millisecond}
				}
				p := f.producer(f.local(), Config{BatchBytes: chosen})
				for range 20_000 {
					require.NoError(t, p.Enqueue(t.Context(), rec("a", 0, strings.Repeat("x", 100)), nil))
				}
				require.NoError(t, p.Flush(t.Context()))
				largest := slices.Max(sizes)
				if chosen == 0 {
					assert.Greater(t, largest, 2*defaultBatchBytes)
					assert.LessOrEqual(t, largest, defaultGrownBytes)
				} else {
					assert.LessOrEqual(t, largest, defaultBatchBytes)
				}
				assert.Len(t, f.values("a", 0), 20_000)
			})
		})
	}
}

// With one request at a time, the answer to one lets the next go, whoever brings it.
func TestMaxInFlight_One(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 1)
		f.script = func(*arrival) fault { return fault{delay: 10 * time.Millisecond} }
		p := f.producer(f.local(), Config{BatchBytes: 100, MaxInFlight: 1})
		at := clock()
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				_, err := p.Produce(context.Background(), rec("a", 0, strings.Repeat("x", 100)))
				assert.NoError(t, err)
				assert.Equal(t, time.Duration(i+1)*10*time.Millisecond, at())
			})
		}
		wg.Wait()
	})
}

// A request that is stuck holds up others for a moment only.
func TestStuckRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 2)
		f.script = func(a *arrival) fault {
			if a.partition == 0 {
				return fault{delay: time.Hour}
			}
			return fault{}
		}
		p := f.producer(f.local(), Config{Partitioner: Manual{}, DeliveryTimeout: 2 * time.Hour})
		require.NoError(t, p.Enqueue(context.Background(), rec("a", 0, "x"), nil))
		synctest.Wait()
		at := clock()
		for i := range 10 {
			_, err := p.Produce(context.Background(), rec("a", 1, "x"))
			require.NoError(t, err)
			assert.Equal(t, time.Duration(i+1)*patience, at())
		}
	})
}

// Full batches are pipelined: at most MaxInFlight requests, each with one batch of a partition, up to MaxRequestBytes.
func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 4)
		p := f.producer(f.local(), Config{Partitioner: Manual{}, BatchBytes: 1000, MaxRequestBytes: 2500, MaxInFlight: 3})
		ctx := context.Background()
		_, err := p.Produce(ctx, rec("a", 0, "first"))
		require.NoError(t, err)
		f.script = func(a *arrival) fault { return fault{delay: 5 * time.Millisecond} }
		before := f.requests(1)
		for i := range 400 {
			require.NoError(t, p.Enqueue(ctx, rec("a", int32(i%4), strings.Repeat("x", 50)), nil))
		}
		require.NoError(t, p.Flush(ctx))
		assert.Equal(t, 3, f.mostUnderWay, "requests at a time")
		n := f.requests(1) - before
		assert.GreaterOrEqual(t, n, 400*60/2500, "requests")
		assert.LessOrEqual(t, n, 20, "requests")
	})
}

func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 1)
		gate := make(chan struct{})
		f.script = func(*arrival) fault { <-gate; return fault{} }
		p := f.producer(f.serve(), Config{BufferBytes: 10 << 10, MaxRequestBytes: 10 << 10})
		ctx := context.Background()
		value := strings.Repeat("x", 1000)
		var accepted atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 30 {
				assert.NoError(t, p.Enqueue(ctx, rec("a", 0, value), nil))
				accepted.Add(1)
			}
		}()
		synctest.Wait()
		assert.InDelta(t, 9, accepted.Load(), 1)

		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		err := p.Enqueue(short, rec("a", 0, value), func(Metadata, error) { t.Error("callback of a record that was not taken") })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, NotCommitted, OutcomeOf(err))

		close(gate)
		<-done
		require.NoError(t, p.Flush(ctx))
		assert.Equal(t, int64(10<<10), p.memory.free.Load())
		assert.Len(t, f.values("a", 0), 30)
	})
}

// A buffer that is full of batches that are not full must not wait for them to be.
func TestBackPressure_ManyPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 64)
		p := f.producer(f.local(), Config{BufferBytes: 16 << 10, MaxRequestBytes: 8 << 10, Linger: time.Hour, DeliveryTimeout: 24 * time.Hour, Partitioner: Manual{}})
		at := clock()
		for i := range 640 {
			require.NoError(t, p.Enqueue(context.Background(), rec("a", int32(i%64), "x"), nil))
		}
		assert.Zero(t, at())
		require.NoError(t, p.Flush(context.Background()))
	})
}

func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 2).topic("a", 2)
		f.script = func(*arrival) fault { return fault{delay: 10 * time.Millisecond} }
		p := f.producer(f.serve(), Config{Linger: time.Hour, DeliveryTimeout: 2 * time.Hour, Partitioner: Manual{}})
		ctx := context.Background()
		var before, after atomic.Int64
		for i := range 10 {
			require.NoError(t, p.Enqueue(ctx, rec("a", int32(i%2), "x"), func(Metadata, error) { before.Add(1) }))
		}
		flushed := make(chan error)
		go func() { flushed <- p.Flush(ctx) }()
		synctest.Wait()
		require.NoError(t, p.Enqueue(ctx, rec("a", 0, "y"), func(Metadata, error) { after.Add(1) }))
		require.NoError(t, <-flushed)
		assert.Equal(t, int64(10), before.Load())
		assert.Zero(t, after.Load(), "Flush must not send what came later")

		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		require.ErrorIs(t, p.Flush(short), context.DeadlineExceeded)
		require.NoError(t, p.Flush(ctx))
		assert.Equal(t, int64(1), after.Load())
	})
}

// Callbacks of a partition run one after the other even if another sender has the results of later batches.
func TestCallbacks_InOrderAcrossLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 2).topic("a", 1)
		p := f.producer(f.serve(), Config{})
		ctx := context.Background()
		gate := make(chan struct{})
		var order []int
		require.NoError(t, p.Enqueue(ctx, rec("a", 0, "0"), func(Metadata, error) { <-gate; order = append(order, 0) }))
		synctest.Wait() // the callback hangs on node 1's sender
		f.lead("a", 0, 2)
		<-p.client.Refresh("a")
		for i := 1; i < 4; i++ {
			require.NoError(t, p.Enqueue(ctx, rec("a", 0, fmt.Sprint(i)), func(Metadata, error) { order = append(order, i) }))
			synctest.Wait()
		}
		require.Len(t, f.values("a", 0), 4, "all are in the log")
		require.Empty(t, order)
		flushed := make(chan error)
		go func() { flushed <- p.Flush(ctx) }()
		synctest.Wait()
		close(gate)
		require.NoError(t, <-flushed)
		assert.Equal(t, []int{0, 1, 2, 3}, order)
	})
}

func TestCallback_MayEnqueue(t *testing.T) {
	f := newFake(t, 1).topic("a", 1)
	p := f.producer(f.local(), Config{})
	done := make(chan struct{})
	var again func(Metadata, error)
	again = func(md Metadata, err error) {
		assert.NoError(t, err)
		if md.Offset == 99 {
			close(done)
			return
		}
		assert.NoError(t, p.Enqueue(context.Background(), rec("a", 0, "x"), again))
	}
	again(Metadata{}, nil)
	<-done
}

func TestAcksNone(t *testing.T) {
	for name, over := range map[string]bool{"local": false, "network": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, 1).topic("a", 1)
				cc := f.local()
				if over {
					cc = f.serve()
				}
				p := f.producer(cc, Config{Acks: AcksNone, DisableIdempotence: true})
				for i := range 10 {
					md, err := p.Produce(context.Background(), rec("a", 0, fmt.Sprint(i)))
					require.NoError(t, err)
					assert.Equal(t, int64(-1), md.Offset)
				}
				synctest.Wait()
				assert.Len(t, f.values("a", 0), 10)
			})
		})
	}
}

func TestAcksLeader(t *testing.T) {
	f := newFake(t, 1).topic("a", 1)
	p := f.producer(f.local(), Config{Acks: AcksLeader, DisableIdempotence: true, Codec: record.Zstd})
	md, err := p.Produce(t.Context(), rec("a", 0, "x"))
	require.NoError(t, err)
	assert.Zero(t, md.Offset)
	assert.Equal(t, []string{"-1/-1/-1+1"}, f.log("a", 0), "no producer id")
}

func TestMetadata_Timestamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 1)
		p := f.producer(f.local(), Config{})
		r := rec("a", 0, "x")
		md, err := p.Produce(context.Background(), r)
		require.NoError(t, err)
		assert.Equal(t, time.Now().UnixMilli(), md.Timestamp.UnixMilli())
		assert.True(t, r.Timestamp.IsZero(), "the caller's record is left alone")
		r.Timestamp = time.UnixMilli(12345)
		md, err = p.Produce(context.Background(), r)
		require.NoError(t, err)
		assert.Equal(t, time.UnixMilli(12345), md.Timestamp)
		f.appendTime = 777
		md, err = p.Produce(context.Background(), r)
		require.NoError(t, err)
		assert.Equal(t, time.UnixMilli(777), md.Timestamp)
	})
}

func TestPartitionsGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 1)
		p := f.producer(f.local(), Config{Partitioner: Manual{}})
		_, err := p.Produce(context.Background(), rec("a", 0, "x"))
		require.NoError(t, err)
		f.mu.Lock()
		f.topics["a"].parts = append(f.topics["a"].parts, &fakePart{leader: 1, producers: make(map[int64]*fakeProducer)})
		f.mu.Unlock()
		time.Sleep(6 * time.Minute) // metadata.max.age.ms
		_, err = p.Produce(context.Background(), rec("a", 0, "x"))
		require.NoError(t, err)
		md, err := p.Produce(context.Background(), rec("a", 1, "x"))
		require.NoError(t, err)
		assert.Equal(t, int32(1), md.Partition)
	})
}

func TestProduce_ContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1).topic("a", 1)
		f.script = func(*arrival) fault { return fault{delay: time.Second} }
		p := f.producer(f.local(), Config{})
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_, err := p.Produce(ctx, rec("a", 0, "x"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, ErrUnknownOutcome)
		md, err := p.Produce(context.Background(), rec("a", 0, "y"))
		require.NoError(t, err)
		assert.Equal(t, int64(1), md.Offset, "the first is in the log all the same")
	})
}

// Per record, Enqueue allocates nothing: what a batch, a request and its answer cost is shared by its records.
func TestEnqueue_Allocations(t *testing.T) {
	p, _ := idleProducer(t, 6, Config{})
	r := &record.Record{Topic: "a", Key: []byte("key"), Value: make([]byte, 100), Headers: []record.Header{{Key: "h", Value: []byte("v")}}}
	done := func(_ Metadata, err error) { assert.NoError(t, err) }
	n := testing.AllocsPerRun(20, func() {
		for range 5000 {
			if err := p.Enqueue(context.Background(), r, done); err != nil {
				t.Fatal(err)
			}
		}
	}) / 5000
	require.NoError(t, p.Flush(context.Background()))
	assert.Less(t, n, 0.25, "allocations per record")
}
