package assignor

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/groups/partition"
)

func id(i int) partition.TopicID { return partition.TopicID{0: byte(i >> 8), 1: byte(i), 15: 1} }

func topicsOf(partitions ...int32) []Topic {
	topics := make([]Topic, len(partitions))
	for i, n := range partitions {
		topics[i] = Topic{id(i), n}
	}
	return topics
}

// membersOf makes a member for each list of indexes of topics.
func membersOf(subscriptions ...[]int) []Member {
	members := make([]Member, len(subscriptions))
	for i, s := range subscriptions {
		members[i].ID = fmt.Sprintf("m%04d", i)
		for _, t := range s {
			members[i].Topics = append(members[i].Topics, id(t))
		}
	}
	return members
}

// show writes an assignment as "0:0 0:1 | 1:0", by the indexes of topics.
func show(sets []partition.Set) string {
	var out strings.Builder
	for i, s := range sets {
		if i > 0 {
			out.WriteString(" |")
		}
		for p := range s.All {
			fmt.Fprintf(&out, " %d:%d", int(p.Topic[0])<<8|int(p.Topic[1]), p.Number)
		}
	}
	return out.String()
}

// random makes a group; alike if all are to subscribe to the same topics. What the members had is arbitrary.
func random(rng *rand.Rand, alike bool, maxMembers, maxTopics, maxPartitions int) ([]Member, []Topic) {
	topics := make([]Topic, rng.IntN(maxTopics+1))
	for i := range topics {
		topics[i] = Topic{id(i), int32(rng.IntN(maxPartitions + 1))}
	}
	some := func() (s []int) {
		for t := range len(topics) + 1 { // one that does not exist
			if rng.IntN(3) > 0 {
				s = append(s, t)
			}
		}
		return s
	}
	same := some()
	var members []Member
	for range rng.IntN(maxMembers + 1) {
		s := same
		if !alike {
			s = some()
		}
		members = append(members, membersOf(s)...)
	}
	for i := range members {
		m := &members[i]
		m.ID = fmt.Sprintf("m%04d", i)
		if rng.IntN(3) == 0 {
			m.InstanceID = fmt.Sprintf("i%d", rng.IntN(100))
		}
		var had []partition.Partition
		for range rng.IntN(2 * maxPartitions) {
			had = append(had, partition.Partition{Topic: id(rng.IntN(maxTopics + 2)), Number: int32(rng.IntN(maxPartitions+4) - 2)})
		}
		m.Target = partition.Of(had...)
	}
	return members, topics
}

// requireValid checks that every partition of a topic with subscribers is with exactly one of them, and nothing else is with anybody.
func requireValid(t testing.TB, members []Member, topics []Topic, got []partition.Set) {
	t.Helper()
	require.Len(t, got, len(members))
	owners := map[partition.Partition]int{}
	for i, s := range got {
		require.True(t, partition.FromTopics(s...).Equal(s), "%v is not canonical", s)
		for p := range s.All {
			require.Contains(t, members[i].Topics, p.Topic)
			owners[p]++
			require.Equal(t, 1, owners[p], "%v has several owners", p)
		}
	}
	total := 0
	for _, topic := range topics {
		if slices.ContainsFunc(members, func(m Member) bool { return slices.Contains(m.Topics, topic.ID) }) {
			total += int(topic.Partitions)
			for n := range topic.Partitions {
				require.Contains(t, owners, partition.Partition{Topic: topic.ID, Number: n})
			}
		}
	}
	require.Len(t, owners, total)
}

// settled gives the members what was assigned.
func settled(members []Member, got []partition.Set) []Member {
	members = slices.Clone(members)
	for i := range members {
		members[i].Target = got[i]
	}
	return members
}

func spread(sets []partition.Set) int {
	least, most := sets[0].Len(), sets[0].Len()
	for _, s := range sets {
		least, most = min(least, s.Len()), max(most, s.Len())
	}
	return most - least
}

// moved counts the partitions that members lost.
func moved(members []Member, got []partition.Set) int {
	n := 0
	for i := range members {
		n += members[i].Target.Minus(got[i]).Len()
	}
	return n
}

func TestByName(t *testing.T) {
	members, topics := membersOf([]int{0, 1}, []int{0, 1}, []int{0, 1}), topicsOf(4, 2)
	for name, want := range map[string]string{"uniform": " 0:0 0:1 | 0:2 0:3 | 1:0 1:1", "range": " 0:0 0:1 1:0 | 0:2 1:1 | 0:3"} {
		f, ok := ByName(name)
		require.True(t, ok)
		assert.Equal(t, want, show(f(members, topics)))
	}
	_, ok := ByName("sticky")
	assert.False(t, ok)
}

// Whatever the members had: the assignment is valid, the same for the same arguments, does not change them, and changes nothing once it is taken.
func TestProperties(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, f := range []Assignor{Uniform, Range} {
		for i := range 800 {
			members, topics := random(rng, i%2 == 0, 6, 5, 8)
			before := show(setsOf(members))
			got := f(members, topics)
			requireValid(t, members, topics, got)
			require.Equal(t, show(got), show(f(members, topics)))
			require.Equal(t, before, show(setsOf(members)))
			again := f(settled(members, got), topics)
			require.Equal(t, show(got), show(again))
		}
	}
}

