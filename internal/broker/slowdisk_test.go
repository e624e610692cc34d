package broker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// looks plays looks at a disk, two seconds apart, and tells at which of them it counted as slow.
type looks struct {
	p      diskPace
	now    time.Time
	counts Syncs
	slow   []bool
}

func newLooks() *looks {
	return &looks{p: diskPace{bound: DefaultSlowSync}, now: time.Unix(1000, 0)}
}

// add has n looks, at each of which so many more syncs have ended, of which so many were slow, and one goes on for so long.
func (l *looks) add(n int, all, half, slow int64, stalled time.Duration) {
	for range n {
		l.now = l.now.Add(2 * time.Second)
		l.counts.All, l.counts.Half, l.counts.Slow = l.counts.All+all, l.counts.Half+half, l.counts.Slow+slow
		l.slow = append(l.slow, l.p.look(l.now, l.counts, stalled))
	}
}

func (l *looks) since() (n int) {
	for _, s := range l.slow {
		if s {
			n++
		}
	}
	return n
}

func TestDiskPace(t *testing.T) {
	l := newLooks()
	l.add(10, 100, 0, 0, 0)
	assert.Zero(t, l.since(), "fast")
	l.add(5, 2, 2, 2, 0)
	assert.Zero(t, l.since(), "not for long enough yet")
	l.add(1, 2, 2, 2, 0)
	assert.Equal(t, 1, l.since(), "for 10 s")
	l.add(5, 2, 2, 1, 0)
	assert.Equal(t, 6, l.since())
	l.add(14, 10, 1, 0, 0)
	assert.Equal(t, 20, l.since(), "a tenth takes half the bound: not fast yet")
	l.add(15, 11, 1, 0, 0)
	assert.Equal(t, 35, l.since(), "fast, for less than 30 s")
	l.add(10, 11, 1, 0, 0)
	assert.Equal(t, 35, l.since(), "and then not slow any more")

	// Hiccups.
	l = newLooks()
	for range 20 {
		l.add(4, 3, 2, 2, 0)
		l.add(1, 50, 3, 3, 0) // most are fast: the row is broken
	}
	assert.Zero(t, l.since())
	l = newLooks()
	for range 20 {
		l.add(1, 1, 1, 1, 0)
		l.add(6, 0, 0, 0, 0) // nothing to sync
	}
	assert.Zero(t, l.since(), "once in a while")
	l = newLooks()
	l.add(30, 10, 10, 4, 0)
	assert.Zero(t, l.since(), "less than half")

	// What does not end counts while it lasts.
	l = newLooks()
	l.add(3, 100, 0, 0, 0)
	for i := range 5 {
		l.add(1, 0, 0, 0, 2*time.Second*time.Duration(i+1))
	}
	assert.Zero(t, l.since())
	l.add(1, 0, 0, 0, 12*time.Second)
	assert.Equal(t, 1, l.since())
	l.add(3, 1, 1, 1, 0)
	assert.Equal(t, 4, l.since())
	l.add(15, 0, 0, 0, 0)
	assert.Equal(t, 19, l.since(), "nothing to sync, for less than 30 s")
	l.add(1, 0, 0, 0, 0)
	assert.Equal(t, 19, l.since(), "it may have become fast; if not it is known soon")

	// Looks that are further apart than a disk has to be slow for.
	l = newLooks()
	l.p.bound, l.p.every = 10*time.Millisecond, 2*time.Second
	l.add(10, 2, 2, 2, 0)
	assert.Equal(t, 9, l.since())

	// It does not flap: a disk that is slow all the time is slow once.
	l = newLooks()
	l.add(5, 2, 2, 2, 0)
	for range 100 {
		l.add(1, 2, 2, 2, 400*time.Millisecond)
		l.add(2, 0, 0, 0, 3*time.Second)
		l.add(1, 1, 1, 1, 0)
	}
	assert.Equal(t, 400, l.since())
}
