//go:build !race

package format_test

// raced says that the race detector runs, under which everything takes ten times as long.
const raced = false
