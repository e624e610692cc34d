package transport

import (
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// sendFile sends n bytes of f from pos without copying them through this process. f's own offset is neither used nor moved, so a file may be sent on many connections at once.
func sendFile(tc *net.TCPConn, f *os.File, pos int64, n int) (int64, error) {
	sock, err := tc.SyscallConn()
	if err != nil {
		return 0, err
	}
	file, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var written int64
	var sendErr error
	// The file's descriptor is held during each call only, not while the socket is full.
	err = sock.Write(func(out uintptr) bool {
		for written < int64(n) {
			var m int
			var errno error
			if err := file.Control(func(in uintptr) {
				off := pos + written
				m, errno = unix.Sendfile(int(out), int(in), &off, n-int(written))
			}); err != nil {
				sendErr = err
				return true
			}
			switch {
			case errno == unix.EINTR:
			case errno == unix.EAGAIN:
				return false // wait until the socket takes more
			case errno != nil:
				sendErr = os.NewSyscallError("sendfile", errno)
				return true
			case m <= 0:
				sendErr = shortFile(f, pos+written, io.ErrUnexpectedEOF)
				return true
			default:
				written += int64(m)
			}
		}
		return true
	})
	if err == nil {
		err = sendErr
	}
	return written, err
}

// sendMore writes iov and tells the kernel that more follows at once: the head of a fetch response shares a segment with the records behind it.
func sendMore(tc *net.TCPConn, iov net.Buffers) (int64, error) {
	sock, err := tc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var written int64
	var sendErr error
	err = sock.Write(func(fd uintptr) bool {
		for len(iov) > 0 {
			n, errno := unix.SendmsgBuffers(int(fd), iov[:min(len(iov), maxIOV)], nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
			switch {
			case errno == unix.EINTR:
				continue
			case errno == unix.EAGAIN:
				return false
			case errno != nil:
				sendErr = os.NewSyscallError("sendmsg", errno)
				return true
			}
			written += int64(n)
			iov = advance(iov, n)
		}
		return true
	})
	if err == nil {
		err = sendErr
	}
	return written, err
}

// maxIOV is IOV_MAX.
const maxIOV = 1024

// advance drops the first n bytes of iov, which it changes.
func advance(iov net.Buffers, n int) net.Buffers {
	for len(iov) > 0 && n >= len(iov[0]) {
		n -= len(iov[0])
		iov = iov[1:]
	}
	if len(iov) > 0 {
		iov[0] = iov[0][n:]
	}
	return iov
}
