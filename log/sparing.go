package log

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/segment"
)

// spareSegments is how many idle segments are closed for one file that could not be opened: what else needs descriptors shall find some, too.
const spareSegments = 16

// sparingFS is a disk that, where the process has no descriptors left, takes some from segments that are idle.
type sparingFS struct {
	vfs.FS
	files *segment.Files
}

func (s sparingFS) spare(err error) bool {
	return err != nil && (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) && s.files.Spare(spareSegments)
}

func (s sparingFS) Open(name string, mode vfs.OpenMode) (vfs.File, error) {
	f, err := s.FS.Open(name, mode)
	if s.spare(err) {
		return s.FS.Open(name, mode)
	}
	return f, err
}

func (s sparingFS) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := s.FS.ReadDir(name)
	if s.spare(err) {
		return s.FS.ReadDir(name)
	}
	return list, err
}

func (s sparingFS) SyncDir(name string) error {
	err := s.FS.SyncDir(name)
	if s.spare(err) {
		return s.FS.SyncDir(name)
	}
	return err
}