func setsOf(members []Member) []partition.Set {
	sets := make([]partition.Set, len(members))
	for i := range members {
		sets[i] = members[i].Target
	}
	return sets
}

// Where all subscribe alike, counts differ by one at most, and no such assignment keeps more: of what its members validly had, min(had, share) each, with the larger shares where they help.
func TestUniform_AlikeIsBalancedAndKeepsMost(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 800 {
		members, topics := random(rng, true, 8, 4, 8)
		if len(members) == 0 {
			continue
		}
		taken := partition.Set{}
		total := 0
		var exists []partition.Partition
		for _, topic := range topics {
			if slices.Contains(members[0].Topics, topic.ID) {
				total += int(topic.Partitions)
				for n := range topic.Partitions {
					exists = append(exists, partition.Partition{Topic: topic.ID, Number: n})
				}
			}
		}
		// Of partitions that several had, the first one's claim counts: with none such, the bound is exact.
		for i := range members {
			members[i].Target = members[i].Target.Minus(taken)
			taken = taken.Union(members[i].Target)
		}
		least, extra := total/len(members), total%len(members)
		keep := 0
		for _, m := range members {
			had := m.Target.Intersect(partition.Of(exists...)).Len()
			if had > least && extra > 0 {
				keep++
				extra--
			}
			keep += min(had, least)
		}
		got := Uniform(members, topics)
		require.LessOrEqual(t, spread(got), 1)
		kept := 0
		for i := range members {
			kept += members[i].Target.Intersect(got[i]).Len()
		}
		require.Equal(t, keep, kept)
	}
}

// A member that leaves or joins moves what it had or gets, and no more.
func TestUniform_AlikeMovesLittle(t *testing.T) {
	topics := topicsOf(30, 30, 31)
	members := membersOf(slices.Repeat([][]int{{0, 1, 2}}, 7)...)
	members = settled(members, Uniform(members, topics))
	require.Zero(t, moved(members, Uniform(members, topics)))

	rest := slices.Delete(slices.Clone(members), 3, 4)
	assert.Zero(t, moved(rest, Uniform(rest, topics)))

	joined := append(slices.Clone(members), membersOf([]int{0, 1, 2})...)
	joined[7].ID = "n"
	got := Uniform(joined, topics)
	assert.LessOrEqual(t, spread(got), 1)
	assert.Equal(t, got[7].Len(), moved(joined, got))
}

// What does not change keeps its memory: the caller sees at once that there is nothing to do.
func TestUniform_KeepsSets(t *testing.T) {
	for _, subs := range [][][]int{{{0, 1}, {0, 1}, {0, 1}}, {{0}, {0, 1}, {1}}} {
		members, topics := membersOf(subs...), topicsOf(5, 7)
		members = settled(members, Uniform(members, topics))
		got := Uniform(members, topics)
		for i := range got {
			assert.Same(t, &members[i].Target[0], &got[i][0])
		}
	}
}

// Where subscriptions differ, the loads are as even as any assignment can make them: all are tried.
func TestUniform_MixedIsBalanced(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	unequal := 0
	for range 600 {
		members, topics := random(rng, false, 4, 3, 3)
		if len(members) == 0 {
			continue
		}
		got := Uniform(members, topics)
		loads := make([]int, len(members))
		for i := range got {
			loads[i] = got[i].Len()
		}
		if spread(got) > 1 {
			unequal++
		}
		require.Equal(t, fewestSquares(members, topics, 0, 0, make([]int, len(members))), squares(loads), "%v %v", loads, topics)
	}
	assert.Greater(t, unequal, 50, "the groups are too simple")
}

func squares(loads []int) int {
	n := 0
	for _, l := range loads {
		n += l * l
	}
	return n
}

// fewestSquares tries all owners of all partitions from number n of topic t on.
func fewestSquares(members []Member, topics []Topic, t int, n int32, loads []int) int {
	for ; t < len(topics) && n >= topics[t].Partitions; t, n = t+1, 0 {
	}
	if t == len(topics) {
		return squares(loads)
	}
	best := -1
	for i := range members {
		if slices.Contains(members[i].Topics, topics[t].ID) {
			loads[i]++
			if s := fewestSquares(members, topics, t, n+1, loads); best < 0 || s < best {
				best = s
			}
			loads[i]--
		}
	}
	if best < 0 {
		return fewestSquares(members, topics, t+1, 0, loads)
	}
	return best
}

// In groups too large to try everything: no chain of moves leads to a member that has two fewer.
func TestUniform_MixedHasNoChains(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 80 {
		members, topics := random(rng, false, 25, 12, 30)
		for i := range members { // few topics each, that there be chains
			keep := members[i].Topics[:0]
			for _, id := range members[i].Topics {
				if rng.IntN(4) == 0 {
					keep = append(keep, id)
				}
			}
			members[i].Topics = keep
		}
		got := Uniform(members, topics)
		requireValid(t, members, topics, got)
		requireNoChains(t, members, got)
	}
}

