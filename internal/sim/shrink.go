package sim

import (
	"slices"
	"testing"
)

// Shrink looks for the shortest schedule with which a run of this seed still fails, by at most tries runs: it leaves out halves, quarters and so on, and shortens what is left. r is the run that failed.
func Shrink(t *testing.T, c Config, r Result, tries int) (Config, Result) {
	c.Schedule, c.Nodes, c.Trace = r.Schedule, r.Nodes, nil
	if c.Schedule == nil {
		c.Schedule = []Action{}
	}
	fails := func(schedule []Action) bool {
		if tries <= 0 {
			return false
		}
		tries--
		next := c
		next.Schedule = append([]Action{}, schedule...) // nil would have it drawn
		if got := Run(t, next); len(got.Problems) > 0 {
			c, r = next, got
			return true
		}
		return false
	}
	if len(c.Schedule) > 0 && fails([]Action{}) {
		return c, r
	}
	for parts := 2; len(c.Schedule) > 0 && tries > 0; {
		size := (len(c.Schedule) + parts - 1) / parts
		smaller := false
		for from := 0; from < len(c.Schedule) && tries > 0; {
			to := min(from+size, len(c.Schedule))
			if fails(slices.Concat(c.Schedule[:from], c.Schedule[to:])) {
				smaller = true // what followed is now at from
				continue
			}
			from = to
		}
		if !smaller {
			if size == 1 {
				break
			}
			parts *= 2
		}
	}
	return c, r
}
