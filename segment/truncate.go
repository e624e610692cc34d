package segment

// BoundaryBelow is where Truncate with that offset would make the segment end: the end of the last batch that stays, or the base. The caller holds a reference. Safe for concurrent use.
func (s *Segment) BoundaryBelow(offset int64) (int64, error) {
	t := s.tail.Load()
	at, err := s.startOf(t, t.latest(), max(offset, s.base))
	return at.offset, err
}

// Truncate removes everything from the batch that holds offset on; durable on return, except for the indexes, which hold nothing that the log does not.
// The segment becomes writable, whether it was sealed or not. Readers beside it may get ErrTruncated.
func (s *Segment) Truncate(offset int64) error {
	latest := s.tail.Load().latest()
	at, err := s.startOf(s.tail.Load(), latest, max(offset, s.base))
	if err != nil {
		return err
	}
	f, err := s.pin()
	if err != nil {
		return err
	}
	defer f.unpin()
	if err := s.loadTxns(); err != nil {
		return err
	}
	s.offsets.live, s.times.live = true, true
	// 1. Readers learn that what they find may go. 2. They stop finding it. 3. It goes. A reader that found it in between sees the count of 1.
	s.cuts.Add(1)
	s.setEnd(at.boundary)
	err = f.Truncate(at.pos)
	s.wrote()
	if err != nil {
		return storage("truncate", s.path, err)
	}
	n := s.writes.Load()
	if err := f.Sync(); err != nil {
		return storage("sync", s.path, err)
	}
	s.syncedUpTo(n)
	if err := s.txns.truncateTo(at.offset); err != nil {
		return err
	}
	if err := s.offsets.truncateTo(at.offset - s.base); err != nil {
		return err
	}
	if err := s.times.truncateTo(at.offset - s.base); err != nil {
		return err
	}
	return s.Activate(at.pos)
}
