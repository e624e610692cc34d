package sim

import "math/rand/v2"

// Schedule is what a seed draws.
func Schedule(seed uint64) []Action {
	return draw(rand.New(rand.NewPCG(seed, 0x51b)), 0, 0, nil, nil).schedule
}
