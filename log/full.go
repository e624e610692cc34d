package log

import (
	"errors"
	"io/fs"

	"github.com/insynclog/insync/segment"
)

// FullError says that there was no space, or no descriptor, for an append or a read: nothing was changed, and the log goes on when there is.
type FullError = segment.FullError

// full makes an error of an exhausted disk a *FullError, for those who have changed nothing.
func full(err error) error {
	if e, ok := errors.AsType[*StorageError](err); ok && segment.IsExhausted(e.Err) {
		return &FullError{Path: e.Path, Op: e.Op, Err: e.Err}
	}
	return err
}

func isFull(err error) bool {
	_, ok := errors.AsType[*FullError](err)
	return ok
}

// final is for a *FullError that came half-way through a change which cannot be left like that.
func final(err error) error {
	if e, ok := errors.AsType[*FullError](err); ok {
		return &StorageError{Path: e.Path, Op: e.Op, Err: e.Err}
	}
	return err
}

// refuseSync is failSync for what a full disk refuses before it has changed anything, or puts off.
func (l *Log) refuseSync(err error) error {
	if isFull(err) {
		return err
	}
	return l.failSync(err)
}

// refuse is fail for an append: one that a full disk refuses leaves the log as it was.
func (l *Log) refuse(err error) error {
	if _, ok := errors.AsType[*FullError](err); ok {
		return err
	}
	return l.fail(err)
}

// unmade removes what is left of a segment that could not be made. A name that stays is one of an empty segment, which the next attempt takes over.
func (l *Log) unmade(base int64, cause error) error {
	name := l.dir + "/" + segment.FileName(base, segment.LogSuffix)
	if base == l.active().BaseOffset() {
		return cause
	}
	if err := l.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return storage("remove", name, err)
	}
	return full(cause)
}
