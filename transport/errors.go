package transport

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("transport: closed")

// ErrTimeout is in the ConnError of requests that got no answer in time. It matches os.ErrDeadlineExceeded as well.
var ErrTimeout = fmt.Errorf("no answer in time: %w", os.ErrDeadlineExceeded)

// ErrMemory is why a server ends a connection whose frame arrives too slowly while others wait for memory; see Limits.Memory.
var ErrMemory = errors.New("transport: memory for requests is used up, and this one arrives slowly")

// ConnError says that a connection could not be made or broke. Sent tells whether the request may have reached the node: if not, it certainly had no effect.
type ConnError struct {
	Node int32
	Addr string
	Sent bool
	Err  error
}

func (e *ConnError) Error() string { return fmt.Sprintf("node %d at %s: %v", e.Node, e.Addr, e.Err) }

// Unwrap returns the cause.
func (e *ConnError) Unwrap() error { return e.Err }

// Refused tells whether an error is that nobody listens where a node should be: its process has ended, or has not yet begun to serve, while its system lives.
func Refused(err error) bool {
	_, ok := errors.AsType[*ConnError](err)
	return ok && refused(err)
}

// UnknownNodeError says that the client has no address for a node.
type UnknownNodeError struct{ Node int32 }

func (e *UnknownNodeError) Error() string { return fmt.Sprintf("node %d: no address known", e.Node) }

// UnsupportedVersionError says that client and node share no version of an API.
type UnsupportedVersionError struct {
	Key  int16
	Node int32
}

func (e *UnsupportedVersionError) Error() string {
	return fmt.Sprintf("node %d: no common version of API key %d", e.Node, e.Key)
}

// ProtocolError says that the other side sent what Kafka's protocol does not allow. The connection it came on is closed.
type ProtocolError struct {
	Key, Version int16 // -1 if they could not be read
	Err          error
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("API key %d version %d: %v", e.Key, e.Version, e.Err)
}

// Unwrap returns the cause.
func (e *ProtocolError) Unwrap() error { return e.Err }

// PanicError is what became of a panic in a Handler or a decoder.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// shortFile explains why a file's range could not be sent: it is shorter than its owner said, or it cannot be read.
func shortFile(f *os.File, pos int64, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("send %s from %d: %w", f.Name(), pos, err)
}
