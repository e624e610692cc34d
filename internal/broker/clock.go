package broker

import (
	"sync"
	"time"
)

// wallClock watches whether the wall clock runs as time does. Records and commits have wall-clock times, and what a clock that jumped makes look old must not be deleted for its age. Safe for concurrent use.
type wallClock struct {
	show func(now time.Time) time.Time // nil: the wall clock shows the time

	mu    sync.Mutex
	seen  time.Time // at the last look, by the monotonic clock
	shown time.Time // by the wall clock
	doubt time.Time // until then ages are not believed, by the monotonic clock
}

const (
	clockStep  = 10 * time.Minute // between two looks; what a clock that is being corrected does not do
	clockDoubt = time.Hour
)

// look returns what the wall clock shows now, which must have the reading of the monotonic clock, and whether ages may be told by it. A step of the wall clock suspends that for an hour; a step back to where it was
// does so again.
func (w *wallClock) look(now time.Time) (wall time.Time, sure bool) {
	if wall = now; w.show != nil {
		wall = w.show(now)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.seen.IsZero() {
		passed, shown := now.Sub(w.seen), wall.Round(0).Sub(w.shown)
		if (shown - passed).Abs() > clockStep {
			w.doubt = now.Add(clockDoubt)
		}
	}
	w.seen, w.shown = now, wall.Round(0)
	return wall, w.doubt.IsZero() || now.Sub(w.doubt) >= 0
}

// started takes the time at which the node was known to run last, by the wall clock of then; zero: nobody knows. A start that is far from it is either late or by a wrong clock: ages are not believed for an hour, in
// which somebody may set it right.
func (w *wallClock) started(now, last time.Time) {
	if w.look(now); last.IsZero() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shown.Sub(last).Abs() > clockStep {
		w.doubt = now.Add(clockDoubt)
	}
}
