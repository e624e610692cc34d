package log

import "github.com/insynclog/insync/segment"

// AbortedTxn is one aborted transaction that overlaps a read.
type AbortedTxn struct {
	ProducerID  int64
	FirstOffset int64
}

// AbortedTxns appends to dst the aborted transactions that overlap [from, end). Safe for concurrent use. Errors: ErrClosed, *CorruptError, *StorageError.
func (l *Log) AbortedTxns(dst []AbortedTxn, from, end int64) (list []AbortedTxn, err error) {
	err = l.retry(func() error {
		list, err = l.abortedTxns(dst, from, end)
		return err
	})
	return list, err
}

func (l *Log) abortedTxns(dst []AbortedTxn, from, end int64) ([]AbortedTxn, error) {
	segs := *l.segments.Load()
	// Entries are in the segment of their marker, which is at or behind from; beyond end only those matter that began before it.
	for _, s := range segs[floorSegment(segs, from):] {
		if !s.Acquire() {
			return dst, segment.ErrDeleted
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
