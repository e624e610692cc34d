package vfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Mem is a file system in memory that knows which bytes and names were synced. It starts with an empty root directory; names are taken
// relative to it, with or without a leading slash. It keeps to the letter of FS and File: what a kernel might make durable by its own
// accord is not, a mapping over a hole and the shortening of a mapped file are refused instead of being fatal. A disk is wiped by taking
// a new one, and rolled back by taking an earlier Clone.
//
// Memory: the content of the files, plus what unsynced writes have overwritten. Operations are safe for concurrent use; writes to one file
// wait for each other.
type Mem struct {
	fault          atomic.Pointer[func(Op) error]
	ops            atomic.Int64
	used, capacity atomic.Int64 // bytes; capacity 0 is no limit
	boots          int          // power losses so far

	// life is held for reading while an operation is applied, and for writing by Crash. The order of locks is life, tree, node.mu; none is
	// held across anything that blocks.
	life sync.RWMutex
	dead atomic.Bool // written under life

	tree struct {
		sync.RWMutex
		names
	}
}

var _ FS = (*Mem)(nil)

// NewMem returns an empty memory disk.
func NewMem() *Mem {
	m := &Mem{}
	m.tree.root = newDir()
	m.tree.root.touch()
	return m
}

// CrashMode says what a power loss leaves of unsynced writes.
type CrashMode int

// What survives Crash.
const (
	KeepAll    CrashMode = iota // process crash: every finished write survives; what was unsynced stays so and can be lost by a later crash
	DropAll                     // power loss: only synced bytes and names survive
	KeepRandom                  // power loss: a random subset of unsynced 512-byte sectors and names survives, torn, reordered, some zeroed
	KeepHole                    // power loss: everything survives but, in each file with unsynced writes, some sectors in a row: a hole, and valid data behind it
	KeepNames                   // power loss: names and sizes survive, unsynced bytes do not: where a file grew it reads as zero
	KeepBytes                   // power loss: bytes survive, unsynced names do not: a new file is gone, a removed one is back, a rename is undone
)

// Crash returns the disk as the next start finds it. The old one and its open files fail every later operation with ErrCrashed, and its locks
// are gone; an operation under way is over before Crash or fails. Bytes stored in a mapping and not synced are lost in any mode. rng may be nil
// for all but KeepRandom and KeepHole; equal disks and equal generators crash equally. The capacity stays; fault function and Ops start anew. A disk crashes
// once: the second Crash returns nil. See Clone for several crashes of one disk.
func (m *Mem) Crash(mode CrashMode, rng *rand.Rand) *Mem {
	m.life.Lock()
	defer m.life.Unlock()
	if m.dead.Swap(true) {
		return nil
	}
	next := &Mem{boots: m.boots}
	if mode != KeepAll {
		next.boots++
	}
	next.capacity.Store(m.capacity.Load())
	m.tree.Lock()
	next.tree.names = m.tree.names // no handle of the old disk gets past dead
	m.tree.names = names{}
	m.tree.Unlock()

	t := &next.tree.names
	switch mode {
	case KeepAll:
	case DropAll:
		t.revert(func(n *node) { n.mu.content.dropUnsynced() })
	case KeepHole:
		if rng == nil {
			rng = rand.New(rand.NewPCG(0, 0))
		}
		t.keepAll()
		t.revert(func(n *node) { n.mu.content.keepHole(rng) })
	case KeepNames:
		t.keepAll()
		t.revert(func(n *node) { n.mu.content.zeroUnsynced() })
	case KeepBytes:
		t.revert(func(n *node) { n.mu.content.keepBytes() })
	default:
		if rng == nil {
			rng = rand.New(rand.NewPCG(0, 0))
		}
		t.keepRandom(rng)
		t.revert(func(n *node) { n.mu.content.keepRandom(rng) })
	}
	next.settle()
	return next
}

// Clone returns a copy of the disk, unsynced writes included, that shares nothing with it: crashed, it shows what a crash of this one would
// have left at this moment. It has no locks, open files and fault function. The clone of a crashed disk is nil.
func (m *Mem) Clone() *Mem {
	m.life.Lock()
	defer m.life.Unlock()
	if m.dead.Load() {
		return nil
	}
	d := &Mem{boots: m.boots}
	d.capacity.Store(m.capacity.Load())
	d.tree.names = m.tree.names.clone()
	d.settle()
	return d
}

// settle forgets handles and counts the space anew.
func (m *Mem) settle() {
	m.tree.each(func(n *node) {
		n.opens, n.locked, n.mu.mapped = 0, false, nil
		m.used.Add(n.mu.content.occupied() * blockSize)
	})
}

