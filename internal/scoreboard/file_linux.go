package scoreboard

import (
	"os"

	"golang.org/x/sys/unix"
)

func anonymousFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("racecar-scoreboard", unix.MFD_CLOEXEC)
	if err != nil {
		return temporaryFile() // a kernel or sandbox without memfd
	}
	return os.NewFile(uintptr(fd), "scoreboard"), nil
}
