package commit

import (
	"runtime/debug"
	"slices"
	"sync"
)

// Engine syncs targets. Targets that become dirty while a sync is under way share the next one. There is no artificial delay.
type Engine struct {
	strategy strategy
	workers  int
	onPanic  func(t Target, value any, stack []byte)

	wg sync.WaitGroup // workers; grows only under mu and before mu.closed

	mu struct {
		sync.Mutex
		closed  bool
		running int       // workers alive
		queue   queue     // requested, not yet taken by a worker
		idle    []*worker // ended workers, to be started again
		handles []*Handle // all that are not closed, for Close; h.index is the position
	}
}

// defaultWorkers is where BenchmarkDirtyFiles stops to gain much: a file system commits what several calls wait for at once.
const defaultWorkers = 16

// Config sets up an Engine.
type Config struct {
	// Workers is how many syncs are under way at once; 0 means 16. Workers are started on demand and end when idle.
	Workers int
	// OnPanic is called, with no lock held, when a target's Sync panicked; the handle is closed then, and Handle.Close must not be called
	// from here. The owner of the target fails it (or its node). Nil lets the panic end the process.
	OnPanic func(t Target, value any, stack []byte)
}

// Target is a log whose appends must become durable.
type Target interface {
	// Sync makes what was appended before the call durable and tells whoever waits. The engine never calls it twice at the same time for one handle.
	// It may block for as long as the disk does. It must not call Handle.Close or Engine.Close; Request is allowed, and means another sync.
	Sync()
}

// New returns an engine without goroutines.
func New(c Config) *Engine { return newEngine(c, oneByOne{}) }

func newEngine(c Config, s strategy) *Engine {
	if c.Workers <= 0 {
		c.Workers = defaultWorkers
	}
	return &Engine{strategy: s, workers: c.Workers, onPanic: c.OnPanic}
}

// Register adds a target. On a closed engine the handle ignores every request.
func (e *Engine) Register(t Target) *Handle {
	h := &Handle{engine: e, target: t}
	h.timer.fire = h.timerFired
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.closed {
		h.state.Or(closed)
		h.timer.closed = true
		return h
	}
	h.index = len(e.mu.handles)
	e.mu.handles = append(e.mu.handles, h)
	return h
}

// Close runs what was requested (by RequestAfter too), then stops all workers and waits for them. Later requests are ignored. It may be
// called again, and then waits too. It must not be called from Sync.
func (e *Engine) Close() {
	for _, h := range e.snapshot() {
		if h.stopTimer(true) {
			h.Request()
		}
	}

	e.mu.Lock()
	if !e.mu.closed {
		e.mu.closed = true
		for _, h := range e.mu.handles {
			h.owed = h.state.Load()&(requested|running) == requested|running
		}
	}
	e.mu.Unlock()
	e.wg.Wait() // workers end when the queue is empty

	for _, h := range e.snapshot() {
		h.stopTimer(true) // registered meanwhile
		h.timer.running.Wait()
	}
}

func (e *Engine) snapshot() []*Handle {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.mu.handles)
}

// enqueue is called by whoever set the requested bit of a handle that no worker has.
func (e *Engine) enqueue(h *Handle) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.closed || h.state.Load()&closed != 0 {
		return
	}
	e.mu.queue.push(h)
	e.startLocked()
}

// startLocked starts a worker if there may be one more. Nothing is allocated once Workers of them have existed.
func (e *Engine) startLocked() {
	if e.mu.running >= e.workers {
		return
	}
	e.mu.running++
	e.wg.Add(1)
	var w *worker
	if n := len(e.mu.idle); n > 0 {
		w, e.mu.idle = e.mu.idle[n-1], e.mu.idle[:n-1]
	} else {
		w = &worker{engine: e}
		w.run = w.work
	}
	go w.run()
}

// worker is a goroutine that syncs until nothing is queued, and what it needs again when it is started again.
type worker struct {
	engine *Engine
	run    func()    // work, bound once: a go statement with a method value allocates
	batch  []*Handle // being synced
}

func (w *worker) work() {
	defer w.engine.wg.Done()
	for w.take() {
		w.sync()
		w.finish()
	}
}

// take fills the batch, or retires the worker.
func (w *worker) take() bool {
	e := w.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.mu.queue.n > 0 {
		w.batch = e.strategy.take(&e.mu.queue, w.batch[:0])
		live := w.batch[:0]
		for _, h := range w.batch {
			if h.state.Load()&closed == 0 {
				h.state.Or(running)
				live = append(live, h)
			}
		}
		if w.batch = live; len(live) > 0 {
			return true
		}
	}
	e.mu.running--
	e.mu.idle = append(e.mu.idle, w)
	return false
}

// sync runs the batch. The requests it answers are taken back first: one that comes from now on needs another sync.
func (w *worker) sync() {
	if w.engine.onPanic != nil {
		defer w.recovered()
	}
	for _, h := range w.batch {
		h.stopTimer(false)
		h.state.And(^requested)
	}
	w.engine.strategy.sync(w.batch)
}

// recovered closes the handles whose sync panicked. It does not know which of a batch did; none of them can be trusted to have synced.
func (w *worker) recovered() {
	v := recover()
	if v == nil {
		return
	}
	stack := debug.Stack()
	for _, h := range w.batch {
		h.state.Or(closed)
		w.engine.onPanic(h.target, v, stack)
	}
}

// finish gives the handles back: to Close if it waits, to the queue if they were requested again.
func (w *worker) finish() {
	e := w.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, h := range w.batch {
		w.batch[i] = nil
		old := h.state.And(^running)
		switch {
		case old&closed != 0:
			if h.synced != nil {
				close(h.synced)
				h.synced = nil
			}
		case old&requested != 0 && (!e.mu.closed || h.owed):
			h.owed = false
			e.mu.queue.push(h)
		}
	}
	if e.mu.queue.n > 1 {
		e.startLocked()
	}
}
