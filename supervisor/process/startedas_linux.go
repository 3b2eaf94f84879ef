package process

import (
	"bytes"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// atExecFn of getauxval(3): the address of the name that execve was given.
const atExecFn = 31

// startedAs is the name with which this program was executed, with links and relative
// names as given. The kernel keeps it in our memory, whatever argv[0] is.
func startedAs() (string, error) {
	pairs, err := unix.Auxv()
	if err != nil {
		return "", err
	}
	for _, pair := range pairs {
		if pair[0] == atExecFn {
			return stringAt(int64(pair[1]))
		}
	}
	return "", errors.New("the kernel does not say how this program was started")
}

// stringAt reads a string of C from our memory.
func stringAt(at int64) (string, error) {
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		return "", err
	}
	defer mem.Close()
	buf := make([]byte, unix.PathMax)
	n, err := mem.ReadAt(buf, at) // short where the mapping ends
	name, _, found := bytes.Cut(buf[:n], []byte{0})
	if !found {
		return "", errors.Join(errors.New("the name this program was started by has no end"), err)
	}
	return string(name), nil
}
