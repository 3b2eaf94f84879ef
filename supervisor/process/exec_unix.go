package process

import (
	"syscall"

	"github.com/racecar-go/racecar/supervisor/fleet"
)

// waitInThread waits where there is no pidfd.
func (p *execProcess) waitInThread() fleet.Exit {
	st, err := p.process.Wait()
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	if err != nil {
		return exitOf(0, err)
	}
	ws, _ := st.Sys().(syscall.WaitStatus)
	return exitOf(ws, nil)
}

// exitOf reads a wait status. An error means that the process was reaped elsewhere: its
// status is unknown.
func exitOf(ws syscall.WaitStatus, err error) fleet.Exit {
	switch {
	case err != nil:
		return fleet.Exit{Code: -1}
	case ws.Signaled():
		return fleet.Exit{Code: -1, Signal: ws.Signal()}
	default:
		return fleet.Exit{Code: ws.ExitStatus()}
	}
}
