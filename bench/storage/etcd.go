package main

import (
	"path/filepath"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
)

// etcdStore reads only as a whole: etcd does so when it starts.
type etcdStore struct {
	log     *wal.WAL
	dir     string
	durable bool
	next    uint64
	state   raftpb.HardState
	entries []*raftpb.Entry
}

func etcdDir(dir string) string { return filepath.Join(dir, "wal") } // it makes the directory itself

func openEtcd(dir string, o options) (store, error) {
	w, err := wal.Create(nil, etcdDir(dir), nil)
	if err != nil {
		return nil, err
	}
	if !o.durable {
		w.SetUnsafeNoFsync()
	}
	return &etcdStore{log: w, dir: etcdDir(dir), durable: o.durable, next: 1}, nil
}

// reopenEtcd reads the whole log, which has to be done before it can be appended to.
func reopenEtcd(dir string) (store, error) {
	w, err := wal.Open(nil, etcdDir(dir), &walpb.Snapshot{Index: new(uint64), Term: new(uint64)})
	if err != nil {
		return nil, err
	}
	_, _, entries, err := w.ReadAll()
	return &etcdStore{log: w, dir: etcdDir(dir), durable: true, next: uint64(len(entries)) + 1}, err
}

func (s *etcdStore) append(b *batch) error {
	s.entries = s.entries[:0]
	s.add(b)
	return s.log.Save(&s.state, s.entries)
}

// add puts the records into entries, in the memory of earlier ones.
func (s *etcdStore) add(b *batch) {
	for _, v := range b.values {
		n := len(s.entries)
		if n < cap(s.entries) {
			s.entries = s.entries[:n+1]
		} else {
			s.entries = append(s.entries, nil)
		}
		if s.entries[n] == nil {
			s.entries[n] = &raftpb.Entry{Term: new(uint64(1)), Index: new(uint64), Type: raftpb.EntryNormal.Enum()}
		}
		*s.entries[n].Index, s.entries[n].Data = s.next, v
		s.next++
	}
}

func (s *etcdStore) appendAll(all []*batch) error {
	s.entries = s.entries[:0]
	for _, b := range all {
		s.add(b)
	}
	return s.log.Save(&s.state, s.entries)
}

func (s *etcdStore) shared() func(b *batch) error {
	if !s.durable {
		return locked(s.append)
	}
	return combine(s.appendAll)
}

func (s *etcdStore) scan(visit func(value []byte) bool) error {
	r, err := wal.OpenForRead(nil, s.dir, &walpb.Snapshot{Index: new(uint64), Term: new(uint64)})
	if err != nil {
		return err
	}
	defer r.Close()
	_, _, entries, err := r.ReadAll()
	if err != nil {
		return err
	}
	for _, e := range entries {
		visit(e.Data) // all have been read, whether they are wanted or not
	}
	return nil
}

func (s *etcdStore) close() error { return s.log.Close() }
