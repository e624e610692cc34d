package main

import tidwall "github.com/tidwall/wal"

// tidwallStore keeps the active segment in memory, too, and reads from there.
type tidwallStore struct {
	log     *tidwall.Log
	durable bool
	next    uint64
	batch   tidwall.Batch
}

func openTidwall(dir string, o options) (store, error) {
	// NoCopy as the others' reads: what they return is valid for a while. A new segment would be synced, so there is to be none.
	c := *tidwall.DefaultOptions
	c.NoSync, c.NoCopy = !o.durable, true
	if !o.roll {
		c.SegmentSize = segmentBytes
	}
	l, err := tidwall.Open(dir, &c)
	if err != nil {
		return nil, err
	}
	last, err := l.LastIndex()
	return &tidwallStore{log: l, durable: o.durable, next: last + 1}, err
}

func (s *tidwallStore) append(b *batch) error {
	s.add(b)
	return s.log.WriteBatch(&s.batch)
}

func (s *tidwallStore) add(b *batch) {
	for _, v := range b.values {
		s.batch.Write(s.next, v)
		s.next++
	}
}

func (s *tidwallStore) appendAll(all []*batch) error {
	for _, b := range all {
		s.add(b)
	}
	return s.log.WriteBatch(&s.batch)
}

func (s *tidwallStore) shared() func(b *batch) error {
	if !s.durable {
		return locked(s.append)
	}
	return combine(s.appendAll)
}

func (s *tidwallStore) scan(visit func(value []byte) bool) error {
	for i := uint64(1); i < s.next; i++ {
		v, err := s.log.Read(i)
		if err != nil {
			return err
		}
		if !visit(v) {
			return nil
		}
	}
	return nil
}

func (s *tidwallStore) find(number int) ([]byte, error) { return s.log.Read(uint64(number) + 1) }

func (s *tidwallStore) close() error { return s.log.Close() }
