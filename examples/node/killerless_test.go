//go:build !unix

package main

import "testing"

func TestKiller(t *testing.T) {
	t.Skip("NOT TESTED HERE: nodes that are killed and paused, which needs signals")
}
