package broker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReopeningPauses(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var r reopening
	// next has time pass until an attempt, with a disk that has failed again right after the one before.
	next := func(now time.Time) time.Time {
		t.Helper()
		require.False(t, r.due(now, false))
		require.False(t, r.due(now, true), "not at once")
		for end := now.Add(2 * reopenMax); now.Before(end); now = now.Add(time.Second) {
			if r.due(now, true) {
				return now
			}
		}
		require.Fail(t, "no attempt")
		return now
	}
	now := start
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		at := next(now)
		require.Equal(t, want*time.Minute, at.Sub(now))
		now = at
	}
	require.False(t, r.due(now, false))
	now = now.Add(reopenCalm)
	require.Equal(t, time.Minute, next(now).Sub(now), "after so long it is not the same trouble")
}
