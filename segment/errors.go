package segment

import (
	"errors"
	"fmt"
	"io"
)

// ErrTruncated says that a Slice was cut off by a truncation between being found and being read. Read again.
var ErrTruncated = errors.New("segment: truncated while being read")

// ErrDeleted says that the owner has let the segment go. Look for the segment again.
var ErrDeleted = errors.New("segment: deleted")

// StorageError is a disk error: what was done to which file, and what the system said.
type StorageError struct {
	Path string
	Op   string
	Err  error
}

func (e *StorageError) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Path, e.Err) }

// Unwrap returns the system's error.
func (e *StorageError) Unwrap() error { return e.Err }

// storage wraps an error of the disk; nil stays nil.
func storage(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &StorageError{Path: path, Op: op, Err: err}
}

// CorruptError is damage in stored bytes: at Position in the file Path, where a batch that holds Offset should be.
type CorruptError struct {
	Path     string
	Position int64
	Offset   int64
	Err      error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged at position %d, offset %d: %v", e.Path, e.Position, e.Offset, e.Err)
}

// Unwrap returns what is wrong with the bytes.
func (e *CorruptError) Unwrap() error { return e.Err }

// shortRead makes io.EOF, which readers of batches do not expect, an error that says so.
func shortRead(n, want int, err error) error {
	if n == want {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
