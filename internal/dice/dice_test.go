package dice_test

import (
	"slices"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/insynclog/insync/internal/dice"
)

func TestDice(t *testing.T) {
	throw := func(t *testing.T, seed uint64) (thrown []int) {
		cryptotest.SetGlobalRandom(t, seed)
		a, b, r := dice.New(), dice.New(), dice.Rand()
		for i := range uint64(10) {
			thrown = append(thrown, a.IntN(6, i), b.IntN(6, i), r.IntN(6))
		}
		return thrown
	}
	var first []int
	t.Run("a seed", func(t *testing.T) { first = throw(t, 1) })
	t.Run("the same again", func(t *testing.T) { assert.Equal(t, first, throw(t, 1)) })
	t.Run("another one", func(t *testing.T) { assert.NotEqual(t, first, throw(t, 2)) })

	d := dice.New()
	assert.Equal(t, d.Throw(1, 2), d.Throw(1, 2))
	assert.NotEqual(t, d.Throw(1, 2), d.Throw(2, 1))
	var waits []time.Duration
	var faces [6]int
	for i := range uint64(6000) {
		waits = append(waits, d.Around(time.Second, 0.25, i))
		faces[d.IntN(6, i)]++
	}
	assert.GreaterOrEqual(t, slices.Min(waits), 750*time.Millisecond)
	assert.Less(t, slices.Max(waits), 1250*time.Millisecond)
	assert.Greater(t, slices.Max(waits)-slices.Min(waits), 490*time.Millisecond)
	for _, n := range faces {
		assert.InDelta(t, 1000, n, 200)
	}
}
