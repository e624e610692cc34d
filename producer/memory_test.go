package producer

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/log/record"
)

func served(c *claim) bool {
	select {
	case <-c.ready:
		return true
	default:
		return false
	}
}

func TestMemory(t *testing.T) {
	var m memory
	m.free.Store(100)
	require.True(t, m.take(60))
	require.False(t, m.take(60))

	// First come, first served: a small claim does not overtake a large one, nor does who asks without waiting.
	large, small := m.claim(80), m.claim(10)
	assert.False(t, served(large))
	assert.False(t, served(small))
	assert.False(t, m.take(1))
	assert.True(t, m.short())
	m.release(60)
	assert.True(t, served(large))
	assert.True(t, served(small))
	assert.False(t, m.short())
	assert.Equal(t, int64(10), m.free.Load())

	// A release between the refusal and the claim is not missed.
	require.False(t, m.take(50))
	m.release(80)
	assert.True(t, served(m.claim(50)))

	// Who leaves the line lets those behind him go on.
	large, small = m.claim(80), m.claim(10)
	assert.False(t, served(small))
	m.abandon(large)
	assert.True(t, served(small))

	// Who was served and leaves gives back what he got.
	free := m.free.Load()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := m.claim(5)
	if err := m.wait(ctx, c, nil); err != nil {
		require.ErrorIs(t, err, context.Canceled)
	} else {
		m.release(5)
	}
	assert.Equal(t, free, m.free.Load())
}

// Bytes of an attempt that nobody answered may still be read by a node in this process: they are not written to.
func TestEncode_AliasedBytes(t *testing.T) {
	f := newFake(t, 1).topic("a", 1)
	p := f.producer(f.local(), Config{})
	builder := record.NewBuilder(record.BuilderConfig{})
	builder.Append(rec("a", 0, "x"))
	b := &batch{builder: builder}
	require.NoError(t, p.encode(&taken{b: b, id: 1, epoch: 2, sequence: 3}))
	first := record.Batch(b.buf.b)
	require.NoError(t, p.encode(&taken{b: b, id: 1, epoch: 2, sequence: 4}))
	assert.Equal(t, int32(4), first.BaseSequence(), "in place")
	b.aliased = true
	require.NoError(t, p.encode(&taken{b: b, id: 1, epoch: 2, sequence: 5}))
	assert.Equal(t, int32(4), first.BaseSequence())
	again := record.Batch(b.buf.b)
	assert.Equal(t, int32(5), again.BaseSequence())
	require.NoError(t, again.CheckCRC())
}
