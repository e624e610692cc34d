package cluster

import "errors"

// ErrClosed is returned by every method that needs a running node after Close.
var ErrClosed = errors.New("cluster: node is closed")
