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
)

// signal carries out the order of a signal.
func (s *Supervisor) signal(now time.Time, sig os.Signal) {
	order := signals.Meaning(sig, s.opts.Terminal)
	if order == signals.None {
		return
	}
	s.reg.now = now
	if order != signals.Reap {
		s.logf(logrus.InfoLevel, "signal received", logrus.Fields{"signal": sig.String()})
	}
	switch order {
	case signals.Stop:
		s.reg.end(stopOrder{})
	case signals.StopWithStacks:
		s.dump()
		s.reg.end(stopOrder{})
	case signals.PrintConfig:
		s.printConfig()
	case signals.Reload:
		s.reload()
	case signals.More:
		s.scaleBy(now, 1)
	case signals.Fewer:
		s.scaleBy(now, -1)
	case signals.Quiet:
		s.setQuiet(s.reg.consumers, true, nil)
	case signals.Continue:
		s.setQuiet(s.reg.consumers, false, nil)
	case signals.Reserved:
		s.logf(logrus.InfoLevel, "signal is reserved and was ignored", logrus.Fields{"signal": sig.String()})
	case signals.Reap:
		s.reap(now)
	}
}

// dump writes the stacks of all processes to the log.
func (s *Supervisor) dump() {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	s.logf(logrus.WarnLevel, "stacks of the supervisor", logrus.Fields{"stacks": string(buf)})
	s.broadcast(wire.Command{Kind: wire.CommandDump})
}

// printConfig answers USR1: the supervisor, then each worker. Our stderr may be a
// full pipe, so the loop does not write to it.
func (s *Supervisor) printConfig() {
	s.broadcast(wire.Command{Kind: wire.CommandConfig})
	if s.opts.PrintConfig == nil {
		return
	}
	if !s.printing.CompareAndSwap(false, true) {
		s.logf(logrus.WarnLevel, "the configuration was not printed: nobody reads what was printed before", nil)
		return
	}
	var text bytes.Buffer
	for _, c := range s.reg.consumers {
		fmt.Fprintf(&text, "=> Configuration of %s, as the supervisor has it (PID = %d)\n", c.name, os.Getpid())
		s.opts.PrintConfig(&text, c.rel.consumer)
	}
	go func() {
		defer s.printing.Store(false)
		_, _ = s.opts.Stderr.Write(text.Bytes()) // one that is closed has nobody to tell
	}()
}

// scaleBy answers TTIN and TTOU, for each consumer.
func (s *Supervisor) scaleBy(now time.Time, by int) {
	for _, c := range s.reg.consumers {
		n := 0
		for _, slot := range c.slots {
			if slot.wanted {
				n++
			}
		}
		if err := s.reg.scale(now, c, n+by); err != nil {
			s.logf(logrus.WarnLevel, "number of workers stays", logrus.Fields{"consumer": c.name, "reason": err.Error()})
		}
	}
}

// setQuiet makes the workers of these consumers take nothing new, or go on. done
// may be nil.
func (s *Supervisor) setQuiet(cs []*consumer, quiet bool, done func(error)) {
	var changed []*consumer
	for _, c := range cs {
		if c.quiet != quiet {
			c.quiet = quiet
			changed = append(changed, c)
		}
	}
	kind := wire.CommandContinue
	if quiet {
		kind = wire.CommandQuiet
	}
	if done == nil {
		done = func(err error) {
			if err != nil {
				s.logf(logrus.WarnLevel, "command did not succeed", logrus.Fields{"command": string(kind), "error": err.Error()})
			}
		}
	}
	s.toAll(changed, wire.Command{Kind: kind}, done)
}

// reload answers HUP: logs are opened anew, and what has changed is rolled.
func (s *Supervisor) reload() {
	if s.opts.OnReload != nil {
		s.opts.OnReload()
	}
	s.broadcast(wire.Command{Kind: wire.CommandReopen})
	s.again = true // see reloadAgain
}

// reloadAgain serves HUPs, as one however many came: at once, after the roll that is
// under way, or after a check that is, unless that takes long.
func (s *Supervisor) reloadAgain(now time.Time) {
	busy := s.reg.roll != nil || s.planning != nil && now.Sub(s.planning.began) < checkSlow
	if s.again && !busy && s.reg.ending == nil {
		s.again = false
		s.rollChanges()
		s.carryOut()
	}
}

// rollChanges looks at the program anew and rolls what has changed.
func (s *Supervisor) rollChanges() {
	s.notify.reloading()
	s.restart(restartOrder{rollOrder{ifChanged: true}, func(err error) {
		if s.reg.ready { // systemd also takes this word for the end of the start
			s.notify.ready()
		}
		switch {
		case errors.Is(err, errNothingChanged):
			s.logf(logrus.InfoLevel, "nothing changed: workers go on", nil)
		case err != nil:
			s.logf(logrus.ErrorLevel, "reload did not succeed: workers go on with what they have", logrus.Fields{"error": err.Error()})
		}
	}})
}
