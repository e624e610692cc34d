package transport

import (
	"errors"
	"fmt"
)

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("transport: closed")

// ConnError says that a connection could not be made or broke. Sent tells whether the request may have reached the node: if not, it certainly had no effect.
type ConnError struct {
	Node int32
	Addr string
	Sent bool
	Err  error
}

func (e *ConnError) Error() string { return fmt.Sprintf("node %d at %s: %v", e.Node, e.Addr, e.Err) }
func (e *ConnError) Unwrap() error { return e.Err }

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
