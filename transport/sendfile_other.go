//go:build !linux

package transport

import (
	"net"
	"os"
)

// sendFile sends n bytes of f from pos. f's own offset is neither used nor moved.
func sendFile(tc *net.TCPConn, f *os.File, pos int64, n int) (int64, error) {
	g := gatherer{nc: tc, buf: make([]byte, min(n, copyBytes))}
	err := g.file(f, pos, n)
	if err == nil {
		err = g.emit()
	}
	return g.written, err
}

// sendMore writes iov.
func sendMore(tc *net.TCPConn, iov net.Buffers) (int64, error) { return iov.WriteTo(tc) }
