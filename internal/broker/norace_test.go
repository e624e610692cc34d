//go:build !race

package broker

// raced says that the race detector runs: everything takes ten times as long, and goroutines are shuffled on purpose.
const raced = false
