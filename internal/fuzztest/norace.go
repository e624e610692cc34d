//go:build !race

package fuzztest

const raceFactor = 1
