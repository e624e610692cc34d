package log

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"path"
	"strings"
	"sync/atomic"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/segment"
)

// ballastFile occupies space for the day on which there is none.
const ballastFile = ".ballast"

const (
	ballastBytes = 4 << 20
	ballastShare = 64      // of a small disk it is no more than such a part
	ballastParts = 64      // it is given back in so many, unless a write needs more at once
	ballastBlock = 4 << 10 // what a file takes and gives back at least, on most file systems
	ballastTries = 4       // parts for one write: somebody else may take what becomes free
	ballastWrite = 256 << 10
)

// ballast is a file of a directory that is made shorter when something that the node cannot do without finds the disk full: checkpoints, without which nothing may be deleted, and metadata. While it
// is short, nothing else should take the space: see Directory.Short. It is nothing that has to be durable: what a crash leaves of it counts.
type ballast struct {
	fs  vfs.FS // without what draws on it
	dir string

	slot        // taken while the file is changed
	size int64  // of the file
	want int64  // as of the last look at the disk; 0: not looked yet, or nobody knows how large the disk is
	seed uint64 // of the bytes that it is filled with

	short atomic.Bool
	low   atomic.Bool
}

// openBallast looks for what an earlier life has left, and changes nothing. That it should be longer shows only if it is there: one that was never made may have no room.
func openBallast(fsys vfs.FS, dir string) (*ballast, error) {
	b := &ballast{fs: fsys, dir: dir, seed: 0x9e3779b97f4a7c15}
	info, err := fsys.Stat(b.name())
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, storage("stat", b.name(), err)
	}
	b.size = info.Size()
	if b.want, _, err = b.look(); err != nil {
		return nil, storage("space", dir, err)
	}
	b.tellLocked()
	return b, nil
}

func (b *ballast) name() string { return b.dir + "/" + ballastFile }

// look tells how long the ballast should be, 0 on a disk of no known size, and how much is free.
func (b *ballast) look() (want, free int64, err error) {
	total, free, err := b.fs.Space(b.dir)
	if err != nil || total >= math.MaxInt64/2 {
		return 0, free, err
	}
	return min(ballastBytes, total/ballastShare) / ballastBlock * ballastBlock, free, nil
}

// tellLocked publishes what is missing. For whoever has the slot.
func (b *ballast) tellLocked() {
	b.short.Store(b.size < b.want)
	b.low.Store(b.size < b.want/2)
}

// give makes the file shorter by n bytes and some, or all that is left. It tells whether that may help: not if nothing is left, nor for a write that would take a quarter of all at once.
func (b *ballast) give(n int64) (gave bool, err error) {
	b.acquire()
	defer b.release()
	whole := max(b.want, b.size)
	if b.size == 0 || n > whole/4 {
		return false, nil
	}
	left := max(0, b.size-max(whole/ballastParts, n+2*ballastBlock)) / ballastBlock * ballastBlock
	if err := b.change(func(f vfs.File) error { return f.Truncate(left) }); err != nil {
		return false, err
	}
	b.size = left
	b.tellLocked()
	return true, nil
}

// fill makes the file as long as it should be, unless that would leave next to nothing. Error: *StorageError.
func (b *ballast) fill() error {
	b.acquire()
	defer b.release()
	want, free, err := b.look()
	if err != nil {
		return storage("space", b.dir, err)
	}
	b.want = want
	if missing := want - b.size; missing > 0 && free >= missing+want/4 {
		switch err = b.change(b.grow); {
		case err == nil:
			err = b.fs.SyncDir(b.dir) // a power loss while the disk is full must not take it
		case vfs.IsNoSpace(err):
			err = nil // somebody else was faster
		}
	}
	b.tellLocked()
	return storage("fill", b.name(), err)
}

// grow writes up to the wanted length: bytes that no file system makes smaller, because what is reserved or compressed is not always there when it is needed.
func (b *ballast) grow(f vfs.File) error {
	p := make([]byte, min(ballastWrite, b.want))
	from := b.size
	for at := from; at < b.want; {
		p := p[:min(int64(len(p)), b.want-at)]
		for i := 0; i+8 <= len(p); i += 8 {
			b.seed ^= b.seed << 13
			b.seed ^= b.seed >> 7
			b.seed ^= b.seed << 17
			binary.LittleEndian.PutUint64(p[i:], b.seed)
		}
		if _, err := f.WriteAt(p, at); err != nil {
			return errors.Join(err, f.Truncate(from))
		}
		at += int64(len(p))
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Truncate(from))
	}
	b.size = b.want
	return nil
}

func (b *ballast) change(f func(vfs.File) error) error {
	file, err := b.fs.Open(b.name(), vfs.Create)
	if err != nil {
		return err
	}
	return errors.Join(f(file), file.Close())
}

