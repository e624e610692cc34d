package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// seen is which records members of a group have got.
type seen struct {
	mu sync.Mutex
	m  map[[2]int64]bool
}

func (s *seen) got(r record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[[2]int64]bool{}
	}
	s.m[[2]int64{int64(r.partition), r.offset}] = true
}

func (s *seen) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.m)
}

// group has one member, then two, then one again, and records for each of these times.
func (s *site) group(protocol string) (note string, err error) {
	t, err := s.topic("group-"+protocol, 4)
	if err != nil {
		return "", err
	}
	g := t + "-g"
	if err := send(s.client, sending{}, numbered(t, 4, 0, 200), nil); err != nil {
		return "", err
	}
	var read seen
	var members []member
	defer func() {
		for _, m := range members {
			err = errors.Join(err, m.leave())
		}
	}()
	join := func() error {
		m, err := s.join(g, protocol, t, read.got)
		if err == nil {
			members = append(members, m)
		}
		return err
	}
	have := func(what string, want ...int) error {
		return await(what, func() (bool, error) {
			var have []int
			for _, m := range members {
				have = append(have, m.assigned())
			}
			return slices.Equal(have, want), fmt.Errorf("they have %v", have)
		})
	}
	records := func(n int) error {
		return await(fmt.Sprint(n, " records"), func() (bool, error) { return read.len() == n, fmt.Errorf("%d read", read.len()) })
	}
	if err := join(); err != nil {
		return "", err
	}
	if err := have("one member has all four", 4); err != nil {
		return "", err
	}
	if err := join(); err != nil {
		return "", err
	}
	if err := have("two members have two each", 2, 2); err != nil {
		return "", err
	}
	if n, err := s.members(g, protocol); err != nil || n != 2 {
		return "", fmt.Errorf("described with %d members: %w", n, orNothing(err))
	}
	if err := send(s.client, sending{}, numbered(t, 4, 200, 200), nil); err != nil {
		return "", err
	}
	if err := records(400); err != nil {
		return "", err
	}
	gone := members[1]
	members = members[:1]
	if err := gone.leave(); err != nil {
		return "", err
	}
	if err := have("the one left has all four", 4); err != nil {
		return "", err
	}
	if err := send(s.client, sending{}, numbered(t, 4, 400, 200), nil); err != nil {
		return "", err
	}
	if err := records(600); err != nil {
		return "", err
	}
	s.lastGroup, s.lastTopic = g, t
	return "", nil
}

func (s *site) committedSum() (sum int64, err error) {
	offsets, err := s.committed(s.lastGroup, s.lastTopic, 4)
	for _, o := range offsets {
		sum += o
	}
	return sum, err
}

// committedOffsets goes on where the last group ended.
func (s *site) committedOffsets() (string, error) {
	if s.lastGroup == "" {
		return "", errors.New("no group before")
	}
	if n, err := s.committedSum(); err != nil || n != 600 {
		return "", fmt.Errorf("committed offsets add up to %d: %w", n, orNothing(err))
	}
	if err := send(s.client, sending{}, numbered(s.lastTopic, 4, 600, 8), nil); err != nil {
		return "", err
	}
	var read seen
	m, err := s.join(s.lastGroup, classic, s.lastTopic, read.got)
	if err != nil {
		return "", err
	}
	err = await("the 8 new records", func() (bool, error) { return read.len() >= 8, nil })
	if err := errors.Join(err, m.leave()); err != nil {
		return "", err
	}
	if read.len() != 8 {
		return "", fmt.Errorf("%d records, want the 8 new ones", read.len())
	}
	if n, err := s.committedSum(); err != nil || n != 608 {
		return "", fmt.Errorf("committed offsets add up to %d: %w", n, orNothing(err))
	}
	return "", nil
}

func (s *site) adminGroups() (string, error) {
	if s.lastGroup == "" {
		return "", errors.New("no group before")
	}
	all, err := s.groups()
	if err != nil {
		return "", err
	}
	if !slices.Contains(all, s.lastGroup) {
		return "", fmt.Errorf("not listed: %v", all)
	}
	if err := await("offsets of the empty group can be altered", func() (bool, error) {
		err := s.commit(s.lastGroup, s.lastTopic, 1, 7)
		return err == nil, err
	}); err != nil {
		return "", err
	}
	if o, err := s.committed(s.lastGroup, s.lastTopic, 4); err != nil || o[1] != 7 {
		return "", fmt.Errorf("offset not altered: %v, %w", o, orNothing(err))
	}
	if err := s.deleteGroup(s.lastGroup); err != nil {
		return "", err
	}
	return "", wantCode(s.client, s.deleteGroup(s.lastGroup), groupIDNotFound)
}
