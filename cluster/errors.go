package cluster

import (
	"errors"
	"fmt"

	"github.com/insynclog/insync/internal/broker"
	"github.com/insynclog/insync/internal/controller"
)

// ErrRemoved says that the node was removed from its cluster: it stops by itself. With Config.Join it may join again.
var ErrRemoved = broker.ErrRemoved

// ErrTooOld says that the node is of an older version than what is in the cluster's metadata. Where it is known which level that is the error is a *LevelError.
var ErrTooOld = controller.ErrUnknownRecord

// LevelError is an ErrTooOld: the level of the metadata is one that this version does not know. Level and Known are the two.
type LevelError = controller.LevelError

// ErrDiskHung says that the node was closed while its disk did not answer: what waits for it keeps the directory locked until it does.
var ErrDiskHung = errors.New("cluster: the disk does not answer; the directory stays locked until it does")

// PanicError is a bug of this library that showed as a panic on one of the node's goroutines. The node stops; the process lives.
type PanicError struct {
	Where string
	Value any
	Stack []byte
}

// Error names the place and the panic's value; Stack has the rest.
func (e *PanicError) Error() string { return fmt.Sprintf("cluster: panic in %s: %v", e.Where, e.Value) }
