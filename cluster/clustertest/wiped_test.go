package clustertest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A voter whose disk was wiped cannot take part under its old identity: it has forgotten what it voted for and what it confirmed. Its start fails and says why; the others go on.
func TestWipedVoterDoesNotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.New(t, clustertest.Config{Nodes: 3, Node: tight})
		c.CreateTopic("t", 1, 3)
		c.Produce("t", []byte("a"))
		c.Crash(3)
		c.Replace(3, vfs.NewMem())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.Prepare(3)(ctx)
		require.Error(t, err)
		assert.Contains(t, err.Error(), "controller: ", "the cause, not what follows from it")
		c.Produce("t", []byte("b"))
		assert.Equal(t, []string{"a", "b"}, values(c, "t"))
	})
}
