package consumer

import (
	"testing"

	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A node that stops closes its client under the consumers that share it. Their iterations end and say so, whatever they were waiting for, after handing out what had come before.
func TestClosedClientEndsTheIteration(t *testing.T) {
	f := newFake(1)
	f.parts[0].append(t, batchOptions{}, "a", "b")
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		assert.Equal(t, []string{"0/0=a", "0/1=b"}, read(t, c, 2))
		require.NoError(t, c.client.Close())
		got, err := readError(t, c)
		assert.Empty(t, got)
		assert.ErrorIs(t, err, transport.ErrClosed)
		_, err = readError(t, c)
		assert.ErrorIs(t, err, transport.ErrClosed, "again")
	})
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		require.NoError(t, c.client.Close()) // before the topic's partitions are known
		_, err := readError(t, c)
		assert.ErrorIs(t, err, transport.ErrClosed)
	})
}
