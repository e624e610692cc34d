//go:build race

package clustertest_test

// raced says that the race detector runs: everything takes ten times as long.
const raced = true
