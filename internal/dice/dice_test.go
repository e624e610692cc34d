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
		a, b := dice.New(), dice.New()
		for range 10 {
			thrown = append(thrown, a.IntN(6), b.IntN(6))
		}
		order := []int{0, 1, 2, 3, 4, 5, 6, 7}
		b.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		assert.ElementsMatch(t, []int{0, 1, 2, 3, 4, 5, 6, 7}, order)
		return append(thrown, order...)
	}
	var first []int
	t.Run("a seed", func(t *testing.T) { first = throw(t, 1) })
	t.Run("the same again", func(t *testing.T) { assert.Equal(t, first, throw(t, 1)) })
	t.Run("another one", func(t *testing.T) { assert.NotEqual(t, first, throw(t, 2)) })

	d, waits := dice.New(), []time.Duration{}
	for range 1000 {
		waits = append(waits, d.Around(time.Second, 0.25))
	}
	assert.GreaterOrEqual(t, slices.Min(waits), 750*time.Millisecond)
	assert.Less(t, slices.Max(waits), 1250*time.Millisecond)
	assert.Greater(t, slices.Max(waits)-slices.Min(waits), 400*time.Millisecond)
}
