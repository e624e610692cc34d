package commit

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gate is a target whose syncs the test lets through one by one.
type gate struct {
	entered chan struct{} // one per sync that began
	leave   chan struct{} // one lets it end
	syncs   atomic.Int64
}

func newGate() *gate { return &gate{entered: make(chan struct{}, 100), leave: make(chan struct{})} }

func (g *gate) Sync() {
	g.syncs.Add(1)
	g.entered <- struct{}{}
	<-g.leave
}

func (g *gate) pass() {
	<-g.entered
	g.leave <- struct{}{}
}

type targetFunc func()

func (f targetFunc) Sync() { f() }

// workersAlive says how many goroutines the engine has.
func (e *Engine) workersAlive() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.running
}

func TestRequestsDuringSyncShareTheNextOne(t *testing.T) {
	e := New(Config{})
	g := newGate()
	h := e.Register(g)
	h.Request()
	<-g.entered
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(h.Request)
	}
	wg.Wait()
	require.EqualValues(t, 1, g.syncs.Load(), "a target is not synced twice at the same time")
	g.leave <- struct{}{}
	g.pass()
	e.Close()
	require.EqualValues(t, 2, g.syncs.Load())
	h.Request()
	h.RequestAfter(1)
	e.Close()
	require.EqualValues(t, 2, g.syncs.Load(), "later requests are ignored")
}

func TestTargetsAreServedInOrder(t *testing.T) {
	e := New(Config{Workers: 1})
	defer e.Close()
	first := newGate()
	a := e.Register(first)
	var order []string
	b := e.Register(targetFunc(func() { order = append(order, "b") }))
	c := e.Register(targetFunc(func() { order = append(order, "c") }))
	a.Request()
	<-first.entered
	b.Request()
	a.Request() // runs now, so it is behind those who wait when it ends
	c.Request()
	b.Request()
	first.leave <- struct{}{}
	<-first.entered
	require.Equal(t, []string{"b", "c"}, order)
	first.leave <- struct{}{}
}

func TestWorkersAreBoundedAndEndWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{Workers: 3})
		var busy, most, syncs atomic.Int64
		var handles []*Handle
		for range 10 {
			handles = append(handles, e.Register(targetFunc(func() {
				most.Store(max(most.Load(), busy.Add(1)))
				time.Sleep(time.Second)
				busy.Add(-1)
				syncs.Add(1)
			})))
		}
		start := time.Now()
		for _, h := range handles {
			h.Request()
		}
		synctest.Wait()
		require.EqualValues(t, 3, busy.Load())
		require.Equal(t, 3, e.workersAlive())
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 3, most.Load())
		require.EqualValues(t, 10, syncs.Load())
		require.Zero(t, e.workersAlive(), "an idle engine has no goroutine")
		handles[0].Request()
		e.Close()
		require.EqualValues(t, 11, syncs.Load())
		require.Equal(t, 11*time.Second, time.Since(start))
	})
}

func TestRequestAfter(t *testing.T) {
	type step struct {
		at time.Duration
		do func(h *Handle)
	}
	after := func(d time.Duration) func(*Handle) { return func(h *Handle) { h.RequestAfter(d) } }
	now := (*Handle).Request
	const s = time.Second
	for _, c := range []struct {
		name  string
		steps []step
		want  []time.Duration // when syncs began
	}{
		{"one", []step{{0, after(5 * s)}}, []time.Duration{5 * s}},
		{"the first of several counts", []step{{0, after(5 * s)}, {2 * s, after(5 * s)}, {4 * s, after(5 * s)}}, []time.Duration{5 * s}},
		{"again after it fired", []step{{0, after(5 * s)}, {6 * s, after(5 * s)}}, []time.Duration{5 * s, 11 * s}},
		{"a shorter one is earlier", []step{{0, after(9 * s)}, {s, after(2 * s)}}, []time.Duration{3 * s}},
		{"a shorter one is later", []step{{0, after(5 * s)}, {4 * s, after(2 * s)}}, []time.Duration{5 * s}},
		{"a request includes it", []step{{0, after(5 * s)}, {2 * s, now}}, []time.Duration{2 * s}},
		{"armed anew after a request", []step{{0, after(5 * s)}, {2 * s, now}, {3 * s, after(5 * s)}}, []time.Duration{2 * s, 8 * s}},
		{"zero and less mean now", []step{{s, after(0)}, {2 * s, after(-1)}}, []time.Duration{s, 2 * s}},
		{"closed", []step{{0, after(5 * s)}, {s, (*Handle).Close}, {2 * s, after(5 * s)}, {3 * s, now}}, nil},
		{"engine closed: run at once", []step{{0, after(5 * s)}, {s, func(h *Handle) { h.engine.Close() }}, {2 * s, after(s)}}, []time.Duration{s}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := New(Config{})
				start := time.Now()
				var got []time.Duration
				h := e.Register(targetFunc(func() { got = append(got, time.Since(start)) }))
				for _, st := range c.steps {
					time.Sleep(st.at - time.Since(start))
					st.do(h)
					synctest.Wait()
				}
				time.Sleep(time.Minute)
				e.Close()
				require.Equal(t, c.want, got)
			})
		})
	}
}

