package vfs

import (
	"io"
	"io/fs"
	"os"
)

// FS is one disk. Names are slash-separated paths; an OS file system joins them to nothing (absolute or relative as given), Mem has
// one root and takes "a" and "/a" for the same name. Errors satisfy errors.Is with fs.ErrNotExist, fs.ErrExist and fs.ErrClosed, and
// IsNoSpace, where these apply, and name the file.
type FS interface {
	// Open opens a file (not a directory) as mode says. It never truncates. The name of a file it created is durable after SyncDir of the parent.
	Open(name string, mode OpenMode) (File, error)
	// MkdirAll makes the directory and its parents; one that exists is no error. Each new name is durable after SyncDir of its parent.
	MkdirAll(name string) error
	// ReadDir lists names in lexical order.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Stat describes a file or directory.
	Stat(name string) (fs.FileInfo, error)
	// Rename replaces newName if it exists: at every moment, and after a crash, newName is the old file or the new one.
	// Open files follow their file. Durable after SyncDir of the parent(s).
	Rename(oldName, newName string) error
	// Remove removes a file or an empty directory. A file that is open stays usable until it is closed. Durable after SyncDir of the parent.
	Remove(name string) error
	// RemoveAll removes a tree, the leaves first; a missing one is no error. A crash may leave any part of it until SyncDir of the parent.
	RemoveAll(name string) error
	// SyncDir makes creations, renames and removals in the directory durable, not the content of its files.
	SyncDir(name string) error
	// Lock takes an exclusive advisory lock on the file, creating it, without waiting; Close of the result releases it and leaves the file.
	// ErrLocked: somebody (this process or another) holds it. The lock ends with the process.
	Lock(name string) (io.Closer, error)
	// Space returns the size in bytes of the disk that holds name and how many of them are available to write (very large numbers if unknown).
	Space(name string) (total, free int64, err error)
	// BootID names the present run of the operating system and the mount that name is on: as long as it is the same, every write that had returned is still there, synced or
	// not, unless a sync failed. "" if unknown, which is the same as nothing.
	BootID(name string) string
}

// OpenMode says how Open treats existence and writing.
type OpenMode int

// The modes of Open.
const (
	ReadOnly   OpenMode = iota // must exist
	ReadWrite                  // must exist
	Create                     // created if missing, kept as it is otherwise
	CreateExcl                 // must not exist
)

// File is an open file. All methods are safe for concurrent use, as pread and pwrite are; after Close they fail with fs.ErrClosed.
type File interface {
	// ReaderAt reads as pread does: fewer bytes than asked for come with io.EOF. It does not keep p.
	io.ReaderAt
	// WriterAt writes as pwrite does; a write beyond the end grows the file, and a gap reads as zero. After an error a prefix may have been written. It does not keep p.
	io.WriterAt
	// WritevAt writes the buffers one after the other at off, in one system call where there is one (Linux), as WriteAt would their concatenation.
	// bufs and what it refers to stay the caller's and unchanged.
	WritevAt(bufs [][]byte, off int64) (n int, err error)
	// Close releases the file. It makes nothing durable. Mappings stay valid.
	io.Closer
	// Size is the current size in bytes.
	Size() (int64, error)
	// Truncate sets the size. Bytes beyond it are gone, bytes it adds read as zero and have no blocks on disk. The caller keeps out concurrent writers beyond either size.
	Truncate(size int64) error
	// Sync makes data and size durable (fdatasync where the system has it). After an error nothing is known about unsynced writes, and a later
	// success proves nothing about them: the caller gives up the file above its last synced position.
	Sync() error
	// Preallocate reserves blocks for [off, off+n) and grows the file to off+n if it is shorter; bytes not yet written read as zero. It may do
	// no more than Truncate where the system has nothing better. The caller keeps out concurrent writers beyond the old size.
	Preallocate(off, n int64) error
	// Reserve has blocks ready for writes into [off, off+n) where the system can do that without changing the file's size (Linux): such a write takes two thirds of the time. It is a hint, and fails without a word.
	// Truncate gives back what lies behind the size it sets, also when the file has that size already.
	Reserve(off, n int64)
	// Map maps [0, size) shared and writable. The file must be at least size bytes long, with blocks allocated (Preallocate). See Mapping.
	Map(size int) (Mapping, error)
	// OS returns the operating system's file for sendfile, or nil (memory). It is closed by Close, and for reading only.
	OS() *os.File
}

// Mapping is a shared memory map of a file. Bytes stays valid until Close, also when the File is closed before it; an access after Close
// may end the process. Use Guard around accesses.
//
// Where the system maps files (Linux, darwin, BSD) stores are seen by ReadAt at once and survive the process. Elsewhere, and in Mem, the
// mapping is a buffer: ReadAt sees its changes, and they survive the process, after Sync or Close, and it does not see writes to the file.
type Mapping interface {
	// Bytes is the mapped memory, with length and capacity size. The mapping owns it.
	Bytes() []byte
	// Sync flushes the mapped bytes to stable storage. After an error the rule of File.Sync holds.
	Sync() error
	// Close unmaps. It makes nothing durable. A second Close does nothing.
	Close() error
}

// MaxDescriptors is how many files the process may have open at a time, sockets included; 0 if unknown.
func MaxDescriptors() int64 { return maxDescriptors() }
