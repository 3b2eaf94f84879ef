package pidfile

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// State is what `racecarctl status` prints, in upstream's words.
type State string

// The states of a pidfile's process.
const (
	Running  State = "running"   // its process lives, and we may signal it
	Exited   State = "exited"    // there is no such file
	Dead     State = "dead"      // the file was left behind: nobody holds it
	NotOwned State = "not_owned" // it is held by a process that is not ours to signal
)

// Query asks the kernel for the process that holds the pidfile. The content of the file
// matters only when nobody holds it: see ForeignError. pid is 0 unless the state is
// Running, or NotOwned and the process is known.
func Query(path string) (state State, pid int, err error) {
	f, err := open(path, unix.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return Exited, 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	pid, held, err := holder(f)
	switch {
	case err != nil:
		return "", 0, err
	case !held:
		b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
		if err != nil {
			return "", 0, fmt.Errorf("read pidfile %q: %w", path, cause(err))
		}
		if named, err := parse(b); err == nil {
			if err := foreign(f, path, named); err != nil {
				return "", 0, err
			}
		}
		return Dead, 0, nil
	case pid == 0:
		return NotOwned, 0, nil
	}
	if err := unix.Kill(pid, 0); errors.Is(err, unix.EPERM) {
		return NotOwned, pid, nil
	}
	return Running, pid, nil
}
