package transport

import (
	"errors"
	"syscall"
)

// WSAECONNREFUSED, which package syscall does not name.
const wsaConnRefused syscall.Errno = 10061

func refused(err error) bool {
	return errors.Is(err, wsaConnRefused) || errors.Is(err, syscall.ECONNREFUSED)
}
