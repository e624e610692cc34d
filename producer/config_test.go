package producer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/log/record"
)

func TestConfig_Defaults(t *testing.T) {
	c := Config{Bootstrap: []string{"a:1"}}.withDefaults()
	require.NoError(t, c.validate())
	assert.Equal(t, AcksAll, c.Acks)
	assert.Equal(t, int16(-1), c.Acks.wire())
	assert.Zero(t, c.Linger)
	assert.Equal(t, 64<<10, c.BatchBytes)
	assert.Equal(t, 1<<20, c.MaxRequestBytes)
	assert.Equal(t, int64(32<<20), c.BufferBytes)
	assert.Equal(t, 5, c.MaxInFlight)
	assert.Equal(t, 2*time.Minute, c.DeliveryTimeout)
	assert.Equal(t, 30*time.Second, c.RequestTimeout)

	// A field that is set moves the defaults of those that must fit to it.
	c = Config{Bootstrap: []string{"a:1"}, MaxRequestBytes: 1 << 10, DeliveryTimeout: time.Second, Linger: time.Millisecond}.withDefaults()
	require.NoError(t, c.validate())
	assert.Equal(t, 1<<10, c.BatchBytes)
	assert.Equal(t, 999*time.Millisecond, c.RequestTimeout)
	c = Config{Bootstrap: []string{"a:1"}, MaxRequestBytes: 64 << 20}.withDefaults()
	require.NoError(t, c.validate())
}

func TestConfig_TellsAllProblemsAtOnce(t *testing.T) {
	_, err := New(Config{
		Acks: AcksLeader, Codec: record.Gzip, CompressionLevel: 10, Linger: -1, BatchBytes: 10, MaxRequestBytes: 5, BufferBytes: 1,
		MaxInFlight: 6, DeliveryTimeout: time.Second, RequestTimeout: time.Minute,
	})
	for _, want := range []string{
		"neither Client nor Bootstrap", "idempotence needs AcksAll, not acks=1", "compression level 10 of gzip", "Linger -1ns is negative",
		"BatchBytes 10 is more than MaxRequestBytes 5", "BufferBytes 1 is less", "MaxInFlight 6 is more than 5", "DeliveryTimeout 1s is less",
	} {
		assert.ErrorContains(t, err, want)
	}
	for name, c := range map[string]Config{
		"Acks 3 is none":            {Acks: 3},
		"compression codec 9":       {Codec: 9},
		"MaxInFlight -1":            {MaxInFlight: -1},
		"BatchBytes -1":             {BatchBytes: -1},
		"MaxRequestBytes -1":        {MaxRequestBytes: -1},
		"DeliveryTimeout -1ns":      {DeliveryTimeout: -1},
		"RequestTimeout -1ns":       {RequestTimeout: -1},
		"bootstrap address \"x\"":   {Bootstrap: []string{"x"}},
		"for a client of its own":   {ClientID: "x"},
		"BufferBytes -1 is less":    {BufferBytes: -1},
		"outside of (0, 596h]":      {RequestTimeout: 1000 * time.Hour, DeliveryTimeout: 2000 * time.Hour},
		"MaxRequestBytes 107374182": {MaxRequestBytes: 1<<30 + 1},
	} {
		if c.Bootstrap == nil {
			f := newFake(t, 1)
			c.Client = f.producer(f.local(), Config{}).client
		}
		_, err := New(c)
		assert.ErrorContains(t, err, name)
	}
}

func TestNew_DoesNotConnect(t *testing.T) {
	p, err := New(Config{Bootstrap: []string{"nobody.invalid:1"}})
	require.NoError(t, err)
	require.NoError(t, p.Flush(t.Context()))
	require.NoError(t, p.Close())
	require.NoError(t, p.Close())
	require.ErrorIs(t, p.Flush(t.Context()), ErrClosed)
	_, err = p.Produce(t.Context(), rec("a", 0, "x"))
	require.ErrorIs(t, err, ErrClosed)
	require.Equal(t, NotCommitted, OutcomeOf(err))
}
