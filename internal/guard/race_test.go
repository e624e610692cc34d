//go:build race

package guard

// raceFactor: with the race detector, the compiler keeps less on the stack, so decoding takes more from the heap than it does where it counts.
const raceFactor = 2
