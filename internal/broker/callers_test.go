package broker

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/insynclog/insync/transport"
)

// A node is connected as long as one of its connections is.
func TestCallers(t *testing.T) {
	var c callers
	r := &transport.Request{Conn: &transport.ConnInfo{}}
	one, endOne := context.WithCancel(t.Context())
	two, endTwo := context.WithCancel(t.Context())
	defer endTwo()
	assert.False(t, c.connected(2))
	for range 3 {
		c.called(one, r, 2)
	}
	c.called(two, r, 2)
	c.called(t.Context(), &transport.Request{Conn: &transport.ConnInfo{Direct: true}}, 3)
	assert.Len(t, c.of[2], 2)
	endOne()
	assert.True(t, c.connected(2))
	endTwo()
	assert.False(t, c.connected(2))
	assert.False(t, c.connected(3), "itself")
}
