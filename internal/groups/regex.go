package groups

import (
	"fmt"
	"regexp"
	"time"

	"github.com/insynclog/insync/internal/groups/machine"
)

// maxPattern is the length in bytes of the longest pattern. Differs from Kafka, which has no limit: what a pattern compiles to is larger than itself.
const maxPattern = 4096

// CompilePattern compiles a pattern that members subscribe by: RE2, as in Kafka, to be matched with a topic's whole name.
func CompilePattern(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("groups: a pattern of %d bytes, more than %d", len(pattern), maxPattern)
	}
	if _, err := regexp.Compile(pattern); err != nil { // by itself first: "a)(b" must not become whole by what goes around it
		return nil, err
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

// resolved is the outcome of a pattern.
type resolved struct {
	group, regex string
	topics       []string // sorted
	version      int64
}

// resolve finds the topics that a pattern matches, and tells the machine. A cluster may have very many topics, hence not under the lock.
func (s *shard) resolve(r machine.RegexToResolve) {
	names, version := s.owner.c.TopicNames()
	found := resolved{group: r.Group, regex: r.Regex, version: version}
	re, err := CompilePattern(r.Regex)
	if err != nil { // it was checked when it came; an older log may hold what is not valid now
		s.owner.logger.Warn("group: a pattern is not valid and matches nothing", "group", r.Group, "error", err)
	} else {
		for _, name := range names {
			if re.MatchString(name) {
				found.topics = append(found.topics, name)
			}
		}
	}
	rd := s.owner.newRound()
	s.locked(func(now time.Time) {
		if s.mu.phase != Serving {
			return
		}
		s.mu.resolved = append(s.mu.resolved, found)
		if !s.mu.writing {
			s.decideLocked(now, rd)
		}
	})
	s.perform(rd, true)
}
