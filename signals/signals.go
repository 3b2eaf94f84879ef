// Package signals maps the signals of a supervisor to actions. It only queues them: the
// supervisor's loop carries them out, one event at a time.
// It is not covered by the compatibility promise.
//
// The table is that of Racecar; signals that Racecar does not have follow unicorn and
// gunicorn:
//
//	TERM, INT   graceful shutdown; a second one kills
//	QUIT        stacks of all processes to the log, then as TERM
//	USR1        configuration with the source of each value to stderr
//	HUP         reopen logs; rolling restart if image or configuration changed;
//	            as TERM when started on a terminal
//	TTIN, TTOU  one worker more, one fewer
//	TSTP, CONT  quiet, continue
//	USR2        reserved
//
// Each worker is a session of its own, so a terminal's signals reach the supervisor
// alone. The package promises nothing about signals to workers.
package signals

import (
	"os"
	"os/signal"
	"syscall"
)

// Action is what a signal asks for.
type Action int

// The actions. None is that of a signal that is not in the table.
const (
	None           Action = iota
	Stop                  // gracefully; a second one kills
	StopWithStacks        // goroutine stacks to the log, then Stop
	PrintConfig
	Reload // reopen logs; rolling restart if something changed
	More   // one worker more
	Fewer
	Quiet
	Continue
	Reserved
	Reap // a process exited that the supervisor may not know (as PID 1)
)

// Meaning is the action of sig; terminal: the supervisor was started on a terminal, whose
// hang-up is no reason to reload.
func Meaning(sig os.Signal, terminal bool) Action {
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

// queueSize is more signals than anybody sends between two iterations of the loop;
// os/signal drops a signal rather than block.
const queueSize = 64

// Queue receives the signals of this process.
type Queue struct {
	c chan os.Signal
}

// Listen begins to receive. reap: also SIGCHLD, which only PID 1 needs.
//
// SIGPIPE is received and ignored: a supervisor continues without a reader of its log (a
// Go program would otherwise die writing to stdout or stderr). On a terminal, a HUP that
// was ignored at the start stays ignored: that is nohup.
func Listen(terminal, reap bool) *Queue {
	q := &Queue{c: make(chan os.Signal, queueSize)}
	received := []os.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGPIPE,
	}
	if !terminal || !signal.Ignored(syscall.SIGHUP) {
		received = append(received, syscall.SIGHUP)
	}
	if reap {
		received = append(received, syscall.SIGCHLD)
	}
	signal.Notify(q.c, received...)
	return q
}

// C delivers the signals in the order in which they came.
func (q *Queue) C() <-chan os.Signal { return q.c }

// Close restores the defaults. It may be called twice.
func (q *Queue) Close() { signal.Stop(q.c) }

// OnTerminal reports whether this process has a controlling terminal, wherever its
// standard streams point.
func OnTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDONLY|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}
