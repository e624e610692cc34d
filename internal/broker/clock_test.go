package broker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestWallClock(t *testing.T) {
	var skew time.Duration
	w := wallClock{show: func(now time.Time) time.Time { return now.Add(skew) }}
	now := time.Now() // with both clocks
	sure := func() bool {
		wall, sure := w.look(now)
		assert.True(t, wall.Equal(now.Add(skew)))
		return sure
	}
	assert.True(t, sure(), "there is nothing to compare with yet")
	now = now.Add(5 * time.Minute)
	assert.True(t, sure())
	skew += 9 * time.Minute
	assert.True(t, sure(), "a correction")
	skew -= 11 * time.Minute
	assert.False(t, sure())
	now = now.Add(59 * time.Minute)
	assert.False(t, sure())
	now = now.Add(2 * time.Minute)
	assert.True(t, sure())
	skew += 1000 * time.Hour
	assert.False(t, sure())
	now = now.Add(30 * time.Minute)
	skew -= 1000 * time.Hour
	assert.False(t, sure(), "the step back is one, too")
	now = now.Add(59 * time.Minute)
	assert.False(t, sure())
}

// A clock that jumped while the node was down is in doubt, and so is one of which it is not known; a node that was down for some minutes has a sound one.
func TestWallClockAtStart(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		last time.Time
		sure bool
	}{
		{time.Time{}, true}, // nothing is old in a new directory
		{now.Round(0).Add(-9 * time.Minute), true},
		{now.Round(0).Add(9 * time.Minute), true},
		{now.Round(0).Add(-11 * time.Minute), false},
		{now.Round(0).Add(11 * time.Minute), false},
	} {
		var w wallClock
		w.started(now, c.last)
		_, sure := w.look(now.Add(59 * time.Minute))
		assert.Equal(t, c.sure, sure, "%v", c.last.Sub(now))
		_, sure = w.look(now.Add(61 * time.Minute))
		assert.True(t, sure)
	}
}
