//go:build race

package sim_test

// raced says that the race detector runs: everything takes ten times as long, and goroutines are shuffled on purpose.
const raced = true