// Open implements FS.
func (m *Mem) Open(name string, mode OpenMode) (File, error) {
	if mode < ReadOnly || mode > CreateExcl {
		return nil, pathError("open", name, errOpenMode)
	}
	n, err := m.open(name, OpOpen, mode)
	if err != nil {
		return nil, err
	}
	return &memFile{mem: m, node: n, name: name, readOnly: mode == ReadOnly}, nil
}

// open finds or creates a file and counts a handle on it.
func (m *Mem) open(name string, kind OpKind, mode OpenMode) (*node, error) {
	if mode == Create || mode == CreateExcl {
		m.tree.RLock()
		if m.tree.root == nil { // crashed
		} else if _, err := m.tree.find(clean(name)); err != nil {
			kind = OpCreate
		}
		m.tree.RUnlock()
	}
	if err := m.begin(Op{Kind: kind, Name: name}); err != nil {
		return nil, err
	}
	defer m.end()
	m.tree.Lock()
	defer m.tree.Unlock()
	n, err := m.tree.find(clean(name))
	switch {
	case errors.Is(err, fs.ErrNotExist) && (mode == Create || mode == CreateExcl):
		var at place
		if at, err = m.tree.parent(clean(name)); err == nil {
			n = &node{}
			n.touch()
			m.tree.link(n, at)
		}
	case err != nil:
	case mode == CreateExcl:
		err = fs.ErrExist
	case n.dir:
		err = syscall.EISDIR
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	n.opens++
	return n, nil
}

// closed gives up a handle.
func (m *Mem) closed(n *node) {
	m.tree.Lock()
	defer m.tree.Unlock()
	n.opens--
	m.freeLocked(n)
}

// freeLocked returns the space of a file that nobody can reach, once: when its name or its last handle goes. It keeps its blocks, as a
// crash may bring it back.
func (m *Mem) freeLocked(n *node) {
	if n.dir || n.opens > 0 || n.at.dir != nil {
		return
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	m.used.Add(-n.mu.content.occupied() * blockSize)
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(name string) error {
	full := clean(name)
	for i := 1; i <= len(full); i++ {
		if i < len(full) && full[i] != '/' || full == "/" {
			continue
		}
		m.tree.RLock()
		n, err := (*node)(nil), error(nil)
		if m.tree.root != nil {
			n, err = m.tree.find(full[:i])
		}
		m.tree.RUnlock()
		switch {
		case err == nil && n != nil && !n.dir:
			return pathError("mkdir", name, syscall.ENOTDIR)
		case err == nil && n != nil:
			continue
		}
		if err := m.mkdir(full[:i]); err != nil {
			return err
		}
	}
	return nil
}

func (m *Mem) mkdir(name string) error {
	if err := m.begin(Op{Kind: OpMkdir, Name: name}); err != nil {
		return err
	}
	defer m.end()
	m.tree.Lock()
	defer m.tree.Unlock()
	at, err := m.tree.parent(name)
	if err != nil {
		return pathError("mkdir", name, err)
	}
	switch n := at.dir.entries[at.name]; {
	case n == nil:
		n = newDir()
		n.touch()
		m.tree.link(n, at)
	case !n.dir:
		return pathError("mkdir", name, syscall.ENOTDIR)
	}
	return nil
}

// lookup runs f on the node under the lock of the tree, held for reading.
func (m *Mem) lookup(kind OpKind, name string, f func(*node) error) error {
	if err := m.begin(Op{Kind: kind, Name: name}); err != nil {
		return err
	}
	defer m.end()
	m.tree.RLock()
	defer m.tree.RUnlock()
	n, err := m.tree.find(clean(name))
	if err == nil {
		err = f(n)
	}
	return pathError(kind.String(), name, err)
}

// ReadDir implements FS.
func (m *Mem) ReadDir(name string) ([]fs.DirEntry, error) {
	var list []fs.DirEntry
	err := m.lookup(OpReadDir, name, func(n *node) error {
		if !n.dir {
			return syscall.ENOTDIR
		}
		list = make([]fs.DirEntry, 0, len(n.entries))
		for _, base := range slices.Sorted(maps.Keys(n.entries)) {
			list = append(list, fs.FileInfoToDirEntry(infoOf(base, n.entries[base])))
		}
		return nil
	})
	return list, err
}

// Stat implements FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	var info memInfo
	err := m.lookup(OpStat, name, func(n *node) error {
		info = infoOf(path.Base(clean(name)), n)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return info, nil
}

// Rename implements FS.
func (m *Mem) Rename(oldName, newName string) error {
	if err := m.begin(Op{Kind: OpRename, Name: oldName, To: clean(newName)}); err != nil {
		return err
	}
	defer m.end()
	m.tree.Lock()
	defer m.tree.Unlock()
	if err := m.renameLocked(clean(oldName), clean(newName)); err != nil {
		return &os.LinkError{Op: "rename", Old: oldName, New: newName, Err: err}
	}
	return nil
}

func (m *Mem) renameLocked(oldName, newName string) error {
	n, err := m.tree.find(oldName)
	if err != nil {
		return err
	}
	to, err := m.tree.parent(newName)
	if err != nil {
		return err
	}
	there := to.dir.entries[to.name]
	switch {
	case there == n:
		return nil
	case n == m.tree.root || strings.HasPrefix(newName, oldName+"/"):
		return syscall.EINVAL
	case there == nil:
	case there.dir && !n.dir:
		return syscall.EISDIR
	case !there.dir && n.dir:
		return syscall.ENOTDIR
	case there.dir && len(there.entries) > 0:
		return syscall.ENOTEMPTY
	}
	if replaced := m.tree.link(n, to); replaced != nil {
		m.freeLocked(replaced)
	}
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	if err := m.begin(Op{Kind: OpRemove, Name: name}); err != nil {
		return err
	}
	defer m.end()
	m.tree.Lock()
	defer m.tree.Unlock()
	n, err := m.tree.find(clean(name))
	switch {
	case err != nil:
	case n == m.tree.root:
		err = syscall.EBUSY
	case len(n.entries) > 0:
		err = syscall.ENOTEMPTY
	default:
		m.tree.unlink(n)
		m.freeLocked(n)
	}
	return pathError("remove", name, err)
}

// RemoveAll implements FS.
func (m *Mem) RemoveAll(name string) error {
	for _, victim := range m.below(clean(name)) {
		if err := m.Remove(victim); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// below lists a tree, leaves first; the root directory itself stays.
func (m *Mem) below(name string) []string {
	m.tree.RLock()
	defer m.tree.RUnlock()
	if m.tree.root == nil {
		return []string{name} // crashed: Remove says so
	}
	n, err := m.tree.find(name)
	if err != nil {
		return nil
	}
	var list []string
	var walk func(name string, n *node)
	walk = func(name string, n *node) {
		for _, base := range slices.Sorted(maps.Keys(n.entries)) {
			walk(path.Join(name, base), n.entries[base])
		}
		if n != m.tree.root {
			list = append(list, name)
		}
	}
	walk(name, n)
	return list
}

// SyncDir implements FS.
func (m *Mem) SyncDir(name string) error {
	if err := m.begin(Op{Kind: OpSyncDir, Name: name}); err != nil {
		return err
	}
	defer m.end()
	m.tree.Lock()
	defer m.tree.Unlock()
	n, err := m.tree.find(clean(name))
	switch {
	case err != nil:
	case !n.dir:
		err = syscall.ENOTDIR
	default:
		m.tree.sync(n)
	}
	return pathError("syncdir", name, err)
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	n, err := m.open(name, OpLock, Create)
	if err != nil {
		return nil, err
	}
	l := &memLock{mem: m, node: n, name: name}
	m.life.RLock()
	defer m.life.RUnlock()
	if m.dead.Load() {
		return nil, pathError("lock", name, ErrCrashed)
	}
	m.tree.Lock()
	defer m.tree.Unlock()
	if n.locked {
		n.opens--
		return nil, pathError("lock", name, ErrLocked)
	}
	n.locked = true
	return l, nil
}

// Space implements FS.
func (m *Mem) Space(name string) (total, free int64, err error) {
	if err := m.lookup(OpStat, name, func(*node) error { return nil }); err != nil {
		return 0, 0, err
	}
	if limit := m.capacity.Load(); limit > 0 {
		return limit, max(limit-m.used.Load(), 0), nil
	}
	return math.MaxInt64, math.MaxInt64, nil
}

// BootID implements FS: another one after every power loss, the same one after a process crash.
func (m *Mem) BootID(string) string { return "mem " + strconv.Itoa(m.boots) }

// memLock is a held lock.
type memLock struct {
	mem  *Mem
	node *node
	name string
	done atomic.Bool
}

// Close implements io.Closer.
func (l *memLock) Close() error {
	if l.done.Swap(true) {
		return pathError("unlock", l.name, fs.ErrClosed)
	}
	l.mem.life.RLock()
	defer l.mem.life.RUnlock()
	if l.mem.dead.Load() {
		return pathError("unlock", l.name, ErrCrashed)
	}
	l.mem.tree.Lock()
	l.node.locked = false
	l.mem.tree.Unlock()
	l.mem.closed(l.node)
	return nil
}

// memInfo implements fs.FileInfo.
type memInfo struct {
	name     string
	size     int64
	dir      bool
	modified time.Time
}

func infoOf(name string, n *node) memInfo {
	i := memInfo{name: name, dir: n.dir, modified: time.Unix(0, n.modified.Load())}
	if !n.dir {
		n.mu.RLock()
		i.size = n.mu.content.size
		n.mu.RUnlock()
	}
	return i
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return i.modified }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
