package partition

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The operations against the obvious ones on maps.
func TestOperationsAgainstMaps(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		a, am := random(rng)
		b, bm := random(rng)
		where := func(keep func(Partition) bool) Set {
			var ps []Partition
			for p := range am {
				if keep(p) {
					ps = append(ps, p)
				}
			}
			for p := range bm {
				if !am[p] && keep(p) {
					ps = append(ps, p)
				}
			}
			return Of(ps...)
		}
		require.Equal(t, len(am), a.Len())
		require.True(t, a.Union(b).Equal(where(func(Partition) bool { return true })))
		require.True(t, a.Intersect(b).Equal(where(func(p Partition) bool { return am[p] && bm[p] })))
		require.True(t, a.Minus(b).Equal(where(func(p Partition) bool { return am[p] && !bm[p] })))
		require.Equal(t, a.Minus(b).Len() == 0, a.SubsetOf(b))
		require.True(t, a.Keep(func(id TopicID) bool { return id[0] == 1 }).Equal(where(func(p Partition) bool { return am[p] && p.Topic[0] == 1 })))
		for p := range am {
			require.True(t, a.Contains(p))
			require.Equal(t, bm[p], b.Contains(p))
		}
		require.True(t, slices.IsSortedFunc(slices.Collect(a.All), Partition.Compare))
		require.True(t, Of(slices.Collect(a.All)...).Equal(a))
		require.True(t, FromTopics(a...).Equal(a))
	}
}

func random(rng *rand.Rand) (Set, map[Partition]bool) {
	m := map[Partition]bool{}
	var ps []Partition
	for range rng.IntN(12) {
		p := Partition{TopicID{byte(rng.IntN(3))}, int32(rng.IntN(5))}
		m[p] = true
		ps = append(ps, p)
	}
	return Of(ps...), m
}

func TestString(t *testing.T) {
	assert.Equal(t, "AQAAAAAA[0 2] AgAAAAAA[1]", Of(Partition{TopicID{2}, 1}, Partition{TopicID{1}, 2}, Partition{TopicID{1}, 0}).String())
	assert.Empty(t, Set(nil).String())
}
