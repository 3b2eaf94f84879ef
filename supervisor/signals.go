package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/signals"
	"github.com/racecar-go/racecar/supervisor/fleet"
)

// handleSignal does what a signal asks for.
func (s *Supervisor) handleSignal(now time.Time, sig os.Signal) {
	meaning := signals.Meaning(sig, s.opts.Terminal)
	if meaning == signals.None {
		return
	}
	if meaning != signals.Reap {
		s.logf(logrus.InfoLevel, "signal received", logrus.Fields{"signal": sig.String()})
	}
	switch meaning {
	case signals.Stop:
		s.step(now, fleet.Shutdown{Signal: true})
	case signals.StopWithStacks:
		s.dump(now)
		s.step(now, fleet.Shutdown{Signal: true})
	case signals.PrintConfig:
		s.printConfig(now)
	case signals.Reload:
		s.reload(now)
	case signals.More:
		s.step(now, fleet.ScaleBy(1))
	case signals.Fewer:
		s.step(now, fleet.ScaleBy(-1))
	case signals.Quiet:
		s.step(now, fleet.Quiet{On: true})
	case signals.Continue:
		s.step(now, fleet.Quiet{})
	case signals.Reserved:
		s.logf(logrus.InfoLevel, "signal is reserved and was ignored", logrus.Fields{"signal": sig.String()})
	case signals.Reap:
		s.reap(now)
	}
}

// dump writes the stacks of all processes to the log.
func (s *Supervisor) dump(now time.Time) {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	s.logf(logrus.WarnLevel, "stacks of the supervisor", logrus.Fields{"stacks": string(buf)})
	s.step(now, fleet.Broadcast{Command: wire.Command{Kind: wire.CommandDump}})
}

// printConfig answers USR1: the supervisor, then each worker. Our stderr may be a
// full pipe, so the loop does not write to it.
func (s *Supervisor) printConfig(now time.Time) {
	s.step(now, fleet.Broadcast{Command: wire.Command{Kind: wire.CommandConfig}})
	if s.opts.PrintConfig == nil {
		return
	}
	if !s.printing.CompareAndSwap(false, true) {
		s.logf(logrus.WarnLevel, "the configuration was not printed: nobody reads what was printed before", nil)
		return
	}
	var text bytes.Buffer
	for _, c := range s.consumers() {
		fmt.Fprintf(&text, "=> Configuration of %s, as the supervisor has it (PID = %d)\n", c.Name, os.Getpid())
		s.opts.PrintConfig(&text, c)
	}
	go func() {
		defer s.printing.Store(false)
		_, _ = s.opts.Stderr.Write(text.Bytes()) // nobody reads one that is closed
	}()
}

// reload answers HUP: log files are reopened, and what has changed is rolled out.
func (s *Supervisor) reload(now time.Time) {
	if s.opts.OnReload != nil {
		s.opts.OnReload()
	}
	s.step(now, fleet.Broadcast{Command: wire.Command{Kind: wire.CommandReopen}})
	s.hangup = true // see reloadQueued
}

// reloadQueued serves HUPs, as one however many came: at once, after the rollout that is
// under way, or after a check that is, unless that takes long.
func (s *Supervisor) reloadQueued(now time.Time) {
	if !s.hangup {
		return
	}
	st := s.fleet.LoopState()
	busy := st.Rolling || s.check != nil && now.Sub(s.check.began) < checkSlow
	if !busy && !st.Stopping {
		s.hangup = false
		s.rolloutChanges()
	}
}

// rolloutChanges checks the program again and rolls out what has changed.
func (s *Supervisor) rolloutChanges() {
	s.notify.reloading()
	s.restart(restartRequest{fleet.Rollout{IfChanged: true}, func(err error) {
		if s.fleet.LoopState().Ready { // systemd also takes this word for the end of the start
			s.notify.ready()
		}
		switch {
		case errors.Is(err, fleet.ErrNothingChanged):
			s.logf(logrus.InfoLevel, "nothing changed: workers go on", nil)
		case err != nil:
			s.logf(logrus.ErrorLevel, "reload failed: workers go on with what they have", logrus.Fields{"error": err.Error()})
		}
	}})
}