// TestRequestAfterDuringSync: what is asked for while a sync runs is not in it.
func TestRequestAfterDuringSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{})
		start := time.Now()
		var got []time.Duration
		h := e.Register(targetFunc(func() {
			got = append(got, time.Since(start))
			time.Sleep(10 * time.Second)
		}))
		h.Request()
		time.Sleep(time.Second)
		h.RequestAfter(3 * time.Second) // due while the sync runs
		time.Sleep(time.Minute)
		e.Close()
		require.Equal(t, []time.Duration{0, 10 * time.Second}, got)
	})
}

func TestHandleCloseWaitsForTheSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{Workers: 1})
		syncs := 0
		h := e.Register(targetFunc(func() { time.Sleep(time.Second); syncs++ }))
		waiting := e.Register(targetFunc(func() { t.Error("closed before its turn") }))
		start := time.Now()
		h.Request()
		synctest.Wait()
		h.Request()
		waiting.Request()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				h.Close()
				require.Equal(t, time.Second, time.Since(start))
				require.Equal(t, 1, syncs)
			})
		}
		waiting.Close()
		require.Zero(t, time.Since(start), "nothing to wait for")
		wg.Wait()
		h.Close()
		h.Request()
		h.RequestAfter(time.Second)
		time.Sleep(time.Minute)
		require.Equal(t, 1, syncs)
		require.Zero(t, e.workersAlive())
		require.Empty(t, e.mu.handles)
		e.Close()
	})
}

func TestEngineCloseRunsWhatWasRequested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{Workers: 2})
		var syncs [6]atomic.Int64
		var handles []*Handle
		for i := range syncs {
			handles = append(handles, e.Register(targetFunc(func() {
				time.Sleep(time.Second)
				syncs[i].Add(1)
				if i == 0 {
					handles[0].Request() // for ever: must not keep Close
				}
			})))
		}
		for i, h := range handles[:5] {
			h.Request()
			if i == 1 {
				synctest.Wait()
				h.Request() // running, requested again
			}
		}
		handles[5].RequestAfter(time.Hour)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(e.Close)
		}
		wg.Wait()
		require.Zero(t, e.workersAlive())
		for i := range syncs {
			want := int64(1)
			if i == 1 {
				want = 2
			}
			if i == 0 {
				require.GreaterOrEqual(t, syncs[i].Load(), want)
				continue
			}
			require.Equal(t, want, syncs[i].Load(), i)
		}
		late := e.Register(targetFunc(func() { t.Error("registered after Close") }))
		late.Request()
		late.RequestAfter(time.Second)
		time.Sleep(time.Minute)
		late.Close()
		handles[1].Close()
	})
}

func TestPanicClosesTheHandle(t *testing.T) {
	failed := make(chan any, 10)
	e := New(Config{Workers: 1, OnPanic: func(target Target, v any, stack []byte) {
		require.NotNil(t, target)
		require.Contains(t, string(stack), "TestPanicClosesTheHandle")
		failed <- v
	}})
	bad := e.Register(targetFunc(func() { panic("bug") }))
	good := newGate()
	h := e.Register(good)
	bad.Request()
	require.Equal(t, "bug", <-failed)
	bad.Request()
	h.Request()
	good.pass()
	bad.Close()
	e.Close()
	require.Empty(t, failed)
}

