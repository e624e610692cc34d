package main

import (
	"errors"
	"io"

	rosedb "github.com/rosedblabs/wal"
)

// rosedbStore finds a record by the position that it was given when it was written: whoever uses it keeps those.
type rosedbStore struct {
	log       *rosedb.WAL
	durable   bool
	keep      bool
	positions []*rosedb.ChunkPosition
}

func openRosedb(dir string, o options) (store, error) {
	c := rosedb.DefaultOptions
	c.DirPath, c.SegmentSize = dir, segmentBytes
	w, err := rosedb.Open(c)
	return &rosedbStore{log: w, durable: o.durable, keep: o.find}, err
}

func (s *rosedbStore) append(b *batch) error {
	for _, v := range b.values {
		s.log.PendingWrites(v)
	}
	return s.write()
}

func (s *rosedbStore) appendAll(all []*batch) error {
	for _, b := range all {
		for _, v := range b.values {
			s.log.PendingWrites(v)
		}
	}
	return s.write()
}

func (s *rosedbStore) write() error {
	positions, err := s.log.WriteAll()
	if s.keep {
		s.positions = append(s.positions, positions...)
	}
	if err != nil || !s.durable {
		return err
	}
	return s.log.Sync()
}

func (s *rosedbStore) shared() func(b *batch) error {
	if !s.durable {
		return locked(s.append)
	}
	return combine(s.appendAll)
}

func (s *rosedbStore) scan(visit func(value []byte) bool) error {
	r := s.log.NewReader()
	for {
		v, _, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !visit(v) {
			return nil
		}
	}
}

func (s *rosedbStore) find(number int) ([]byte, error) { return s.log.Read(s.positions[number]) }

func (s *rosedbStore) close() error { return s.log.Close() }