// drawingFS is a disk on which some writes, where they find no space, get it from the ballast. What changes names always does.
type drawingFS struct {
	vfs.FS
	b     *ballast
	draws func(name string) bool // of writes to a file
}

// allDraw is for what the node cannot do without at all.
func allDraw(string) bool { return true }

// besidesBatchesDraw is for the logs of partitions: what they delete by, and what a new one begins with, but not batches, nor what compaction builds.
func besidesBatchesDraw(name string) bool {
	base := path.Base(name)
	return !strings.Contains(base, segment.LogSuffix) && !strings.HasSuffix(base, cleanedSuffix)
}

// again calls f until it finds space, or fails for another reason, or the ballast does not help, or a few times.
func (b *ballast) again(n int64, err error, f func() error) error {
	for try := 0; try < ballastTries && vfs.IsNoSpace(err); try++ {
		gave, bad := b.give(n)
		if bad != nil {
			return errors.Join(err, bad)
		}
		if !gave {
			return err
		}
		err = f()
	}
	return err
}

// Open implements vfs.FS.
func (d drawingFS) Open(name string, mode vfs.OpenMode) (vfs.File, error) {
	f, err := d.FS.Open(name, mode)
	if mode == vfs.Create || mode == vfs.CreateExcl {
		err = d.b.again(0, err, func() error {
			f, err = d.FS.Open(name, mode)
			return err
		})
	}
	if err != nil || mode == vfs.ReadOnly || !d.draws(name) {
		return f, err
	}
	return drawingFile{f, d.b}, nil
}

// MkdirAll implements vfs.FS.
func (d drawingFS) MkdirAll(name string) error {
	return d.b.again(0, d.FS.MkdirAll(name), func() error { return d.FS.MkdirAll(name) })
}

// Rename implements vfs.FS.
func (d drawingFS) Rename(oldName, newName string) error {
	return d.b.again(0, d.FS.Rename(oldName, newName), func() error { return d.FS.Rename(oldName, newName) })
}

// Remove implements vfs.FS: where blocks are never written over, it takes some.
func (d drawingFS) Remove(name string) error {
	return d.b.again(0, d.FS.Remove(name), func() error { return d.FS.Remove(name) })
}

// RemoveAll implements vfs.FS, likewise.
func (d drawingFS) RemoveAll(name string) error {
	return d.b.again(0, d.FS.RemoveAll(name), func() error { return d.FS.RemoveAll(name) })
}

type drawingFile struct {
	vfs.File
	b *ballast
}

// WriteAt implements vfs.File.
func (f drawingFile) WriteAt(p []byte, off int64) (n int, err error) {
	n, err = f.File.WriteAt(p, off)
	err = f.b.again(int64(len(p)), err, func() error {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, err
}

// WritevAt implements vfs.File.
func (f drawingFile) WritevAt(bufs [][]byte, off int64) (n int, err error) {
	size := int64(0)
	for _, b := range bufs {
		size += int64(len(b))
	}
	n, err = f.File.WritevAt(bufs, off)
	err = f.b.again(size, err, func() error {
		n, err = f.File.WritevAt(bufs, off)
		return err
	})
	return n, err
}

// Preallocate implements vfs.File.
func (f drawingFile) Preallocate(off, n int64) error {
	return f.b.again(n, f.File.Preallocate(off, n), func() error { return f.File.Preallocate(off, n) })
}

// Sync implements vfs.File. It is not repeated: one that succeeds would say nothing of what the first had to write. Whoever writes all of it again finds space.
func (f drawingFile) Sync() error {
	err := f.File.Sync()
	if vfs.IsNoSpace(err) {
		if _, bad := f.b.give(0); bad != nil {
			return errors.Join(err, bad)
		}
	}
	return err
}

// Restock makes the directory's ballast whole, if it is not and the disk has room. The first call makes it: it is for after a start. On a disk of unknown size, as memory is, there is none. Errors: ErrClosed, *StorageError.
func (d *Directory) Restock() error {
	d.mu.Lock()
	closed := d.mu.closed
	d.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return d.ballast.fill()
}

// Short tells that some of the ballast was given back, or had no room: what is free is for what the node cannot do without. It does not look at the disk.
func (d *Directory) Short() bool { return d.ballast.short.Load() }

// Low tells that less than half of the ballast is left: the rest is for what makes space.
func (d *Directory) Low() bool { return d.ballast.low.Load() }

// Needed is the directory's disk for what the node cannot do without: a write that finds no space takes some of the ballast.
func (d *Directory) Needed() vfs.FS {
	return sparingFS{drawingFS{d.ballast.fs, d.ballast, allDraw}, d.home.open}
}