func requireNoChains(t testing.TB, members []Member, got []partition.Set) {
	t.Helper()
	for from := range members {
		seen := map[int]bool{from: true}
		for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
			for _, topic := range got[queue[0]] {
				for to := range members {
					if !seen[to] && slices.Contains(members[to].Topics, topic.ID) {
						seen[to] = true
						queue = append(queue, to)
						require.GreaterOrEqual(t, got[to].Len(), got[from].Len()-1, "from %d to %d", from, to)
					}
				}
			}
		}
	}
}

// A chain of members of which each shares a topic with the next: no single move helps, and still all end with the same.
func TestUniform_MixedAlongAChain(t *testing.T) {
	members, topics := membersOf([]int{0}, []int{0, 1}, []int{1}), topicsOf(11, 19)
	had := func(topic int, from, to int32) (ps []partition.Partition) {
		for n := from; n < to; n++ {
			ps = append(ps, partition.Partition{Topic: id(topic), Number: n})
		}
		return ps
	}
	members[0].Target = partition.Of(had(0, 0, 9)...)
	members[1].Target = partition.Of(append(had(0, 9, 11), had(1, 0, 8)...)...)
	members[2].Target = partition.Of(had(1, 8, 19)...)
	got := Uniform(members, topics)
	assert.Zero(t, spread(got))
	assert.Equal(t, 2, moved(members, got))
}

// One member has everything, since it was alone, at the end of a long chain.
func TestUniform_MixedFarAway(t *testing.T) {
	members, topics := farAway(40, 1, 400)
	got := Uniform(members, topics)
	requireValid(t, members, topics, got)
	requireNoChains(t, members, got)
}

// farAway is a chain of clusters, each with perCluster members that share a topic with the next cluster, and the first member had all of the first topics.
func farAway(clusters, perCluster, partitions int) ([]Member, []Topic) {
	topics := make([]Topic, clusters)
	for i := range topics {
		topics[i].ID = id(i)
	}
	topics[0].Partitions = int32(partitions)
	for i := range topics[1:] {
		topics[i+1].Partitions = int32(partitions / clusters)
	}
	var subs [][]int
	for c := range clusters {
		for range perCluster {
			subs = append(subs, slices.Compact([]int{max(0, c-1), c}))
		}
	}
	members := membersOf(subs...)
	for c := range clusters {
		m := &members[c*perCluster]
		var had []partition.Partition
		for n := range topics[c].Partitions {
			had = append(had, partition.Partition{Topic: id(c), Number: n})
		}
		m.Target = partition.Of(had...)
	}
	return members, topics
}

// Members that leave a group of mixed subscriptions move their partitions and few others.
func TestUniform_MixedMovesLittle(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	lost, others, had := 0, 0, 0
	for range 60 {
		members, topics := random(rng, false, 20, 10, 40)
		if len(members) < 5 {
			continue
		}
		members = settled(members, Uniform(members, topics))
		at := rng.IntN(len(members))
		lost += members[at].Target.Len()
		rest := slices.Delete(slices.Clone(members), at, at+1)
		got := Uniform(rest, topics)
		requireValid(t, rest, topics, got)
		others += moved(rest, got)
		for _, s := range got {
			had += s.Len()
		}
	}
	t.Logf("of %d partitions, %d were the leavers', %d others moved", had, lost, others)
	assert.Less(t, others, lost/10)
}

// Members with instance ids come first and keep their ranges when their member ids change.
func TestRange_Order(t *testing.T) {
	members, topics := membersOf([]int{0, 1}, []int{0, 1}, []int{0, 1}), topicsOf(5, 5)
	members[2].InstanceID = "a"
	members[1].InstanceID = "b"
	assert.Equal(t, " 0:4 1:4 | 0:2 0:3 1:2 1:3 | 0:0 0:1 1:0 1:1", show(Range(members, topics)))
	members[1].ID, members[2].ID = "z", "a"
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	assert.Equal(t, " 0:0 0:1 1:0 1:1 | 0:4 1:4 | 0:2 0:3 1:2 1:3", show(Range(members, topics)))
}

// Each topic is spread over its own subscribers only.
func TestRange_Mixed(t *testing.T) {
	members, topics := membersOf([]int{0}, []int{0, 1}, []int{1, 2}, nil), topicsOf(3, 4, 1)
	assert.Equal(t, " 0:0 0:1 | 0:2 1:0 1:1 | 1:2 1:3 2:0 |", show(Range(members, topics)))
}

func TestNobody(t *testing.T) {
	for _, f := range []Assignor{Uniform, Range} {
		assert.Empty(t, f(nil, topicsOf(3)))
		assert.Equal(t, " |", show(f(membersOf(nil, nil), topicsOf(3))))
		assert.Equal(t, " |", show(f(membersOf([]int{0}, nil), nil)))
		assert.Equal(t, " |", show(f(membersOf([]int{0}, nil), topicsOf(-1))))
	}
}
