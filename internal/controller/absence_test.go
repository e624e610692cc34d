package controller

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A process has ended when it is refused more than once, for long enough, and nothing is heard of it in between.
func TestAbsence(t *testing.T) {
	now := time.Unix(1000, 0)
	const long = 100 * time.Millisecond
	a := absences{}
	a.refused(2, now)
	assert.False(t, a.enough(2, now.Add(time.Hour), long), "once is no proof: it may have been about to listen")
	a.refused(2, now.Add(long/2))
	assert.False(t, a.enough(2, now.Add(long/2), long))
	assert.True(t, a.enough(2, now.Add(long), long))
	a.heard(2)
	a.refused(2, now.Add(2*long))
	a.refused(2, now.Add(2*long))
	assert.False(t, a.enough(2, now.Add(2*long), long), "it lived meanwhile")
	assert.False(t, a.enough(3, now, long), "another one")
}
