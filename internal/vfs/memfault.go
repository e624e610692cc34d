package vfs

import (
	"fmt"
	"io/fs"
	"syscall"
)

// OpKind says what an operation on a Mem does.
type OpKind int

// The operations of a Mem, those that change nothing first.
const (
	OpOpen    OpKind = iota + 1 // of a file that exists
	OpStat                      // FS.Stat, File.Size
	OpReadDir                   //
	OpRead                      // File.ReadAt
	OpMap                       // File.Map
	OpLock                      //

	OpCreate      // Open or Lock of a file that does not exist
	OpMkdir       // one per directory that MkdirAll makes
	OpRename      // Op.To is the new name
	OpRemove      // one per file and directory that Remove or RemoveAll removes
	OpSyncDir     //
	OpWrite       // File.WriteAt and WritevAt; may fail with ShortWrite
	OpTruncate    // Op.Len is the new size
	OpPreallocate //
	OpSync        // File.Sync
	OpSyncMap     // Mapping.Sync
)

var opNames = [...]string{
	OpOpen: "open", OpStat: "stat", OpReadDir: "readdir", OpRead: "read", OpMap: "map", OpLock: "lock",
	OpCreate: "create", OpMkdir: "mkdir", OpRename: "rename", OpRemove: "remove", OpSyncDir: "syncdir", OpWrite: "write",
	OpTruncate: "truncate", OpPreallocate: "preallocate", OpSync: "sync", OpSyncMap: "msync",
}

// String is the name of the system call, or nearly.
func (k OpKind) String() string {
	if k <= 0 || int(k) >= len(opNames) {
		return fmt.Sprintf("OpKind(%d)", int(k))
	}
	return opNames[k]
}

// Changes says whether the operation changes the disk or what is durable on it. Only these have an Op.Seq.
func (k OpKind) Changes() bool { return k >= OpCreate }

// Op is one operation on a Mem, about to happen.
type Op struct {
	Kind OpKind
	Name string // rooted and clean: "/data/a"
	To   string // OpRename only, likewise
	Off  int64  // OpRead, OpWrite, OpPreallocate
	Len  int64  // OpRead, OpWrite, OpPreallocate, OpTruncate, OpMap, OpSyncMap
	// Seq numbers the operations that change something, from 1; 0 for others. See Mem.Ops.
	Seq int64
}

// String is one line, stable.
func (o Op) String() string {
	s := fmt.Sprintf("%d %s %s", o.Seq, o.Kind, o.Name)
	switch o.Kind {
	case OpRename:
		return s + " " + o.To
	case OpRead, OpWrite, OpPreallocate:
		return fmt.Sprintf("%s [%d, %d)", s, o.Off, o.Off+o.Len)
	case OpTruncate, OpMap, OpSyncMap:
		return fmt.Sprintf("%s %d", s, o.Len)
	default:
		return s
	}
}

// ShortWrite is an error for a fault function to return for an OpWrite: the first N bytes are written, then the write fails with Err.
type ShortWrite struct {
	N   int64
	Err error // nil means EIO
}

// Error names both.
func (s ShortWrite) Error() string {
	return fmt.Sprintf("short write of %d bytes: %v", s.N, s.Unwrap())
}

// Unwrap returns Err, or EIO.
func (s ShortWrite) Unwrap() error {
	if s.Err == nil {
		return syscall.EIO
	}
	return s.Err
}

// ShortRead is an error for a fault function to return for an OpRead: the file seems to end N bytes behind the offset of the read, which returns those that are there, and io.EOF.
type ShortRead struct{ N int64 }

// Error names the length.
func (s ShortRead) Error() string { return fmt.Sprintf("short read of %d bytes", s.N) }

// SetFault makes f see every operation before it happens; an error it returns makes the operation fail with it, wrapped with name and kind.
// A failed OpWrite writes nothing (see ShortWrite; ShortRead for OpRead), a failed OpSync leaves the page cache clean and nothing durable (a
// later success does not cover what this one did not), any other failed operation changes nothing. f may sleep, which makes the
// disk slow, use the disk itself (it is then called for that too), and call Crash: the operation then fails with ErrCrashed. It is called
// without a lock, from as many goroutines as use the disk. Nil removes it. A disk that Crash returns has none.
func (m *Mem) SetFault(f func(op Op) error) {
	if f == nil {
		m.fault.Store(nil)
		return
	}
	m.fault.Store(&f)
}

// Ops counts the operations so far that change something (OpKind.Changes), failed ones too. A crash explorer runs a workload once to learn
// the count, and then again with a crash at each.
func (m *Mem) Ops() int64 { return m.ops.Load() }

// SetCapacity limits the disk; 0 means no limit. A file occupies whole blocks of 4096 bytes where it was written or preallocated; names cost
// nothing. A write for which there is not enough space writes what fits and fails with ErrNoSpace.
func (m *Mem) SetCapacity(bytes int64) { m.capacity.Store(bytes) }

// Corrupt changes one stored byte to its exclusive or with mask, in memory and, where the byte is synced, on the disk: rot that no operation reports.
func (m *Mem) Corrupt(name string, off int64, mask byte) error {
	m.life.RLock()
	defer m.life.RUnlock()
	if m.dead.Load() {
		return &fs.PathError{Op: "corrupt", Path: name, Err: ErrCrashed}
	}
	m.tree.RLock()
	n, err := m.tree.find(clean(name))
	m.tree.RUnlock()
	if err == nil && n.dir {
		err = syscall.EISDIR
	}
	if err != nil {
		return &fs.PathError{Op: "corrupt", Path: name, Err: err}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var b [1]byte
	if off < 0 || n.mu.content.readAt(b[:], off) == 0 {
		return &fs.PathError{Op: "corrupt", Path: name, Err: errRange}
	}
	b[0] ^= mask
	n.mu.content.put(b[:], off)
	return nil
}

// begin announces an operation and, if it may go on, holds the disk alive until end.
func (m *Mem) begin(op Op) error {
	if !m.dead.Load() {
		if op.Kind.Changes() {
			op.Seq = m.ops.Add(1)
		}
		if f := m.fault.Load(); f != nil {
			name := op.Name
			op.Name = clean(name)
			if err := (*f)(op); err != nil {
				return &fs.PathError{Op: op.Kind.String(), Path: name, Err: err}
			}
			op.Name = name
		}
	}
	m.life.RLock()
	if m.dead.Load() {
		m.life.RUnlock()
		return &fs.PathError{Op: op.Kind.String(), Path: op.Name, Err: ErrCrashed}
	}
	return nil
}

func (m *Mem) end() { m.life.RUnlock() }

// grab takes blocks from the free space, all or none.
func (m *Mem) grab(blocks int64) bool {
	limit := m.capacity.Load()
	if used := m.used.Add(blocks * blockSize); limit > 0 && used > limit {
		m.used.Add(-blocks * blockSize)
		return false
	}
	return true
}
