package segment

import (
	"errors"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/insynclog/insync/internal/vfs"
)

// firstIndexBytes is the size in bytes that an index file starts with. It grows fourfold until it has what the configuration allows.
const firstIndexBytes = 4096

// maxLoadedBytes bounds what is mapped of a file that is already there, whatever the configuration says of new entries.
const maxLoadedBytes = 1 << 30

// indexFile is a file of entries of one size, mapped into memory. The writer appends; readers look up what was published. The file
// comes to be with the first entry, and is opened only while a mapping is made: a mapping needs no descriptor.
//
//	|entry|entry|entry|entry| 0  0  0  0 |
//	                         ^count        ^length of the mapping = length of the file, until trim
//
// The zero entries behind count are what a crash leaves; load does not count them.
type indexFile struct {
	fs        vfs.FS
	path      string
	entrySize int
	maxBytes  int // a multiple of entrySize

	count   atomic.Int32             // entries that readers may see; published after the entry itself
	current atomic.Pointer[indexMap] // nil: not mapped
	exists  atomic.Bool              // the file is there, or was found to be
	durable atomic.Int32             // entries that sync has written
	live    bool                     // there may be readers; the writer's

	mu struct {
		sync.Mutex      // held while a mapping is made or given up; never by a look-up in a mapping that is there
		loaded     bool // count is known
	}
}

// indexMap is one mapping, counted: the index holds one reference, every look-up under way another. The last one unmaps.
type indexMap struct {
	m    vfs.Mapping
	data []byte
	refs atomic.Int32
	done atomic.Bool // unmapped
}

