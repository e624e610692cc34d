package sim

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// wrongClock is a wall clock that shows something else than the time.
type wrongClock struct {
	since time.Time
	step  time.Duration // by which it jumped
	drift float64       // by how much it runs faster
}

func newWrongClock(rng *rand.Rand) *wrongClock {
	return &wrongClock{since: time.Now(), step: time.Duration((2*rng.Float64() - 1) * float64(20*time.Hour)), drift: (2*rng.Float64() - 1) / 10}
}

func (c *wrongClock) String() string {
	return fmt.Sprintf("the clock jumps by %v and runs at %.3f", c.step, 1+c.drift)
}

// wall is what the node's wall clock shows.
func (n *node) wall(now time.Time) time.Time {
	c := n.clock.Load()
	if c == nil {
		return now
	}
	return now.Add(c.step + time.Duration(c.drift*float64(now.Sub(c.since))))
}
