package ctl

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// reach calls do with an address for the socket at path that fits a socket
// address: a long path goes through its directory's descriptor.
func reach(path string, do func(address string) error) error {
	if len(path) <= maxSocketPath {
		return do(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return do(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

// ownerOnly gives the socket mode 0600 from the moment it is bound: bind takes
// the mode of the unbound socket.
func ownerOnly(_, _ string, raw syscall.RawConn) error {
	var err error
	if cerr := raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
		return cerr
	}
	return err
}

// peer asks the kernel who is at the other end: who connected, or, asked by the
// client, who listens.
func peer(c net.Conn) (*unix.Ucred, bool) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, false
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); cerr != nil || err != nil {
		return nil, false
	}
	return cred, true
}

// peerUID is the user at the other end; not ok where the kernel does not say,
// and the socket's mode alone keeps others out. Closed for a connection whose
// owner cannot be read: see Accept.
func peerUID(c net.Conn) (int, bool) {
	cred, ok := peer(c)
	if !ok {
		return -1, true // on Linux the kernel knows: refuse
	}
	return int(cred.Uid), true
}

// peerPID is the process at the other end, 0 when it is in another pid namespace.
func peerPID(c net.Conn) (int, bool) {
	cred, ok := peer(c)
	if !ok || cred.Pid <= 0 {
		return 0, false
	}
	return int(cred.Pid), true
}
