//go:build unix

package sinks

import (
	"errors"
	"syscall"
)

// quiet tells whether a connection is open and has nothing to be read. It
// takes no lock, so that the read under way in net/http may go on; that read
// would learn of an end as well, but perhaps only after the next write.
func quiet(conn syscall.RawConn) bool {
	var b [1]byte
	var err error
	control := conn.Control(func(fd uintptr) {
		_, _, err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return control == nil && (errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR))
}
