// Package signals turns the signals of a supervisor into orders. It only
// enqueues: what an order does is decided in the supervisor's loop, one event
// at a time.
// It is not covered by the compatibility promise.
//
// The table is that of Racecar, with the customs of unicorn and gunicorn for
// what Racecar does not have:
//
//	TERM, INT   stop in order; a second one forces the end
//	QUIT        stacks of all processes to the log, then as TERM
//	USR1        configuration with the source of each value to stderr
//	HUP         reopen logs, roll when image or configuration changed;
//	            as TERM when started on a terminal
//	TTIN, TTOU  one worker more, one fewer
//	TSTP, CONT  quiet, go on
//	USR2        reserved
//
// Workers are sessions of their own, so a terminal's signals reach the
// supervisor alone. It promises nothing about signals to workers.
package signals

import (
	"os"
	"os/signal"
	"syscall"
)

// Order is what a signal asks for.
type Order int

// The orders. None is what a signal means that is not in the table.
const (
	None           Order = iota
	Stop                 // in order; the second one forces
	StopWithStacks       // goroutine stacks to the log, then Stop
	PrintConfig
	Reload // reopen logs; roll when something changed
	More   // one worker more
	Fewer
	Quiet
	Continue
	Reserved
	Reap // a process ended that the supervisor may not know (as PID 1)
)

// Meaning is the order that sig stands for; terminal says that the supervisor
// was started on a terminal, whose end is no reason to reload.
func Meaning(sig os.Signal, terminal bool) Order {
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT:
		return Stop
	case syscall.SIGQUIT:
		return StopWithStacks
	case syscall.SIGUSR1:
		return PrintConfig
	case syscall.SIGHUP:
		if terminal {
			return Stop
		}
		return Reload
	case syscall.SIGTTIN:
		return More
	case syscall.SIGTTOU:
		return Fewer
	case syscall.SIGTSTP:
		return Quiet
	case syscall.SIGCONT:
		return Continue
	case syscall.SIGUSR2:
		return Reserved
	case syscall.SIGCHLD:
		return Reap
	}
	return None
}

// queueSize holds more signals than anybody sends between two turns of the
// loop; os/signal drops what does not fit rather than block.
const queueSize = 64

// Queue receives the signals of this process.
type Queue struct {
	c chan os.Signal
}

// Listen begins to receive. reap says that SIGCHLD is wanted as well, which
// only PID 1 needs.
//
// SIGPIPE is received, and means nothing: a supervisor whose log reader is gone
// goes on (a Go program would otherwise die writing to stdout or stderr). A HUP
// that was ignored at the start stays ignored on a terminal: that is nohup.
func Listen(terminal, reap bool) *Queue {
	q := &Queue{c: make(chan os.Signal, queueSize)}
	wanted := []os.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGPIPE,
	}
	if !terminal || !signal.Ignored(syscall.SIGHUP) {
		wanted = append(wanted, syscall.SIGHUP)
	}
	if reap {
		wanted = append(wanted, syscall.SIGCHLD)
	}
	signal.Notify(q.c, wanted...)
	return q
}

// C delivers the signals in the order in which they came.
func (q *Queue) C() <-chan os.Signal { return q.c }

// Close gives the signals back to their defaults. Calling it twice is harmless.
func (q *Queue) Close() { signal.Stop(q.c) }

// OnTerminal says whether this process has a controlling terminal, wherever its
// standard streams point.
func OnTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDONLY|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}
