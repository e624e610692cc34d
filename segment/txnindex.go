package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/insynclog/insync/internal/vfs"
)

// txnEntrySize is the size in bytes of an entry of the transaction index.
//
//	+---------+------------+-------------+------------+------------------+
//	| version | producerId | firstOffset | lastOffset | lastStableOffset |
//	| int16 0 |   int64    |    int64    |   int64    |      int64       |
//	+---------+------------+-------------+------------+------------------+
const txnEntrySize = 34

// AbortedTxn is one aborted transaction: an entry of the transaction index of the segment that holds its marker.
type AbortedTxn struct {
	ProducerID       int64
	FirstOffset      int64 // of its first batch
	LastOffset       int64 // of its marker, inclusive
	LastStableOffset int64 // of the log when the marker was written
}

// AppendTo appends the encoded entry to dst.
func (a AbortedTxn) AppendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.ProducerID))
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.FirstOffset))
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.LastOffset))
	return binary.BigEndian.AppendUint64(dst, uint64(a.LastStableOffset))
}

// parseTxnIndex decodes a transaction index whose markers lie in [base, end). Entries rise by last offset.
func parseTxnIndex(b []byte, base, end int64) ([]AbortedTxn, error) {
	if len(b)%txnEntrySize != 0 {
		return nil, fmt.Errorf("%d bytes are no multiple of %d", len(b), txnEntrySize)
	}
	list := make([]AbortedTxn, 0, len(b)/txnEntrySize)
	last := base - 1
	for ; len(b) > 0; b = b[txnEntrySize:] {
		if v := int16(binary.BigEndian.Uint16(b)); v != 0 {
			return nil, fmt.Errorf("entry version %d", v)
		}
		a := AbortedTxn{
			ProducerID:       int64(binary.BigEndian.Uint64(b[2:])),
			FirstOffset:      int64(binary.BigEndian.Uint64(b[10:])),
			LastOffset:       int64(binary.BigEndian.Uint64(b[18:])),
			LastStableOffset: int64(binary.BigEndian.Uint64(b[26:])),
		}
		if a.LastOffset <= last || a.LastOffset >= end || a.FirstOffset >= a.LastOffset || a.FirstOffset < 0 {
			return nil, fmt.Errorf("entry [%d, %d] after %d in segment [%d, %d)", a.FirstOffset, a.LastOffset, last, base, end)
		}
		last = a.LastOffset
		list = append(list, a)
	}
	return list, nil
}

// txnIndex lists the aborted transactions whose markers are in a segment. It is small: it is kept in memory, as an immutable list that
// the writer replaces, and written behind: where the disk is full the file waits for a sync that finds space.
type txnIndex struct {
	fs   vfs.FS
	path string
	list atomic.Pointer[[]AbortedTxn] // nil: not loaded

	mu struct {
		sync.Mutex     // held across writes to the page cache
		written    int // entries of the list that are in the file
	}
}

// clear forgets all entries; a file of that name is overwritten by the first one.
func (x *txnIndex) clear() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list.Store(&[]AbortedTxn{})
	x.mu.written = 0
}

// load reads the file; missing is empty. A damaged one is an error that is not a *StorageError.
func (x *txnIndex) load(base, end int64) error {
	b, err := readFile(x.fs, x.path)
	if errors.Is(err, fs.ErrNotExist) {
		x.list.Store(&[]AbortedTxn{})
		return nil
	}
	if err != nil {
		return storage("read", x.path, err)
	}
	list, err := parseTxnIndex(b, base, end)
	if err != nil {
		return &CorruptError{Path: x.path, Offset: base, Err: err}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list.Store(&list)
	x.mu.written = len(list)
	return nil
}

// add appends one entry to the list and to the file. A full disk refuses the latter, which sync makes up for: the marker is in the log already.
func (x *txnIndex) add(a AbortedTxn) error {
	list := append(*x.list.Load(), a) // behind what readers of the old one see; truncateTo leaves no room to append into
	x.list.Store(&list)
	err := x.write()
	if _, later := errors.AsType[*FullError](err); later {
		return nil
	}
	return err
}

// write brings the file up to the list. It comes to be with the first entry. After a *FullError it holds what it held, and may be written later.
func (x *txnIndex) write() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := *x.list.Load()
	if x.mu.written == len(list) {
		return nil
	}
	f, err := x.fs.Open(x.path, vfs.Create)
	if err != nil {
		return full(storage("create", x.path, err))
	}
	defer f.Close()
	end := int64(x.mu.written * txnEntrySize)
	if end == 0 {
		if err := f.Truncate(0); err != nil {
			return storage("truncate", x.path, err)
		}
	}
	var b []byte
	for _, a := range list[x.mu.written:] {
		b = a.AppendTo(b)
	}
	if _, err := f.WriteAt(b, end); err != nil {
		err = storage("write", x.path, err)
		if cut := f.Truncate(end); cut != nil {
			return storage("truncate", x.path, cut)
		}
		return full(err)
	}
	x.mu.written = len(list)
	return nil
}

// truncateTo removes the entries whose marker is at or above offset; the file is cut first.
func (x *txnIndex) truncateTo(offset int64) error {
	old := *x.list.Load()
	keep := len(old)
	for keep > 0 && old[keep-1].LastOffset >= offset {
		keep--
	}
	f, err := x.fs.Open(x.path, vfs.ReadWrite)
	if errors.Is(err, fs.ErrNotExist) {
		x.keep(old[:keep:keep])
		return nil
	}
	if err != nil {
		return storage("open", x.path, err)
	}
	defer f.Close()
	if err := f.Truncate(int64(min(keep, x.inFile()) * txnEntrySize)); err != nil {
		return storage("truncate", x.path, err)
	}
	if err := f.Sync(); err != nil {
		return storage("sync", x.path, err)
	}
	x.keep(old[:keep:keep])
	return nil
}

func (x *txnIndex) inFile() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.mu.written
}

// keep makes a prefix of the list the list.
func (x *txnIndex) keep(list []AbortedTxn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list.Store(&list)
	x.mu.written = min(x.mu.written, len(list))
}

func (x *txnIndex) sync() error {
	list := x.list.Load()
	if list == nil || len(*list) == 0 {
		return nil
	}
	if err := x.write(); err != nil {
		return err
	}
	return syncFile(x.fs, x.path)
}

// syncFile makes a file durable that nobody has open, not its name.
func syncFile(fsys vfs.FS, name string) error {
	f, err := fsys.Open(name, vfs.ReadWrite)
	if err != nil {
		return full(storage("open", name, err))
	}
	defer f.Close()
	return storage("sync", name, f.Sync())
}

// readFile reads a whole small file.
func readFile(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name, vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	return b, shortRead(n, len(b), err)
}
