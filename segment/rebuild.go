package segment

import (
	"github.com/insynclog/insync/internal/vfs"
)

// rebuild makes the offset index of a sealed segment anew, in memory, when the one on disk is missing or a batch has contradicted it: once, for all
// readers to come. The file stays as it is; a recovery, or a truncation that makes the segment active, writes it.
func (s *Segment) rebuild(latest boundary) error {
	s.open.Lock()
	defer s.open.Unlock()
	if s.rebuilt.Load() {
		return nil
	}
	f := s.file.Load()
	if f == nil {
		return ErrDeleted
	}
	var data []byte
	var entry [offsetEntrySize]byte
	sc := &scan{buf: make([]byte, batchScanBytes)}
	sc.reset(f.File, s.base, 0, latest.pos, s.base)
	for since := int64(0); ; {
		h, size, err := sc.next()
		if err != nil {
			if isBadBatch(err) {
				break // damage, or the end: what lies before it is indexed
			}
			return storage("read", s.path, err)
		}
		if since > int64(s.cfg.IndexIntervalBytes) {
			offsetEntry{rel: int32(h.LastOffset() - s.base), pos: int32(sc.pos - size)}.put(entry[:])
			data = append(data, entry[:]...)
			since = 0
		}
		since += size
	}
	err := s.offsets.replace(data)
	s.rebuilt.Store(true)
	s.suspect.Store(false)
	return err
}

// needsRebuild tells whether the offset index of a sealed segment cannot be used: it has been contradicted, or has no entries where there must be some.
func (s *Segment) needsRebuild(latest boundary) bool {
	if !s.sealed.Load() || s.rebuilt.Load() {
		return false
	}
	if s.suspect.Load() {
		return true
	}
	if latest.pos <= 16*int64(s.cfg.IndexIntervalBytes) {
		return false // a walk from the base is as good
	}
	n, err := s.offsets.len()
	return err == nil && n == 0
}

// replace puts entries in memory in the place of the file's.
func (x *indexFile) replace(data []byte) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.current.Load()
	m := &indexMap{m: heapMapping(data), data: data}
	m.refs.Store(1)
	x.count.Store(int32(min(len(data)/x.entrySize, int(x.count.Load()))))
	x.current.Store(m)
	x.count.Store(int32(len(data) / x.entrySize))
	x.mu.loaded = true
	if old == nil {
		return nil
	}
	return storage("unmap", x.path, old.release())
}

// reload forgets what is in memory: the next use reads the file.
func (x *indexFile) reload() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	err := x.unmapLocked()
	x.count.Store(0)
	x.mu.loaded = false
	return err
}

// heapMapping is a mapping of no file. There is nothing to make durable.
type heapMapping []byte

var _ vfs.Mapping = heapMapping(nil)

func (h heapMapping) Bytes() []byte { return h }
func (h heapMapping) Sync() error   { return nil }
func (h heapMapping) Close() error  { return nil }
