package machine

import "flag"

var seedsFlag = flag.Uint64("machine.seeds", 0, "how many seeds the models run; 0: a few")

// modelSeeds yields the seeds of a model.
func modelSeeds(few uint64) func(yield func(uint64) bool) {
	n := few
	if raced {
		n = (few + 3) / 4 // one goroutine, many steps
	}
	if *seedsFlag > 0 {
		n = *seedsFlag
	}
	return func(yield func(uint64) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}
