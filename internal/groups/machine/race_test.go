//go:build race

package machine

// raced says that the race detector runs, under which everything takes ten times as long.
const raced = true
