package assignor

import (
	"fmt"
	"slices"
	"testing"
)

// large makes a group whose members all subscribe to all topics of 100 partitions each, or if mixed, to all but each tenth.
func large(members, partitions int, mixed bool) ([]Member, []Topic) {
	topics := make([]Topic, partitions/100)
	for i := range topics {
		topics[i] = Topic{id(i), 100}
	}
	subs := make([][]int, members)
	for m := range subs {
		for t := range topics {
			if !mixed || t%10 != m%10 {
				subs[m] = append(subs[m], t)
			}
		}
	}
	return membersOf(subs...), topics
}

func BenchmarkAssign(b *testing.B) {
	for _, size := range []struct{ members, partitions int }{{100, 1000}, {1000, 10_000}} {
		for _, c := range []struct {
			name  string
			f     Assignor
			mixed bool
		}{{"uniform", Uniform, false}, {"uniform-mixed", Uniform, true}, {"range", Range, false}} {
			members, topics := large(size.members, size.partitions, c.mixed)
			taken := settled(members, c.f(members, topics))
			left := slices.Delete(slices.Clone(taken), 7, 8)
			for _, s := range []struct {
				name    string
				members []Member
			}{{"first", members}, {"same", taken}, {"left", left}} {
				b.Run(fmt.Sprintf("%s/members=%d/partitions=%d/%s", c.name, size.members, size.partitions, s.name), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						c.f(s.members, topics)
					}
				})
			}
		}
	}
}

// The worst for evening out: what one cluster has must go along a chain of others.
func BenchmarkAssignFarAway(b *testing.B) {
	for _, clusters := range []int{10, 100} {
		members, topics := farAway(clusters, 1000/clusters, 5000)
		b.Run(fmt.Sprintf("members=1000/partitions=10000/clusters=%d", clusters), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Uniform(members, topics)
			}
		})
	}
}
