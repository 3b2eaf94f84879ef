package process

import (
	"os"

	"golang.org/x/sys/unix"
)

// stderrFile is memory; an unlinked temporary file where there is none.
func stderrFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("racecar-stderr", unix.MFD_CLOEXEC)
	if err != nil {
		return temporaryStderr()
	}
	f := os.NewFile(uintptr(fd), "worker stderr")
	if err := appendOnly(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// punch gives back the memory of what was read. Where the file cannot have
// holes it merely grows.
func punch(f *os.File, read int64) {
	const page = 4096
	if whole := read &^ (page - 1); whole > 0 {
		_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, whole)
	}
}
