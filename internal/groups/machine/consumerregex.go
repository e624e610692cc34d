package machine

import (
	"maps"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/groups/entry"
)

// regexInterval is how often a group's patterns are resolved at most.
const regexInterval = 10 * time.Second

// RegexResolved takes the outcome of Effects.Regexes: the names of the topics that the pattern matches, sorted, and the version of the metadata they are from.
func (c *Coordinator) RegexResolved(now time.Time, groupID, pattern string, topics []string, version int64, _ *Effects) {
	g := c.groups[groupID]
	if g == nil || g.consumer == nil {
		return
	}
	k := g.consumer
	if old := k.regexes[pattern]; !slices.Contains(k.patterns(), pattern) || old != nil && slices.Equal(old.Topics, topics) {
		return
	}
	d := k.drafting()
	d.regexes[pattern] = &entry.Regex{Group: groupID, Regex: pattern, Topics: topics, Version: version, ResolvedAt: c.Wall(now).UnixMilli()}
	d.bump = true
}

// patterns are those that members subscribe to, sorted.
func (k *consumerGroup) patterns() []string {
	var list []string
	for _, m := range k.members {
		if m.info.Regex != "" {
			list = append(list, m.info.Regex)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// resolveNew asks for the patterns that were not asked for yet.
func (k *consumerGroup) resolveNew(now time.Time, fx *Effects) {
	for _, pattern := range k.patterns() {
		if _, ok := k.asked[pattern]; !ok {
			k.resolve(now, pattern, fx)
		}
	}
}

// resolveAll asks for all patterns again, those that were asked for of late a little later.
func (k *consumerGroup) resolveAll(now time.Time, fx *Effects) {
	patterns := k.patterns()
	for pattern := range k.asked { // in any order: each for itself
		if !slices.Contains(patterns, pattern) {
			delete(k.asked, pattern)
		}
	}
	for _, pattern := range patterns {
		at, ok := k.asked[pattern]
		if ok && now.Sub(at) < regexInterval {
			if !k.refresh.set() {
				k.c.start(k.g, &k.refresh, at.Add(regexInterval), k.resolveAll)
			}
			continue
		}
		k.resolve(now, pattern, fx)
	}
}

func (k *consumerGroup) resolve(now time.Time, pattern string, fx *Effects) {
	k.asked[pattern] = now
	fx.Regexes = append(fx.Regexes, RegexToResolve{Group: k.g.id, Regex: pattern})
}

// unusedRegexes end the patterns that no member subscribes to any more.
func (k *consumerGroup) unusedRegexes(ids []string) []entry.Entry {
	if len(k.regexes) == 0 {
		return nil
	}
	used := map[string]bool{}
	for _, id := range ids {
		used[k.lookup(id).info.Regex] = true
	}
	var entries []entry.Entry
	for _, pattern := range slices.Sorted(maps.Keys(k.regexes)) {
		if !used[pattern] {
			entries = append(entries, &entry.Regex{Group: k.g.id, Regex: pattern, Gone: true})
		}
	}
	return entries
}
