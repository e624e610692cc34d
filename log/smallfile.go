package log

import (
	"errors"
	"io"
	"path"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/segment"
)

// tmpSuffix marks a small file that is being written. What has it after a crash means nothing.
const tmpSuffix = ".tmp"

// writeSmallFile replaces a file, so that after a crash at any point it is the old one or the new one: write beside it, sync, rename. The
// name is durable after a sync of the directory, which the caller adds once it has written all files of it. After a *FullError the old file is there, and what was written of the new one is given up, so that
// even a sync that found no space says nothing of the next attempt's bytes.
func writeSmallFile(fsys vfs.FS, name string, data []byte) error {
	tmp := name + tmpSuffix
	f, err := fsys.Open(tmp, vfs.Create)
	if err != nil {
		return full(storage("create", tmp, err))
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(data, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		if err = fsys.Rename(tmp, name); err == nil {
			return nil
		}
	}
	err = full(storage("write", tmp, err))
	if isFull(err) {
		if gone := fsys.Remove(tmp); gone != nil {
			return storage("remove", tmp, gone)
		}
	}
	return err
}

// replaceSmallFile is writeSmallFile with the sync of the directory.
func replaceSmallFile(fsys vfs.FS, name string, data []byte) error {
	if err := writeSmallFile(fsys, name, data); err != nil {
		return err
	}
	return syncDir(fsys, path.Dir(name))
}

func syncDir(fsys vfs.FS, dir string) error { return storage("sync", dir, fsys.SyncDir(dir)) }

// readSmallFile reads a whole file; an error that is not fs.ErrNotExist is one of the disk.
func readSmallFile(fsys vfs.FS, name string) ([]byte, error) {
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
	if n == len(b) || errors.Is(err, io.EOF) {
		return b[:n], nil
	}
	return nil, err
}

func storage(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &segment.StorageError{Path: path, Op: op, Err: err}
}