// TestRequestAllocatesNothing counts the whole way: request, worker, sync.
func TestRequestAllocatesNothing(t *testing.T) {
	e := New(Config{})
	defer e.Close()
	done := make(chan struct{}, 1)
	h := e.Register(targetFunc(func() { done <- struct{}{} }))
	n := testing.AllocsPerRun(1000, func() {
		h.Request()
		<-done
	})
	require.Zero(t, n)
	h.RequestAfter(time.Hour)
	n = testing.AllocsPerRun(1000, func() { h.RequestAfter(time.Minute) })
	require.Zero(t, n)
}

// file is a target that checks the engine: appends are durable only by a sync that began after them, and syncs do not overlap.
type file struct {
	t       *testing.T
	running atomic.Int32
	all     *atomic.Int32 // syncs of all files
	workers int32

	mu       sync.Mutex
	changed  sync.Cond
	appended int
	synced   int
	syncs    int
}

func (f *file) Sync() {
	if f.running.Add(1) != 1 {
		f.t.Error("two syncs of one target at the same time")
	}
	if f.all.Add(1) > f.workers {
		f.t.Error("more syncs than workers")
	}
	f.mu.Lock()
	upTo := f.appended
	f.mu.Unlock()
	for range rand.IntN(3) {
		runtime.Gosched()
	}
	f.mu.Lock()
	f.synced = upTo
	f.syncs++
	f.mu.Unlock()
	f.changed.Broadcast()
	f.all.Add(-1)
	f.running.Add(-1)
}

// TestStress: every append becomes durable, whatever the interleaving.
func TestStress(t *testing.T) {
	const files, writers, appends, workers = 5, 4, 200, 3
	e := New(Config{Workers: workers})
	var wg sync.WaitGroup
	var all atomic.Int32
	var fs []*file
	for i := range files {
		f := &file{t: t, all: &all, workers: workers}
		f.changed.L = &f.mu
		fs = append(fs, f)
		h := e.Register(f)
		for w := range writers {
			wg.Go(func() {
				for range appends {
					f.mu.Lock()
					f.appended++
					mine := f.appended
					f.mu.Unlock()
					if (i+w)%3 == 0 {
						h.RequestAfter(time.Microsecond)
					} else {
						h.Request()
					}
					f.mu.Lock()
					for f.synced < mine {
						f.changed.Wait()
					}
					f.mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	e.Close()
	for _, f := range fs {
		require.Equal(t, writers*appends, f.synced)
		require.LessOrEqual(t, f.syncs, writers*appends)
	}
}

// TestStressClose closes handles and the engine under requests.
func TestStressClose(t *testing.T) {
	for range 20 {
		e := New(Config{Workers: 2})
		var wg sync.WaitGroup
		var all atomic.Int32
		for range 4 {
			f := &file{t: t, all: &all, workers: 2}
			f.changed.L = &f.mu
			h := e.Register(f)
			for range 2 {
				wg.Go(func() {
					for range 50 {
						h.Request()
						h.RequestAfter(time.Duration(rand.IntN(1000)))
					}
				})
			}
			wg.Go(func() {
				h.Close()
				f.mu.Lock()
				syncs := f.syncs
				f.mu.Unlock()
				for range 10 {
					h.Request()
				}
				f.mu.Lock()
				defer f.mu.Unlock()
				if f.syncs != syncs || f.running.Load() != 0 {
					t.Error("synced after Close")
				}
			})
		}
		wg.Go(e.Close)
		wg.Wait()
		e.Close()
	}
}

// wholeDisk is another strategy: from two waiting targets on, one call for all.
type wholeDisk struct{ calls *[]int }

func (wholeDisk) take(q *queue, dst []*Handle) []*Handle {
	for h := q.pop(); h != nil; h = q.pop() {
		dst = append(dst, h)
	}
	return dst
}

func (s wholeDisk) sync(hs []*Handle) {
	*s.calls = append(*s.calls, len(hs))
	oneByOne{}.sync(hs)
}

func TestAnotherStrategyFits(t *testing.T) {
	var calls []int
	e := newEngine(Config{Workers: 1}, wholeDisk{&calls})
	first := newGate()
	h := e.Register(first)
	h.Request()
	<-first.entered
	var synced []int
	for i := range 5 {
		other := e.Register(targetFunc(func() { synced = append(synced, i) }))
		other.Request()
		if i == 3 {
			other.Close()
		}
	}
	h.Request()
	first.leave <- struct{}{}
	first.pass()
	e.Close()
	require.Equal(t, []int{1, 5}, calls)
	slices.Sort(synced)
	require.Equal(t, []int{0, 1, 2, 4}, synced)
}