func (m *indexMap) acquire() bool {
	for {
		n := m.refs.Load()
		if n == 0 {
			return false
		}
		if m.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (m *indexMap) release() error {
	if m.refs.Add(-1) > 0 {
		return nil
	}
	err := m.m.Close()
	m.done.Store(true)
	return err
}

func (x *indexFile) init(fsys vfs.FS, path string, entrySize, maxBytes int) {
	x.fs, x.path, x.entrySize, x.maxBytes = fsys, path, entrySize, maxBytes/entrySize*entrySize
}

// create declares the index empty and its file absent; a file of that name left by an earlier life is overwritten.
func (x *indexFile) create() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.mu.loaded = true
}

// len returns the number of entries, and reads the file if it was not read yet.
func (x *indexFile) len() (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	err := x.loadLocked()
	return int(x.count.Load()), err
}

// loadLocked maps the file as it is and counts its entries. Missing is empty.
func (x *indexFile) loadLocked() error {
	if x.mu.loaded && (x.current.Load() != nil || x.count.Load() == 0) {
		return nil
	}
	f, err := x.fs.Open(x.path, vfs.ReadWrite)
	if errors.Is(err, fs.ErrNotExist) {
		x.count.Store(0)
		x.mu.loaded = true
		return nil
	}
	if err != nil {
		return full(storage("open", x.path, err))
	}
	defer f.Close()
	x.exists.Store(true)
	size, err := f.Size()
	if err != nil {
		return storage("stat", x.path, err)
	}
	n := int(min(size, maxLoadedBytes)) / x.entrySize
	if x.mu.loaded {
		n = min(n, int(x.count.Load()))
	}
	if n == 0 {
		x.count.Store(0)
		x.mu.loaded = true
		return nil
	}
	m, err := f.Map(n * x.entrySize)
	if err != nil {
		return storage("map", x.path, err)
	}
	im := &indexMap{m: m, data: m.Bytes()}
	im.refs.Store(1)
	err = vfs.Guard(func() { n = countEntries(im.data, n, x.entrySize) })
	if err != nil {
		m.Close()
		return storage("read", x.path, err)
	}
	x.current.Store(im)
	x.count.Store(int32(n))
	x.mu.loaded = true
	return nil
}

// countEntries returns how many of the n entries come before the zeros at the end. Entries rise, so no entry but the first can be zero.
func countEntries(data []byte, n, size int) int {
	lo, hi := 0, n
	for lo < hi {
		mid := (lo + hi) / 2
		if isZero(data[mid*size : (mid+1)*size]) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

func isZero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}

// view calls fn with the entries, guarded against faults of the mapping. data is valid inside fn only.
func (x *indexFile) view(fn func(data []byte, n int)) error {
	m := x.current.Load()
	if m == nil || !m.acquire() {
		x.mu.Lock()
		err := x.loadLocked()
		m = x.current.Load()
		if err != nil || m == nil {
			x.mu.Unlock()
			if err == nil {
				fn(nil, 0)
			}
			return err
		}
		m.acquire() // succeeds: whoever gives it up holds x.mu
		x.mu.Unlock()
	}
	// The count may belong to a later and larger mapping than the one at hand.
	n := min(int(x.count.Load()), len(m.data)/x.entrySize)
	err := vfs.Guard(func() { fn(m.data, n) })
	return errors.Join(storage("read", x.path, err), storage("unmap", x.path, m.release()))
}

// full tells whether no more than reserve entries can be added.
func (x *indexFile) full(reserve int) bool {
	return int(x.count.Load())+reserve >= x.maxBytes/x.entrySize
}

// append adds the entry that put writes. Only the writer calls it.
func (x *indexFile) append(put func(b []byte)) error {
	n := int(x.count.Load())
	m := x.current.Load()
	if m == nil || (n+1)*x.entrySize > len(m.data) {
		var err error
		if m, err = x.grow(n + 1); err != nil {
			return err
		}
	}
	if err := vfs.Guard(func() { put(m.data[n*x.entrySize : (n+1)*x.entrySize]) }); err != nil {
		return storage("write", x.path, err)
	}
	x.count.Store(int32(n + 1))
	return nil
}

// grow makes a mapping with room for n entries and publishes it. Readers of the old one finish with it.
func (x *indexFile) grow(n int) (*indexMap, error) {
	size := firstIndexBytes
	for size < n*x.entrySize {
		size *= 4
	}
	return x.remap(min(size, max(x.maxBytes, n*x.entrySize)) / x.entrySize * x.entrySize)
}

// remap makes a mapping of size bytes with the entries that count, and zeros behind them, and publishes it.
func (x *indexFile) remap(size int) (*indexMap, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.loadLocked(); err != nil {
		return nil, err
	}
	old := x.current.Load()
	f, err := x.fs.Open(x.path, vfs.Create)
	if err != nil {
		return nil, storage("create", x.path, err)
	}
	defer f.Close()
	if !x.exists.Load() || old == nil {
		// Whatever an earlier life left in a file of this name is not ours.
		if err := f.Truncate(0); err != nil {
			return nil, storage("truncate", x.path, err)
		}
	}
	x.exists.Store(true)
	if err := f.Preallocate(0, int64(size)); err != nil {
		return nil, storage("allocate", x.path, err)
	}
	m, err := f.Map(size)
	if err != nil {
		return nil, storage("map", x.path, err)
	}
	im := &indexMap{m: m, data: m.Bytes()}
	im.refs.Store(1)
	if old == nil {
		x.current.Store(im)
		return im, nil
	}
	// Where a mapping is a buffer, the new one does not have what the old one was told.
	used := int(x.count.Load()) * x.entrySize
	if err := vfs.Guard(func() { copy(im.data, old.data[:used]); clear(im.data[used:]) }); err != nil {
		m.Close()
		return nil, storage("copy", x.path, err)
	}
	x.current.Store(im)
	return im, storage("unmap", x.path, old.release())
}

// truncate keeps the first n entries and zeroes the rest. Only the writer calls it. Once there are readers it does so in a mapping of its own: one
// that looks up in the old one sees entries that go, and look-ups confirm what they find. (Where both map the same memory it may see zeros, too.)
func (x *indexFile) truncate(n int) error {
	have, err := x.len()
	if err != nil || n >= have {
		return err
	}
	x.count.Store(int32(n))
	x.durable.Store(min(x.durable.Load(), int32(n)))
	m := x.current.Load()
	if x.live {
		_, err := x.remap(len(m.data))
		return err
	}
	return storage("write", x.path, vfs.Guard(func() { clear(m.data[n*x.entrySize : have*x.entrySize]) }))
}

// sync makes the entries durable, not the file's name. It may run beside append: what it writes are entries that were published before, not the mapping,
// which the writer may be storing to. One at a time, and not beside truncate.
func (x *indexFile) sync() error {
	m := x.current.Load()
	if m == nil || !m.acquire() {
		if !x.exists.Load() {
			return nil
		}
		return syncFile(x.fs, x.path)
	}
	from := int(x.durable.Load())
	n := max(from, min(int(x.count.Load()), len(m.data)/x.entrySize))
	entries := make([]byte, (n-from)*x.entrySize)
	err := vfs.Guard(func() { copy(entries, m.data[from*x.entrySize:]) })
	if err = errors.Join(storage("read", x.path, err), storage("unmap", x.path, m.release())); err != nil || !x.exists.Load() {
		return err
	}
	f, err := x.fs.Open(x.path, vfs.ReadWrite)
	if err != nil {
		return full(storage("open", x.path, err))
	}
	defer f.Close()
	if _, err := f.WriteAt(entries, int64(from*x.entrySize)); err != nil {
		return full(storage("write", x.path, err))
	}
	if err := f.Sync(); err != nil {
		return storage("sync", x.path, err)
	}
	x.durable.Store(int32(n))
	return nil
}

// trim unmaps the file and cuts it to its entries, so that Kafka counts them rightly. The next look-up maps it again. Only the writer calls it.
func (x *indexFile) trim() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.exists.Load() || !x.mu.loaded {
		return nil
	}
	if err := x.unmapLocked(); err != nil {
		return err
	}
	f, err := x.fs.Open(x.path, vfs.ReadWrite)
	if err != nil {
		return storage("open", x.path, err)
	}
	defer f.Close()
	return storage("truncate", x.path, f.Truncate(int64(int(x.count.Load())*x.entrySize)))
}

// unmapLocked gives the mapping up and waits for look-ups in it, which take microseconds and wait for nothing.
func (x *indexFile) unmapLocked() error {
	m := x.current.Load()
	if m == nil {
		return nil
	}
	x.current.Store(nil)
	err := m.release()
	for !m.done.Load() {
		runtime.Gosched()
	}
	return storage("unmap", x.path, err)
}

// close unmaps without changing the file.
func (x *indexFile) close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.unmapLocked()
}
