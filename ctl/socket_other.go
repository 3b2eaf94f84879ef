//go:build !linux

package ctl

import (
	"fmt"
	"net"
	"syscall"
)

// reach calls do with an address for the socket at path.
func reach(path string, do func(address string) error) error {
	if len(path) > maxSocketPath {
		return fmt.Errorf("path of %d bytes, more than %d: set control_socket to a shorter one", len(path), maxSocketPath)
	}
	return do(path)
}

// ownerOnly: the mode is set after bind here; the directory and the moment are
// what is left to trust.
func ownerOnly(_, _ string, _ syscall.RawConn) error { return nil }

// peerUID: the socket's mode alone keeps others out here.
func peerUID(net.Conn) (int, bool) { return 0, false }

// peerPID: not asked here.
func peerPID(net.Conn) (int, bool) { return 0, false }
