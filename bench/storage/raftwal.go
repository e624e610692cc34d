package main

import (
	"errors"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// raftwalStore syncs every append. It has no switch for the page cache, so there it gets files whose Sync does nothing.
type raftwalStore struct {
	log     *raftwal.WAL
	meta    *metadb.BoltMetaDB // which Close of the log leaves open, and locked
	durable bool
	next    uint64
	logs    []*raft.Log
	one     raft.Log
}

func openRaftWAL(dir string, o options) (store, error) {
	var (
		files types.VFS = fs.New()
		size            = raftwal.DefaultSegmentSize
		meta            = &metadb.BoltMetaDB{}
	)
	if !o.durable {
		files = unsyncedFS{files}
		if !o.roll {
			size = raftwalSegmentBytes
		}
	}
	w, err := raftwal.Open(dir, raftwal.WithLogger(hclog.NewNullLogger()), raftwal.WithMetaStore(meta),
		raftwal.WithSegmentFiler(segment.NewFiler(dir, files)), raftwal.WithSegmentSize(size))
	if err != nil {
		return nil, errors.Join(err, meta.Close())
	}
	last, err := w.LastIndex()
	return &raftwalStore{log: w, meta: meta, durable: o.durable, next: last + 1}, err
}

// raftwalSegmentBytes is enough for all that is written to it, so that none is sealed.
const raftwalSegmentBytes = 512 << 20

// unsyncedFS is the file system without syncs.
type unsyncedFS struct{ types.VFS }

type unsyncedFile struct{ types.WritableFile }

func (unsyncedFile) Sync() error { return nil }

func (f unsyncedFS) Create(dir, name string, size uint64) (types.WritableFile, error) {
	w, err := f.VFS.Create(dir, name, size)
	return unsyncedFile{w}, err
}

func (f unsyncedFS) OpenWriter(dir, name string) (types.WritableFile, error) {
	w, err := f.VFS.OpenWriter(dir, name)
	return unsyncedFile{w}, err
}

func (s *raftwalStore) append(b *batch) error {
	s.logs = s.logs[:0]
	s.add(b)
	return s.log.StoreLogs(s.logs)
}

// add puts the records into logs, in the memory of earlier ones.
func (s *raftwalStore) add(b *batch) {
	for _, v := range b.values {
		n := len(s.logs)
		if n < cap(s.logs) {
			s.logs = s.logs[:n+1]
		} else {
			s.logs = append(s.logs, nil)
		}
		if s.logs[n] == nil {
			s.logs[n] = new(raft.Log)
		}
		s.logs[n].Index, s.logs[n].Term, s.logs[n].Data = s.next, 1, v
		s.next++
	}
}

func (s *raftwalStore) appendAll(all []*batch) error {
	s.logs = s.logs[:0]
	for _, b := range all {
		s.add(b)
	}
	return s.log.StoreLogs(s.logs)
}

func (s *raftwalStore) shared() func(b *batch) error {
	if !s.durable {
		return locked(s.append)
	}
	return combine(s.appendAll)
}

func (s *raftwalStore) scan(visit func(value []byte) bool) error {
	for i := uint64(1); i < s.next; i++ {
		if err := s.log.GetLog(i, &s.one); err != nil {
			return err
		}
		if !visit(s.one.Data) {
			return nil
		}
	}
	return nil
}

func (s *raftwalStore) find(number int) ([]byte, error) {
	err := s.log.GetLog(uint64(number)+1, &s.one)
	return s.one.Data, err
}

func (s *raftwalStore) close() error { return errors.Join(s.log.Close(), s.meta.Close()) }
