package process

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

func (p *execProcess) Image() (Image, error) {
	return openImage("/proc/" + strconv.Itoa(p.pid) + "/exe")
}

func currentImage() (Image, error) { return openImage("/proc/self/exe") }

// heldImage is a file held open, started by its descriptor.
type heldImage struct {
	file *os.File
	name string
	stat unix.Stat_t
}

// openImage opens a program with O_PATH, which needs the permission to execute it but not
// to read it.
func openImage(path string) (Image, error) {
	low, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	fd := dupHigh(low)
	i := &heldImage{file: os.NewFile(uintptr(fd), path), name: path}
	if err := unix.Fstat(fd, &i.stat); err != nil {
		_ = i.Close()
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if i.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = i.Close()
		return nil, fmt.Errorf("%s is not a program", path)
	}
	if real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil {
		i.name = real
	}
	return i, nil
}

// dupHigh moves a descriptor to a number far above those of other files.
// Between fork and exec the child places its files at their numbers and, temporarily, at
// some just above: an image there would be closed before it could be executed.
func dupHigh(fd int) int {
	for _, least := range []int{1000, 200} { // as the limit allows
		high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, least)
		if err == nil {
			_ = unix.Close(fd)
			return high
		}
	}
	return fd
}

func (i *heldImage) path() string   { return "/proc/self/fd/" + strconv.Itoa(int(i.file.Fd())) }
func (i *heldImage) String() string { return i.name }
func (i *heldImage) Close() error   { return i.file.Close() }

func (i *heldImage) Same(other Image) bool {
	o, ok := other.(*heldImage)
	return ok && i.stat.Dev == o.stat.Dev && i.stat.Ino == o.stat.Ino && i.stat.Size == o.stat.Size && i.stat.Mtim == o.stat.Mtim
}
