//go:build race

package fuzztest

// raceFactor: with the race detector the compiler keeps less on the stack.
const raceFactor = 3
