//go:build !linux

package process

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/racecar-go/racecar/supervisor/fleet"
)

// exitWaiter is empty: a thread waits for the exit of a process.
type exitWaiter struct{}

func (p *execProcess) sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func (p *execProcess) takeOver() error { p.pid = p.process.Pid; return nil }

func (p *execProcess) Wait() fleet.Exit { return p.waitInThread() }

// bytesWaiting is the ioctl for the number of unread bytes in a socket.
const bytesWaiting = 0x4004667f // FIONREAD of macOS and the BSDs

func usage(int) (Usage, error) { return Usage{}, errors.ErrUnsupported }

func (p *execProcess) Image() (Image, error) { return nil, errors.ErrUnsupported }

// OwnRSS is not known here.
func OwnRSS() int64 { return 0 }

// OutOfMemoryKills is not known here.
func (e *OSSpawner) OutOfMemoryKills() (uint64, bool) { return 0, false }

// KilledTogether is not known here.
func KilledTogether() bool { return false }

func currentImage() (Image, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return openImage(path)
}

// startedAs is the path of this program, without the links that led there.
func startedAs() (string, error) { return os.Executable() }

// namedImage is a file known by its name.
type namedImage struct {
	name string
	info os.FileInfo
}

func openImage(path string) (Image, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a program", path)
	}
	return &namedImage{path, info}, nil
}

func (i *namedImage) path() string   { return i.name }
func (i *namedImage) String() string { return i.name }
func (i *namedImage) Close() error   { return nil }

func (i *namedImage) Same(other Image) bool {
	o, ok := other.(*namedImage)
	return ok && os.SameFile(i.info, o.info) && i.info.Size() == o.info.Size() && i.info.ModTime().Equal(o.info.ModTime())
}
