package consumer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func keysOf(topic string, numbers ...int32) (keys []key) {
	for _, n := range numbers {
		keys = append(keys, key{topic, n})
	}
	return keys
}

func TestShareOut(t *testing.T) {
	a := func(owned ...int32) subscriber {
		return subscriber{id: "a", topics: []string{"t"}, owned: keysOf("t", owned...), generation: 1}
	}
	b := func(owned ...int32) subscriber {
		return subscriber{id: "b", topics: []string{"t"}, owned: keysOf("t", owned...), generation: 1}
	}
	four := map[string]int{"t": 4}
	for _, tc := range []struct {
		name    string
		members []subscriber
		counts  map[string]int
		want    map[string][]key
	}{
		{"alone", []subscriber{a()}, four, map[string][]key{"a": keysOf("t", 0, 1, 2, 3)}},
		{"evenly", []subscriber{b(), a()}, four, map[string][]key{"a": keysOf("t", 0, 2), "b": keysOf("t", 1, 3)}},
		{"what moves is withheld", []subscriber{a(0, 1, 2, 3), b()}, four, map[string][]key{"a": keysOf("t", 0, 1), "b": nil}},
		{"what is free is given", []subscriber{a(0, 1), b()}, four, map[string][]key{"a": keysOf("t", 0, 1), "b": keysOf("t", 2, 3)}},
		{"what stays stays", []subscriber{a(1, 3), b(0, 2)}, four, map[string][]key{"a": keysOf("t", 1, 3), "b": keysOf("t", 0, 2)}},
		{"one more is no reason to move", []subscriber{a(0, 1), b(2)}, map[string]int{"t": 3}, map[string][]key{"a": keysOf("t", 0, 1), "b": keysOf("t", 2)}},
		{"claimed by two of one generation", []subscriber{a(0, 1), b(0)}, map[string]int{"t": 2}, map[string][]key{"a": keysOf("t", 1), "b": nil}},
		{"the later generation is right", []subscriber{{id: "a", topics: []string{"t"}, owned: keysOf("t", 0, 1), generation: 0}, b(0)}, map[string]int{"t": 2}, map[string][]key{"a": keysOf("t", 1), "b": keysOf("t", 0)}},
		{"a topic that one does not want", []subscriber{a(), {id: "b", topics: []string{"u"}}}, map[string]int{"t": 2, "u": 1}, map[string][]key{"a": keysOf("t", 0, 1), "b": keysOf("u", 0)}},
		{"no longer wanted", []subscriber{{id: "a", topics: []string{"u"}, owned: keysOf("t", 0)}, b()}, map[string]int{"t": 1, "u": 1}, map[string][]key{"a": keysOf("u", 0), "b": nil}},
		{"no such topic", []subscriber{a(0)}, nil, map[string][]key{"a": nil}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, shareOut(tc.members, tc.counts))
		})
	}
}

// Members come and go at random, and own what they were given. However they do: no partition is with two, none that moves is given before it is given up, and two rounds later all are given out, evenly where
// all want the same.
func TestSharingOutConverges(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		counts := map[string]int{"t": 1 + rng.IntN(12), "u": rng.IntN(9)}
		alike := rng.IntN(2) == 0
		owned := map[string][]key{}
		topics := map[string][]string{}
		for round := range int32(12) {
			if round%3 == 0 {
				for range 1 + rng.IntN(3) {
					id := fmt.Sprint("m", rng.IntN(5))
					if _, ok := topics[id]; ok && len(topics) > 1 {
						delete(topics, id)
						delete(owned, id)
						continue
					}
					topics[id] = []string{"t", "u"}
					if !alike && rng.IntN(2) == 0 {
						topics[id] = topics[id][:1]
					}
				}
			}
			var members []subscriber
			for id, ts := range topics {
				members = append(members, subscriber{id: id, topics: ts, owned: owned[id], generation: round})
			}
			shares := shareOut(members, counts)
			given := map[key]string{}
			for id, keys := range shares {
				for _, k := range keys {
					require.Empty(t, given[k], "seed %d round %d: %v", seed, round, k)
					require.Contains(t, topics[id], k.topic)
					given[k] = id
					for other, has := range owned {
						require.False(t, other != id && slices.Contains(has, k), "seed %d round %d: %v is still %s's", seed, round, k, other)
					}
				}
			}
			owned = shares
			if round%3 != 2 {
				continue
			}
			wanted := counts["t"]
			if slices.ContainsFunc(members, func(m subscriber) bool { return slices.Contains(m.topics, "u") }) {
				wanted += counts["u"]
			}
			require.Len(t, given, wanted, "seed %d round %d", seed, round)
			if alike {
				least, most := 1<<30, 0
				for _, keys := range shares {
					least, most = min(least, len(keys)), max(most, len(keys))
				}
				require.LessOrEqual(t, most-least, 1, "seed %d round %d", seed, round)
			}
		}
	}
}
