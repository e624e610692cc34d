package vfs

import (
	"sync"
	"time"
)

// Watch is a disk that knows how long it has kept somebody waiting: an operation that has begun and does not return cannot be ended, but it can be noticed. It counts what waits for the device and
// not what the page cache answers as a rule: writes, syncs, and what changes sizes and names.
type Watch struct {
	FS

	mu    sync.Mutex
	next  uint64
	began map[uint64]time.Time // of operations under way
	bound time.Duration
	syncs Syncs
}

// Syncs counts syncs that have returned.
type Syncs struct {
	All  int64
	Slow int64 // took the bound and more
	Half int64 // took half of it and more
}

// NewWatch watches fs. What is opened before is not watched. Syncs that take bound are slow; 0: none is.
func NewWatch(fs FS, bound time.Duration) *Watch {
	return &Watch{FS: fs, began: map[uint64]time.Time{}, bound: bound}
}

// Syncs counts the syncs so far.
func (w *Watch) Syncs() Syncs {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.syncs
}

// synced ends a sync.
func (w *Watch) synced(id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	took := time.Since(w.began[id])
	delete(w.began, id)
	w.syncs.All++
	if w.bound <= 0 || took < w.bound/2 {
		return
	}
	w.syncs.Half++
	if took >= w.bound {
		w.syncs.Slow++
	}
}

// Stalled is for how long the oldest operation under way has not returned; 0 without one.
func (w *Watch) Stalled() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.began) == 0 {
		return 0
	}
	now := time.Now()
	longest := time.Duration(0)
	for _, t := range w.began {
		longest = max(longest, now.Sub(t))
	}
	return longest
}

func (w *Watch) begin() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	w.began[w.next] = time.Now()
	return w.next
}

func (w *Watch) end(id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.began, id)
}

// Open implements FS.
func (w *Watch) Open(name string, mode OpenMode) (File, error) {
	defer w.end(w.begin())
	f, err := w.FS.Open(name, mode)
	if err != nil {
		return nil, err
	}
	return &watchedFile{f, w}, nil
}

// MkdirAll implements FS.
func (w *Watch) MkdirAll(name string) error {
	defer w.end(w.begin())
	return w.FS.MkdirAll(name)
}

// Rename implements FS.
func (w *Watch) Rename(oldName, newName string) error {
	defer w.end(w.begin())
	return w.FS.Rename(oldName, newName)
}

// Remove implements FS.
func (w *Watch) Remove(name string) error {
	defer w.end(w.begin())
	return w.FS.Remove(name)
}

// SyncDir implements FS.
func (w *Watch) SyncDir(name string) error {
	defer w.synced(w.begin())
	return w.FS.SyncDir(name)
}

type watchedFile struct {
	File
	w *Watch
}

func (f *watchedFile) WriteAt(p []byte, off int64) (int, error) {
	defer f.w.end(f.w.begin())
	return f.File.WriteAt(p, off)
}

func (f *watchedFile) WritevAt(bufs [][]byte, off int64) (int, error) {
	defer f.w.end(f.w.begin())
	return f.File.WritevAt(bufs, off)
}

func (f *watchedFile) Truncate(size int64) error {
	defer f.w.end(f.w.begin())
	return f.File.Truncate(size)
}

func (f *watchedFile) Sync() error {
	defer f.w.synced(f.w.begin())
	return f.File.Sync()
}

func (f *watchedFile) Preallocate(off, n int64) error {
	defer f.w.end(f.w.begin())
	return f.File.Preallocate(off, n)
}

func (f *watchedFile) Reserve(off, n int64) {
	defer f.w.end(f.w.begin())
	f.File.Reserve(off, n)
}

func (f *watchedFile) Map(size int) (Mapping, error) {
	m, err := f.File.Map(size)
	if err != nil {
		return nil, err
	}
	return &watchedMapping{m, f.w}, nil
}

type watchedMapping struct {
	Mapping
	w *Watch
}

func (m *watchedMapping) Sync() error {
	defer m.w.synced(m.w.begin())
	return m.Mapping.Sync()
}
