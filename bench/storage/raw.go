package main

import (
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/insynclog/insync/log/record"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crcFrom is where the bytes begin that a batch's CRC covers.
const crcFrom = 21

// rawStore is the limit: the bytes of a batch as they are, their CRC32C, and pwrite at the end of a growing file. Durable, fdatasync.
type rawStore struct {
	f       *os.File
	durable bool
	end     int64
	starts  []int64 // of every batch: what a log has to look up
	records int     // of a batch
	buf     []byte

	mu     sync.Mutex
	cond   sync.Cond
	busy   bool
	synced int64
}

func openRaw(dir string, o options) (store, error) {
	f, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		return nil, err
	}
	s := &rawStore{f: f, durable: o.durable, buf: make([]byte, readBytes), starts: make([]int64, 0, 1<<16)}
	s.cond.L = &s.mu
	return s, nil
}

func (s *rawStore) append(b *batch) error {
	if err := s.write(b); err != nil || !s.durable {
		return err
	}
	return fdatasync(s.f)
}

func (s *rawStore) write(b *batch) error {
	if crc32.Checksum(b.encoded[crcFrom:], castagnoli) != b.encoded.CRC() {
		return errWrong
	}
	n, err := s.f.WriteAt(b.encoded, s.end)
	s.starts, s.records = append(s.starts, s.end), len(b.values)
	s.end += int64(n)
	return err
}

// shared is the simplest group commit: append one at a time, and while a sync is under way wait for the next one.
func (s *rawStore) shared() func(b *batch) error {
	if !s.durable {
		return locked(s.write)
	}
	return func(b *batch) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.write(b); err != nil {
			return err
		}
		for mine := s.end; s.synced < mine; {
			if s.busy {
				s.cond.Wait()
				continue
			}
			s.busy = true
			end := s.end
			s.mu.Unlock()
			err := fdatasync(s.f)
			s.mu.Lock()
			s.busy = false
			if err != nil {
				return err
			}
			s.synced = end
			s.cond.Broadcast()
		}
		return nil
	}
}

// scan is a loop of pread, with the CRC of every batch.
func (s *rawStore) scan(visit func(value []byte) bool) error { return s.scanFrom(0, visit) }

func (s *rawStore) scanFrom(pos int64, visit func(value []byte) bool) error {
	for pos < s.end {
		n, err := s.f.ReadAt(s.buf, pos)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		rest := s.buf[:n]
		for len(rest) > 0 {
			b, next, err := record.Split(rest)
			if errors.Is(err, record.ErrPartial) && len(rest) < n {
				break
			}
			if err != nil {
				return err
			}
			if crc32.Checksum(b[crcFrom:], castagnoli) != b.CRC() {
				return errWrong
			}
			if !visit(b) {
				return nil
			}
			rest = next
		}
		pos += int64(n - len(rest))
	}
	return nil
}

// find reads the batch that holds the record, whose place is known, and takes its CRC. The record is not looked for in it.
func (s *rawStore) find(number int) ([]byte, error) {
	i := number / s.records
	end := s.end
	if i+1 < len(s.starts) {
		end = s.starts[i+1]
	}
	b := record.Batch(s.buf[:end-s.starts[i]])
	if _, err := s.f.ReadAt(b, s.starts[i]); err != nil {
		return nil, err
	}
	if crc32.Checksum(b[crcFrom:], castagnoli) != b.CRC() {
		return nil, errWrong
	}
	return b, nil
}

func (s *rawStore) close() error { return s.f.Close() }
