package log

// AbortedTxn is one aborted transaction that overlaps a read.
type AbortedTxn struct {
	ProducerID  int64
	FirstOffset int64
}

// AbortedTxns appends to dst the aborted transactions that overlap [from, end). Safe for concurrent use. Errors: ErrClosed, *CorruptError, *StorageError.
func (l *Log) AbortedTxns(dst []AbortedTxn, from, end int64) ([]AbortedTxn, error) {
	if l.closed.Load() {
		return dst, ErrClosed
	}
	segs := *l.segments.Load()
	// Entries are in the segment of their marker, which is at or behind from; beyond end only those matter that began before it.
	for _, s := range segs[floorSegment(segs, from):] {
		if !s.Acquire() {
			continue // cut off, as are those behind it; or deleted from the front, and those behind it are not
		}
		list, err := s.Aborted()
		s.Release()
		if err != nil {
			return dst, err
		}
		for _, a := range list {
			if a.LastOffset >= from && a.FirstOffset < end {
				dst = append(dst, AbortedTxn{ProducerID: a.ProducerID, FirstOffset: a.FirstOffset})
			}
			if a.LastStableOffset >= end {
				return dst, nil // nothing that began before end is aborted later
			}
		}
	}
	return dst, nil
}
